"""The pictures: each function draws one from finished runs and writes it to a PNG file."""

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data import ImageSet
from results import Comparison, FinishedRun, class_accuracy
from rundir import write_atomically

# Okabe and Ito's colours (jfly.uni-koeln.de/color), told apart by all kinds of colour vision;
# markers and line styles tell them apart without any.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#999999"
STYLES = (
    {"label": "from scratch", "color": BLUE, "marker": "o", "linestyle": "-"},
    {"label": "pretrained", "color": VERMILION, "marker": "s", "linestyle": "--"},
)
# The study's arms, scratch first.
SERIES = (
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": VERMILION, "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": ":"},
)
AXES = {
    "train_loss": "train loss, nats (label smoothing included)",
    "valid_loss": "validation loss, nats",
    "valid_accuracy": "validation accuracy, %",
}
EXAMPLES = (4, 7)  # rows, columns
HIDDEN_COLOUR = (0.80, 0.47, 0.65)  # Okabe and Ito's purple: grey would pass for a pixel

plt.rcParams.update(
    {
        "figure.dpi": 150,
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#DDDDDD",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def save(figure: Figure, path: Path) -> None:
    """Write the picture whole, with the same bytes for the same runs."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    write_atomically(path, buffer.getvalue())


def draw_history(runs: list[FinishedRun], column: str, path: Path) -> None:
    """One arm's column of history.csv against the epochs."""
    style = STYLES["pretrained" in runs[0].condition]
    figure, axes = plt.subplots(figsize=(5, 3.6))
    plot_column(axes, runs, column, style)
    axes.set_title(f"AlexNet {style['label']}", fontsize=10)
    save(figure, path)


def plot_column(axes: Axes, runs: list[FinishedRun], column: str, style: dict) -> None:
    """The mean over seeds as a line and, where there are several, each seed as a thin one."""
    scale = 100 if column == "valid_accuracy" else 1
    epochs = runs[0].history["epoch"]
    values = scale * np.array([run.history[column] for run in runs])
    axes.plot(epochs, values.mean(axis=0), **style, markersize=5)
    if len(runs) > 1:
        axes.plot(epochs, values.T, color=style["color"], linewidth=0.6, alpha=0.4)
    axes.set_xlabel("epoch")
    axes.set_ylabel(AXES[column])
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))


def draw_arms(comparison: Comparison, path: Path) -> None:
    """Both arms in the same axes: train loss, validation loss, validation accuracy."""
    figure, row = plt.subplots(1, 3, figsize=(11, 3.6))
    for axes, column in zip(row, AXES, strict=True):
        for (_, runs), style in zip(comparison.arms, STYLES, strict=True):
            plot_column(axes, runs, column, style)
    row[-1].legend(loc="lower right")
    save(figure, path)


def draw_confusion(comparison: Comparison, path: Path) -> None:
    """Both arms' confusion matrices, in percent of the true class's test images."""
    figure, row = plt.subplots(1, 2, figsize=(13, 6.4), sharey=True)
    for axes, (arm, runs) in zip(row, comparison.arms, strict=True):
        counts = sum(np.array(run.metrics["test"]["confusion"]) for run in runs)
        percent = 100 * counts / counts.sum(axis=1, keepdims=True)
        # Errors are what one looks for: they get the colours, the diagonal only its number.
        errors = np.where(np.eye(len(counts), dtype=bool), np.nan, percent)
        colours = matplotlib.colormaps["Blues"].with_extremes(bad="#EEEEEE")
        axes.imshow(errors, cmap=colours, vmin=0, vmax=15)
        for (true, predicted), value in np.ndenumerate(percent):
            if value >= 0.05:
                ink = "white" if true != predicted and value > 9 else "black"
                weight = "bold" if true == predicted else "normal"
                text = f"{value:.1f}"
                axes.text(predicted, true, text, ha="center", va="center", color=ink, weight=weight)
        axes.set_xticks(range(len(counts)), comparison.classes, rotation=45, ha="right")
        axes.set_yticks(range(len(counts)), comparison.classes)
        axes.set_xlabel("predicted class")
        axes.set_title(f"AlexNet {arm}: % of the true class", fontsize=11)
        axes.grid(False)
    row[0].set_ylabel("true class")
    save(figure, path)


def draw_class_difference(comparison: Comparison, path: Path) -> None:
    """Class accuracy, pretrained less from scratch; with intervals where seeds allow them."""
    classes = comparison.classes
    differences = [comparison.difference(class_accuracy(k)) for k in range(len(classes))]
    means = 100 * np.array([difference["mean"] for difference in differences])
    figure, axes = plt.subplots(figsize=(7.5, 4))
    colours = [VERMILION if mean > 0 else BLUE for mean in means]
    axes.barh(classes, means, color=colours, height=0.6)
    for k, (mean, difference) in enumerate(zip(means, differences, strict=True)):
        if difference["interval"]:
            axes.plot(100 * np.array(difference["interval"]), [k, k], color="black", linewidth=1.5)
        else:
            side = 4 if mean >= 0 else -4
            axes.annotate(
                f"{mean:+.1f}",
                (mean, k),
                xytext=(side, 0),
                textcoords="offset points",
                ha="left" if mean >= 0 else "right",
                va="center",
            )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    seeds = len(comparison.pairs)
    axes.set_xlabel("class accuracy, pretrained less from scratch, percentage points")
    axes.set_title(f"right: pretrained is better; {seeds} run(s) an arm", fontsize=10)
    save(figure, path)


def draw_reconstructions(run: FinishedRun, path: Path) -> None:
    """Validation images, what the encoder saw of them, and what the autoencoder made of that.

    Where patches were hidden, the output is shown in these alone: its loss counts no others.
    """
    arrays = run.arrays("reconstructions.npz")
    hidden = np.isnan(arrays["corrupted"])
    rows = {"image": arrays["original"], "the encoder\nsaw": arrays["corrupted"]}
    if hidden.any():
        rows["filled in"] = np.where(hidden, arrays["output"], arrays["original"])
    else:
        rows["output"] = arrays["output"]
    columns = len(arrays["original"])
    figure, grid = plt.subplots(
        len(rows), columns, figsize=(1.05 * columns, 3.6), subplot_kw={"xticks": [], "yticks": []}
    )
    cmap = matplotlib.colormaps["gray"].with_extremes(bad=HIDDEN_COLOUR)
    for row, (label, images) in zip(grid, rows.items(), strict=True):
        for axes, pixels in zip(row, images, strict=True):
            axes.imshow(pixels, cmap=cmap, vmin=0, vmax=1)
            axes.grid(False)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    note = "; coloured: hidden patches, which it fills in" if hidden.any() else ""
    figure.suptitle(f"Autoencoder on the first validation images{note}", fontsize=11)
    save(figure, path)


def draw_examples(run: FinishedRun, dataset: ImageSet, path: Path) -> None:
    """The first test images with predicted class, probability and, where it errs, true class."""
    predictions = run.arrays("predictions.npz")
    rows, columns = EXAMPLES
    figure, grid = plt.subplots(
        rows, columns, figsize=(1.55 * columns, 2.0 * rows), subplot_kw={"xticks": [], "yticks": []}
    )
    for k, axes in enumerate(grid.flat):
        label, predicted = int(predictions["label"][k]), int(predictions["predicted"][k])
        axes.imshow(dataset.test_images[k].numpy(), cmap="gray", vmin=0, vmax=255)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        title = f"{dataset.classes[predicted]} {predictions['probability'][k]:.0%}"
        if predicted == label:
            axes.set_title(title, fontsize=9)
        else:
            text = f"✗ {title}\nis {dataset.classes[label]}"
            axes.set_title(text, fontsize=9, color=VERMILION, weight="bold")
    errors = int((predictions["predicted"] != predictions["label"])[: rows * columns].sum())
    figure.suptitle(
        f"AlexNet pretrained on the first {rows * columns} test images: predicted class and "
        f"probability; ✗ marks an error ({errors} here)",
        fontsize=11,
    )
    save(figure, path)


def draw_label_efficiency(accuracies: dict[str, dict[float, list[float]]], path: Path) -> None:
    """Test accuracy against the label fraction: an arm's mean over seeds, ± one deviation.

    Args:
        accuracies: test accuracies in [0, 1] by arm and label fraction, one a seed.
    """
    figure, axes = plt.subplots(figsize=(7, 4.2))
    styles = zip(accuracies.items(), SERIES, strict=False)
    for (arm, by_fraction), style in styles:
        share = 100 * np.array(sorted(by_fraction))
        values = [100 * np.array(by_fraction[fraction]) for fraction in sorted(by_fraction)]
        mean = np.array([v.mean() for v in values])
        spread = np.array([v.std(ddof=1) if len(v) > 1 else 0 for v in values])
        seeds = ", ".join(str(len(v)) for v in values)
        axes.plot(share, mean, **style, markersize=5, label=f"{arm} ({seeds} seeds)")
        axes.fill_between(share, mean - spread, mean + spread, color=style["color"], alpha=0.2)
    axes.set_xscale("log")
    ticks = sorted({100 * f for by_fraction in accuracies.values() for f in by_fraction})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("share of the training labels, %")
    axes.set_ylabel("test accuracy, %")
    axes.set_title("mean over seeds; band: ± one standard deviation", fontsize=10)
    axes.legend(loc="lower right", fontsize=9)
    save(figure, path)


def draw_paired_differences(
    differences: dict[str, dict[float, list[float]]],
    intervals: dict[str, dict[float, list[float] | None]],
    path: Path,
) -> None:
    """An arm less scratch, a dot a seed; bar and line: mean and 95 % interval, in points.

    Args:
        differences: of test accuracies, by arm and label fraction, one a seed.
        intervals: of their means, by the same keys.
    """
    fractions = sorted(
        {fraction for by_fraction in differences.values() for fraction in by_fraction}
    )
    figure, axes = plt.subplots(figsize=(7, 4.2))
    width = 0.8 / len(differences)
    for k, ((arm, by_fraction), style) in enumerate(
        zip(differences.items(), SERIES[1:], strict=False)
    ):
        for fraction, values in sorted(by_fraction.items()):
            x = fractions.index(fraction) + (k - (len(differences) - 1) / 2) * width
            dots = x + np.linspace(-0.3, 0.3, len(values)) * width if len(values) > 1 else [x]
            label = arm if fraction == min(by_fraction) else None
            axes.plot(
                dots, 100 * np.array(values), style["marker"], color=style["color"], label=label
            )
            if intervals[arm][fraction]:
                bounds = 100 * np.array(intervals[arm][fraction])
                axes.plot([x, x], bounds, color="black", linewidth=1.5)
            axes.plot(x, 100 * np.mean(values), "_", color="black", markersize=16)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(fractions)), [f"{100 * fraction:g}" for fraction in fractions])
    axes.set_xlim(-0.5, len(fractions) - 0.5)
    axes.set_xlabel("share of the training labels, %")
    axes.set_ylabel("test accuracy less from scratch, points")
    axes.set_title("a dot a seed; black: mean and 95 % interval over seeds", fontsize=10)
    axes.legend(fontsize=9)
    save(figure, path)
