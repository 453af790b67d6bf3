"""The published results as tables: read once, checked for their columns, never written here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.errors import UserError
from harness.files import read_arrays, shown

RESULTS, HISTORY, LABELS = "results.csv", "history.csv", "labels.npz"
FACTS = ["name", "arm", "kind", "seed", "dataset", "label_fraction", "image_fraction", "width"]
MEASURED = ["epochs", "train_images", "machine", "precision", "core_seconds"]
SCORES = ["valid_loss", "valid_accuracy", "test_loss", "test_accuracy"]
# One row a cell (an arm at a label budget) or, where there is a control, a comparison.
PLAN = ["question", "family", "arm", "label_fraction", "name", "seeds"]
PLAN += ["control", "control_name", "measure"]
COLUMNS = {
    RESULTS: [*FACTS, *MEASURED, *SCORES],
    HISTORY: ["name", "seed", "epoch", "train_loss", "valid_loss", "valid_accuracy", "seconds"],
    "classical.csv": ["name", "label_fraction", "seed", "test_accuracy", "core_seconds"],
    "probes.csv": ["encoder", "stage", "probe", "label_fraction", "seed", "test_accuracy"],
    "analyses.csv": ["analysis", "label_fraction", "figure", "value", "machine"],
    "finished.csv": PLAN,
}
KEYS = {  # what tells a table's rows apart
    RESULTS: ["name", "seed"],
    HISTORY: ["name", "seed", "epoch"],
    "classical.csv": ["name", "label_fraction", "seed"],
    "probes.csv": ["encoder", "stage", "probe", "label_fraction", "seed"],
    "analyses.csv": ["analysis", "label_fraction", "figure"],
}
# Some digests are all digits, or look like 12e45: they are no numbers.
TEXT = dict.fromkeys(["name", "commit", "torch", "data_digest", "encoder_digest"], str)
CLASSES = {
    "fashion": "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot",
    "digits": "0,1,2,3,4,5,6,7,8,9",
    "mnist": "0,1,2,3,4,5,6,7,8,9",
    "kmnist": "o,ki,su,tsu,na,ha,ma,ya,re,wo",
}


class Predictions(NamedTuple):
    """Of the test images in their order; probabilities of the predicted class, where kept."""

    seed: np.ndarray  # int (S,)
    predicted: np.ndarray  # uint8 (S, N)
    probability: np.ndarray | None = None  # float32 (S, N) in [0, 1]
    calibrated: np.ndarray | None = None  # the same after the temperature


@dataclass(frozen=True)
class Tables:
    """A folder of results. Accuracies are shares in [0, 1]."""

    folder: Path

    @cached_property
    def results(self) -> pd.DataFrame:
        """A row a run."""
        return read_table(self.folder / RESULTS)

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row a measured epoch of a run."""
        return read_table(self.folder / HISTORY)

    @cached_property
    def classical(self) -> pd.DataFrame:
        return read_table(self.folder / "classical.csv")

    @cached_property
    def probes(self) -> pd.DataFrame:
        return read_table(self.folder / "probes.csv")

    @cached_property
    def analyses(self) -> pd.DataFrame:
        """Figures of finished questions that were worked out once: a row a figure."""
        return read_table(self.folder / "analyses.csv")

    def analysis(self, name: str, *figures: str) -> pd.DataFrame:
        """One of these analyses: a row a label budget, its index, and a column a figure."""
        rows = self.analyses[self.analyses["analysis"] == name]
        found = rows.pivot(index="label_fraction", columns="figure", values="value")
        return found.reindex(columns=list(figures))

    @cached_property
    def finished(self) -> pd.DataFrame:
        """Cells and comparisons of questions that are closed, as `PLAN`."""
        found = read_table(self.folder / "finished.csv")
        seeds = [tuple(map(int, each.split())) for each in found["seeds"].astype(str)]
        return found.assign(seeds=seeds, control=found["control"].fillna(""))

    @cached_property
    def dataset(self) -> str:
        return self.results["dataset"].iloc[0]

    @property
    def classes(self) -> list[str]:
        return CLASSES[self.dataset].split(",")

    @cached_property
    def labels(self) -> np.ndarray:
        """The test images' true classes, uint8 (N,)."""
        return read_arrays(self.folder / LABELS, (self.dataset,))[self.dataset]

    @cached_property
    def _by_name(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for row in self.results.sort_values("seed", kind="stable").itertuples(index=False):
            found.setdefault(row.name, []).append(row)
        return found

    def runs(self, name: str, seeds: Collection[int] | None = None) -> list[Any]:
        """The rows of one name in order of seed, as named tuples; only these seeds, where given."""
        found = self._by_name.get(name, [])
        return found if seeds is None else [row for row in found if row.seed in seeds]

    def predictions(self, name: str, seeds: Sequence[int]) -> Predictions:
        """What the runs of one name predict, a row a seed, in the order of these seeds.

        Raises:
            UserError: the file is missing or damaged, lacks a seed, or is of other test images.
        """
        path = self.folder / "predictions" / f"{name}.npz"
        found = _predictions(path)
        where = {seed: row for row, seed in enumerate(found.seed.tolist())}
        whole = found.predicted.shape == (len(where), len(self.labels))
        if not (whole and where.keys() >= set(seeds)):
            raise UserError(
                f"'{shown(path)}' does not hold what results.csv says that was predicted: "
                "restore it"
            )
        rows = [where[seed] for seed in seeds]
        return Predictions(*(array if array is None else array[rows] for array in found))


@cache
def _predictions(path: Path) -> Predictions:
    try:
        return Predictions(**read_arrays(path, ("seed", "predicted")))
    except UserError:
        return Predictions(**read_arrays(path, Predictions._fields))


def read_table(path: Path) -> pd.DataFrame:
    """A table; an empty one where there is no file.

    Raises:
        UserError: it is no CSV, lacks a column, or holds a row twice or in part, as a merge of two
            versions may leave it.
    """
    columns = COLUMNS[path.name]
    if not path.exists():
        return pd.DataFrame(columns=columns)
    try:
        found = pd.read_csv(path, dtype=TEXT)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise UserError(f"'{shown(path)}' is no table ({shown(error)}): restore it") from error
    if missing := [name for name in columns if name not in found]:
        raise UserError(f"'{shown(path)}' has no column {missing[0]}: restore it")
    key = found[KEYS.get(path.name, columns[:1])]
    if key.isna().any(axis=None) or (path.name in KEYS and key.duplicated().any()):
        raise UserError(f"'{shown(path)}' holds a row twice, or a part of one: restore it")
    return found
