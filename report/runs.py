"""Finished runs: found by what their config.json says, read once, checked where they are read."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
from msgspec.structs import replace

from harness.errors import UserError
from harness.files import read_arrays, read_json, shown
from harness.rundir import Config, read_history
from metrics import Metrics
from recipes import AutoencoderRecipe, ClassifierRecipe, Dataset, EncoderSource, Setup

PROBABILITIES = ("probability", "calibrated")  # before and after the temperature
PREDICTIONS = ("predicted", "probability", "label")  # the arrays of predictions.npz
RECONSTRUCTIONS = ("original", "corrupted", "output", "label")
COLUMNS = {"epoch", "train_loss", "valid_loss", "learning_rate", "seconds"}  # of history.csv


@dataclass(frozen=True)
class FinishedRun:
    """What one run has left in its folder.

    Reading any of it raises UserError where the file is missing, damaged or of another run.
    """

    folder: Path
    config: Config[Setup]

    @property
    def setup(self) -> Setup:
        return self.config.setup

    @property
    def seed(self) -> int:
        return self.setup.recipe.seed

    @property
    def kind(self) -> str:
        return self.setup.kind

    @property
    def name(self) -> str:
        return self.folder.parent.name  # `find_runs` holds it against the setup

    @cached_property
    def metrics(self) -> Metrics:
        metrics = read_json(self.folder / "metrics.json", Metrics)
        classifies = self.kind != "autoencoder"
        wanted = classifies and not self.setup.recipe.skip_test
        fault = None
        if wanted != (metrics.test is not None):
            fault = f"{'no' if wanted else 'the'} test results"
        elif classifies != (metrics.valid.accuracy is not None):
            fault = f"{'no' if classifies else 'a'} validation accuracy"
        if fault:
            raise UserError(
                f"'{shown(self.folder / 'metrics.json')}' has {fault}, unlike what config.json "
                "says: run it again with --overwrite"
            )
        return metrics

    @cached_property
    def history(self) -> dict[str, list[float]]:
        """A list of values, one a measured epoch, for each column of history.csv."""
        path = self.folder / "history.csv"
        history = read_history(path)
        columns = COLUMNS if self.kind == "autoencoder" else COLUMNS | {"valid_accuracy"}
        if missing := sorted(columns - history.keys()):
            raise UserError(f"'{shown(path)}' has no column {missing[0]}: restore or delete it")
        if not np.isfinite([history[name] for name in columns]).all():
            raise UserError(f"'{shown(path)}' holds a value that is not finite: restore it")
        return history

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """Predicted class, its probability and true class of each test image, (N,) each.

        Runs that were calibrated also have the calibrated probability.
        """
        calibrated = self.metrics.temperature is not None
        names = (*PREDICTIONS, "calibrated") if calibrated else PREDICTIONS
        path = self.folder / "predictions.npz"
        arrays = read_arrays(path, names)
        shapes = {array.shape for array in arrays.values()}
        if shapes != {(self.config.data.test_images,)}:
            raise UserError(f"'{shown(path)}' is not of this run's test images: restore it")
        indices = np.concatenate([arrays["predicted"], arrays["label"]])
        if not np.isin(indices, range(len(self.metrics.classes))).all():
            raise UserError(f"'{shown(path)}' holds a class that does not exist: restore it")
        return arrays

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each test image was classified correctly, bool (N,)."""
        return self.predictions["predicted"] == self.predictions["label"]


Runs = dict[str, list[FinishedRun]]


def calibrated(runs: list[FinishedRun]) -> list[FinishedRun]:
    """Those that have a temperature; older runs have none."""
    return [run for run in runs if run.metrics.temperature is not None]


def find_runs(runs_dir: str | Path) -> Runs:
    """The finished runs below `runs_dir` by name, each list in order of seed.

    Raises:
        UserError: a folder's name or seed is not what its config.json says, or runs of one name
            differ in more than their seeds.
    """
    runs: Runs = {}
    for folder in _folders(runs_dir):
        if (folder / "metrics.json").exists():
            run = FinishedRun(folder, read_json(folder / "config.json", Config[Setup]))
            _refuse_other_folder(run, Path(runs_dir))
            runs.setdefault(run.name, []).append(run)
    for found in runs.values():
        found.sort(key=lambda run: run.seed)
        for run in found[1:]:
            _refuse_other_setup(found[0], run)
    return runs


def unfinished(runs_dir: str | Path) -> list[Path]:
    """The folders that lack config.json, with which a run begins, or metrics.json, its end."""
    begun, ended = (set(_folders(runs_dir, name)) for name in ("config.json", "metrics.json"))
    return sorted(begun ^ ended)


def _folders(runs_dir: str | Path, file: str = "config.json") -> list[Path]:
    """The folders that are a run's, which this file tells."""
    return [path.parent for path in sorted(Path(runs_dir).glob(f"*/*/{file}"))]


def _refuse_other_folder(run: FinishedRun, runs_dir: Path) -> None:
    if run.folder != (should := run.setup.folder(runs_dir)):
        raise UserError(
            f"'{shown(run.folder)}' holds a run that belongs in '{shown(should)}', as its "
            "config.json says: move the folder there, or out of the folder of runs"
        )


def _refuse_other_setup(first: FinishedRun, run: FinishedRun) -> None:
    """Raise UserError where two runs of one name differ in more than their seeds."""
    here, there = (_of_seed_0(each.setup) for each in (first, run))
    differences = here.differences(there) if here != there else []
    if first.config.data.digest != run.config.data.digest:
        differences.append("it was trained on other images")
    if differences:
        raise UserError(
            f"'{shown(run.folder)}' and '{shown(first.folder)}' are no runs of one recipe "
            f"({'; '.join(differences)}): keep them in two folders of runs"
        )


def _of_seed_0(setup: Setup) -> Setup:
    """What runs of one name have in common: all of the setup but the seed, and what hangs on it."""
    usual = {"seed": 0, "validations": 1}
    encoder = setup.encoder
    if encoder:
        encoder = replace(encoder, recipe=replace(encoder.recipe, **usual), digest="0" * 64)
    return Setup(recipe=replace(setup.recipe, **usual), encoder=encoder)


def main_job(runs: Runs, seeds: Collection[int] = ()) -> dict[str, list[FinishedRun]]:
    """The original experiment's runs by kind: all labels and the default recipes.

    They are of the first data set that has any, and each list may be empty.

    Args:
        seeds: only these, if runs of both classifiers are among them.
    """
    for dataset in get_args(Dataset):
        recipe, pretraining = ClassifierRecipe(dataset=dataset), AutoencoderRecipe(dataset=dataset)
        encoder = EncoderSource(recipe=pretraining, digest="0" * 64)  # no part of the name
        setups = [
            Setup(recipe=recipe),
            Setup(recipe=recipe, encoder=encoder),
            Setup(recipe=pretraining),
        ]
        found = {setup.kind: runs.get(setup.name, []) for setup in setups}
        if any(found.values()):
            break
    own = {kind: [run for run in of_kind if run.seed in seeds] for kind, of_kind in found.items()}
    return own if own["baseline"] and own["pretrained"] else found


def accuracy(run: FinishedRun) -> float:
    """On the test set."""
    return run.metrics.test.accuracy


def valid_accuracy(run: FinishedRun) -> float:
    return run.metrics.valid.accuracy


def class_accuracy(k: int) -> Callable[[FinishedRun], float | None]:
    """Accuracy on the test images of class k, of a run; None where there are none."""
    return lambda run: run.metrics.test.per_class[k].accuracy


def core_seconds(run: FinishedRun) -> float | None:
    """What training and validation took, in seconds of one processor core.

    None for a run on another device, which many runs may have shared.
    """
    environment = run.config.environment
    if environment.device != "cpu":
        return None
    return sum(run.history["seconds"]) * environment.threads
