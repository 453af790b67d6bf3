"""A run's folder: what it holds, and that nothing is lost when a run is cut."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import TINY, only_run

import classification
import harness.rundir
import harness.weights
import training
from harness.files import read_json, write_atomically
from harness.rundir import Config, Run
from metrics import Metrics
from pretrain_autoencoder import main as pretrain
from recipes import ClassifierRecipe, Setup
from train_baseline import main as baseline


def history_without_seconds(folder):
    lines = (folder / "history.csv").read_text().splitlines()
    assert lines[0].endswith(",seconds")
    return [line.rsplit(",", 1)[0] for line in lines]


def assert_same_results(folder, other):
    assert history_without_seconds(folder) == history_without_seconds(other)
    for path in other.iterdir():
        if path.name not in ("history.csv", "config.json", ".lock"):
            assert (folder / path.name).read_bytes() == path.read_bytes(), path.name
    assert not list(folder.glob(".*.tmp"))
    assert not (folder / "checkpoint.safetensors").exists()


def interrupt(monkeypatch, owner, name, call):
    """Have the `call`-th call of a function end in Ctrl-C, before it does anything."""
    original, calls = getattr(owner, name), []

    def replacement(*args, **kwargs):
        calls.append(None)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, replacement)


def test_the_same_command_gives_the_same_bytes(baseline_dir, tmp_path):
    baseline([*TINY, "--runs-dir", str(tmp_path)])
    assert_same_results(only_run(tmp_path), baseline_dir)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (training, "train_epoch", 2),  # at the start of an epoch
        (training, "save_checkpoint", 2),  # after an epoch, before it is kept
        (Run, "write_history", 2),  # between the checkpoint and the history
        (Run, "finish", 1),  # after the last epoch, before the last result
    ],
)
@pytest.mark.parametrize(("main", "reference"), [(baseline, "baseline"), (pretrain, "autoencoder")])
def test_a_cut_run_ends_like_an_uncut_one(
    main, reference, owner, name, call, tmp_path, monkeypatch, request, capsys
):
    command = [*TINY, "--runs-dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        interrupt(patch, owner, name, call)
        with pytest.raises(SystemExit) as exit_:
            main(command)
    assert exit_.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1
    main(command)
    assert_same_results(only_run(tmp_path), request.getfixturevalue(f"{reference}_dir"))


@pytest.mark.parametrize("options", ["--freeze-encoder", "--auxiliary-loss 1", "--optimizer muon"])
def test_other_parameters_are_resumed_too(options, tmp_path, monkeypatch):
    """Frozen ones have no moments; a decoder is there in training alone; Muon has one moment."""
    whole, cut = ([*TINY, *options.split(), "--runs-dir", str(tmp_path / x)] for x in "ab")
    baseline(whole)
    with monkeypatch.context() as patch:
        interrupt(patch, training, "train_epoch", 2)
        with pytest.raises(SystemExit):
            baseline(cut)
    baseline(cut)
    assert_same_results(only_run(tmp_path / "b"), only_run(tmp_path / "a"))


def test_a_killed_run_ends_like_an_uncut_one(baseline_dir, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    options = [*TINY, "--runs-dir", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "train_baseline.py", *options],
        env=environment,
        stdout=subprocess.DEVNULL,
    ) as process:
        while not list(tmp_path.glob("*/*/history.csv")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (only_run(tmp_path) / "metrics.json").exists()
    baseline(options)
    assert_same_results(only_run(tmp_path), baseline_dir)


def copy_of(folder, runs_dir):
    """The same run below another folder of runs."""
    copy = runs_dir / folder.parent.name / folder.name
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_a_finished_run_is_left_alone(baseline_dir, capsys):
    before = {path: path.stat().st_mtime_ns for path in baseline_dir.iterdir()}
    baseline([*TINY, "--runs-dir", str(baseline_dir.parent.parent)])
    assert "is finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in baseline_dir.iterdir()} == before


def test_how_often_it_is_validated_is_no_difference(baseline_dir, capsys):
    baseline([*TINY, "--validations", "1", "--runs-dir", str(baseline_dir.parent.parent)])
    assert "is finished" in capsys.readouterr().out


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_other_options_are_refused_by_name(baseline_dir, tmp_path, fails):
    """What config.json says decides, whatever the folder is called."""
    folder = copy_of(baseline_dir, tmp_path)
    edit(folder / "config.json", lambda config: config["setup"]["recipe"].update(shift=1))
    line = fails(baseline, *TINY, "--runs-dir", tmp_path)
    assert "--shift is 1 there and 2 here" in line
    assert "--overwrite" in line


def test_a_run_of_another_kind_is_refused_even_with_overwrite(autoencoder_dir, tmp_path, fails):
    setup = Setup(recipe=ClassifierRecipe(dataset="digits", width=0.1, epochs=2))
    folder = setup.folder(tmp_path)
    folder.mkdir(parents=True)
    for path in autoencoder_dir.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for options in ([], ["--overwrite"]):
        line = fails(baseline, *TINY, "--runs-dir", tmp_path, *options)
        assert "autoencoder" in line
    assert (folder / "encoder.safetensors").exists()


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["model.safetensors", "history.csv", ".draft.tmp", "notes"])
def test_a_folder_that_is_not_ours_is_left_alone(baseline_dir, tmp_path, fails, name, options):
    folder = tmp_path / baseline_dir.parent.name / "seed0"
    folder.mkdir(parents=True)
    (folder / name).write_text("mine")
    assert name in fails(baseline, *TINY, "--runs-dir", tmp_path, *options)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, "mine")]


def test_overwrite_starts_afresh(baseline_dir, tmp_path):
    folder = copy_of(baseline_dir, tmp_path)
    (folder / "notes").write_text("mine")
    for name in ("reconstructions.npz", "events.out.tfevents.1"):
        (folder / name).write_text("of some other run")
    edit(folder / "metrics.json", lambda metrics: metrics["valid"].update(loss=7.0))
    baseline([*TINY, "--runs-dir", str(tmp_path), "--overwrite"])
    assert not (folder / "reconstructions.npz").exists()
    assert not list(folder.glob("events.*"))
    assert (folder / "notes").read_text() == "mine"
    assert_same_results(folder, baseline_dir)


def test_overwrite_keeps_what_is_there_until_it_can_start(baseline_dir, fails, monkeypatch):
    import torch

    before = {path: path.read_bytes() for path in baseline_dir.iterdir()}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    place = ["--runs-dir", baseline_dir.parent.parent]
    fails(baseline, *TINY, *place, "--overwrite", "--device", "cuda")
    assert {path: path.read_bytes() for path in baseline_dir.iterdir()} == before


def test_two_processes_in_one_folder(baseline_dir, tmp_path, fails):
    holder = (
        "import sys, filelock\n"
        "with filelock.FileLock(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    folder = tmp_path / baseline_dir.parent.name / "seed0"
    folder.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(folder / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        line = fails(baseline, *TINY, "--runs-dir", tmp_path)
        process.stdin.close()
    assert "another process is at work" in line
    assert not (folder / "config.json").exists()


def test_lost_weights_are_made_again(autoencoder_dir, tmp_path, monkeypatch):
    folder = copy_of(autoencoder_dir, tmp_path)
    (folder / "encoder.safetensors").unlink()
    with monkeypatch.context() as patch:
        interrupt(patch, training, "train_epoch", 2)
        with pytest.raises(SystemExit):
            pretrain([*TINY, "--runs-dir", str(tmp_path)])
    assert not (folder / "metrics.json").exists()  # the old result would make it a finished run
    pretrain([*TINY, "--runs-dir", str(tmp_path)])
    assert_same_results(folder, autoencoder_dir)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, fails, baseline_dir):
    command = [*TINY, "--runs-dir", tmp_path]
    original, calls = os.fsync, []

    def fsync(handle):
        calls.append(None)
        if len(calls) == 4:  # config, checkpoint and history of epoch 1, checkpoint of epoch 2
            raise OSError(28, "No space left on device")
        original(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert "No space left" in fails(baseline, *command)
    checkpoint = only_run(tmp_path) / "checkpoint.safetensors"
    _, card = harness.weights.load_weights(checkpoint, training.Checkpoint, "")
    assert len(card.history) == 1
    baseline([str(option) for option in command])
    assert_same_results(only_run(tmp_path), baseline_dir)


def cut_after_one_epoch(runs_dir, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, training, "train_epoch", 2)
        with pytest.raises(SystemExit):
            baseline([*TINY, "--runs-dir", str(runs_dir)])
    return only_run(runs_dir)


def test_a_damaged_checkpoint_is_one_line(tmp_path, monkeypatch, fails):
    path = cut_after_one_epoch(tmp_path, monkeypatch) / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    line = fails(baseline, *TINY, "--runs-dir", tmp_path)
    assert "checkpoint.safetensors" in line
    assert "--overwrite" in line


@pytest.mark.parametrize("figure", ["train_loss", "valid_loss"])
def test_a_loss_that_is_no_number_stops_the_run_in_its_epoch(tmp_path, monkeypatch, fails, figure):
    original = training.refuse_infinite

    def broken(row):
        original(row | ({figure: float("nan")} if row["epoch"] == 2 else {}))

    with monkeypatch.context() as patch:
        patch.setattr(training, "refuse_infinite", broken)
        line = fails(baseline, *TINY, "--runs-dir", tmp_path)
    assert f"{figure} is nan after epoch 2" in line
    folder = only_run(tmp_path)
    assert len((folder / "history.csv").read_text().splitlines()) == 2
    assert (folder / "checkpoint.safetensors").exists()


def test_what_a_run_keeps(baseline_dir):
    config = read_json(baseline_dir / "config.json", Config[Setup])
    assert config.setup.recipe == ClassifierRecipe(dataset="digits", width=0.1, epochs=2)
    assert config.setup.recipe.flip == "none"  # a mirrored digit is another sign
    assert config.data.train_images == 1375
    assert config.environment.precision in ("fp32", "bf16")
    text = (baseline_dir / "config.json").read_text()
    assert "/" not in text.replace(config.environment.processor, "")  # no paths
    assert os.uname().nodename not in text
    with np.load(baseline_dir / "predictions.npz") as predictions:
        accuracy = (predictions["predicted"] == predictions["label"]).mean()
        assert predictions["probability"].max() <= 1
        assert predictions["calibrated"].max() <= 1
    metrics = read_json(baseline_dir / "metrics.json", Metrics)
    assert metrics.test.accuracy == accuracy
    model, card = harness.weights.load_weights(
        baseline_dir / "model.safetensors", classification.ModelCard, ""
    )
    assert all(name.startswith(("encoder.", "classifier.")) for name in model)
    assert card.temperature == metrics.temperature
    assert card.test_accuracy == accuracy


def test_leftovers_of_a_killed_write_are_removed(baseline_dir, tmp_path):
    folder = copy_of(baseline_dir, tmp_path)
    (folder / "metrics.json").unlink()
    (folder / ".checkpoint.safetensors.abc.tmp").write_bytes(b"half")
    (folder / ".draft.tmp").write_bytes(b"mine")
    config = read_json(folder / "config.json", Config[Setup])
    run = Run(folder, config.setup, Metrics)
    run.start(config.data, config.environment)
    assert [path.name for path in folder.glob(".*.tmp")] == [".draft.tmp"]


def test_a_kill_before_the_first_file_leaves_a_folder_that_can_be_used(tmp_path):
    setup = Setup(recipe=ClassifierRecipe())
    folder = setup.folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / ".config.json.abc.tmp").write_bytes(b"half")
    assert not Run(folder, setup, Metrics).finished


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_link_stays_one_and_a_file_keeps_its_mode(tmp_path):
    (tmp_path / "there").write_bytes(b"old")
    (tmp_path / "there").chmod(0o600)
    (tmp_path / "link").symlink_to("there")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_bytes() == b"new"
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o600
