"""The study's pictures: accuracy, differences and learning speed over label fractions and seeds."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arms import PLAIN, PRETRAINED, PRETRAINED_SHORT, SCRATCH, SCRATCH_SHORT
from figures import BLUE, STYLES, VERMILION, plot_class_difference, save
from metrics import mean_interval
from results import Comparison, FinishedRun

# Those that are shown, by their names.
SERIES = {
    SCRATCH.name: {"color": BLUE, "marker": "o", "linestyle": "-"},
    PRETRAINED.name: {"color": VERMILION, "marker": "s", "linestyle": "--"},
    PLAIN.name: {"color": "#009E73", "marker": "^", "linestyle": ":"},
    SCRATCH_SHORT.name: {"color": "#56B4E9", "marker": "v", "linestyle": "-"},
    PRETRAINED_SHORT.name: {"color": "#E69F00", "marker": "D", "linestyle": "--"},
}
SIDE_BY_SIDE = 3  # panels: more would make the text too small on a page


def draw_label_efficiency(accuracies: dict[str, dict[float, list[float]]], path: Path) -> None:
    """Test accuracy against the label fraction: an arm's mean over seeds and its 95 % interval.

    Args:
        accuracies: test accuracies in [0, 1] by arm and label fraction, one a seed.
    """
    figure, axes = plt.subplots(figsize=(7, 5.4))
    for arm, by_fraction in accuracies.items():
        style = SERIES[arm]
        share = 100 * np.array(sorted(by_fraction))
        values = [by_fraction[fraction] for fraction in sorted(by_fraction)]
        mean, half = 100 * np.transpose([mean_interval(v) for v in values])
        seeds = ", ".join(str(len(v)) for v in values)
        axes.plot(share, mean, **style, markersize=5, label=f"{arm} ({seeds} seeds)")
        axes.fill_between(share, mean - half, mean + half, color=style["color"], alpha=0.2)
    axes.set_xscale("log")
    ticks = sorted({100 * f for by_fraction in accuracies.values() for f in by_fraction})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("share of the training labels, %")
    axes.set_ylabel("test accuracy, %")
    axes.set_title("mean over seeds; band: its 95 % interval (Student's t)", fontsize=10)
    figure.legend(loc="outside lower center", fontsize=9)
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
    for k, (arm, by_fraction) in enumerate(differences.items()):
        style = SERIES[arm]
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
    title = "beside scratch in as many epochs: a dot a seed; black: mean and 95 % interval"
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=9)
    save(figure, path)


def draw_class_differences(comparisons: dict[float, Comparison], path: Path) -> None:
    """Class accuracy, pretrained less from scratch: a panel a label fraction."""
    figure, panels = grid(len(comparisons), width=3.6, height=3.4, sharey=True)
    for axes, (fraction, comparison) in zip(panels, sorted(comparisons.items()), strict=True):
        plot_class_difference(axes, comparison)
        seeds = len(comparison.pairs)
        axes.set_title(f"{fraction:.0%} of the labels, {seeds} pairs", fontsize=10)
    panels[0].invert_yaxis()
    figure.supxlabel("class accuracy, pretrained less from scratch, percentage points", fontsize=10)
    save(figure, path)


def draw_learning_speed(arms: dict[float, list[list[FinishedRun]]], path: Path) -> None:
    """Validation accuracy against the epochs trained: mean over seeds, ± one deviation.

    Args:
        arms: by label fraction, the paired runs from scratch and those pretrained.
    """
    figure, panels = grid(len(arms), width=3.6, height=3)
    for axes, (fraction, pair) in zip(panels, sorted(arms.items()), strict=True):
        for runs, style in zip(pair, STYLES, strict=True):
            epochs = runs[0].history["epoch"]
            values = 100 * np.array([run.history["valid_accuracy"] for run in runs])
            mean = values.mean(axis=0)
            spread = values.std(axis=0, ddof=1) if len(runs) > 1 else 0 * mean
            axes.plot(epochs, mean, **style, markersize=5)
            axes.fill_between(epochs, mean - spread, mean + spread, color=style["color"], alpha=0.2)
        axes.set_title(f"{fraction:.0%} of the labels, {len(pair[0])} seeds", fontsize=10)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    figure.supxlabel("epochs trained", fontsize=10)
    figure.supylabel("validation accuracy, %", fontsize=10)
    panels[0].legend(loc="lower right", fontsize=9)
    save(figure, path)


def grid(count: int, width: float, height: float, **sharing: bool) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, row by row, each of `width` x `height` inches."""
    columns = min(count, SIDE_BY_SIDE)
    rows = -(-count // columns)
    size = (width * columns, height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **sharing)
    for empty in axes.flat[count:]:
        empty.remove()
    return figure, list(axes.flat[:count])
