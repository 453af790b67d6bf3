"""Predictions as a table on a terminal, as JSON, as CSV, and as a drawing."""

import csv
import io
import json
import os
import shutil
import sys
import textwrap
import warnings
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from harness.files import shown, write_atomically

CELL = 21  # characters: the longest class name, its probability, and space
DRAWN = 50  # pictures at most; more make no readable drawing
BOLD, RED, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"


@dataclass
class Row:
    """One picture: why it was not classified, or what each model made of it."""

    file: str
    problem: str | None = None
    picture: Image.Image | None = None  # RGBA, small
    seen: np.ndarray | None = None  # uint8 (28, 28)
    likeliest: list[list[tuple[str, float]]] = field(default_factory=list)  # by model, then rank


def thumbnail(picture: Image.Image) -> Image.Image:
    """A copy, of 160 pixels at most."""
    small = picture.copy()
    small.thumbnail((160, 160))
    return small


def as_table(rows: list[Row], models: list[str]) -> str:
    """A line a class, a column a model; cut to the terminal's width where there is a terminal."""
    terminal = sys.stdout.isatty()
    coloured = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    bold, red, plain = (BOLD, RED, PLAIN) if coloured else ("", "", "")
    space = shutil.get_terminal_size().columns if terminal else 10_000
    longest = max((len(shown(row.file)) for row in rows), default=0)
    first = min(max(longest, len("picture")), max(10, space - 1 - (CELL + 2) * len(models))) + 2

    lines = ["picture".ljust(first) + "  ".join(shorten(m, CELL).ljust(CELL) for m in models)]
    for row in rows:
        name = shorten(row.file, first - 2).ljust(first)
        if row.problem is not None:
            for part in textwrap.wrap(shown(row.problem), max(20, space - first - 1)):
                lines.append(f"{name}{red}{part}{plain}")
                name = " " * first
            continue
        for rank, classes in enumerate(zip(*row.likeliest, strict=True)):
            cells = [f"{shown(name)[:12]:12} {100 * share:6.1f} %" for name, share in classes]
            line = "  ".join(cells)
            lines.append(f"{name}{bold}{line}{plain}" if rank == 0 else " " * first + line)
    return "\n".join(line.rstrip() for line in lines)


def shorten(text: str, width: int) -> str:
    """One safe line of at most so many characters, of which the end says most: ..s/photo.jpg."""
    text = shown(text)
    return text if len(text) <= width else ".." + text[2 - width :]


def as_json(rows: list[Row], models: list[str]) -> str:
    """A list of {file, problem} and {file, models: [{model, classes: [{class, probability}]}]}."""
    return json.dumps([_plain(row, models) for row in rows], indent=2)


def _plain(row: Row, models: list[str]) -> dict:
    if row.problem is not None:
        return {"file": row.file, "problem": row.problem}
    answers = [
        {
            "model": model,
            "classes": [{"class": name, "probability": share} for name, share in classes],
        }
        for model, classes in zip(models, row.likeliest, strict=True)
    ]
    return {"file": row.file, "models": answers}


def as_csv(rows: list[Row], models: list[str]) -> str:
    """Columns file, model, rank, class, probability, problem; a line a class, or a problem."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "model", "rank", "class", "probability", "problem"])
    for row in rows:
        file = shown(row.file)
        if row.problem is not None:
            writer.writerow([file, "", "", "", "", shown(row.problem)])
        for model, classes in zip(models, row.likeliest, strict=False):
            for rank, (name, share) in enumerate(classes, start=1):
                writer.writerow([file, shown(model), rank, shown(name), f"{share:.6f}", ""])
    return text.getvalue().rstrip("\n")


def draw(rows: list[Row], models: list[str], path: str) -> None:
    """A PNG file with a line a picture: itself, what the models saw, each one's likeliest classes.

    Of more than 50 pictures that could be classified, the first 50.
    """
    from matplotlib.figure import Figure

    rows = [row for row in rows if row.problem is None][:DRAWN]
    columns = 2 + len(models)
    figure = Figure(figsize=(2.2 * columns, 1.3 * max(1, len(rows)) + 0.5), layout="constrained")
    axes = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for title, axis in zip(["picture", "as the models saw it", *models], axes[0], strict=True):
        axis.set_title(shorten(title, 30), fontsize=7, parse_math=False)
    for row, (left, middle, *right) in zip(rows, axes, strict=False):
        left.imshow(row.picture)
        left.text(
            0.5, -0.02, shorten(row.file, 30), fontsize=6, ha="center", va="top",
            transform=left.transAxes, parse_math=False,
        )  # fmt: skip
        middle.imshow(row.seen, cmap="gray", vmin=0, vmax=255)
        for axis, classes in zip(right, row.likeliest, strict=True):
            _draw_bars(axis, classes)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of file names in scripts that the font does not have
        figure.savefig(content, format="png", dpi=150)
    write_atomically(path, content.getvalue())


def _draw_bars(axis, classes: list[tuple[str, float]]) -> None:
    places = np.arange(len(classes))
    axis.barh(places, [share for _, share in classes], height=0.8, color="#9ecae1")
    axis.set_xlim(0, 1)
    axis.set_ylim(len(classes) - 0.4, -0.6)
    for place, (name, share) in zip(places, classes, strict=True):
        text = f"{shown(name)} {100 * share:.1f} %"
        axis.text(0.02, place, text, va="center", fontsize=7, parse_math=False)
