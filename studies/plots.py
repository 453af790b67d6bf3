"""The study's pictures: accuracy, gain, learning speed and cost over label budgets and seeds."""

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from harness.files import shown
from metrics import MARGIN, MIN_PAIRS, paired_difference
from report.plots import FULL, GREY, PRETRAINED, PURPLE, SCRATCH, VERMILION, common_history, picture
from report.runs import Runs, accuracy, class_accuracy
from studies import arms
from studies.baseline_rows import classical_rows
from studies.cells import Block
from studies.comparisons import Compared, compare, main_comparison, shared_runs, study_of
from studies.costs import FROM_SCRATCH, Cost, costs
from studies.extra import extra_of
from studies.probes_plots import draw_kept_tsne

FEWEST_FOR_A_BAR = 3  # values
SIDE_BY_SIDE = 3  # panels: more would make the text too small on a page
# Baselines without a network, in the order of their names.
CLASSICAL = (("#009E73", "^"), ("#E69F00", "v"), (PURPLE, "D"), ("#56B4E9", "P"))
OBJECTIVES = ("plain", "masked,\npixels", "masked,\nnormalised", "masked, norm.\n+ HOG")
SKIPS = (
    ("no skips", "black", "^", arms.WITHOUT_SKIPS),
    ("with skips", VERMILION, "D", arms.WITH_SKIPS),
)
REFERENCES = {arms.SCRATCH: "-", arms.SAME_RECIPE: "--"}
SMALL = 0.01  # the largest label budget whose gains are drawn on the scale of large ones


def draw_study(runs: Runs, img_dir: Path) -> None:
    """Draw what the runs show over label budgets and seeds, if there are pairs."""
    main, study = main_comparison(runs), study_of(runs)
    if not main.rows:
        return
    baselines = classical_rows(main, extra_of(runs))
    draw_label_efficiency(main.rows, baselines, img_dir / "label_efficiency.png")
    draw_gain(main.rows, img_dir / "gain.png")
    draw_learning_speed(main.rows, img_dir / "learning_speed.png")
    if found := costs(runs, main.block):
        draw_cost(found, baselines, img_dir / "cost.png")
    if rows := [row for row in main.rows if len(row.pairs) >= MIN_PAIRS]:
        draw_class_differences(rows, img_dir / "class_differences.png")
    first = main.rows[0].pairs.control[0]
    draw_kept_tsne(first.folder.parent.parent, first.metrics.classes, img_dir / "tsne.png")
    factorial = study.block("factorial")
    if compare(runs, factorial, factorial.families[0]):
        draw_factorial(runs, factorial, img_dir / "factorial.png")


def budget_axis(axes: Axes, budgets: list[float]) -> None:
    """A logarithmic axis of label budgets, with a tick for each."""
    axes.set_xscale("log")
    axes.set_xticks([100 * b for b in budgets], [f"{100 * b:g}" for b in budgets])
    axes.minorticks_off()
    axes.set_xlabel("label budget, % of the training labels")


def mean_and_half(values: list[float]) -> tuple[float, float]:
    """Mean and half of its 95 % t interval, in percent; half is 0 where there is no bar."""
    found = paired_difference([0.0] * len(values), values)
    return 100 * found.mean, 100 * (found.high - found.mean) if has_bar(values) else 0.0


def has_bar(values: Sized) -> bool:
    """Whether their interval is drawn: that of two values would dwarf all else in the picture."""
    return len(values) >= FEWEST_FOR_A_BAR


def draw_label_efficiency(
    rows: list[Compared], baselines: list[dict[str, Any]], path: Path
) -> None:
    """Test accuracy against the label budget: the mean over seeds and its 95 % interval.

    Args:
        baselines: as `studies.baseline_rows.classical_rows` gives them.
    """
    budgets = [row.budget for row in rows]
    with picture(path, 4.2) as ((axes,),):
        for style, arm in (
            (SCRATCH, [row.scratch for row in rows]),
            (PRETRAINED, [row.pretrained for row in rows]),
        ):
            plot_band(axes, budgets, arm, style)
        for style, own in by_baseline(baselines):
            where = [each["baseline"].label_fraction for each in own]
            plot_band(axes, where, [each["accuracies"] for each in own], style)
        budget_axis(axes, budgets)
        axes.set_ylabel("test accuracy, %")
        axes.set_title("mean over seeds; band: its 95 % interval")
        axes.legend(loc="lower right")


def by_baseline(rows: list[dict[str, Any]]) -> Iterator[tuple[dict, list[dict[str, Any]]]]:
    """Each baseline's look and its rows, one a label budget."""
    for k, name in enumerate(sorted({each["baseline"].name for each in rows})):
        colour, marker = CLASSICAL[k % len(CLASSICAL)]
        style = {"color": colour, "marker": marker, "linestyle": ":", "label": shown(name)}
        yield style, [each for each in rows if each["baseline"].name == name]


def plot_band(axes: Axes, budgets: list[float], values: list[list[float]], style: dict) -> None:
    share = 100 * np.array(budgets)
    mean, half = np.transpose([mean_and_half(each) for each in values])
    axes.plot(share, mean, **style)
    axes.fill_between(share, mean - half, mean + half, color=style["color"], alpha=0.2, linewidth=0)


def draw_gain(rows: list[Compared], path: Path) -> None:
    """Pretrained minus from scratch, at few labels and at many, whose gains differ in size."""
    parts = (
        [row for row in rows if row.budget <= SMALL],
        [row for row in rows if row.budget > SMALL],
    )
    parts = [part for part in parts if part]
    with picture(path, 3.8, columns=len(parts)) as (row,):
        for axes, part in zip(row, parts, strict=True):
            plot_gain(axes, part)
        row[0].set_ylabel("pretrained minus from scratch, points")
        scales = "; the panels differ in scale" if len(parts) > 1 else ""
        axes.figure.suptitle(
            f"a dot a seed; black: mean and 95 % interval; grey: ±{100 * MARGIN:g} points{scales}",
            fontsize=10,
        )


def plot_gain(axes: Axes, rows: list[Compared]) -> None:
    """A dot a seed, mean and 95 % interval, and the margin."""
    axes.axhspan(-100 * MARGIN, 100 * MARGIN, color=GREY, alpha=0.3, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)
    for row in rows:
        share, d = 100 * row.budget, row.judged.difference
        spread = np.linspace(0.9, 1.11, d.n) if d.n > 1 else np.ones(1)
        dots = 100 * np.array(row.differences)
        axes.plot(share * spread, dots, "o", color=VERMILION, alpha=0.5, markersize=4)
        if d.low is not None:
            axes.plot([share] * 2, [100 * d.low, 100 * d.high], color="black", linewidth=1.5)
        axes.plot(share, 100 * d.mean, "_", color="black", markersize=16, markeredgewidth=2)
    budget_axis(axes, [row.budget for row in rows])


def draw_class_differences(rows: list[Compared], path: Path) -> None:
    """Class accuracy, pretrained minus from scratch: a panel a label budget."""
    classes = rows[0].pairs.classes
    with panels(path, len(rows), 3.0, sharey=True) as axes_list:
        for axes, row in zip(axes_list, rows, strict=True):
            for k in range(len(classes)):
                d = row.pairs.difference(class_accuracy(k))
                colour = VERMILION if d.mean > 0 else SCRATCH["color"]
                axes.barh(k, 100 * d.mean, color=colour, height=0.6)
                axes.plot([100 * d.low, 100 * d.high], [k, k], color="black", linewidth=1.2)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.set_yticks(range(len(classes)), [shown(name) for name in classes])
            axes.grid(axis="y", visible=False)
            axes.set_title(f"{100 * row.budget:g} % of the labels, {len(row.pairs)} pairs")
        axes_list[0].invert_yaxis()
        axes_list[0].figure.supxlabel(
            "class accuracy, pretrained minus from scratch, points; lines: 95 % interval",
            fontsize=10,
        )


def draw_learning_speed(rows: list[Compared], path: Path) -> None:
    """Validation accuracy against the epochs trained: mean over seeds, ± one deviation."""
    with panels(path, len(rows), 2.7) as axes_list:
        for axes, row in zip(axes_list, rows, strict=True):
            for runs, style in ((row.pairs.control, SCRATCH), (row.pairs.treated, PRETRAINED)):
                epochs, values = common_history(runs, "valid_accuracy")
                mean = 100 * values.mean(axis=0)
                spread = 100 * values.std(axis=0, ddof=1) if len(runs) > 1 else 0 * mean
                axes.plot(epochs, mean, **style)
                axes.fill_between(
                    epochs, mean - spread, mean + spread, color=style["color"], alpha=0.2
                )
            axes.set_title(f"{100 * row.budget:g} % of the labels, {len(row.pairs)} seeds")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        legend_above(axes_list[0])
        axes_list[0].figure.supxlabel("epochs trained", fontsize=10)
        axes_list[0].figure.supylabel("validation accuracy, %", fontsize=10)


def draw_cost(found: list[Cost], baselines: list[dict[str, Any]], path: Path) -> None:
    """Test accuracy against core minutes: a panel a label budget, a point a recipe.

    A pretrained recipe is shown with the whole pretraining and, hollow, with a tenth of it.

    Args:
        baselines: as `studies.baseline_rows.classical_rows` gives them.
    """
    budgets = sorted({cost.cell.budget for cost in found})
    with panels(path, len(budgets), 3.8) as axes_list:
        for axes, budget in zip(axes_list, budgets, strict=True):
            here = [cost for cost in found if cost.cell.budget == budget]
            scratch = [cost for cost in here if cost.cell.arm in FROM_SCRATCH]
            pretrained = [cost for cost in here if cost.cell.arm not in FROM_SCRATCH]
            plot_cost(axes, scratch, [c.total for c in scratch], SCRATCH)
            plot_cost(axes, pretrained, [c.total for c in pretrained], PRETRAINED)
            shared = PRETRAINED | {
                "label": "pretrained, pretraining shared by ten",
                "markerfacecolor": "white",
                "linestyle": ":",
            }
            plot_cost(axes, pretrained, [c.amortised for c in pretrained], shared)
            plot_baselines(axes, baselines, budget)
            axes.set_xscale("log")
            low, high = axes.get_xlim()
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(f"{100 * budget:g} % of the labels")
        figure = axes_list[0].figure
        figure.supxlabel("core minutes, pretraining included", fontsize=10)
        axes_list[0].set_ylabel("test accuracy, %")
        legend_above(axes_list[0], columns=2)


def legend_above(axes: Axes, columns: int = 3) -> None:
    """These axes' legend above all panels, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def plot_cost(axes: Axes, found: list[Cost], minutes: list[float], style: dict) -> None:
    order = np.argsort(minutes)
    means, halves = np.transpose([mean_and_half(c.accuracies) for c in found] or [(0, 0)])[:, order]
    axes.errorbar(np.array(minutes)[order], means, halves, capsize=2, **style)


def plot_baselines(axes: Axes, baselines: list[dict[str, Any]], budget: float) -> None:
    """A point each: accuracy against core minutes, at one label budget."""
    for style, own in by_baseline(baselines):
        for each in own:
            if each["baseline"].label_fraction == budget:
                mean, half = mean_and_half(each["accuracies"])
                minutes = each["baseline"].core_seconds / 60
                axes.errorbar(minutes, mean, half, capsize=2, **style | {"linestyle": "none"})


def draw_factorial(runs: Runs, block: Block, path: Path) -> None:
    """Test accuracy by what is filled in, with and without skips, over the same seeds."""
    budgets = sorted({cell.budget for cell in block.cells})
    with picture(path, 3.4, columns=len(budgets)) as (row,):
        for axes, budget in zip(row, budgets, strict=True):
            shown_arms = (*REFERENCES, *arms.FACTORIAL)
            found = shared_runs(runs, [block.cell(arm, budget) for arm in shown_arms])
            scores = [[accuracy(run) for run in each] for each in found]
            accuracies = dict(zip(shown_arms, scores, strict=True))
            for arm, line in REFERENCES.items():
                if accuracies[arm]:
                    look = {"color": SCRATCH["color"], "linestyle": line, "label": arm.name}
                    axes.axhline(100 * np.mean(accuracies[arm]), **look)
            for k, (label, colour, marker, of_skips) in enumerate(SKIPS):
                values = [accuracies[arm] for arm in of_skips]
                where = [i + 0.16 * (k - 0.5) for i, each in enumerate(values) if each]
                means, halves = np.transpose([mean_and_half(v) for v in values if v] or [(0, 0)])
                if where:
                    look = {"fmt": marker, "color": colour, "capsize": 3, "label": label}
                    axes.errorbar(where, means, halves, **look)
            axes.set_xticks(range(len(OBJECTIVES)), OBJECTIVES)
            most = max(found, key=len)
            bars = "; bars: 95 % interval" if has_bar(most) else ""
            axes.set_title(f"{100 * budget:g} % of the labels, seeds: {len(most)}{bars}")
        row[0].set_ylabel("test accuracy, %")
        legend_above(row[0])


@contextmanager
def panels(path: Path, count: int, height: float, **sharing: bool) -> Iterator[list[Axes]]:
    """Axes for so many panels, row by row; otherwise as `report.plots.picture`."""
    columns = min(count, SIDE_BY_SIDE)
    rows = -(-count // columns)
    width = FULL * columns / SIDE_BY_SIDE
    with picture(path, height * rows, rows, columns, width=width, **sharing) as grid_of_axes:
        axes = list(grid_of_axes.flat)
        for empty in axes[count:]:
            empty.remove()
        yield axes[:count]
