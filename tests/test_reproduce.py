"""`make reproduce`: what is said of runs that were trained anew."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from made_up import ENVIRONMENT, autoencoder, pretrained, scratch, write_run, wrong
from msgspec.structs import replace

from report.collect import collect
from report.reproduction import main
from report.tables import Tables

HERE = Path(__file__).parents[1]


@pytest.fixture
def folders(tmp_path):
    """Published tables of two seeds, and where runs are to be made again."""
    for seed in (0, 1):
        for setup in (scratch(seed), autoencoder(seed), pretrained(seed)):
            write_run(tmp_path / "runs", setup, wrong(20))
    collect(tmp_path / "runs", tmp_path / "results")
    anew = tmp_path / "anew"
    return anew, ["--results-dir", str(tmp_path / "results"), "--reproduced-dir", str(anew)]


def test_equal_runs(folders, capsys):
    anew, options = folders
    for setup in (scratch(), autoencoder(), pretrained()):
        write_run(anew, setup, wrong(20), environment=replace(ENVIRONMENT, commit="x"))
    main(options)
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("all figures equal") for line in lines] == [True, True, True, False]


def test_another_machine_and_another_encoder(folders, capsys):
    anew, options = folders
    elsewhere = replace(ENVIRONMENT, threads=8, torch="3")
    write_run(anew, scratch(), wrong(30), environment=elsewhere)
    main(options)
    first, figures, reasons, _ = capsys.readouterr().out.splitlines()
    assert "0.8500 (0.9000 published), 95.00 % of the predictions" in first
    assert "test_accuracy is 0.9 there and 0.85 here" in figures
    assert "threads is 2 there and 8 here; torch is 2 there and 3 here" in reasons
    other = replace(pretrained().encoder, digest="e" * 64)
    write_run(anew, replace(pretrained(), encoder=other), wrong(21))
    main(options)
    assert "encoder_digest is " in capsys.readouterr().out


def test_nothing_in_common(folders, fails):
    anew, options = folders
    write_run(anew, scratch(7))
    assert "make reproduce" in fails(main, *options)


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_own_runs_do_not_replace_the_published_pages():
    shown = ["make", "--no-print-directory", "--dry-run", "report", "RUNS=mine"]
    commands = subprocess.run(shown, cwd=HERE, capture_output=True, text=True, check=True)
    assert "plot.py --data-dir data --runs-dir mine" in commands.stdout.splitlines()[-1]


def test_make_reproduces_as_the_published_runs_were_trained():
    """The Makefile's threads and number format are those of seed 0's rows."""
    makefile = (HERE / "Makefile").read_text()
    (line,) = [line for line in makefile.splitlines() if line.startswith("AS_PUBLISHED :=")]
    tables = Tables(HERE / "results")
    for name in ("baseline", "autoencoder", "pretrained"):
        (run,) = tables.runs(name, [0])
        wanted = ["--device", run.device, "--threads", str(run.threads)]
        assert shlex.split(line.partition(":=")[2]) == [*wanted, "--precision", run.precision]
