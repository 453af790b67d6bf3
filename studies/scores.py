"""Accuracies by seed that a block of the study adds one at a time, and the images they are on."""

from pathlib import Path
from typing import Generic, TypeVar

from msgspec import Struct
from torch import Tensor

from data import ImageSet, split, stratified_subset
from harness.files import read_json, write_json

Row = TypeVar("Row", bound=Struct)


class ScoreFile(Generic[Row]):
    """A JSON file of rows, written whole after each accuracy: what is there is not measured again.

    Args:
        column: the rows' field of accuracies by seed.

    Raises:
        UserError: the file is not what it should be.
    """

    def __init__(self, path: str | Path, kind: type[Row], column: str):
        self.path = Path(path)
        self.kind = kind
        self.column = column
        self.rows = list(read_json(self.path, tuple[kind, ...])) if self.path.exists() else []

    def find(self, **facts: object) -> Row | None:
        """The row whose fields have these values."""
        return next((row for row in self.rows if has(row, facts)), None)

    def scores(self, **facts: object) -> dict[int, float]:
        """That row's accuracies by seed, in [0, 1]; none where there is no such row."""
        row = self.find(**facts)
        return getattr(row, self.column) if row else {}

    def add(self, seed: int, accuracy: float, facts: dict[str, object], **more: object) -> None:
        """Write one more accuracy, into the row with these facts.

        Args:
            more: fields of the row that change with each accuracy.
        """
        scores = {**self.scores(**facts), seed: accuracy}
        row = self.kind(**facts, **more, **{self.column: dict(sorted(scores.items()))})
        self.rows = [other for other in self.rows if not has(other, facts)] + [row]
        write_json(self.path, self.rows)


def has(row: Struct, facts: dict[str, object]) -> bool:
    return all(getattr(row, name) == value for name, value in facts.items())


def labelled_and_valid(dataset: ImageSet, seed: int, budget: float) -> tuple[Tensor, Tensor]:
    """The training images that a network of this seed learns from, and its validation images.

    Returns:
        int64 indices into the training images, ascending.

    Raises:
        UserError: the label budget leaves a class without an image.
    """
    train, valid = split(dataset, seed)
    return stratified_subset(dataset.train_labels, train, budget, seed), valid
