"""Finished runs, read from their directories, and the pairs that a comparison is made of."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from errors import UserError
from metrics import paired_difference
from options import ENCODER
from rundir import ADDED, read_json

# What the report compares: the condition of each arm's runs.
BASELINE, PRETRAINED = "baseline/labels100", f"pretrained/{ENCODER}-labels100"
AUTOENCODER, ABLATION = f"autoencoder/{ENCODER}", "ablation/"
STUDY = "study"  # the folder below runs/ in which study.py keeps its runs
BENCHMARK = "benchmark.json"  # and what benchmark.py leaves there
HARDEST = ("T-shirt/top", "Pullover", "Shirt")
QUICK = 0.99  # how fast an arm learns: epochs to this share of scratch's last accuracy


@dataclass(frozen=True)
class FinishedRun:
    """What one run has left; `condition` is `<arm>/<condition>`."""

    folder: Path
    condition: str
    seed: int

    @cached_property
    def config(self) -> dict:
        return read_json(self.folder / "config.json")

    @cached_property
    def metrics(self) -> dict:
        return read_json(self.folder / "metrics.json")

    @cached_property
    def history(self) -> dict[str, list[float]]:
        """A list of values, one an epoch, for each column of history.csv."""
        with open(self.folder / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in rows[0]}

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / name) as file:
            return dict(file)

    def correct(self) -> np.ndarray:
        """Whether each test image was classified correctly, bool (N,)."""
        predictions = self.arrays("predictions.npz")
        return predictions["predicted"] == predictions["label"]


def find_runs(runs_dir: str | Path) -> dict[str, list[FinishedRun]]:
    """The finished runs below `runs_dir` by `<arm>/<condition>`, each list in order of seed.

    Raises:
        UserError: runs of one condition differ in more than their seeds.
    """
    runs: dict[str, list[FinishedRun]] = {}
    for path in Path(runs_dir).glob("*/*/seed*/metrics.json"):
        folder = path.parent
        condition = f"{folder.parent.parent.name}/{folder.parent.name}"
        seed = folder.name.removeprefix("seed")
        if seed.isdecimal():  # a copy under another name is no run
            runs.setdefault(condition, []).append(FinishedRun(folder, condition, int(seed)))
    for found in runs.values():
        found.sort(key=lambda run: run.seed)
        for run in found[1:]:
            refuse_other_recipe(found[0], run)
    return dict(sorted(runs.items()))


def refuse_other_recipe(first: FinishedRun, run: FinishedRun) -> None:
    """Raise UserError where two runs of one condition differ in more than their seeds."""
    options = [recipe(each.config["options"]) for each in (first, run)]
    names = sorted({*options[0], *options[1]})
    if different := [name for name in names if options[0].get(name) != options[1].get(name)]:
        raise UserError(
            f"'{run.folder}' has another {', '.join(different)} than '{first.folder}': "
            "keep it in another folder (--run-dir), since a condition's runs are pooled"
        )


def recipe(options: dict) -> dict:
    """What runs of one condition have in common: all options but the seed, the encoder's too."""
    kept = {name: value for name, value in options.items() if name not in ("seed", "sha256")}
    if isinstance(kept.get("encoder"), dict):
        kept["encoder"] = recipe(kept["encoder"])
    return ADDED | kept


@dataclass(frozen=True)
class Comparison:
    """The two arms at all labels, and the pairs of runs that share a seed."""

    baseline: list[FinishedRun]
    pretrained: list[FinishedRun]

    @classmethod
    def of(cls, runs: dict[str, list[FinishedRun]]) -> "Comparison":
        """Of the main job's runs, those that have read the test set."""
        arms = [runs.get(name, []) for name in (BASELINE, PRETRAINED)]
        return cls(*([run for run in arm if run.metrics["test"]] for arm in arms))

    @cached_property
    def pairs(self) -> list[tuple[FinishedRun, FinishedRun]]:
        pretrained = {run.seed: run for run in self.pretrained}
        return [(run, pretrained[run.seed]) for run in self.baseline if run.seed in pretrained]

    @property
    def arms(self) -> list[tuple[str, list[FinishedRun]]]:
        return [("from scratch", self.baseline), ("pretrained", self.pretrained)]

    @property
    def classes(self) -> list[str]:
        return self.pairs[0][0].metrics["classes"]

    def difference(self, of) -> dict:
        """Pretrained less baseline in a figure of a run, with `metrics.paired_difference`."""
        return paired_difference(*zip(*[(of(a), of(b)) for a, b in self.pairs], strict=True))


def core_seconds(run: FinishedRun) -> np.ndarray:
    """What each epoch took, training and validation, in seconds of one processor core."""
    return np.array(run.history["seconds"]) * run.config["environment"]["threads"]


def accuracy(run: FinishedRun) -> float:
    return run.metrics["test"]["accuracy"]


def class_accuracy(k: int):
    return lambda run: run.metrics["test"]["per_class"][k]["accuracy"]


def hardest_mean(run: FinishedRun) -> float:
    rows = run.metrics["test"]["per_class"]
    return float(np.mean([row["accuracy"] for row in rows if row["class"] in HARDEST]))


def epochs_to(run: FinishedRun, goal: float) -> float:
    """Epochs until the validation accuracy first reaches `goal`, all of them where it never does.

    Between two measurements, and between chance before the first epoch and the first, it is taken
    to rise evenly.
    """
    epochs = [0.0, *run.history["epoch"]]
    accuracies = [1 / len(run.metrics["classes"]), *run.history["valid_accuracy"]]
    for k in range(1, len(epochs)):
        if accuracies[k] >= goal:
            return float(np.interp(goal, accuracies[k - 1 : k + 1], epochs[k - 1 : k + 1]))
    return epochs[-1]
