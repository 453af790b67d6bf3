"""benchmark.py: what is timed, the arithmetic on the times, the page, the whole script in small."""

import json
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from itertools import repeat

import pytest
import torch
from msgspec import json as msgspec_json
from msgspec import structs
from torch import nn

from batches import Batches, Normalisation
from benchmark import command, main, parse_args
from benchmarks import accuracy, card, contenders, growth, measurement, peers, variants
from benchmarks.contenders import Stopwatch, bare_step, flops_per_image, our_loop
from benchmarks.measured import (
    TOO_SLOW,
    Card,
    CardPoint,
    Growth,
    Measured,
    Point,
    Spread,
    Throughput,
    TimeToAccuracy,
    Trial,
    Turns,
    ratio,
    ratios,
    reached,
    read_measured,
)
from benchmarks.measurement import take_turns
from benchmarks.operations import kind_of
from benchmarks.page import benchmark_page, gain, page_blocks
from benchmarks.peers import LIBRARIES, form_of, peer_loop, peer_names
from benchmarks.plots import draw_benchmark
from benchmarks.usual import Form, Peer, UsualLoader, WatchedLoader, usual_script
from benchmarks.workloads import Workload, make_workload
from data import load_dataset
from harness.compute import set_up_compute
from recipes import AutoencoderRecipe, ClassifierRecipe, Machine

SMALL = ["--dataset", "digits", "--width", "0.05", "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder and the output of the script, where no other library is installed."""
    runs_dir, printed = tmp_path_factory.mktemp("benchmark") / "new", StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(printed):
        monkeypatch.setattr(peers, "find_spec", lambda name: None)
        monkeypatch.setattr(contenders, "MATRIX_SIZES", (64,))
        main([*SMALL, "--rounds", "1", "--steps", "2", "--runs-dir", str(runs_dir)])
    return runs_dir, printed.getvalue()


def test_the_script(written, tmp_path):
    runs_dir, printed = written
    measured = read_measured(runs_dir / "benchmark.json")
    assert "not installed: lightning, fastai, keras" in printed
    blocks = page_blocks(measured)
    assert printed.endswith(f"\n{blocks['loops']}\n\n{blocks['parts']}\n")
    assert str(runs_dir) not in (runs_dir / "benchmark.json").read_text()
    draw_benchmark(measured, tmp_path / "img")
    assert (tmp_path / "img" / "benchmark.png").stat().st_size > 10_000
    assert not (tmp_path / "img" / "time_to_accuracy.png").exists()
    for model in measured.throughput.models.values():
        seconds = {name: values[0] for name, values in model.seconds_per_image.items()}
        found = ratios(model.seconds_per_image)
        for name in ("bare", "usual_0", "usual_2", "usual_0_tuned", "data", "matrix"):
            assert found[name].median == pytest.approx(seconds[name] / seconds["ours"])
        faster = min(seconds["usual_0"], seconds["usual_2"]) / seconds["ours"]
        assert found["usual"].median == pytest.approx(faster)
        assert found["evaluation"].median == seconds["evaluation"] / seconds["forward"]


def test_the_operations_take_all_of_the_time(written):
    models = read_measured(written[0] / "benchmark.json").throughput.models
    for model in models.values():
        assert sum(model.operations.values()) == pytest.approx(1)
        assert model.operations["convolutions"] > 0.05
        assert model.operations["batch normalisation"] > 0.01
    assert models["classifier"].operations["upsampling and concatenation"] == 0
    assert models["autoencoder"].operations["upsampling and concatenation"] > 0
    assert "| convolutions | " in written[1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::mkldnn_convolution", "convolutions"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", "convolutions"),
        ("aten::native_batch_norm_backward", "batch normalisation"),
        ("aten::max_pool2d_with_indices", "pooling"),
        ("aten::_fused_adam_", "optimizer"),
        ("Optimizer.step#Adam.step", "optimizer"),
        ("aten::cat", "upsampling and concatenation"),
        ("aten::copy_", "everything else"),
    ],
)
def test_kinds_of_operations(name, kind):
    assert kind_of(name) == kind


def test_what_is_trained_is_the_default(written):
    models = read_measured(written[0] / "benchmark.json").throughput.models
    assert models["classifier"].recipe == ClassifierRecipe(dataset="digits", width=0.05)
    assert models["autoencoder"].recipe == AutoencoderRecipe(dataset="digits", width=0.05)


def test_ratios_are_taken_round_by_round():
    # 3, 1 and 2; the ratio of the medians would be 3.
    assert ratio([3.0, 1.0, 8.0], [1.0, 1.0, 4.0]) == Spread(2.0, 1.0, 3.0)


def test_the_faster_usual_script_counts():
    seconds = {
        "ours": [1.0] * 3,
        "usual_0": [5.0, 9.0, 4.0],
        "usual_2": [4.5, 4.0, 9.0],
        "usual_0_tuned": [2.0] * 3,
        "usual_2_tuned": [3.0] * 3,
    }
    found = ratios(seconds)
    assert found["usual"] == Spread(4.5, 4.0, 9.0)
    assert found["usual_tuned"] == Spread(2.0, 2.0, 2.0)


ENVIRONMENT = {
    "python": "3",
    "torch": "2",
    "torchvision": "0",
    "numpy": "2",
    "scikit_learn": "1",
    "processor": "P",
    "threads": 2,
    "commit": "c",
    "device": "cpu",
    "precision": "bf16",
    "memory_format": "channels_last",
    "compile": False,
}


@pytest.fixture
def throughput() -> Throughput:
    """Figures as they stand in the file."""
    seconds = {
        "ours": [0.001, 0.002, 0.004],
        "bare": [0.001] * 3,
        "usual_0": [0.01] * 3,
        "usual_0_tuned": [0.004] * 3,
        "usual_2": [0.008, 0.008, 0.016],
        "keras": [0.02] * 3,
        "data": [0.0001] * 3,
        "matrix": [0.0005] * 3,
        "evaluation": [0.0003] * 3,
        "forward": [0.0002] * 3,
    }
    recipe = {"kind": "classifier", "width": 0.5}
    model = {"recipe": recipe, "flops_per_image": 5e7, "seconds_per_image": seconds}
    content = {
        "command": "python benchmark.py --rounds 3",
        "environment": ENVIRONMENT,
        "libraries": {"keras": "3.1"},
        "turns": {"rounds": 3, "steps": 10},
        "train_images": 55_000,
        "evaluated_images": 10_000,
        "models": {"classifier": model},
    }
    return msgspec_json.decode(json.dumps(content), type=Throughput)


def table_rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_table_has_a_row_a_loop(throughput):
    blocks = page_blocks(Measured(throughput=throughput))
    assert table_rows(blocks["loops"])[2:] == [
        "| **this project** | – | – | 500 | 1 |",
        "| bare step on one batch | – | – | 1,000 | 0.50 (0.25–1.00) |",
        "| usual script, num\\_workers=0 | 100 | 5.00 (2.50–10.00) | 250 | 2.00 (1.00–4.00) |",
        "| usual script, num\\_workers=2 | 125 | 4.00 (4.00–8.00) | – | – |",
        "| Keras 3.1 | 50 | 10.00 (5.00–20.00) | – | – |",
    ]
    rows = table_rows(blocks["parts"])
    tuned = "| Times as fast as the usual script, tuned | 2.000 (1.000–4.000) | at least 1.5 |"
    assert rows[3] == tuned
    assert "| Evaluation of 10,000 images ÷ its forward passes alone | 1.50" in rows[-3]
    assert "(missed) | at most 1.2 |" in rows[-3]
    assert rows[-2] == "| Matrix product's peak, GFLOP/s | 100 | |"
    assert rows[-1] == "| Training epoch of 55,000 images, s | 110.0 | |"
    assert "python benchmark.py --rounds 3" in blocks["parts"].splitlines()[-1]


@pytest.mark.parametrize(("precision", "said"), [("bf16", False), ("fp32", True)])
def test_the_page_says_where_tuned_has_no_bf16(throughput, precision, said):
    environment = structs.replace(throughput.environment, precision=precision)
    measured = Measured(throughput=structs.replace(throughput, environment=environment))
    loops = page_blocks(measured)["loops"]
    assert ("neither this project nor a peer used it" in loops) == said


def test_what_was_not_measured_is_no_figure(throughput):
    page = benchmark_page(Measured(throughput=throughput), "pictures")
    assert "(pictures/benchmark.png)" in page
    assert "pictures/time_to_accuracy.png" not in page
    assert "Not measured yet: `python benchmark.py --time-to-accuracy`" in page
    assert "Not measured yet: `python benchmark.py`." in benchmark_page(Measured(), "img")


def test_text_from_the_file_is_escaped(throughput):
    environment = structs.replace(throughput.environment, processor="<b>|`x`\n# y")
    page = benchmark_page(
        Measured(throughput=structs.replace(throughput, environment=environment)), "img"
    )
    assert "<b>" not in page
    assert "\n# y" not in page


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


class LinearModel(nn.Module):
    """One matrix, in the place of the head."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Flatten()
        self.classifier = nn.Linear(784, 10, bias=False)

    def forward(self, images):
        return self.classifier(self.encoder(images))


@pytest.fixture
def linear() -> tuple[Workload, nn.Linear]:
    """A linear model on five images; batches of two."""
    images, labels = torch.arange(5 * 784).view(5, 28, 28).to(torch.uint8), torch.arange(5)
    model = LinearModel()
    batches = Batches(images, labels, Normalisation(100.0, 50.0), batch_size=2, shift=2)
    workload = Workload(
        recipe=ClassifierRecipe(batch_size=2),
        images=images,
        labels=labels,
        batches=batches,
        valid_batches=batches,
        compute=set_up_compute("cpu", "fp32"),
        new_model=lambda: model,
    )
    return workload, model.classifier


def test_floating_point_operations(linear):
    # 784 x 10 multiplications and as many additions: once for the output, once for the gradient.
    assert flops_per_image(linear[0]) == 2 * (784 * 10 * 2)


@pytest.mark.parametrize("name", ["our_loop", "bare_step", "usual_0", "usual_0_tuned"])
def test_what_is_timed_does_train(linear, name):
    workload, layer = linear
    before = layer.weight.detach().clone()
    stopwatch = Stopwatch(3)
    if name == "our_loop":
        contender = our_loop(workload, stopwatch, rounds=1)
    elif name == "bare_step":
        contender = bare_step(workload, stopwatch)
    else:
        contender = peer_loop(name, workload, stopwatch)
    assert contender() > 0
    assert not torch.equal(layer.weight, before)


@pytest.mark.parametrize("recipe", [ClassifierRecipe, AutoencoderRecipe])
@pytest.mark.parametrize("form", ["", "_tuned"])
@pytest.mark.parametrize("name", ["usual_0", *LIBRARIES])
def test_peers_train_both_models_in_both_forms(monkeypatch, name, form, recipe):
    if name in LIBRARIES:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        pytest.importorskip(name)
    compute = set_up_compute("cpu", "bf16")
    digits = load_dataset("digits", "")
    workload = make_workload(recipe(dataset="digits", width=0.02, batch_size=4), digits, compute)
    task = workload.new_task()
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    formats = set()
    convolution = task.model.encoder.stage2[1][0]
    convolution.register_forward_hook(lambda module, given, output: formats.add(output.dtype))
    workload = replace(workload, new_model=lambda: task.model)
    assert peer_loop(f"{name}{form}", workload, Stopwatch(1))() > 0
    assert formats == {torch.bfloat16 if form else torch.float32}
    moved = [not torch.equal(value, before[key]) for key, value in task.model.state_dict().items()]
    assert all(moved)


def test_the_usual_script_learns_by_the_experiments_loss(linear):
    """One epoch of plain gradient arithmetic gives the weights that the loop gives."""
    workload, layer = linear
    form = Form.tutorial(workload.compute)
    start = layer.weight.detach().clone()
    images, labels = next(workload.batches.in_order())
    task = workload.new_task()
    usual_script(Peer(task, workload, form, [(images, labels)]))()
    after = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.copy_(start)
    layer.zero_grad()
    task.loss(task.model(images), labels).backward()
    # Adam's first step is the rate times the gradient's sign.
    gradient = layer.weight.grad
    step = workload.recipe.learning_rate * gradient / (gradient.abs() + 1e-8)
    assert torch.allclose(after, start - step, atol=1e-6)


def test_the_tuned_form_is_what_it_says():
    compute = set_up_compute("cpu", "bf16")
    plain, tuned = form_of("lightning", compute), form_of("lightning_tuned", compute)
    assert (plain.bf16, plain.workers) == (False, 0)
    assert plain.compute.memory_format == torch.contiguous_format
    assert (tuned.bf16, tuned.workers) == (True, 2)
    assert tuned.compute.memory_format == torch.channels_last
    assert not form_of("keras_tuned", set_up_compute("cpu", "fp32")).bf16
    assert [form_of(f"usual_{n}_tuned", compute).workers for n in (0, 2)] == [0, 2]
    assert {"usual_0", "usual_2_tuned"} <= set(peer_names())


@pytest.mark.parametrize("workers", [0, 2])
def test_the_usual_data_path_gives_the_same_kind_of_batches(linear, workers):
    workload, _ = linear
    form, stopwatch = Form.best(workload.compute, workers), Stopwatch(3)
    loader = WatchedLoader(workload.new_task(), workload, form, stopwatch)
    assert loader.persistent_workers == (workers > 0)
    loaded = list(loader)
    assert len(loaded) == stopwatch.batches
    images, labels = loaded[0]
    ours, our_labels = next(workload.batches.epoch(0))
    assert images.shape == (2, 1, 28, 28)
    assert (images.dtype, labels.dtype) == (ours.dtype, our_labels.dtype)
    levels = workload.batches.normalise(torch.arange(256).view(1, 16, 16))
    assert torch.isclose(images.unique()[:, None], levels.view(1, -1)).any(dim=1).all()


def test_the_usual_script_sees_all_images_once_an_epoch(linear):
    workload, _ = linear
    loader = UsualLoader(workload.new_task(), workload, Form.tutorial(workload.compute))
    assert sorted(torch.cat([labels for _, labels in loader]).tolist()) == [0, 1, 2, 3, 4]


def test_the_usual_autoencoder_batches_are_the_experiments():
    digits = load_dataset("digits", "")
    recipe = AutoencoderRecipe(dataset="digits", width=0.02, batch_size=4)
    workload = make_workload(recipe, digits, set_up_compute("cpu", "fp32"))
    task = workload.new_task()
    theirs = next(iter(UsualLoader(task, workload, Form.tutorial(workload.compute))))
    ours = next(iter(task.epoch(0)))
    assert [(part.shape, part.dtype) for part in theirs] == [(p.shape, p.dtype) for p in ours]
    assert theirs[2].sum() == 4 * 24 * 16  # hidden patches of 4x4 pixels in four images


def test_the_command_names_what_changes_the_figures():
    args = parse_args(["--rounds", "3", "--compile", "--data-dir", "x", "--width", "0.25"])
    assert command(args) == "python benchmark.py --rounds 3 --compile"


@pytest.mark.parametrize(
    ("bare", "data", "code"), [(0.95, 0.01, None), (0.85, 0.01, TOO_SLOW), (0.95, 0.06, TOO_SLOW)]
)
def test_the_check_fails_where_our_loop_wastes_time(monkeypatch, capsys, bare, data, code):
    times = {"ours": 1.0, "bare": bare, "data": data}
    made = {name: lambda value=value: value for name, value in times.items()}
    monkeypatch.setattr(measurement, "our_contenders", lambda workload, turns: made)
    if code is None:
        main([*SMALL, "--check", "--rounds", "1"])
    else:
        with pytest.raises(SystemExit) as exit_:
            main([*SMALL, "--check", "--rounds", "1"])
        assert exit_.value.code == code
    assert f"{bare:.3f} of the bare step's speed" in capsys.readouterr().out


def test_the_check_writes_nothing(tmp_path, capsys):
    try:
        main([*SMALL, "--check", "--rounds", "1", "--steps", "2", "--runs-dir", str(tmp_path)])
    except SystemExit as exit_:
        assert exit_.code == TOO_SLOW
    assert not list(tmp_path.iterdir())
    assert "classifier: round 1 of 1" in capsys.readouterr().out


def trial(contender: str, seed: int, cycle: int, *measured: tuple[float, float]) -> Trial:
    seconds, accuracies = zip(*measured, strict=True)
    return Trial(
        contender=contender,
        seed=seed,
        cycle=cycle,
        seconds=list(seconds),
        accuracy=list(accuracies),
    )


TRIALS = [
    trial("ours", 0, 1, (10.0, 0.905)),
    trial("ours", 0, 2, (10.0, 0.88), (20.0, 0.925)),
    trial("ours", 1, 1, (12.0, 0.895)),
    trial("ours", 1, 2, (12.0, 0.90), (24.0, 0.921)),
    trial("usual", 0, 15, (30.0, 0.85), (60.0, 0.91), (90.0, 0.94)),
    trial("usual", 1, 15, (36.0, 0.89), (72.0, 0.93)),
]


def test_the_shortest_cycle_that_takes_every_seed_there_counts():
    assert reached(TRIALS, "ours", 0.90) == {0: (20.0, 2), 1: (12.0, 1)}
    assert reached(TRIALS, "ours", 0.92) == {0: (20.0, 2), 1: (24.0, 2)}
    assert reached(TRIALS, "ours", 0.925) == {}
    assert reached(TRIALS, "usual", 0.92) == {0: (90.0, 3), 1: (72.0, 2)}
    assert reached(TRIALS, "augmented", 0.9) == {}
    cut = [*TRIALS, trial("ours", 2, 1, (10.0, 0.905))]
    assert reached(cut, "ours", 0.90) == {0: (20.0, 2), 1: (12.0, 1)}  # a seed that is not whole


@pytest.fixture
def race() -> TimeToAccuracy:
    data = {"name": "fashion", "digest": 64 * "0", "train_images": 55_000}
    content = {
        "command": "python benchmark.py --time-to-accuracy",
        "environment": ENVIRONMENT,
        "recipe": {"kind": "classifier"},
        "data": data | {"valid_images": 5000, "test_images": 10_000},
        "trials": [],
    }
    part = msgspec_json.decode(json.dumps(content), type=TimeToAccuracy)
    return structs.replace(part, trials=TRIALS)


def test_the_page_leads_with_the_time_to_accuracy(race, tmp_path):
    measured = Measured(time_to_accuracy=race)
    page = benchmark_page(measured, "img")
    headline = page.splitlines()[2:5]
    assert "To 91.2 % validation accuracy" in headline[0]
    assert "22 seconds, 3.8 (3.0–4.5) times" in " ".join(headline)
    block = page_blocks(measured)["time_to_accuracy"]
    assert "the usual script (missed / missed)" in block
    assert "on two cores (reached)" in block
    rows = table_rows(block)
    assert rows[2] == (
        "| **this project** | 16 (12–20) s, 1.5 epochs | 22 (20–24) s, 2 epochs | "
        "22 (20–24) s, 2 epochs | – |"
    )
    assert rows[-1] == (
        "| usual script | 4.50 (3.00–6.00) | 3.75 (3.00–4.50) | 3.75 (3.00–4.50) | – |"
    )
    draw_benchmark(measured, tmp_path)
    assert (tmp_path / "time_to_accuracy.png").stat().st_size > 10_000
    assert not (tmp_path / "benchmark.png").exists()


def test_the_recipes_that_race():
    ours = ClassifierRecipe(width=0.1)
    assert accuracy.recipe_of(accuracy.Entry("ours", 4, 3), ours) == ClassifierRecipe(
        width=0.1, seed=4, epochs=3
    )
    usual = accuracy.recipe_of(accuracy.Entry("usual_tuned", 0, 15), ours)
    assert (usual.schedule, usual.learning_rate, usual.label_smoothing) == ("constant", 1e-3, 0)
    assert (usual.shift, usual.flip) == (0, "none")
    augmented = accuracy.recipe_of(accuracy.Entry("augmented", 0, 15), ours)
    assert (augmented.shift, augmented.flip) == (2, "random")
    digits = structs.replace(ours, dataset="digits", flip="none")
    assert accuracy.recipe_of(accuracy.Entry("augmented", 0, 15), digits).flip == "none"


def test_the_usual_script_stops_at_the_goal_and_a_cycle_at_its_end(linear):
    workload, _ = linear
    entry, epochs = accuracy.Entry("usual", 3, 4), []
    task = workload.new_task()
    task.evaluate = lambda forward: {"valid_accuracy": 0.3 * len(epochs)}
    measured = accuracy.measured_trial(entry, task, epochs.append, until=0.6)
    assert (measured.contender, measured.seed, measured.cycle) == entry
    assert measured.accuracy == [0.3, 0.6]
    assert epochs == [0, 1]
    epochs.clear()
    accuracy.measured_trial(entry._replace(cycle=3), task, epochs.append, until=1.0)
    assert epochs == [0, 1, 2]


def test_the_race_is_cut_and_resumed(written, monkeypatch, capsys, fails):
    """In the file of the throughput, which stays as it is."""
    runs_dir, _ = written
    path = runs_dir / "benchmark.json"
    before = read_measured(path).throughput
    monkeypatch.setattr(accuracy, "CYCLES", (1, 2))
    monkeypatch.setattr(accuracy, "LONGEST", 1)
    options = [*SMALL, "--precision", "fp32", "--time-to-accuracy", "--runs-dir", str(runs_dir)]
    whole = accuracy.measured_trial

    def cut(entry, *given, **options):
        if entry.cycle == 2:
            raise KeyboardInterrupt
        return whole(entry, *given, **options)

    monkeypatch.setattr(accuracy, "measured_trial", cut)
    with pytest.raises(SystemExit):
        main([*options, "--seeds", "1"])
    first = read_measured(path).time_to_accuracy.trials
    assert [(t.contender, t.seed, t.cycle) for t in first] == [("ours", 0, 1)]
    monkeypatch.setattr(accuracy, "measured_trial", whole)
    main([*options, "--seeds", "1"])
    measured = read_measured(path)
    trials = measured.time_to_accuracy.trials
    assert trials[0] == first[0]
    assert [t.contender for t in trials] == [
        *("ours", "ours", "usual", "usual_tuned", "augmented", "augmented_tuned")
    ]
    assert all(t.seconds == sorted(t.seconds) and len(t.accuracy) <= t.cycle for t in trials)
    assert measured.throughput == before
    capsys.readouterr()
    main([*options, "--seeds", "1"])
    assert capsys.readouterr().out.startswith("0 trainings")
    assert "--overwrite" in fails(main, *options, "--batch-size", "64")
    assert read_measured(path) == measured


def test_a_variant_is_held_against_the_recipe_in_as_many_seconds(race):
    ways = [
        trial("ours", 0, 2, (10.0, 0.80), (20.0, 0.90)),
        trial("ours", 0, 4, (20.0, 0.85), (40.0, 0.94)),
        trial("a | way", 0, 3, (15.0, 0.70), (30.0, 0.93)),
        trial("slow", 0, 3, (15.0, 0.70), (50.0, 0.93)),
    ]
    assert gain(ways[2], ways[:2]) == pytest.approx(0.93 - 0.92)
    assert gain(ways[3], ways[:2]) == pytest.approx(0.93 - 0.94)  # no guess beyond its runs
    unfinished = trial("ours", 1, 2, (9.0, 0.8))
    measured = Measured(variants=structs.replace(race, trials=[*ways, unfinished]))
    rows = table_rows(page_blocks(measured)["variants"])
    assert rows[2:] == [
        "| the recipe | 2 | 20 (20–20) | 90.00 (90.00–90.00) | |",
        "| the recipe | 4 | 40 (40–40) | 94.00 (94.00–94.00) | |",
        r"| a \| way | 3 | 30 (30–30) | 93.00 (93.00–93.00) | +1.00 (+1.00 to +1.00) |",
        "| slow | 3 | 50 (50–50) | 93.00 (93.00–93.00) | −1.00 (−1.00 to −1.00) |",
    ]


def test_each_variant_changes_what_it_says():
    dataset = load_dataset("digits", "nowhere")
    compute = set_up_compute("cpu", "fp32", threads=1)
    workload = make_workload(
        ClassifierRecipe(dataset="digits", width=0.05, epochs=2), dataset, compute
    )
    images, _ = next(workload.new_task().epoch(0))

    halving = workload.new_task(variants.HalvingStem)
    maps = halving.model.encoder(images)
    assert [m.shape[-1] for m in maps] == [14, 14, 7]

    small = workload.new_task(variants.SmallFirst)
    sizes = [next(iter(small.epoch(epoch)))[0].shape[-1] for epoch in (0, 1)]
    assert sizes == [24, 28]
    assert small.model(next(iter(small.epoch(0)))[0]).shape[1] == 10

    averaged = workload.new_task(variants.Averaged)
    first = averaged.model.classifier[-1].weight.detach().clone()
    for _ in averaged.epoch(0):
        with torch.no_grad():
            averaged.model.classifier[-1].weight.add_(1)
    steps, mean = len(averaged), averaged.average.module.classifier[-1].weight
    # The first step's weights, and then a running average of them.
    weights = torch.tensor(
        [variants.DECAY ** (steps - 1)]
        + [(1 - variants.DECAY) * variants.DECAY ** (steps - k) for k in range(2, steps + 1)]
    )
    expected = first + (weights * torch.arange(1, steps + 1)).sum()
    torch.testing.assert_close(mean.detach(), expected)
    assert averaged.evaluate(averaged.model)["valid_accuracy"] >= 0


def test_the_variants_are_cut_and_resumed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(variants, "CYCLES", (1,))
    few = {name: v._replace(epochs=1) for name, v in variants.VARIANTS.items() if not v.compiled}
    monkeypatch.setattr(variants, "VARIANTS", few)
    options = [*SMALL, "--precision", "fp32", "--variants", "--runs-dir", str(tmp_path)]
    main([*options, "--seeds", "1"])
    main([*options, "--seeds", "2"])
    trials = read_measured(tmp_path / "benchmark.json").variants.trials
    assert [(t.contender, t.seed) for t in trials] == [
        (name, seed) for seed in (0, 1) for name in ("ours", *few)
    ]
    printed = capsys.readouterr().out
    assert f"{len(few) + 1} trainings" in printed
    assert "| validation with averaged weights | 1 |" in printed


def test_a_damaged_file_is_one_line(tmp_path, fails):
    (tmp_path / "benchmark.json").write_text("{")
    line = fails(main, *SMALL, "--time-to-accuracy", "--runs-dir", tmp_path)
    assert "benchmark.json" in line


# ------------------------------------------------------------------ how the cost grows


def point(model: str, axis: str, value: float, *seconds: float) -> Point:
    return Point(
        model=model,
        axis=axis,
        value=value,
        seconds_per_image=list(seconds),
        start_seconds=5.0,
        peak_mib=800.0,
    )


@pytest.fixture
def grown(throughput) -> Growth:
    return Growth(
        command="python benchmark.py --growth",
        environment=throughput.environment,
        recipes={"classifier": ClassifierRecipe(), "autoencoder": AutoencoderRecipe()},
        turns=Turns(rounds=3, steps=10),
        train_images=1000,
        points=[
            point("classifier", "images", 1000, 0.01),
            point("classifier", "images", 100, 0.01),
            point("classifier", "width", 0.5, 0.02, 0.04, 0.03),
            point("autoencoder", "width", 0.5, 0.05),
        ],
    )


def test_what_grows_is_measured_in_processes_of_its_own(monkeypatch):
    """Three processes: one at a width, then two runs at a time."""
    for name, values in {"WIDTHS": (0.05,), "BATCHES": (), "SHARES": (), "COUNTS": (2,)}.items():
        monkeypatch.setattr(growth, name, values)
    monkeypatch.setattr(growth, "cpu_count", lambda: 2)
    recipe = ClassifierRecipe(dataset="digits", width=0.1)
    asked = list(growth.points({"net": recipe}, Machine(), Turns(rounds=2, steps=1), "data"))
    assert [(axis, value, processes) for _, axis, value, processes, _ in asked] == [
        ("width", 0.05, 1),
        ("threads", 2, 1),
        ("runs", 2, 2),
    ]
    assert [s.recipe.width for *_, s in asked] == [0.05, 0.1, 0.1]
    assert [s.machine.threads for *_, s in asked] == [None, 2, 1]
    two = list(growth.side_by_side(2, asked[2][-1]))
    assert [len(cost.seconds_per_image) for cost in two] == [2, 2]
    assert all(cost.images == 1375 and cost.start > 0 for cost in two)
    assert all(100 < cost.peak < 5000 for cost in two)


def test_the_peak_of_memory_never_falls():
    before = growth.peak_memory()
    block = torch.ones(64, 2**20)  # 256 MiB
    there = growth.peak_memory()
    del block
    assert there >= before
    assert growth.peak_memory() == pytest.approx(there, abs=8)


def test_the_page_says_what_an_epoch_costs(grown, tmp_path):
    page = benchmark_page(Measured(growth=grown), "img")
    assert "| width | 0.5 | 30.0 (20.0–40.0) | 800 | 50.0 (50.0–50.0) | 800 |" in page
    few = page.index("| training images | 100 | 1.0 (1.0–1.0) | 800 | – | – |")
    assert few < page.index("| training images | 1,000 | 10.0 (10.0–10.0) | 800 | – | – |")
    assert "img/growth.png" in page
    assert "growth.png" not in benchmark_page(Measured(), "img")
    draw_benchmark(Measured(growth=grown), tmp_path)
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_a_graphics_card_is_asked_for(fails):
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    assert "--graphics-card needs one" in fails(main, *SMALL, "--graphics-card")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
def test_a_graphics_card_is_measured(monkeypatch):
    monkeypatch.setattr(card, "RUNS", (2,))
    recipe = ClassifierRecipe(dataset="digits", width=0.1)
    compute, turns = set_up_compute("cuda", "fp32"), Turns(rounds=2, steps=2)
    found = card.measure_card({"net": recipe}, Machine(), turns, "data", compute, "")
    assert [(point.graphs, point.runs) for point in found.points] == [
        (True, 1),
        (False, 1),
        (True, 2),
    ]
    assert found.repeats == {"net": True}


def test_the_page_says_what_a_graphics_card_does(throughput):
    forms = ((True, 1, (0.0005, 0.0004)), (False, 1, (0.002, 0.003)), (True, 4, (0.0002, 0.0002)))
    points = [
        CardPoint(model="classifier", graphs=graphs, runs=runs, seconds_per_image=list(seconds))
        for graphs, runs, seconds in forms
    ]
    measured = Card(
        command="python benchmark.py --graphics-card",
        environment=structs.replace(throughput.environment, accelerator="a card"),
        recipes={"classifier": ClassifierRecipe()},
        turns=Turns(rounds=2, steps=10),
        train_images=1000,
        points=points,
        warm_up={"classifier": 0.25},
        repeats={"classifier": True},
    )
    page = benchmark_page(Measured(card=measured), "img")
    assert "| steps replayed from CUDA graphs | 4.5 (4.0–5.0) |" in page
    assert "| each kernel launched by itself | 25.0 (20.0–30.0) |" in page
    assert "| 4 runs at a time, a run's share | 2.0 (2.0–2.0) |" in page
    assert "a card" in page
