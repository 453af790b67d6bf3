"""The door from run folders to tables: what is taken, and what is refused by name."""

import re

import numpy as np
import pandas as pd
import pytest
from made_up import DATA, autoencoder, pretrained, scratch, tables_of, write_run, wrong
from msgspec.structs import replace

from harness.errors import UserError
from harness.files import read_arrays, write_arrays
from report.collect import collect


@pytest.fixture
def runs(tmp_path):
    """Two seeds of a classifier, one with a pretrained encoder, and its encoder."""
    for seed in (0, 1):
        write_run(tmp_path / "runs", scratch(seed), wrong(20 + seed), temperature=2)
    write_run(tmp_path / "runs", pretrained(1), wrong(10))
    write_run(tmp_path / "runs", autoencoder(1))
    return tmp_path / "runs"


def test_a_row_a_run_and_a_column_a_fact(runs):
    tables = tables_of(runs)
    assert list(tables.results["name"]) == ["autoencoder", "baseline", "baseline", "pretrained"]
    first, second = tables.runs("baseline")
    facts = (first.seed, first.kind, first.arm, first.learning_rate)
    assert facts == (0, "baseline", "scratch", 0.004)
    assert (first.test_accuracy, second.test_accuracy) == (0.9, 0.895)
    assert first.core_seconds == 2 * 30 * 2  # two rows of 30 s on two threads
    assert first.temperature == 2
    assert first.ece == pytest.approx(0, abs=1e-6) and first.ece_calibrated == pytest.approx(0.05)
    (run,) = tables.runs("pretrained")
    facts = (run.arm, run.encoder_corruption, run.encoder_digest)
    assert facts == ("pretrained", "mask", f"{1:064x}")
    assert first.parameters == 1000
    with np.load(tables.folder / "reconstructions.npz") as kept:
        assert kept["original"].shape == (3, 28, 28)
    history = tables.history.query("name == 'baseline' and seed == 1")
    assert list(history["valid_accuracy"]) == [0.5, 0.9]


def test_predictions_are_kept_by_seed_and_give_the_accuracy_again(runs):
    tables = tables_of(runs)
    found = tables.predictions("baseline", [0, 1])
    assert found.seed.tolist() == [0, 1]
    assert found.predicted.dtype == np.uint8
    right = (found.predicted == tables.labels).mean(axis=1)
    assert right.tolist() == [run.test_accuracy for run in tables.runs("baseline")]
    assert np.isnan(tables.predictions("pretrained", [1]).calibrated).all()  # it has no temperature


def test_collecting_again_changes_nothing_and_adds_what_is_new(runs):
    before = tables_of(runs)
    files = {path: path.read_bytes() for path in before.folder.rglob("*.*")}
    collect(runs, before.folder)
    assert {path: path.read_bytes() for path in before.folder.rglob("*.*")} == files
    write_run(runs, scratch(2), wrong(5), temperature=2)
    write_run(runs, scratch(0), wrong(40), temperature=2)  # made again
    after = tables_of(runs)
    assert [run.test_accuracy for run in after.runs("baseline")] == [0.8, 0.895, 0.975]
    assert after.predictions("baseline", [2, 0, 1]).seed.tolist() == [2, 0, 1]


def test_only_finished_runs_are_taken_and_others_named(runs, capsys):
    (runs / "baseline" / "seed1" / "metrics.json").unlink()
    assert [run.seed for run in tables_of(runs).runs("baseline")] == [0]
    assert "baseline/seed1" in capsys.readouterr().out


def test_a_run_that_never_read_the_test_set_has_no_test_accuracy(tmp_path):
    write_run(tmp_path, scratch(0, skip_test=True))
    (run,) = tables_of(tmp_path).runs("baseline-notest")
    assert pd.isna(run.test_accuracy) and run.valid_accuracy == 0.9


def rewritten(name, old, new):
    def damage(folder):
        path = folder / name
        path.write_text(re.sub(old, new, path.read_text(), count=1, flags=re.DOTALL))

    return damage


def predictions(change):
    def damage(folder):
        path = folder / "predictions.npz"
        arrays = read_arrays(path, ("predicted", "probability", "calibrated", "label"))
        change(arrays)
        write_arrays(path, **arrays)

    return damage


def fill(name, value):
    return predictions(lambda arrays: arrays[name].__setitem__(0, value))


@pytest.mark.parametrize("damage", [
    lambda folder: folder.rename(folder.with_name("seed7")),
    rewritten("config.json", "}.*", ""),
    rewritten("history.csv", ",valid_loss", ""),
    rewritten("history.csv", "0.5", "inf"),
    rewritten("metrics.json", r',\s*"test".*', "}"),
    lambda folder: (folder / "predictions.npz").unlink(),
    predictions(lambda arrays: arrays.update(predicted=(arrays["label"] + 1) % 10)),
    predictions(lambda arrays: arrays.update({k: v[:50] for k, v in arrays.items()})),
    fill("predicted", 10),
    *(fill("probability", value) for value in (np.nan, np.inf, -1, 5)),
])  # fmt: skip
def test_a_run_that_is_damaged_or_disagrees_with_itself_is_refused_by_name(runs, damage):
    damage(runs / "baseline" / "seed1")
    with pytest.raises(UserError, match=r"baseline/seed[17]"):
        collect(runs, runs / "results")
    assert not (runs / "results" / "results.csv").exists()


@pytest.mark.parametrize("name", ["results.csv", "history.csv", "labels.npz"])
def test_a_damaged_table_is_named(runs, name):
    tables = tables_of(runs)
    (tables.folder / name).write_text("this,is\nno,such,table,at all\n")
    with pytest.raises(UserError, match=name):
        collect(runs, tables.folder)


@pytest.mark.parametrize("dataset", ["fashion", "digits"])
def test_runs_on_different_images_are_kept_apart_and_nothing_is_written(runs, dataset):
    other = replace(DATA, name=dataset, digest="e" * 64)
    write_run(runs, scratch(3, dataset=dataset), data=other)
    with pytest.raises(UserError, match=rf"different images \(.*{dataset}.*two folders"):
        collect(runs, runs / "results")
    assert not (runs / "results").exists()


def test_a_folder_without_runs_makes_no_table(tmp_path):
    assert collect(tmp_path, tmp_path / "results") == 0
    assert not (tmp_path / "results").exists()
