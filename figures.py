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
from metrics import MIN_SEEDS
from results import Comparison, FinishedRun, class_accuracy
from rundir import write_atomically

# Okabe and Ito's colours (jfly.uni-koeln.de/color), told apart by all kinds of colour vision;
# markers and line styles tell them apart without any.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#999999"
STYLES = (
    {"label": "from scratch", "color": BLUE, "marker": "o", "linestyle": "-"},
    {"label": "pretrained", "color": VERMILION, "marker": "s", "linestyle": "--"},
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
    figure, axes = plt.subplots(figsize=(7.5, 4))
    plot_class_difference(axes, comparison)
    axes.set_xlabel("class accuracy, pretrained less from scratch, percentage points")
    seeds = len(comparison.pairs)
    axes.set_title(f"right: pretrained is better; {seeds} run(s) an arm", fontsize=10)
    axes.invert_yaxis()
    save(figure, path)


def plot_class_difference(axes: Axes, comparison: Comparison) -> None:
    """A bar a class, with its interval over seeds or, without one, its value."""
    classes = comparison.classes
    differences = [comparison.difference(class_accuracy(k)) for k in range(len(classes))]
    means = 100 * np.array([difference["mean"] for difference in differences])
    colours = [VERMILION if mean > 0 else BLUE for mean in means]
    axes.barh(classes, means, color=colours, height=0.6)
    for k, (mean, difference) in enumerate(zip(means, differences, strict=True)):
        if difference["interval"] and difference["n"] >= MIN_SEEDS:
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
    axes.grid(axis="y", visible=False)


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
    if run.config["options"].get("target") == "normalised":
        note += " (their means and contrasts are given)"
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
