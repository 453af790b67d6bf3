"""The pictures' look, and README's pictures: each function draws one from finished runs."""

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.files import shown, write_atomically
from metrics import MIN_PAIRS, calibration
from report.pairs import Pairs
from report.runs import (
    PROBABILITIES,
    FinishedRun,
    Runs,
    calibrated,
    class_accuracy,
    main_job,
)

# Okabe and Ito's colours (jfly.uni-koeln.de/color), told apart by all kinds of colour vision;
# markers and line styles tell them apart without any.
BLUE, VERMILION, GREY, PURPLE = "#0072B2", "#D55E00", "#999999", "#CC79A7"
SCRATCH = {"label": "from scratch", "color": BLUE, "marker": "o", "linestyle": "-"}
PRETRAINED = {"label": "pretrained", "color": VERMILION, "marker": "s", "linestyle": "--"}
FULL, HALF = 9.0, 4.5  # inches: a page's width, and half of it; at 10 points text stays readable
LOOK = {
    "figure.dpi": 150,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.markersize": 5,
    "text.parse_math": False,  # class names come from files
}
FEW = 20  # images in a bin
CURVES = {  # columns of history.csv: the picture's name, the axis
    "train_loss": ("train_losses", "train loss, nats"),
    "valid_loss": ("valid_losses", "validation loss, nats"),
    "valid_accuracy": ("valid_acc", "validation accuracy, %"),
}


@contextmanager
def picture(
    path: Path, height: float, rows: int = 1, columns: int = 1, width: float = FULL, **options
) -> Iterator[np.ndarray]:
    """Axes (rows, columns) to draw in; what is drawn is written whole or not at all.

    Args:
        height, width: in inches.
        options: of `Figure.subplots`.
    """
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots(rows, columns, squeeze=False, **options)
        save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write the picture whole, with the same bytes for the same runs."""
    # Laid out once and drawn once: while it has a layout engine, matplotlib draws it twice.
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomically(path, buffer.getvalue())


def draw_report(runs: Runs, seeds: Collection[int], img_dir: Path) -> None:
    """Draw README's curves and tables as pictures, and say which cannot be drawn.

    Args:
        seeds: as `main_job` takes them.
    """
    job = main_job(runs, seeds)
    for kind, style, suffix in (
        ("baseline", SCRATCH, ""),
        ("pretrained", PRETRAINED, "_pretrained"),
    ):
        for column, (name, _) in CURVES.items() if job[kind] else ():
            draw_history(job[kind], column, style, img_dir / f"{name}{suffix}.png")
    pairs = Pairs.of(job["baseline"], job["pretrained"])
    if len(pairs):
        draw_arms(pairs, img_dir / "arms_overlaid.png")
        draw_confusion(pairs, img_dir / "confusion.png")
        draw_class_difference(pairs, img_dir / "per_class_difference.png")
        draw_class_scores(pairs, img_dir / "per_class_scores.png")
        draw_confused_pairs(pairs, img_dir / "confused_pairs.png")
        draw_reliability(pairs, img_dir / "reliability.png")
    for kind, found in job.items():
        if not found:
            print(f"some pictures are left out: no finished {kind} run of the original experiment")


def arms(pairs: Pairs) -> list[tuple[list[FinishedRun], dict]]:
    return [(pairs.control, SCRATCH), (pairs.treated, PRETRAINED)]


def draw_history(runs: list[FinishedRun], column: str, style: dict, path: Path) -> None:
    """One arm's column of history.csv against the epochs."""
    with picture(path, 3.2, width=HALF) as ((axes,),):
        plot_column(axes, runs, column, style)
        axes.set_title(f"AlexNet {style['label']}")


def plot_column(axes: Axes, runs: list[FinishedRun], column: str, style: dict) -> None:
    """The mean over seeds as a line and, where there are several, each seed as a thin one."""
    epochs, values = common_history(runs, column)
    values = values * (100 if column == "valid_accuracy" else 1)
    axes.plot(epochs, values.mean(axis=0), **style)
    if len(runs) > 1:
        axes.plot(epochs, values.T, color=style["color"], linewidth=0.6, alpha=0.4)
    axes.set_xlabel("epoch")
    axes.set_ylabel(CURVES[column][1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def common_history(runs: list[FinishedRun], column: str) -> tuple[list[float], np.ndarray]:
    """The epochs at which all of the runs were measured, and the column there (runs, epochs).

    A train loss, a mean since the row before, becomes the mean since the last of these epochs.
    """
    epochs = sorted(set.intersection(*(set(run.history["epoch"]) for run in runs)))
    values = []
    for run in runs:
        rows = np.isin(run.history["epoch"], epochs)
        measured = np.array(run.history[column])
        if column == "train_loss":
            lengths = np.diff(run.history["epoch"], prepend=0)
            sums = np.cumsum(measured * lengths)[rows]
            values.append(np.diff(sums, prepend=0) / np.diff(epochs, prepend=0))
        else:
            values.append(measured[rows])
    return epochs, np.array(values)


def draw_arms(pairs: Pairs, path: Path) -> None:
    """Both arms in the same axes: train loss, validation loss, validation accuracy."""
    with picture(path, 3.2, columns=3) as (row,):
        for axes, column in zip(row, CURVES, strict=True):
            for runs, style in arms(pairs):
                plot_column(axes, runs, column, style)
        row[-1].legend(loc="lower right")


def draw_confusion(pairs: Pairs, path: Path) -> None:
    """Both arms' confusion matrices, in percent of the true class's test images."""
    classes = [shown(name) for name in pairs.classes]
    with picture(path, 5.1, columns=2, sharey=True) as (row,):
        for axes, (runs, style) in zip(row, arms(pairs), strict=True):
            plot_confusion(axes, runs)
            axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
            axes.set_yticks(range(len(classes)), classes)
            axes.set_xlabel("predicted class")
            axes.set_title(f"AlexNet {style['label']}: % of the true class")
            axes.grid(False)
        row[0].set_ylabel("true class")


def plot_confusion(axes: Axes, runs: list[FinishedRun]) -> None:
    percent = confusion_percent(runs)
    # Errors are what one looks for: they get the colours, the diagonal only its number.
    errors = np.where(np.eye(len(percent), dtype=bool), np.nan, percent)
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="#EEEEEE")
    axes.imshow(errors, cmap=colours, vmin=0, vmax=15)
    for (true, predicted), value in np.ndenumerate(percent):
        if value >= 0.05:
            ink = "white" if true != predicted and value > 9 else "black"
            weight = "bold" if true == predicted else "normal"
            text = f"{value:.1f}"
            look = {"ha": "center", "va": "center", "fontsize": 7.5, "weight": weight}
            axes.text(predicted, true, text, color=ink, **look)


def confusion_percent(runs: list[FinishedRun]) -> np.ndarray:
    """(classes, classes), of each true class's test images; 0 where there are none."""
    counts = sum(np.array(run.metrics.test.confusion) for run in runs)
    return 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))


def draw_class_difference(pairs: Pairs, path: Path) -> None:
    """Class accuracy, pretrained minus from scratch, with its interval over seeds."""
    with picture(path, 3.8) as ((axes,),):
        for k, name in enumerate(pairs.classes):
            if None in pairs.values(class_accuracy(k))[0]:
                continue
            difference = pairs.difference(class_accuracy(k))
            mean = 100 * difference.mean
            colour = VERMILION if mean > 0 else BLUE
            axes.barh(shown(name), mean, color=colour, height=0.6)
            if len(pairs) >= MIN_PAIRS:
                bounds = [100 * difference.low, 100 * difference.high]
                axes.plot(bounds, [shown(name)] * 2, color="black", linewidth=1.5)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("class accuracy, pretrained minus from scratch, points")
        seeds = f"{len(pairs)} paired seed{'s' if len(pairs) > 1 else ''}"
        interval = "; lines: 95 % interval" if len(pairs) >= MIN_PAIRS else ""
        axes.set_title(f"Right: pretrained is better. {seeds}{interval}")


def draw_class_scores(pairs: Pairs, path: Path) -> None:
    """Precision and recall of each class, both arms, mean over seeds."""
    classes = range(len(pairs.classes))
    with picture(path, 3.8, columns=2, sharex=True, sharey=True) as (row,):
        for axes, score in zip(row, ("precision", "recall"), strict=True):
            for side, (runs, style) in zip((-0.12, 0.12), arms(pairs), strict=True):
                values = [
                    [getattr(run.metrics.test.per_class[k], score) for run in runs] for k in classes
                ]
                means = 100 * np.array(values, float).mean(axis=1)  # NaN where undefined
                rows = np.array(classes) + side
                axes.plot(means, rows, **style | {"linestyle": "none"})
            axes.set_yticks(classes, [shown(name) for name in pairs.classes])
            axes.set_xlabel(f"{score}, %")
        row[0].invert_yaxis()
        row[0].legend(loc="lower left")


def draw_reliability(pairs: Pairs, path: Path) -> None:
    """How often predictions are right, by their probability, before and after the temperature.

    Bins of few images say little and are left out. Drawn where both arms have a temperature.
    """
    by_arm = [(calibrated(runs), style) for runs, style in arms(pairs)]
    if not all(runs for runs, _ in by_arm):
        return
    titles = ("probabilities as they come", "after the temperature")
    with picture(path, 3.8, columns=2, sharex=True, sharey=True) as (row,):
        for axes, probability, title in zip(row, PROBABILITIES, titles, strict=True):
            axes.plot([0, 100], [0, 100], color=GREY, linewidth=1)
            for runs, style in by_arm:
                pooled = calibration(
                    np.concatenate([run.predictions[probability] for run in runs]),
                    np.concatenate([run.correct for run in runs]),
                )
                enough = np.array(pooled.count) >= FEW
                x, y = (100 * np.array(v, float) for v in (pooled.confidence, pooled.accuracy))
                axes.plot(x[enough], y[enough], **style)
            axes.set_title(title)
            axes.set_xlabel("probability of the predicted class, %")
        row[0].set_ylabel("of these predictions, right, %")
        row[0].legend(loc="upper left")


def draw_confused_pairs(pairs: Pairs, path: Path, most: int = 10) -> None:
    """The most frequent errors, from the true to the predicted class, both arms."""
    percents = [confusion_percent(runs) for runs, _ in arms(pairs)]
    mean = np.mean(percents, axis=0)
    np.fill_diagonal(mean, 0)
    ranked = np.argsort(-mean, axis=None, kind="stable")[:most]
    errors = [divmod(int(k), len(mean)) for k in ranked if mean.flat[k] > 0]
    names = [shown(name) for name in pairs.classes]
    labels = [f"{names[true]} → {names[predicted]}" for true, predicted in errors]
    with picture(path, 3.8) as ((axes,),):
        for side, percent, (_, style) in zip((-0.2, 0.2), percents, arms(pairs), strict=True):
            rows = np.arange(len(errors)) + side
            shares = [percent[error] for error in errors]
            axes.barh(rows, shares, height=0.4, color=style["color"], label=style["label"])
        axes.set_yticks(range(len(errors)), labels)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("% of the true class's test images that are taken for the other")
        axes.legend(loc="lower right")
