"""benchmark.py: what is timed, the arithmetic on the times, and the whole script in small."""

import json
from itertools import repeat

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import contenders
import peers
from batches import Batches, Normalisation
from benchmark import command, main, parse_args
from compute import choose_compute
from contenders import Conditions, Stopwatch, Task, bare_step, flops_per_image, our_loop
from measuring import take_turns
from peers import PEERS, WatchedLoader, peer_loop, usual_script
from speed import ratio, speed_table, summarise


@pytest.fixture
def measured(tmp_path, monkeypatch, capsys):
    """What the script has written and printed, where no other library is installed."""
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    monkeypatch.setattr(contenders, "MATRIX_SIZES", (64,))
    options = ["--dataset", "digits", "--width", "0.1", "--rounds", "1", "--steps", "2"]
    places = ["--json", tmp_path / "new" / "speed.json", "--img-dir", tmp_path / "img"]
    main([*options, *map(str, places)])
    return (tmp_path / "new" / "speed.json").read_text(), capsys.readouterr().out


def test_the_script(measured, tmp_path):
    text, printed = measured
    figures = json.loads(text)
    assert "not installed: lightning, fastai, keras" in printed
    assert printed.endswith("\n".join(speed_table(figures)) + "\n")
    assert (tmp_path / "img" / "benchmark.png").stat().st_size > 10_000
    assert str(tmp_path) not in text
    for model in figures["models"].values():
        seconds = {name: values[0] for name, values in model["seconds_per_image"].items()}
        for name in ("bare", "usual_0", "usual_2", "data", "matrix"):
            assert model["ratios"][name]["median"] == pytest.approx(seconds[name] / seconds["ours"])
        faster = min(seconds["usual_0"], seconds["usual_2"]) / seconds["ours"]
        assert model["ratios"]["usual"]["median"] == pytest.approx(faster)
    assert "evaluation" not in figures["models"]["autoencoder"]["ratios"]


def test_ratios_are_taken_round_by_round():
    # 3, 1 and 2; the ratio of the medians would be 3.
    figure = ratio([3.0, 1.0, 8.0], [1.0, 1.0, 4.0])
    assert figure == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_the_faster_usual_script_counts():
    seconds = {"ours": [1.0] * 3, "usual_0": [5.0, 9.0, 4.0], "usual_2": [4.5, 4.0, 9.0]}
    assert summarise(seconds)["usual"] == {"median": 4.5, "min": 4.0, "max": 9.0}


def test_the_table_has_a_row_a_loop():
    seconds = {
        "ours": [0.001, 0.002, 0.004],
        "bare": [0.001] * 3,
        "usual_0": [0.01] * 3,
        "usual_2": [0.008, 0.008, 0.016],
        "keras": [0.02] * 3,
        "data": [0.0001] * 3,
        "matrix": [0.0005] * 3,
        "evaluation": [0.0003] * 3,
        "forward": [0.0002] * 3,
    }
    model = {
        "flops_per_image": 5e7,
        "seconds_per_image": seconds,
        "ratios": summarise(seconds),
    }
    environment = {"device": "cpu", "precision": "bf16", "processor": "P", "threads": 2}
    lines = speed_table(
        {
            "command": "python benchmark.py --rounds 3",
            "options": {"width": 0.5, "batch_size": 128, "rounds": 3, "steps": 10},
            "data": {"name": "fashion", "train_images": 55_000, "evaluated_images": 10_000},
            "environment": environment | {"torch": "2"},
            "models": {"classifier": model},
        }
    )
    rows = [line for line in lines if line.startswith("|")]
    assert rows[2:7] == [
        "| **this project** | 500 | 1 |",
        "| bare step on one batch, the limit | 1,000 | 0.50 (0.25–1.00) |",
        "| usual script, num_workers=0 | 100 | 5.00 (2.50–10.00) |",
        "| usual script, num_workers=2 | 125 | 4.00 (4.00–8.00) |",
        "| Keras | 50 | 10.00 (5.00–20.00) |",
    ]
    assert "| Evaluation of 10,000 images ÷ its forward passes alone | 1.50" in rows[-3]
    assert rows[-2] == "| Matrix product's peak, GFLOP/s | 100 |  |"
    assert rows[-1] == "| Training epoch of 55,000 images, s | 110.0 |  |"
    assert "`python benchmark.py --rounds 3`" in lines[-1]


def test_the_first_round_warms_up_and_all_take_turns():
    calls = []

    def contender(name):
        times = iter((9.0, 1.0, 2.0))
        return lambda: calls.append(name) or next(times)

    seconds = take_turns("model", {"a": contender("a"), "b": contender("b")}, rounds=2)
    assert seconds == {"a": [1.0, 2.0], "b": [1.0, 2.0]}
    assert calls == ["a", "b"] * 3


def test_the_stopwatch_counts_neither_the_warm_up_nor_what_comes_after(monkeypatch):
    monkeypatch.setattr(contenders, "now", iter((10.0, 16.0)).__next__)
    stopwatch = Stopwatch(steps=3)
    watched = stopwatch.watch(repeat([torch.zeros(4)]))
    for _ in range(stopwatch.batches):  # like Lightning, this never asks for one too many
        next(watched)
    assert stopwatch.seconds_per_image == (16 - 10) / (3 * 4)


@pytest.fixture
def common():
    """Five images and three steps of two."""
    images, labels = torch.arange(5 * 784).view(5, 28, 28).to(torch.uint8), torch.arange(5)
    batches = Batches(images, labels, Normalisation(100.0, 50.0), batch_size=2, shift=2)
    return Conditions(images, labels, batches, choose_compute("cpu", "fp32"), Stopwatch(3), 1)


def linear_task() -> tuple[Task, nn.Linear]:
    layer = nn.Linear(784, 10, bias=False)
    model = nn.Sequential(nn.Flatten(), layer)
    return Task(lambda: model, contenders.as_they_are, F.cross_entropy), layer


def test_floating_point_operations(common):
    task, _ = linear_task()
    # 784 x 10 multiplications and as many additions: once for the output, once for the gradient.
    assert flops_per_image(task, common) == 2 * (784 * 10 * 2)


LOADED = {"usual_script": usual_script} | PEERS


@pytest.mark.parametrize("name", ["our_loop", "bare_step", *LOADED])
def test_what_is_timed_does_train(common, name):
    if name in PEERS:
        pytest.importorskip(name)
    task, layer = linear_task()
    before = layer.weight.detach().clone()
    if name in LOADED:
        loader = WatchedLoader(task, common, workers=0)
        contender = peer_loop(name, task, loader) if name in PEERS else usual_script(task, loader)
    else:
        contender = {"our_loop": our_loop, "bare_step": bare_step}[name](task, common)
    assert contender() > 0
    assert not torch.equal(layer.weight, before)


def test_the_usual_data_path_gives_the_same_kind_of_batches(common):
    task, _ = linear_task()
    loaded = list(WatchedLoader(task, common, workers=0))
    assert len(loaded) == common.stopwatch.batches
    images, labels = loaded[0]
    ours, our_labels = next(common.batches.epoch(0))
    assert images.shape == (2, 1, 28, 28)
    assert (images.dtype, labels.dtype) == (ours.dtype, our_labels.dtype)
    levels = common.batches.normalise(torch.arange(256).view(1, 16, 16))
    assert torch.isclose(images.unique()[:, None], levels.view(1, -1)).any(dim=1).all()


def test_the_command_names_what_changes_the_figures():
    args = parse_args(["--rounds", "3", "--compile", "--data-dir", "x", "--width", "0.5"])
    assert command(args) == "python benchmark.py --rounds 3 --compile"
