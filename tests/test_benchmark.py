"""benchmark.py: what is timed, the arithmetic on the times, the page, the whole script in small."""

from contextlib import nullcontext
from copy import deepcopy
from itertools import repeat
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from msgspec import convert, structs

from benchmark import command, main, parse_args
from benchmarks import contenders, measurement
from benchmarks.contenders import Stopwatch, bare_step, flops_per_image, new_task, our_loop
from benchmarks.measurement import CONTENDERS, KEYS, our_epochs, recipe_of, usual_epochs
from benchmarks.peers import LIBRARIES, Loader, Peer, usual_script
from data import load_dataset
from harness.compute import set_up_compute
from recipes import AutoencoderRecipe, ClassifierRecipe
from report.measured import TOO_SLOW, Measured, read_measured
from report.speed import Speeds, benchmark_page, draw_benchmark

SMALL = ["--dataset", "digits", "--width", "0.05", "--device", "cpu", "--threads", "1"]
SMALL += ["--precision", "fp32"]


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", "nowhere")


@pytest.fixture(scope="module")
def compute():
    return set_up_compute("cpu", "fp32", threads=1)


@pytest.fixture(scope="module", params=[ClassifierRecipe, AutoencoderRecipe])
def recipe(request):
    return request.param(dataset="digits", width=0.02, batch_size=4)


def rows_of(page: str, heading: str) -> list[str]:
    """The table rows below a heading, without the table's head."""
    part = page.split(f"# {heading}\n")[1].split("\n#")[0]
    return [line for line in part.splitlines() if line.startswith("|")][2:]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of the script's results, where no other library is installed."""
    folder = tmp_path_factory.mktemp("benchmark") / "new"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(contenders, "MATRIX_SIZES", (64,))
        here = {"usual script, num_workers=0": (usual_script, (0, 0))}
        monkeypatch.setattr(measurement, "loops", lambda: here)
        main([*SMALL, "--rounds", "1", "--steps", "2", "--results-dir", str(folder)])
    return folder


def test_the_script(written):
    measured = read_measured(written)
    assert measured.time_to_accuracy is None
    assert str(written) not in (written / "benchmark.json").read_text()
    assert measured.throughput.facts["runs"]["classifier"] == "baseline-digits-width0.05"
    for model in ("classifier", "autoencoder"):
        found = Speeds(measured.throughput, model)
        assert len(found.rates.index) == 3
        assert (found.seconds > 0).all(axis=None)
        shares = measured.throughput.facts["operations"][model]
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["convolutions"] > 0.05
        assert (shares["upsampling and concatenation"] > 0) == (model == "autoencoder")
    assert "convolutions" in benchmark_page(measured)


def test_the_race_is_cut_and_resumed(written, monkeypatch, fails):
    """In the file of the throughput, which stays as it is."""
    before, ran = read_measured(written).throughput, []
    plan = [("this project (default)", 0, 1), ("usual script", 0, 1)]
    monkeypatch.setattr(measurement, "trainings", lambda *_: plan)
    monkeypatch.setattr(measurement, "our_epochs", lambda *_: ran.append("ours") or [(1.0, 0.5)])
    here = SimpleNamespace(submit=lambda call, *given: SimpleNamespace(result=lambda: call(*given)))
    monkeypatch.setattr(measurement, "other_process", lambda: nullcontext(here))

    options = [*SMALL, "--time-to-accuracy", "--results-dir", str(written)]
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(measurement, "usual_epochs", Mock(side_effect=KeyboardInterrupt))
        main(options)
    (row,) = read_measured(written).time_to_accuracy.rows
    assert row["contender"] == plan[0][0]
    with monkeypatch.context() as patched:
        patched.setattr("harness.compute.commit", lambda: "another")
        main(options)
    measured = read_measured(written)
    rows = measured.time_to_accuracy.rows
    assert measured.time_to_accuracy.commits == [row["commit"], "another"]
    assert [tuple(row[key] for key in KEYS) for row in rows] == plan
    assert 0 < rows[1]["accuracy"][0] < 1
    assert measured.throughput == before
    main(options)
    assert "--overwrite" in fails(main, *options, "--batch-size", "64")
    assert (read_measured(written), ran) == (measured, ["ours"])


@pytest.mark.parametrize(
    ("bare", "data", "code"), [(0.95, 0.01, 0), (0.85, 0.01, TOO_SLOW), (0.95, 0.06, TOO_SLOW)]
)
def test_the_check_fails_where_our_loop_wastes_time(
    monkeypatch, capsys, tmp_path, bare, data, code
):
    times = {("ours", True): 1.0, ("bare", True): bare, ("data", True): data}
    made = {loop: lambda value=value: value for loop, value in times.items()}
    monkeypatch.setattr(measurement, "our_contenders", lambda make, steps: made)
    with pytest.raises(SystemExit) as exit_:
        main([*SMALL, "--check", "--rounds", "1", "--results-dir", str(tmp_path)])
    assert exit_.value.code == code
    assert f"{bare:.3f} of the bare step's speed" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_what_the_user_types(tmp_path, fails):
    args = parse_args(["--rounds", "3", "--compile", "--data-dir", "x", "--width", "0.25"])
    assert command(args) == "python benchmark.py --rounds 3 --compile"
    assert "two measurements" in fails(main, "--check", "--time-to-accuracy")
    (tmp_path / "benchmark.json").write_text("{")
    options = [*SMALL, "--time-to-accuracy", "--results-dir", tmp_path]
    assert "benchmark.json" in fails(main, *options)


def test_the_first_round_warms_up_and_all_take_turns():
    calls = []

    def contender(name):
        times = iter((9.0, 1.0, 2.0))
        return lambda: calls.append(name) or next(times)

    both = {(name, True): contender(name) for name in "ab"}
    rows = measurement.take_turns("model", both, rounds=2)
    shared = {"model": "model", "tuned": True, "seconds": [1.0, 2.0]}
    assert rows == [shared | {"loop": "a"}, shared | {"loop": "b"}]
    assert calls == ["a", "b"] * 3


def test_the_stopwatch_counts_neither_the_warm_up_nor_what_comes_after(monkeypatch):
    monkeypatch.setattr(contenders, "now", iter((10.0, 16.0)).__next__)
    stopwatch = Stopwatch(steps=3)
    watched = stopwatch.watch(repeat([torch.zeros(4)]))
    for _ in range(stopwatch.batches):  # like Lightning, this never asks for one too many
        next(watched)
    assert stopwatch.seconds_per_image == (16 - 10) / (3 * 4)


@pytest.mark.parametrize("loop", [our_loop, bare_step])
def test_our_loops_train_every_weight(digits, compute, recipe, loop):
    task = new_task(recipe, digits, compute)
    before = deepcopy(task.model)
    assert loop(task, 1)() > 0
    assert not any(map(torch.equal, task.model.parameters(), before.parameters()))


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("name", ["usual script", *LIBRARIES])
def test_peers_train_both_models_in_both_forms(monkeypatch, digits, name, tuned, recipe):
    if name in LIBRARIES:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        pytest.importorskip(name.lower())
    stopwatch = Stopwatch(1)
    peer = Peer(recipe, digits, set_up_compute("cpu", "bf16"), tuned, 0, stopwatch)
    before = deepcopy(peer.model)
    assert peer.compute.memory_format == (torch.channels_last if tuned else torch.contiguous_format)
    formats, convolution = set(), peer.model.encoder.stage2[1][0]
    convolution.register_forward_hook(lambda module, given, output: formats.add(output.dtype))
    (LIBRARIES | {"usual script": usual_script})[name](peer)()
    assert stopwatch.seconds_per_image > 0
    assert formats == {torch.bfloat16 if tuned else torch.float32}
    assert not any(map(torch.equal, peer.model.parameters(), before.parameters()))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_usual_data_path_gives_the_same_kind_of_batches(digits, compute, recipe, workers):
    task = new_task(recipe, digits, compute)
    stopwatch = Stopwatch(1)
    loader = Loader(digits, task, tuned=True, workers=workers, stopwatch=stopwatch)
    assert loader.persistent_workers == (workers > 0)
    loaded = list(loader)
    ours = next(iter(task.epoch(0)))
    assert len(loaded) == stopwatch.batches
    assert [(part.shape, part.dtype) for part in loaded[0]] == [(p.shape, p.dtype) for p in ours]
    if isinstance(recipe, ClassifierRecipe):
        levels = task.batches.normalise(torch.arange(256).view(1, 16, 16)).view(1, -1)
        assert torch.isclose(loaded[0][0].unique()[:, None], levels, atol=1e-5).any(dim=1).all()
        labels = torch.cat([labels for _, labels in Loader(digits, task, False, workers)])
        assert labels.bincount().tolist() == task.batches.labels.bincount().tolist()


def test_floating_point_operations(digits, compute):
    task = new_task(ClassifierRecipe(dataset="digits"), digits, compute)
    task.model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10, bias=False))
    # 784 x 10 multiplications and as many additions: once for the output, once for the gradient.
    assert flops_per_image(task) == 2 * (784 * 10 * 2)


def test_the_recipes_that_race():
    base = ClassifierRecipe(width=0.1)
    ours = recipe_of("this project (default)", base, 4, 3)
    rates = [recipe_of("this project (fast)", base, 4, cycle).learning_rate for cycle in (2, 5, 10)]
    assert rates == [base.learning_rate, 2.8e-3, 2e-3]
    assert ours == ClassifierRecipe(width=0.1, seed=4, epochs=3, validations=3)
    usual = recipe_of("usual script, tuned", base, 0, 15)
    assert (usual.schedule, usual.learning_rate, usual.label_smoothing) == ("constant", 1e-3, 0)
    assert (usual.shift, usual.flip, usual.width) == (0, "none", 0.1)
    mirrored = structs.replace(base, dataset="digits", flip="none")
    assert {recipe_of(name, mirrored, 0, 1).flip for name in CONTENDERS} == {"none"}
    assert {seed for _, seed, _ in measurement.trainings(3, 2)} == {3, 4}


def test_neither_evaluation_nor_start_counts(monkeypatch):
    def train(task):
        return [{"seconds": s, **task.evaluate(None)} for s in (5.0, 4.0)]

    task = SimpleNamespace(evaluate=lambda forward: {"valid_accuracy": 0.5})
    monkeypatch.setattr(measurement, "new_task", lambda *_: task)
    monkeypatch.setattr(measurement, "now", iter((10.0, 12.0, 20.0, 21.0)).__next__)
    monkeypatch.setattr(measurement, "train", train)
    assert our_epochs(None, None, None) == [(3.0, 0.5), (3.0, 0.5)]


@pytest.mark.parametrize(("epochs", "ends"), [(3, [0.3, 0.6, 0.9]), (5, [0.3, 0.6, 0.9, 0.94])])
def test_the_usual_script_stops_at_the_last_goal_or_after_its_epochs(monkeypatch, epochs, ends):
    accuracies = iter((0.3, 0.6, 0.9, 0.94, 0.95))
    task = SimpleNamespace(evaluate=lambda forward: {"valid_accuracy": next(accuracies)})
    peer = SimpleNamespace(model=torch.nn.Flatten(), task=task)
    monkeypatch.setattr(measurement, "Peer", lambda *_: peer)
    monkeypatch.setattr(measurement, "usual_script", lambda *_: lambda: None)
    recipe = ClassifierRecipe(dataset="digits", epochs=epochs)
    assert [share for _, share in usual_epochs(recipe, "nowhere", None, False)] == ends


def test_the_contenders_learn(digits, compute):
    base = ClassifierRecipe(dataset="digits", width=0.1, batch_size=32)
    ours = recipe_of("this project (fast)", base, 0, 1)
    assert our_epochs(ours, digits, compute)[0][1] > 0.3
    muon = recipe_of("usual script, tuned, with Muon", base, 0, 1)
    assert usual_epochs(muon, "nowhere", compute, tuned=True)[0][1] > 0.3


MACHINE = {"processor": "<b>|`x`\n# y", "threads": 2, "commit": "c", "device": "cpu"}
MACHINE |= dict.fromkeys(("python", "torch", "torchvision", "numpy", "scikit_learn"), "1")
MACHINE |= {"memory_format": "channels_last", "compile": False, "precision": "bf16"}
PART = {"command": "python benchmark.py --rounds 3", "environment": MACHINE}
MILLISECONDS = [
    ("this project", True, [1, 2, 4]), ("bare step on one batch", True, [1] * 3),
    ("usual script, num_workers=0", False, [10] * 3),
    ("usual script, num_workers=0", True, [4] * 3), ("Keras 3.1", False, [20] * 3),
    ("data", True, [0.1] * 3), ("matrix", True, [0.5] * 3),
    ("evaluation", True, [0.3] * 3), ("forward", True, [0.2] * 3),
]  # fmt: skip
FACTS = {"rounds": 3, "steps": 10, "images": 55_000, "evaluated_images": 10_000}
FACTS |= {"runs": {"classifier": "baseline"}, "flops": {"classifier": 5e7}}
FACTS |= {"operations": {"classifier": {"pooling": 0.25, "everything else": 0.75}}}
ROWS = [
    {"model": "classifier", "loop": loop, "tuned": tuned, "seconds": [t / 1000 for t in times]}
    for loop, tuned, times in MILLISECONDS
]
TRAININGS = [
    {"contender": name, "seed": seed, "cycle": cycle, "seconds": seconds, "accuracy": accuracies}
    for name, seed, cycle, seconds, accuracies in [
        ("ours", 0, 1, [10.0], [0.905]),
        ("ours", 0, 2, [10.0, 20.0], [0.88, 0.925]),
        ("usual script", 0, 15, [30.0, 60.0, 90.0], [0.85, 0.91, 0.94]),
        ("ours", 1, 1, [12.0], [0.895]),
        ("ours", 1, 2, [12.0, 24.0], [0.90, 0.921]),
        ("usual script", 1, 15, [36.0, 72.0], [0.89, 0.93]),
        ("ours", 2, 1, [1.0], [0.905]),  # of a seed that is not whole, and does not count
    ]
]
RACE = PART | {"facts": {"goals": [0.9, 0.912, 0.93], "valid_images": 5000}, "rows": TRAININGS}
TABLE = PART | {"title": "Once", "digits": {"s": "1", "points": "+2"}, "note": "A note."}
TABLE["rows"] = [
    {"Way to train": "a | way", "Epochs": 2, "s": [1.0, 3.0, 2.0], "points": [-0.1, 0.3, 0.2]},
    {"Way to train": "none", "Epochs": 55000, "s": 4.25, "points": ""},
]


@pytest.fixture(scope="module")
def measured():
    parts = {"throughput": PART | {"facts": FACTS, "rows": ROWS}, "time_to_accuracy": RACE}
    return convert(parts | {"tables": [TABLE]}, Measured)


@pytest.fixture(scope="module")
def page(measured):
    return benchmark_page(measured)


def test_the_page_leads_with_the_time_to_accuracy(page):
    head = " ".join(page.splitlines()[2:6])
    assert "91.2 % validation accuracy in 22 seconds: 3.8 (3.0–4.5) times as fast" in head
    assert "93 % is not reached with every seed" in head
    ours, usual, *_, ratio = rows_of(page, "Seconds to an accuracy")
    assert ours == "| ours | 16 (12–20) s, 1.5 epochs | 22 (20–24) s, 2 epochs | – |"
    assert usual.endswith(" 81 (72–90) s, 2.5 epochs | 81 (72–90) s, 2.5 epochs |")
    assert ratio == "| usual script | 4.50 (3.00–6.00) | 3.75 (3.00–4.50) | – |"


def test_a_row_a_loop_and_a_row_a_figure(page):
    assert rows_of(page, "The classifier") == [
        "| **this project** | – | – | 500 | – |",
        "| bare step on one batch | – | – | 1,000 | 0.50 (0.25–1.00) |",
        "| usual script, num\\_workers=0 | 100 | 5.00 (2.50–10.00) | 250 | 2.00 (1.00–4.00) |",
        "| Keras 3.1 | 50 | 10.00 (5.00–20.00) | – | – |",
    ]
    figures = rows_of(page, "Where the time goes")
    assert figures[2].endswith("| 0.500 (0.250–1.000) (missed) | at least 0.9 |")
    assert figures[5].endswith("| 1.50 (1.50–1.50) (missed) | at most 1.2 |")
    assert figures[-1] == "| everything else | 75.0 |"
    first, second = rows_of(page, "Once")
    assert first == r"| a \| way | 2 | 2.0 (1.0–3.0) | +0.20 (−0.10 to +0.30) |"
    assert "| none | 55,000 | 4.2 |" in second
    assert "<b>" not in page and "\n# y" not in page  # of the processor's name


def race_of_all(best: float) -> Measured:
    """As `--time-to-accuracy` leaves it; the longest of our fast trainings ends with `best`."""
    an_epoch = dict(zip(CONTENDERS, (2, 8, 20, 12, 22, 14, 13), strict=True))
    # The accuracy at the end, by epochs.
    ends = {0.8: 0.913, 1: 0.915, 2: 0.922, 3: 0.931, 4: 0.934, 5: 0.937, 10: best, 15: 0.934}
    rows = []
    for name, seed, cycle in measurement.trainings(0, 2):
        behind = 0.0 if name == "this project (fast)" else 0.002 * (1 + [*CONTENDERS].index(name))
        epochs = [cycle] if cycle < 1 else range(1, cycle + 1)
        row = dict(zip(KEYS, (name, seed, cycle), strict=True))
        row["seconds"] = [an_epoch[name] * epoch * (1 + 0.05 * seed) for epoch in epochs]
        row["accuracy"] = [ends[cycle] - behind - 0.002 * (cycle - epoch) for epoch in epochs]
        rows.append(row)
    facts = {"goals": measurement.GOALS, "valid_images": 5000}
    facts |= {"recipe": {"learning_rate": 4e-3}, "muon_rates": [[3, 0.0028]]}
    return convert({"time_to_accuracy": PART | {"facts": facts, "rows": rows}}, Measured)


@pytest.mark.parametrize(("best", "last"), [(0.941, "reached"), (0.938, "missed")])
def test_the_page_of_all_contenders(tmp_path, best, last):
    race = race_of_all(best)
    text = " ".join(benchmark_page(race).split())
    assert "Its seconds ÷ those of this project (fast):" in text
    assert f"94 % with every seed in at most 10 epochs ({last}), where no other contender" in text
    assert "gets in up to 15 (reached)" in text
    assert "in 8 seconds on two cores (reached)" in text
    assert "at a peak learning rate of 0.004, from 3 epochs on 0.0028." in text
    assert "1.6 (1.6–1.7) s, 0.8 epochs" in text and "over 0.8, 1, 2, 3, 4, 5 and 10 epochs" in text
    draw_benchmark(race, tmp_path)
    assert (tmp_path / "time_to_accuracy.png").stat().st_size > 20_000


@pytest.mark.parametrize(("part", "drawn"), [
    ("throughput", "time_to_accuracy.png"), ("time_to_accuracy", "benchmark.png"),
])  # fmt: skip
def test_a_part_that_is_not_measured_is_not_drawn_and_told_how(measured, tmp_path, part, drawn):
    partly = structs.replace(measured, **{part: None})
    assert "Not measured yet: `python benchmark.py" in benchmark_page(partly)
    draw_benchmark(partly, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [drawn]
