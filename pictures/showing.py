"""What models see in pictures: as a table on a terminal, as JSON, as CSV, and as a drawing."""

import csv
import io
import json
import os
import shutil
import sys
import textwrap
import warnings
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from classification import TrainedModel
from harness.files import shown, write_atomically
from pictures.preparing import Prepared, prepare
from pictures.reading import Unusable, read_picture

CELL = 21  # characters: the longest class name, its probability, and space
DRAWN = 50  # pictures at most; more make no readable drawing
BOLD, RED, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"
NOT_DISTINCT = "hard to tell from its ground"
NOT_LIKE = "not like anything it was trained on"


class Answer(NamedTuple):
    """A model's likeliest classes with their probabilities, and why the first one is unsure."""

    classes: list[tuple[str, float]]
    doubts: list[str]


@dataclass
class Row:
    """One picture: why it was not classified, or each model's answer."""

    file: str
    problem: str | None = None
    picture: Image.Image | None = None  # RGBA
    prepared: Prepared | None = None
    answers: list[Answer] = field(default_factory=list)


def look(files: list[str], models: list[TrainedModel], top: int) -> list[Row]:
    """A row for each picture, with each model's `top` likeliest classes."""
    rows = [Row(file) for file in files]
    for row in tqdm(rows, unit="picture", disable=None, dynamic_ncols=True, leave=False):
        try:
            row.picture = read_picture(row.file)
            row.prepared = prepare(row.picture)
        except Unusable as error:
            row.problem = str(error)
    usable = [row for row in rows if row.problem is None]
    if not usable:
        return rows
    images = torch.from_numpy(np.stack([row.prepared.pixels for row in usable]))
    for model in models:
        shares, labels = model.predict(images).topk(min(top, len(model.classes)))
        like = model.is_like_training(images)
        found = zip(usable, shares.tolist(), labels.tolist(), like, strict=True)
        for row, row_shares, row_labels, known in found:
            likeliest = [(model.classes[k], p) for k, p in zip(row_labels, row_shares, strict=True)]
            doubts = [] if row.prepared.distinct else [NOT_DISTINCT]
            doubts += [NOT_LIKE] if known is False else []
            row.answers.append(Answer(likeliest, doubts))
    return rows


def as_table(rows: list[Row], models: list[str]) -> str:
    """A line a class, a column a model; cut to the terminal's width where there is a terminal."""
    terminal = sys.stdout.isatty()
    coloured = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    bold, red, plain = (BOLD, RED, PLAIN) if coloured else ("", "", "")
    space = shutil.get_terminal_size().columns if terminal else 10_000
    longest = max(len(shown(name)) for name in ["picture", *(row.file for row in rows)])
    first = min(longest, max(10, space - 1 - (CELL + 2) * len(models))) + 2

    lines = ["picture".ljust(first) + "  ".join(shorten(m, CELL).ljust(CELL) for m in models)]
    for row in rows:
        texts = []
        if row.answers:
            likeliest, *others = zip(*map(cells, row.answers), strict=True)
            texts = [f"{bold}{'  '.join(likeliest)}{plain}", *map("  ".join, others)]
        doubts = dict.fromkeys(doubt for answer in row.answers for doubt in answer.doubts)
        remark = row.problem or (f"? {'; '.join(doubts)}" if doubts else "")
        parts = textwrap.wrap(shown(remark), max(20, space - first - 1))
        texts += [f"{red}{part}{plain}" for part in parts]
        places = zip_longest([shorten(row.file, first - 2)], texts, fillvalue="")
        lines += [name.ljust(first) + text for name, text in places]
    return "\n".join(line.rstrip() for line in lines)


def cells(answer: Answer) -> list[str]:
    """A class each, the first with a question mark if it is unsure."""
    units = ["?" if answer.doubts else "%", *"%" * len(answer.classes)]
    return [
        f"{shown(name)[:12]:12} {100 * share:6.1f} {unit}"
        for (name, share), unit in zip(answer.classes, units, strict=False)
    ]


def shorten(text: str, width: int) -> str:
    """One safe line of at most so many characters, of which the end says most: ..s/photo.jpg."""
    text = shown(text)
    return text if len(text) <= width else ".." + text[2 - width :]


def as_json(rows: list[Row], models: list[str]) -> str:
    """A list of {file, problem} and {file, models: [...]}.

    A model has {model, unsure: [reason], classes: [{class, probability}]}.
    """
    listed = []
    for row in rows:
        answers = [
            {
                "model": model,
                "unsure": doubts,
                "classes": [{"class": name, "probability": share} for name, share in classes],
            }
            for model, (classes, doubts) in zip(models, row.answers, strict=False)
        ]
        result = {"models": answers} if row.problem is None else {"problem": row.problem}
        listed.append({"file": row.file, **result})
    return json.dumps(listed, indent=2)


def as_csv(rows: list[Row], models: list[str]) -> str:
    """Columns file, model, rank, class, probability, unsure, problem; a line a class or problem."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "model", "rank", "class", "probability", "unsure", "problem"])
    for row in rows:
        if row.problem is not None:
            writer.writerow([shown(row.file), "", "", "", "", "", shown(row.problem)])
        for model, answer in zip(models, row.answers, strict=False):
            for rank, (name, share) in enumerate(answer.classes, start=1):
                answered = [rank, shown(name), f"{share:.6f}", "; ".join(answer.doubts), ""]
                writer.writerow([shown(row.file), shown(model), *answered])
    return text.getvalue().rstrip("\n")


def draw(rows: list[Row], models: list[str], path: str) -> None:
    """A PNG file with a line a picture: itself, what the models saw, their answers, grey if unsure.

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
        middle.imshow(row.prepared.pixels, cmap="gray", vmin=0, vmax=255)
        for axis, answer in zip(right, row.answers, strict=True):
            colour = "#dddddd" if answer.doubts else "#9ecae1"
            for place, (name, share) in enumerate(answer.classes):
                axis.barh(place, share, height=0.8, color=colour)
                text = f" {shown(name)} {100 * share:.1f} %"
                axis.text(0.02, place, text, va="center", fontsize=7, parse_math=False)
            axis.set_xlim(0, 1)
            axis.set_ylim(len(answer.classes) - 0.4, -0.6)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of file names in scripts that the font does not have
        figure.savefig(content, format="png", dpi=150)
    write_atomically(path, content.getvalue())
