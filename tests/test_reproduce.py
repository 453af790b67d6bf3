"""`make reproduce`: what its table says of runs that were trained anew."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from made_up import ENVIRONMENT, autoencoder, first_images_wrong, pretrained, scratch, write_run
from msgspec.structs import replace

from classification import ModelCard
from harness.files import read_json
from harness.rundir import Config
from harness.weights import save_weights
from recipes import Setup
from report.reproduction import main, rows_of

HERE = Path(__file__).parent.parent
ELSEWHERE = replace(ENVIRONMENT, threads=8, torch="3", commit="f00d")


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """The published runs, of which two seeds, and where others are to be reproduced."""
    published = tmp_path / "runs"
    for seed in (0, 1):
        for setup in (scratch(seed), autoencoder(seed), pretrained(seed)):
            write_run(published, setup, first_images_wrong(20))
    return published, tmp_path / "reproduced"


def test_equal_runs(folders, capsys):
    for setup in (scratch(), autoencoder(), pretrained()):
        folder = write_run(
            folders[1], setup, first_images_wrong(20), environment=replace(ENVIRONMENT, commit="x")
        )
        history = (folder / "history.csv").read_text().replace(",30\n", ",31\n")
        (folder / "history.csv").write_text(history)  # it took longer
    rows = rows_of(*folders)
    names = [row.name for row in rows]
    assert names == ["baseline seed 0", "pretrained seed 0", "autoencoder seed 0"]
    assert all(row.different_files == [] for row in rows)
    assert [row.equal_predictions for row in rows] == [1, 1, None]
    main(["--runs-dir", str(folders[0]), "--reproduced-dir", str(folders[1])])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    spaced = [" ".join(line.split()) for line in lines]
    assert spaced[1] == "baseline seed 0 90.00 % 90.00 % 100.00 % equal"
    assert spaced[3] == "autoencoder seed 0 – – – equal"
    assert lines[4].endswith("delete it to train again")


def test_another_machine(folders, capsys):
    write_run(folders[1], scratch(), first_images_wrong(30), environment=ELSEWHERE)
    (row,) = rows_of(*folders)
    assert (row.published, row.reproduced) == (0.9, 0.85)
    assert row.equal_predictions == 190 / 200  # ten images more are wrong
    assert row.different_files == ["metrics.json", "predictions.npz"]
    assert row.reasons == [
        "torch is 2 there and 3 here",
        "threads is 2 there and 8 here",
        "commit is c0ffee there and f00d here",
    ]
    main(["--runs-dir", str(folders[0]), "--reproduced-dir", str(folders[1])])
    out = capsys.readouterr().out
    assert "not equal: metrics.json, predictions.npz\n" in out
    assert "what differs: torch is 2 there and 3 here; threads" in out


def test_weights_count_where_they_are_published(folders):
    anew = write_run(folders[1], scratch(), first_images_wrong(20))
    card = ModelCard(recipe=scratch().recipe, classes=["a", "b"], mean=70, std=90)
    save_weights(anew / "model.safetensors", {"weight": torch.ones(3)}, card)
    assert rows_of(*folders)[0].different_files == []
    weights = scratch().folder(folders[0]) / "model.safetensors"
    # The card is another where there were fewer options when the run was made.
    other_card = replace(card, temperature=2.0)
    for numbers, different in ((torch.ones(3), []), (torch.zeros(3), [weights.name])):
        save_weights(weights, {"weight": numbers}, other_card)
        assert rows_of(*folders)[0].different_files == different
    (anew / "model.safetensors").unlink()
    assert rows_of(*folders)[0].different_files == [weights.name]


def test_another_encoder_is_a_reason(folders):
    setup = pretrained()
    other = replace(setup, encoder=replace(setup.encoder, digest="e" * 64))
    write_run(folders[1], other, first_images_wrong(21))
    assert rows_of(*folders)[0].reasons == ["the encoder's weights are others"]


def test_nothing_in_common(folders, fails):
    write_run(folders[1], scratch(7))
    line = fails(main, "--runs-dir", folders[0], "--reproduced-dir", folders[1])
    assert "no run of the original experiment in common: make reproduce" in line


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(("runs", "pages"), [("runs", "."), ("mine", "mine")])
def test_own_runs_do_not_replace_the_published_pages(runs, pages):
    for goal in ("report", "benchmark"):
        # These tests may themselves run under make, which then adds lines on folders of its own.
        shown = ["make", "--no-print-directory", "--dry-run", goal, f"RUNS={runs}"]
        commands = subprocess.run(shown, cwd=HERE, capture_output=True, text=True, check=True)
        assert commands.stdout.strip().endswith(f"--runs-dir {runs} --pages-dir {pages}")


def test_make_reproduces_as_the_published_runs_were_trained():
    """The Makefile's threads and number format are those that seed 0's config.json names."""
    makefile = (HERE / "Makefile").read_text()
    (line,) = [line for line in makefile.splitlines() if line.startswith("AS_PUBLISHED :=")]
    for name in ("baseline", "autoencoder", "pretrained"):
        path = HERE / "runs" / name / "seed0" / "config.json"
        environment = read_json(path, Config[Setup]).environment
        wanted = f"--device {environment.device} --threads {environment.threads} "
        wanted += f"--precision {environment.precision}"
        assert shlex.split(line.partition(":=")[2]) == wanted.split(), path
        assert not environment.compile, path
