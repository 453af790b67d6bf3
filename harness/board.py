"""What TensorBoard shows of a run: curves and pictures, in an event file in its folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import UserError
from harness.rundir import EVENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Board:
    """A run's event file, written anew from its history on, so that a resumed run has it whole."""

    def __init__(self, folder: Path, history: list[dict]):
        writer = summary_writer()
        for old in folder.glob(EVENTS):
            old.unlink()
        self.writer = writer(folder)
        for row in history:
            self.add(row, {})

    def add(self, row: dict, pictures: dict[str, "Figure"]) -> None:
        """A row of the history, and pictures of what the model does after that epoch."""
        for name in row.keys() - {"epoch"}:
            self.writer.add_scalar(name, row[name], row["epoch"])
        for name, figure in pictures.items():
            self.writer.add_figure(name, figure, row["epoch"])
        self.writer.flush()


def summary_writer() -> type:
    """TensorBoard's writer.

    Raises:
        UserError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard needs a package: pip install tensorboard") from error
    return SummaryWriter


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> "Figure":
    """Percent of each true class's images, by predicted class."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    figure = Figure(figsize=(7, 7), layout="constrained")
    names = {"labels": range(len(classes)), "display_labels": classes}
    look = {"cmap": "Blues", "values_format": ".0%", "xticks_rotation": "vertical"}
    ConfusionMatrixDisplay.from_predictions(
        labels, predicted, normalize="true", ax=figure.subplots(), colorbar=False, **names, **look
    )
    return figure


def images(rows: dict[str, np.ndarray], titles: list[str] | None = None) -> "Figure":
    """Pixels in [0, 1], (n, 28, 28) for each named row; a title above each column."""
    from matplotlib.figure import Figure

    columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.4 * columns, 1.6 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (name, pixels), line in zip(rows.items(), axes, strict=True):
        line[0].set_ylabel(name)
        for axis, image in zip(line, pixels, strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[], facecolor="lightsteelblue")  # where pixels are hidden
    for axis, title in zip(axes[0], titles or (), strict=False):
        axis.set_title(title, fontsize="small")
    return figure
