"""Watching a run: what is printed, what TensorBoard shows; and that neither changes a result."""

import io
import re
import sys
import time

import pytest
from conftest import TINY, assert_same_results, finished

import training
from harness.progress import TIMED, Progress
from pretrain_autoencoder import main as pretrain
from train_baseline import main as baseline


@pytest.mark.parametrize(("main", "reference", "pictures"), [
    (baseline, "baseline", ["confusion", "predicted class, probability; true class"]),
    (pretrain, "autoencoder", ["reconstructions"]),
])  # fmt: skip
def test_tensorboard_has_a_resumed_run_whole(
    main, reference, pictures, tmp_path, interrupt, request
):
    read = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    command = [*TINY, "--runs-dir", tmp_path, "--tensorboard"]
    interrupt(main, command, training, "train_epoch", 2)
    folder = finished(main, tmp_path, "--tensorboard")
    (events,) = folder.glob("events.out.tfevents.*")
    board = read.EventAccumulator(str(folder)).Reload()
    assert [event.step for event in board.Scalars("train_loss")] == [1, 2]
    assert "valid_loss" in board.Tags()["scalars"]
    assert sorted(board.Tags()["images"]) == pictures
    events.unlink()
    assert_same_results(folder, request.getfixturevalue(f"{reference}_dir"))


def test_a_missing_tensorboard_is_named(fails, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    line = fails(baseline, *TINY, "--runs-dir", tmp_path, "--tensorboard")
    assert "--tensorboard needs a package: pip install tensorboard" in line


def test_quiet_prints_errors_alone(fails, tmp_path, capsys):
    command = [*TINY, "--runs-dir", str(tmp_path), "--quiet"]
    for _ in range(2):  # the second finds it finished
        baseline(command)
    assert capsys.readouterr() == ("", "")
    (tmp_path / "file").write_text("")
    assert "file" in fails(baseline, *TINY, "--quiet", "--runs-dir", tmp_path / "file")


def test_a_summary_comes_first_and_the_same_command_gives_the_same_bytes(
    baseline_dir, tmp_path, capsys
):
    assert_same_results(finished(baseline, tmp_path), baseline_dir)
    second = capsys.readouterr().out.splitlines()[1]
    size = r"[\d,]+ parameters, \d\.\d million multiply-adds an image; "
    assert re.fullmatch(size + "2 epochs of 11 steps", second)


def test_the_time_left_is_said_once(capsys, monkeypatch):
    monkeypatch.setattr("time.perf_counter", iter(range(100, 999, 40)).__next__)
    with Progress(epochs=2, steps=60, epochs_done=1) as progress:
        for _ in range(60):
            progress.step(lambda: 0.0)
    first, last = TIMED
    minutes = 40 / (last - first) * (60 - last) / 60
    assert capsys.readouterr().out == f"about {minutes:.0f} min of training to go\n"


def test_a_terminal_shows_images_per_second(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(1, 60, 0, 100.0) as progress:
        for _ in range(60):
            time.sleep(0.01)
            progress.step(lambda: 0.5)
    shown = sys.stderr.getvalue()
    assert re.search(r"\d+\.\d+ images/s", shown)
    assert "train loss 0.5000" in shown
