"""A run's folder: what it holds, and that nothing is lost when a run is cut."""

import fcntl
import json
import os
from shutil import copytree
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest
import torch
from conftest import TINY, assert_same_results, finished, only_run, weights_of

import training
from classification import ModelCard
from harness.errors import UserError
from harness.files import read_json
from harness.rundir import Config, Run
from harness.weights import load_weights
from metrics import Metrics
from pretrain_autoencoder import main as pretrain
from recipes import ClassifierRecipe, Setup
from train_baseline import main as baseline

SETUP = Setup(recipe=ClassifierRecipe(dataset="digits", width=0.1, epochs=2))


@pytest.mark.parametrize(("main", "reference", "owner", "name", "call"), [
    (baseline, "baseline", training, "train_epoch", 2),  # at the start of an epoch
    (baseline, "baseline", training, "save_checkpoint", 2),  # after an epoch, before it is kept
    (baseline, "baseline", Run, "write_history", 2),  # between the checkpoint and the history
    (baseline, "baseline", Run, "finish", 1),  # after the last epoch, before the last result
    (pretrain, "autoencoder", training, "save_checkpoint", 2),
    (pretrain, "autoencoder", Run, "finish", 1),
])  # fmt: skip
def test_a_cut_run_ends_like_an_uncut_one(
    main, reference, owner, name, call, tmp_path, interrupt, request, capsys
):
    interrupt(main, [*TINY, "--runs-dir", tmp_path], owner, name, call)
    assert capsys.readouterr().err.count("\n") == 1
    assert_same_results(finished(main, tmp_path), request.getfixturevalue(f"{reference}_dir"))


@pytest.mark.parametrize("options", ["--freeze-encoder", "--auxiliary-loss 1", "--optimizer muon"])
def test_other_parameters_are_resumed_too(options, baseline_dir, tmp_path, interrupt):
    """Frozen ones have no moments; a decoder is there in training alone; Muon has one moment."""
    options = options.split()
    whole = finished(baseline, tmp_path / "a", *options)
    interrupt(baseline, [*TINY, *options, "--runs-dir", tmp_path / "b"], training, "train_epoch", 2)
    assert_same_results(finished(baseline, tmp_path / "b", *options), whole)
    usual, found = weights_of(baseline_dir), weights_of(whole)
    assert usual.keys() == found.keys()
    first = "encoder.stage1.0.weight"
    assert not torch.equal(usual[first], found[first])


def copy_of(folder, runs_dir, setup=SETUP):
    """The same files where the setup's run belongs."""
    return copytree(folder, setup.folder(runs_dir))


@pytest.mark.parametrize("options", [[], ["--validations", "1"]])
def test_a_finished_run_is_left_alone(baseline_dir, capsys, options):
    before = {path: path.stat().st_mtime_ns for path in baseline_dir.iterdir()}
    finished(baseline, baseline_dir.parent.parent, *options)
    assert "is finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in baseline_dir.iterdir()} == before


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_other_options_are_refused_by_name(baseline_dir, tmp_path, fails):
    """What config.json says decides, whatever the folder is called."""
    folder = copy_of(baseline_dir, tmp_path)
    edit(folder / "config.json", lambda config: config["setup"]["recipe"].update(shift=1))
    line = fails(baseline, *TINY, "--runs-dir", tmp_path)
    assert "--shift is 1 there and 2 here" in line and "--overwrite" in line


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_a_run_of_another_kind_is_refused(autoencoder_dir, tmp_path, fails, options):
    folder = copy_of(autoencoder_dir, tmp_path)
    assert "autoencoder" in fails(baseline, *TINY, "--runs-dir", tmp_path, *options)
    assert (folder / "encoder.safetensors").exists()


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["model.safetensors", "history.csv", ".draft.tmp", "notes"])
def test_a_folder_that_is_not_ours_is_left_alone(tmp_path, fails, name, options):
    folder = SETUP.folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / name).write_text("mine")
    assert name in fails(baseline, *TINY, "--runs-dir", tmp_path, *options)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, "mine")]


def test_overwrite_starts_afresh(baseline_dir, tmp_path):
    folder = copy_of(baseline_dir, tmp_path)
    for name in ("notes", "reconstructions.npz", "events.out.tfevents.1"):
        (folder / name).write_text("of some other run")
    edit(folder / "metrics.json", lambda metrics: metrics["valid"].update(loss=7.0))
    finished(baseline, tmp_path, "--overwrite")
    assert {path.name for path in folder.iterdir()} == {
        "notes", *(path.name for path in baseline_dir.iterdir())
    }  # fmt: skip
    assert_same_results(folder, baseline_dir)


def test_overwrite_keeps_what_is_there_until_it_can_start(baseline_dir, fails, monkeypatch):
    before = {path: path.read_bytes() for path in baseline_dir.iterdir()}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    place = ["--runs-dir", baseline_dir.parent.parent]
    line = fails(baseline, *TINY, *place, "--overwrite", "--device", "cuda")
    assert "use --device cpu" in line
    assert {path: path.read_bytes() for path in baseline_dir.iterdir()} == before


def test_a_folder_that_another_process_holds(tmp_path, fails):
    folder = SETUP.folder(tmp_path)
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # which holds against whoever opens the file anew
        line = fails(baseline, *TINY, "--runs-dir", tmp_path)
    assert "another process is at work" in line
    assert not (folder / "config.json").exists()


def test_lost_weights_are_made_again(autoencoder_dir, tmp_path, interrupt):
    setup = read_json(autoencoder_dir / "config.json", Config[Setup]).setup
    folder = copy_of(autoencoder_dir, tmp_path, setup)
    (folder / "encoder.safetensors").unlink()
    interrupt(pretrain, [*TINY, "--runs-dir", tmp_path], training, "train_epoch", 2)
    assert not (folder / "metrics.json").exists()  # the old result would make it a finished run
    assert_same_results(finished(pretrain, tmp_path), autoencoder_dir)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, fails, baseline_dir):
    full = OSError(28, "No space left on device")
    # Config, checkpoint and history of epoch 1 are written, and not the checkpoint of epoch 2.
    fsync = Mock(wraps=os.fsync, side_effect=[DEFAULT] * 3 + [full])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert "No space left" in fails(baseline, *TINY, "--runs-dir", tmp_path)
    assert not list(only_run(tmp_path).glob(".*.tmp"))
    checkpoint = only_run(tmp_path) / "checkpoint.safetensors"
    assert len(load_weights(checkpoint, training.Checkpoint, "")[1].history) == 1
    assert_same_results(finished(baseline, tmp_path), baseline_dir)


def test_a_damaged_checkpoint_is_one_line(tmp_path, interrupt, fails):
    interrupt(baseline, [*TINY, "--runs-dir", tmp_path], training, "train_epoch", 2)
    path = only_run(tmp_path) / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    line = fails(baseline, *TINY, "--runs-dir", tmp_path)
    assert "checkpoint.safetensors" in line and "--overwrite" in line


def test_a_loss_that_is_no_number_stops_the_run_in_its_epoch(tmp_path, monkeypatch, fails):
    original = training.refuse_infinite
    with pytest.raises(UserError, match="train_loss is inf after epoch 3"):
        original({"epoch": 3, "train_loss": float("inf"), "valid_loss": 1.0})

    def broken(row):
        original(row | ({"valid_loss": float("nan")} if row["epoch"] == 2 else {}))

    monkeypatch.setattr(training, "refuse_infinite", broken)
    line = fails(baseline, *TINY, "--runs-dir", tmp_path)
    assert "valid_loss is nan after epoch 2: use a lower --learning-rate" in line
    folder = only_run(tmp_path)
    assert len((folder / "history.csv").read_text().splitlines()) == 2
    assert (folder / "checkpoint.safetensors").exists()


def test_what_a_run_keeps(baseline_dir):
    config = read_json(baseline_dir / "config.json", Config[Setup])
    assert config.setup == SETUP
    assert config.setup.recipe.flip == "none"  # a mirrored digit is another sign
    assert config.data.train_images == 1375
    text = (baseline_dir / "config.json").read_text()
    assert "/" not in text.replace(config.environment.processor, "")  # no paths
    assert os.uname().nodename not in text
    assert text.count("\n") > 5
    with np.load(baseline_dir / "predictions.npz") as predictions:
        accuracy = (predictions["predicted"] == predictions["label"]).mean()
        assert max(predictions["probability"].max(), predictions["calibrated"].max()) <= 1
    metrics = read_json(baseline_dir / "metrics.json", Metrics)
    model, card = load_weights(baseline_dir / "model.safetensors", ModelCard, "")
    assert all(name.startswith(("encoder.", "classifier.", "typical.")) for name in model)
    assert card.temperature == metrics.temperature
    assert card.test_accuracy == metrics.test.accuracy == accuracy
    assert accuracy > 0.8  # two epochs of 11 steps are enough


def test_leftovers_of_a_killed_write_are_removed(baseline_dir, tmp_path):
    folder = copy_of(baseline_dir, tmp_path)
    (folder / "metrics.json").unlink()
    (folder / ".checkpoint.safetensors.abc.tmp").write_bytes(b"half")
    (folder / ".draft.tmp").write_bytes(b"mine")
    config = read_json(folder / "config.json", Config[Setup])
    Run(folder, config.setup, Metrics).start(config.data, config.environment)
    assert [path.name for path in folder.glob(".*.tmp")] == [".draft.tmp"]


def test_a_kill_before_the_first_file_leaves_a_folder_that_can_be_used(tmp_path):
    folder = SETUP.folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / ".config.json.abc.tmp").write_bytes(b"half")
    assert not Run(folder, SETUP, Metrics).finished
