"""A run's directory: what it holds, and that nothing is lost when a run is cut."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import TINY

import rundir
import training
from errors import UserError
from pretrain_autoencoder import main as pretrain
from train_baseline import main as baseline


def history_without_seconds(folder):
    lines = (folder / "history.csv").read_text().splitlines()
    assert lines[0].endswith(",seconds")
    return [line.rsplit(",", 1)[0] for line in lines]


def assert_same_results(folder, other):
    assert (folder / "metrics.json").read_bytes() == (other / "metrics.json").read_bytes()
    assert history_without_seconds(folder) == history_without_seconds(other)
    for name in ("predictions.npz", "reconstructions.npz"):
        if (other / name).exists():
            assert (folder / name).read_bytes() == (other / name).read_bytes()
    for name in ("model.pt", "encoder.pt"):
        if (other / name).exists():
            ours, theirs = (torch.load(f / name)["state"] for f in (folder, other))
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert not list(folder.glob(".*.tmp"))
    assert not (folder / "checkpoint.pt").exists()


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
    torch.rand(3)
    baseline([*TINY, "--run-dir", str(tmp_path)])
    assert_same_results(tmp_path, baseline_dir)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (training, "train_epoch", 2),  # at the start of an epoch
        (training.Run, "save_checkpoint", 2),  # after an epoch, before it is kept
        (training.Run, "write_history", 2),  # between the checkpoint and the history
        (training.Run, "write_weights", 1),  # after the last epoch
        (training.Run, "write_json", 2),  # before the last result
    ],
)
@pytest.mark.parametrize(("main", "reference"), [(baseline, "baseline"), (pretrain, "autoencoder")])
def test_a_cut_run_ends_like_an_uncut_one(
    main, reference, owner, name, call, tmp_path, monkeypatch, request, capsys
):
    command = [*TINY, "--run-dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        interrupt(patch, owner, name, call)
        with pytest.raises(SystemExit) as exit_:
            main(command)
    assert exit_.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1
    main(command)
    assert_same_results(tmp_path, request.getfixturevalue(f"{reference}_dir"))


def test_a_killed_run_ends_like_an_uncut_one(baseline_dir, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    options = [*TINY, "--run-dir", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "train_baseline.py", *options],
        env=environment,
        stdout=subprocess.DEVNULL,
    ) as process:
        while not (tmp_path / "history.csv").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "metrics.json").exists()
    baseline(options)
    assert_same_results(tmp_path, baseline_dir)


def test_a_finished_run_is_left_alone(baseline_dir, capsys):
    before = {path: path.stat().st_mtime_ns for path in baseline_dir.iterdir()}
    baseline([*TINY, "--run-dir", str(baseline_dir)])
    assert "is finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in baseline_dir.iterdir()} == before


def test_other_options_are_refused_by_name(baseline_dir, fails):
    line = fails(baseline, *TINY, "--shift", 1, "--run-dir", baseline_dir)
    assert "--shift is 2 there and 1 here" in line
    assert "--overwrite" in line


def test_a_run_from_before_an_option_did_what_was_done_then(autoencoder_dir, tmp_path, fails):
    for path in autoencoder_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["options"].pop("target") == "normalised"
    (tmp_path / "config.json").write_text(json.dumps(config))
    pretrain([*TINY, "--target", "pixels", "--run-dir", str(tmp_path)])
    line = fails(pretrain, *TINY, "--run-dir", tmp_path)
    assert "--target is pixels there and normalised here" in line


def test_another_arm_is_refused(baseline_dir, fails):
    assert "run of baseline" in fails(pretrain, *TINY, "--run-dir", baseline_dir)


def test_overwrite_starts_afresh(tmp_path):
    folder = ["--run-dir", str(tmp_path)]
    baseline([*TINY, "--epochs", "1", *folder])
    assert (tmp_path / "predictions.npz").exists()
    baseline([*TINY, "--epochs", "1", "--skip-test", *folder, "--overwrite"])
    assert json.loads((tmp_path / "metrics.json").read_text())["test"] is None
    assert not (tmp_path / "predictions.npz").exists()


def test_overwrite_keeps_what_is_there_until_it_can_start(baseline_dir, fails, monkeypatch):
    before = {path: path.read_bytes() for path in baseline_dir.iterdir()}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fails(baseline, *TINY, "--run-dir", baseline_dir, "--overwrite", "--device", "cuda")
    fails(pretrain, *TINY, "--run-dir", baseline_dir, "--overwrite")  # another arm's
    assert {path: path.read_bytes() for path in baseline_dir.iterdir()} == before


def test_two_processes_in_one_folder(tmp_path, fails):
    holder = (
        "import sys, filelock\n"
        "with filelock.FileLock(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        line = fails(baseline, *TINY, "--run-dir", tmp_path)
        process.stdin.close()
    assert "another process is at work" in line
    assert not (tmp_path / "config.json").exists()


def test_lost_weights_are_made_again(autoencoder_dir, tmp_path):
    for name in ("config.json", "metrics.json", "history.csv"):
        (tmp_path / name).write_bytes((autoencoder_dir / name).read_bytes())
    pretrain([*TINY, "--run-dir", str(tmp_path)])
    assert_same_results(tmp_path, autoencoder_dir)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, fails, baseline_dir):
    command = [*TINY, "--run-dir", tmp_path]
    original, calls = os.fsync, []

    def fsync(handle):
        calls.append(None)
        if len(calls) == 4:  # config, checkpoint and history of epoch 1, checkpoint of epoch 2
            raise OSError(28, "No space left on device")
        original(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert "No space left" in fails(baseline, *command)
    assert len(rundir.load_weights(tmp_path / "checkpoint.pt", "checkpoint")["history"]) == 1
    baseline([str(option) for option in command])
    assert_same_results(tmp_path, baseline_dir)


def test_a_damaged_checkpoint_is_one_line(tmp_path, monkeypatch, fails):
    command = [*TINY, "--run-dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        interrupt(patch, training, "train_epoch", 2)
        with pytest.raises(SystemExit):
            baseline(command)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    line = fails(baseline, *command)
    assert "checkpoint.pt" in line
    assert "--overwrite" in line


def test_what_a_run_keeps(baseline_dir):
    config = json.loads((baseline_dir / "config.json").read_text())
    assert config["options"]["width"] == 0.1
    assert config["data"]["train_images"] == 1375
    assert config["environment"]["precision"] in ("fp32", "bf16")
    text = (baseline_dir / "config.json").read_text()
    assert "/" not in text.replace(config["environment"]["processor"], "")  # no paths
    assert os.uname().nodename not in text
    with np.load(baseline_dir / "predictions.npz") as predictions:
        accuracy = (predictions["predicted"] == predictions["label"]).mean()
        assert predictions["probability"].max() <= 1
    metrics = json.loads((baseline_dir / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] == accuracy
    weights = torch.load(baseline_dir / "model.pt", weights_only=True)
    assert weights["kind"] == "alexnet"
    assert all(name.startswith(("encoder.", "classifier.")) for name in weights["state"])


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    (tmp_path / ".checkpoint.pt.abc.tmp").write_bytes(b"half")
    run = rundir.Run.open(tmp_path, "baseline", {})
    run.start(data={}, environment={})
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    rundir.write_atomically(path, b"old")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        rundir.write_atomically(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("content", [b"", b"random bytes", b"PK\x03\x04 but no archive"])
def test_files_that_are_not_weights(tmp_path, content):
    path = tmp_path / "encoder.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"encoder\.pt"):
        rundir.load_weights(path, "encoder")


def test_weights_that_need_code_are_not_loaded(tmp_path):
    path = tmp_path / "encoder.pt"
    torch.save({"kind": "encoder", "state": CustomClass()}, path)
    with pytest.raises(UserError, match=r"encoder\.pt"):
        rundir.load_weights(path, "encoder")


class CustomClass:
    """Something that only a pickle can hold."""
