"""The pictures in img/, drawn from the tables: each function draws one where its runs are there."""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from harness.files import shown, write_atomically
from metrics import MARGIN, confusion_matrix
from report import numbers
from report.compare import accuracies, compare, paired
from report.study import Study
from report.tables import Tables

# Okabe and Ito's colours (jfly.uni-koeln.de/color), told apart by all kinds of colour vision;
# markers and line styles tell them apart without any.
BLUE, VERMILION, GREY, PURPLE, BLACK = "#0072B2", "#D55E00", "#999999", "#CC79A7", "#000000"
SCRATCH = {"label": "from scratch", "color": BLUE, "marker": "o", "linestyle": "-"}
PRETRAINED = {"label": "pretrained", "color": VERMILION, "marker": "s", "linestyle": "--"}
PLAIN = {"label": "plain autoencoder", "color": BLACK, "marker": "D", "linestyle": "-."}
MASKED = PRETRAINED | {"label": "pretrained: masked, HOG"}
CLASSICAL = (("#009E73", "^"), ("#E69F00", "v"), (PURPLE, "X"), ("#56B4E9", "P"))
FULL, HALF = 9.0, 4.5  # inches: a page's width, and half of it; at 10 points text stays readable
LOOK = {
    "figure.dpi": 150,
    "font.size": 10,
    "axes.titlesize": 10,
    "figure.titlesize": 10,
    "figure.labelsize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.markersize": 5,
    "text.parse_math": False,  # names come from files
}
CURVES = {  # columns of history.csv: the picture's name, the axis, its unit
    "train_loss": ("train_losses", "train loss, nats", 1),
    "valid_loss": ("valid_losses", "validation loss, nats", 1),
    "valid_accuracy": ("valid_acc", "validation accuracy, %", 100),
}
ARMS = {"scratch": SCRATCH, "plain": PLAIN, "pretrained": MASKED}  # over label budgets
FEW = 20  # images in a bin of which a share says little
FEWEST_FOR_AN_INTERVAL = 3  # values: that of two would dwarf all else in a picture
SMALL = 0.01  # the largest label budget whose gains are drawn on the scale of large ones
SHARED = 10  # classifiers that might share one pretraining
OBJECTIVES = {  # of pretraining: the arm with skips
    "plain": "plain",
    "masked-pixels": "masked,\npixels",
    "masked-normalised": "masked,\nnormalised",
    "pretrained": "masked,\nnorm. + HOG",
}
SKIPS = (  # how the arms' ids end, the place beside the middle, and the look
    ("-no-skips", -0.08, {"label": "no skips", "color": BLACK, "fmt": "^"}),
    ("", 0.08, {"label": "with skips", "color": VERMILION, "fmt": "D"}),
)
REFERENCES = {
    "scratch": {"linestyle": "-", "label": "from scratch"},
    "scratch-same-recipe": {"linestyle": "--", "label": "from scratch, recipe of pretrained"},
}


class Shown(NamedTuple):
    """The runs that README's pictures show: each arm's name and look, over shared seeds."""

    names: tuple[str, ...]  # from scratch, pretrained; one of them where there is no pair
    looks: tuple[dict, ...]
    seeds: list[int]
    of: str = ""  # the experiment, in a title's words

    @property
    def said(self) -> str:
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        return f"{self.of}{seeds}"


# ------------------------------------------------------------------ what is common


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
        # Laid out once and drawn once: while it has a layout engine, matplotlib draws it twice.
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        write_atomically(path, buffer.getvalue())


@contextmanager
def panels(path: Path, budgets: Sequence[float], height: float, **sharing) -> Iterator[list[Axes]]:
    """A panel a label budget, four in a row; otherwise as `picture`."""
    columns = min(len(budgets), 4)
    rows = -(-len(budgets) // columns)
    with picture(path, height * rows, rows, columns, **sharing) as grid_of_axes:
        for axes, budget in zip(grid_of_axes.flat, budgets, strict=False):
            axes.set_title(f"{100 * budget:g} % of the labels")
        for empty in grid_of_axes.flat[len(budgets) :]:
            empty.remove()
        yield list(grid_of_axes.flat[: len(budgets)])


def legend_above(axes: Axes, columns: int = 3) -> None:
    """These axes' legend above all panels, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def budget_axis(axes: Axes, budgets: Sequence[float]) -> None:
    """A logarithmic axis of label budgets, with a tick for each."""
    axes.set_xscale("log")
    axes.set_xticks([100 * b for b in budgets], [f"{100 * b:g}" for b in budgets])
    axes.minorticks_off()
    axes.set_xlabel("label budget, % of the training labels")


def log_axis(axes: Axes, **ticks) -> None:
    """A logarithmic axis with plain numbers; `ticks` are options of `LogLocator`."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(**ticks))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def half_interval(rows: pd.DataFrame) -> np.ndarray:
    """Half of the 95 % t interval of a mean, in points, of rows with sd and n; 0 of few values."""
    from scipy.special import stdtrit  # loads in a third of scipy.stats' time

    sd, n = rows["sd"], rows["n"]
    return np.where(n < FEWEST_FOR_AN_INTERVAL, 0, 100 * stdtrit(n - 1, 0.975) * sd / np.sqrt(n))


def half_of(rows: pd.DataFrame) -> np.ndarray:
    """The same of differences with `high` and `pairs`."""
    half = 100 * (rows["high"] - rows["difference"]).astype(float)
    return np.where(rows["pairs"] < FEWEST_FOR_AN_INTERVAL, 0, half)


# ------------------------------------------------------------------ all of them


def draw_report(
    tables: Tables, study: Study, img_dir: Path, pool: ProcessPoolExecutor
) -> list[Future]:
    """Have every picture whose runs are in the tables drawn in the pool's processes."""
    jobs = []
    for question in (each for each in study.questions if each.id in OF_STUDY):
        if len(rows := compare(tables, study, question)):
            jobs += [(draw, name, study, rows) for name, draw in OF_STUDY[question.id].items()]
    if runs := default_runs(tables, study):
        original = original_runs(tables, study) or runs
        jobs.append((draw_curves, "", original))
        if len(runs.names) == 2:
            jobs.append((draw_same_epoch, "same_epoch", original))
            jobs += [(draw, name, runs) for name, draw in OF_BOTH_ARMS.items()]
    fresh = Tables(tables.folder)  # which each process reads anew
    return [pool.submit(draw, fresh, img_dir / f"{name}.png", *of) for draw, name, *of in jobs]


def original_runs(tables: Tables, study: Study) -> Shown | None:
    """The original experiment's runs, where it is in the tables."""
    for row in compare(tables, study, study.question("original")).itertuples():
        looks = (SCRATCH, PRETRAINED | {"label": "pretrained (plain autoencoder)"})
        names = (row.control_name, row.name)
        return Shown(names, looks, list(row.seeds), "the original experiment, ")
    return None


def default_runs(tables: Tables, study: Study) -> Shown | None:
    """The first recipe that both arms have, which is the default one where that is there.

    Over the study's seeds, if it has any of these. One arm alone where there is no pair.
    """
    for pair in numbers.own_pairs(tables.results).itertuples():
        own = [seed for seed in pair.seeds if seed in study.question("primary").seeds]
        return Shown((pair.control_name, pair.name), (SCRATCH, PRETRAINED), own or pair.seeds)
    tested = tables.results[tables.results["test_accuracy"].notna()]
    for (kind, name), rows in tested.groupby(["kind", "name"]):
        look = SCRATCH if kind == "baseline" else PRETRAINED
        return Shown((name,), (look,), sorted(rows["seed"]))
    return None


# ------------------------------------------------------------------ both arms of one recipe


def draw_curves(tables: Tables, path: Path, runs: Shown) -> None:
    """Beside `path`, each arm's losses and accuracy against the epochs, both arms on one scale."""
    for column, (file, axis, scale) in CURVES.items():
        found = [scale * numbers.curves(tables, name, column, runs.seeds) for name in runs.names]
        ends = [getattr(each.to_numpy(), end)() for each in found for end in ("min", "max")]
        # A single measured epoch has no span.
        room = 0.05 * (max(ends) - min(ends) or max(ends))
        limits = (min(ends) - room, max(ends) + room)
        for values, name, look in zip(found, runs.names, runs.looks, strict=True):
            suffix = "" if name.startswith("baseline") else "_pretrained"
            with picture(path.with_name(f"{file}{suffix}.png"), 3.4, width=HALF) as ((axes,),):
                plot_curves(axes, values, look)
                thin = "; thin: single seeds" if len(values) > 1 else ""
                title = f"AlexNet {look['label']}\n{runs.said}{thin}"
                note = smoothed(tables, name, column)
                axes.set(ylim=limits, ylabel=axis, title=f"{title}{note}")


def smoothed(tables: Tables, name: str, column: str) -> str:
    """What a reader must know who compares a train loss with a validation loss, if anything."""
    recipe = tables.results[tables.results["name"] == name].iloc[0]
    smoothing = recipe["label_smoothing"]
    said = [f"label smoothing {smoothing:g}"] if smoothing else []
    if recipe["shift"] > 0 or recipe["flip"] != "none":
        said.append("augmented")
    return f"\n{', '.join(said)}" if said and column == "train_loss" else ""


def plot_curves(axes: Axes, values: pd.DataFrame, look: dict) -> None:
    """The mean over seeds as a line and, where there are several, each seed as a thin one."""
    if len(values) > 1:
        axes.plot(values.columns, values.T, color=look["color"], linewidth=0.6, alpha=0.4)
    axes.plot(values.columns, values.mean(), **look)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_arms(tables: Tables, path: Path, runs: Shown) -> None:
    """Both arms in the same axes: train loss, validation loss, validation accuracy."""
    with picture(path, 3.5, columns=3) as (row,):
        for axes, (column, (_, title, scale)) in zip(row, CURVES.items(), strict=True):
            for name, look in zip(runs.names, runs.looks, strict=True):
                plot_curves(axes, scale * numbers.curves(tables, name, column, runs.seeds), look)
            axes.set_title(f"{title}{smoothed(tables, runs.names[0], column)}")
        thin, width = ("; thin: single seeds", 0.6) if len(runs.seeds) > 1 else ("", 0)
        row[0].plot([], color=GREY, linewidth=width, label=f"{runs.said}{thin}")
        legend_above(row[0])


def draw_same_epoch(tables: Tables, path: Path, runs: Shown) -> None:
    """How far the pretrained network is ahead at the same epoch of training."""
    rows = numbers.same_epoch(tables, *runs.names, runs.seeds)
    control, arm = (
        100 * numbers.curves(tables, name, "valid_accuracy", runs.seeds) for name in runs.names
    )
    with picture(path, 3.6) as ((axes,),):
        axes.axhline(0, color="black", linewidth=0.8)
        for epoch in rows.index:
            plot_dots(axes, epoch + spread(len(arm), 0.12), arm[epoch] - control[epoch])
        plot_means(axes, rows.index, rows)
        bars = "\na dot a seed; black: mean and 95 % interval" if len(arm) > 1 else ""
        axes.set_title(f"{runs.said}; above 0: pretrained is ahead at that epoch{bars}")
        axes.set_ylabel("pretrained minus from scratch,\npoints of validation accuracy")
        axes.set(xticks=rows.index, xlabel="epoch")


def spread(count: int, width: float) -> np.ndarray:
    """Places (count,) beside each other about 0."""
    return np.linspace(-width, width, count) if count > 1 else np.zeros(1)


def plot_dots(axes: Axes, places: np.ndarray, points: pd.Series) -> None:
    axes.plot(places, points, "o", color=VERMILION, alpha=0.5, markersize=4)


def plot_means(axes: Axes, places: Sequence[float], rows: pd.DataFrame) -> None:
    """Mean difference and 95 % interval of each row with several pairs, in points."""
    look = {"fmt": "_", "color": "black", "markersize": 15, "markeredgewidth": 2}
    means = (100 * rows["difference"]).where(rows["pairs"] > 1)
    axes.errorbar(places, means, half_of(rows), **look)


def draw_confusion(tables: Tables, path: Path, runs: Shown) -> None:
    """Both arms' confusion matrices, in percent of the true class's test images."""
    classes, size = tables.classes, len(tables.classes)
    with picture(path, 5.1, columns=2, sharey=True) as (row,):
        for axes, name, look in zip(row, runs.names, runs.looks, strict=True):
            predicted = tables.predictions(name, runs.seeds).predicted
            counts = confusion_matrix(tables.labels, predicted, size)
            plot_confusion(axes, 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True)))
            axes.set_xticks(range(size), classes, rotation=45, ha="right")
            axes.set_yticks(range(size), classes)
            title = f"AlexNet {look['label']}, {runs.said}: % of the true class"
            axes.set(xlabel="predicted class", title=title)
        row[0].set_ylabel("true class")


def plot_confusion(axes: Axes, percent: np.ndarray) -> None:
    # Errors are what one looks for: they get the colours, the diagonal only its number.
    errors = np.where(np.eye(len(percent), dtype=bool), np.nan, percent)
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="#EEEEEE")
    axes.imshow(errors, cmap=colours, vmin=0, vmax=15)
    axes.grid(False)
    for (true, predicted), value in np.ndenumerate(percent):
        if value >= 0.05:
            ink = "white" if true != predicted and value > 9 else "black"
            weight = "bold" if true == predicted else "normal"
            look = {"ha": "center", "va": "center", "fontsize": 7.5, "weight": weight}
            axes.text(predicted, true, f"{value:.1f}", color=ink, **look)


def draw_reliability(tables: Tables, path: Path, runs: Shown) -> None:
    """How often predictions are right, by their probability, before and after calibration.

    Drawn where both arms' probabilities are kept and calibrated. Bins of few images are left out.
    """
    for name in runs.names:
        found = tables.predictions(name, runs.seeds).calibrated
        if found is None or np.isnan(found).any():
            return
    titles = {"probability": "as the network gives them", "calibrated": "after the temperature"}
    with picture(path, 4.0, columns=2, sharex=True, sharey=True) as (row,):
        for axes, (kind, title) in zip(row, titles.items(), strict=True):
            axes.plot([0, 100], [0, 100], color=GREY, linewidth=1)
            for name, look in zip(runs.names, runs.looks, strict=True):
                bins = numbers.reliability(tables, name, runs.seeds, kind)
                bins = 100 * bins[bins["count"] >= FEW]
                axes.plot(bins["confidence"], bins["accuracy"], **look)
            axes.set(title=f"probabilities {title}", xlabel="probability of the predicted class, %")
        row[0].set_ylabel("of these predictions, right, %")
        row[0].legend(loc="upper left")
        text = "above the grey line: right more often than the probability says"
        row[0].figure.suptitle(f"{text}; {runs.said}")


# ------------------------------------------------------------------ over label budgets


def draw_label_efficiency(tables: Tables, path: Path, study: Study, primary: pd.DataFrame) -> None:
    """Test accuracy against the label budget: the mean over seeds and its 95 % interval."""
    questions = [study.question(name) for name in ("primary", "plain")]
    cells = pd.concat([accuracies(tables, study, each) for each in questions])
    cells = cells.drop_duplicates(["arm", "label_fraction"]).set_index("label_fraction")
    with picture(path, 4.4) as ((axes,),):
        arms = [(look, cells[cells["arm"] == arm]) for arm, look in ARMS.items()]
        for look, rows in [*arms, *classical(tables, study)]:
            plot_band(axes, 100 * rows.index, 100 * rows["mean"], half_interval(rows), look)
        budget_axis(axes, primary["label_fraction"])
        title = "mean over seeds; band: its 95 % interval; dotted: without a network"
        axes.set(ylabel="test accuracy, %", title=title)
        axes.legend(loc="lower right", fontsize=9)


def classical(tables: Tables, study: Study) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Each baseline without a network: its look, and its mean, sd, n and minutes by label budget.

    Over the primary seeds.
    """
    rows = tables.classical[tables.classical["seed"].isin(study.question("primary").seeds)]
    for (name, own), (colour, marker) in zip(rows.groupby("name"), CLASSICAL, strict=False):
        look = {"color": colour, "marker": marker, "linestyle": ":", "label": shown(name)}
        by_budget = own.groupby("label_fraction")
        found = by_budget["test_accuracy"].agg(mean="mean", sd="std", n="count")
        yield look, found.assign(minutes=by_budget["core_seconds"].mean() / 60)


def plot_band(
    axes: Axes, places: pd.Index, means: pd.Series, half: pd.Series | np.ndarray, look: dict
) -> None:
    """A line of means and, about it, a band of so much to each side."""
    axes.plot(places, means, **look)
    band = {"color": look["color"], "alpha": 0.2, "linewidth": 0}
    axes.fill_between(places, means - half, means + half, **band)


def draw_gain(tables: Tables, path: Path, _: Study, primary: pd.DataFrame) -> None:
    """Pretrained minus from scratch, at few labels and at many, whose gains differ in size."""
    parts = [part for _, part in primary.groupby(primary["label_fraction"] > SMALL)]
    with picture(path, 3.8, columns=len(parts)) as (axes_row,):
        for axes, part in zip(axes_row, parts, strict=True):
            axes.axhspan(-100 * MARGIN, 100 * MARGIN, color=GREY, alpha=0.3, linewidth=0)
            axes.axhline(0, color="black", linewidth=0.8)
            for row in part.itertuples():
                pairs = paired(tables, row.name, row.control_name, row.seeds)
                places = 100 * row.label_fraction * (1 + spread(len(pairs), 0.1))
                plot_dots(axes, places, 100 * (pairs["arm"] - pairs["control"]))
            plot_means(axes, 100 * part["label_fraction"], part)
            budget_axis(axes, part["label_fraction"])
        axes_row[0].set_ylabel("pretrained minus from scratch, points")
        scales = "; the panels differ in scale" if len(parts) > 1 else ""
        margin = f"grey: below {100 * MARGIN:g} points, too little to matter"
        text = f"a dot a seed; black: mean and 95 % interval; {margin}{scales}"
        axes_row[0].figure.suptitle(text)


def draw_learning_speed(tables: Tables, path: Path, study: Study, primary: pd.DataFrame) -> None:
    """Validation accuracy against the epochs trained: mean over seeds, ± one deviation."""
    plain = compare(tables, study, study.question("plain"))
    with panels(path, primary["label_fraction"], 2.6) as axes_list:
        panel = dict(zip(primary["label_fraction"], axes_list, strict=True))
        for arm, look in ARMS.items():
            rows = plain if arm == "plain" else primary
            for row in (row for row in rows.itertuples() if row.label_fraction in panel):
                name = row.control_name if arm == "scratch" else row.name
                values = 100 * numbers.curves(tables, name, "valid_accuracy", row.seeds)
                sd, small = values.std().fillna(0), look | {"markersize": 4}
                axes = panel[row.label_fraction]
                plot_band(axes, values.columns, values.mean(), sd, small)
                axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        legend_above(max(axes_list, key=lambda axes: len(axes.lines)))
        text = "epochs trained: each arm has the number that suits it; band: ± standard deviation"
        axes_list[0].figure.supxlabel(text)
        axes_list[0].figure.supylabel("validation accuracy, %")


def draw_class_differences(tables: Tables, path: Path, _: Study, primary: pd.DataFrame) -> None:
    """Class accuracy, pretrained minus from scratch: a panel a label budget, a bar a class."""
    places = np.arange(len(tables.classes))
    with panels(path, primary["label_fraction"], 2.8, sharey=True) as axes_list:
        for axes, row in zip(axes_list, primary.itertuples(), strict=True):
            own = numbers.class_differences(tables, row.control_name, row.name, row.seeds)
            own = own.reindex(tables.classes)  # one without a test image stays empty
            means, half = 100 * own["difference"], half_of(own)
            axes.barh(places, means, color=np.where(means > 0, VERMILION, BLUE), height=0.6)
            axes.hlines(places, means - half, means + half, color="black", linewidth=1.3)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.grid(axis="y", visible=False)
            axes.set_yticks(places, tables.classes)
        axes_list[0].invert_yaxis()
        text = "class accuracy, pretrained minus from scratch, points; lines: 95 % interval"
        axes_list[0].figure.supxlabel(f"{text}; the scales differ")


def draw_cost(tables: Tables, path: Path, study: Study, _: pd.DataFrame) -> None:
    """Test accuracy against core minutes: a panel a label budget, a point a recipe.

    The pretrained recipe is shown with the whole pretraining and, hollow, with a tenth of it.
    """
    minutes = numbers.costs(tables)
    cells = accuracies(tables, study, study.question("compute")).set_index("label_fraction")
    if minutes.empty:
        return
    hollow = {"label": f"pretrained, pretraining shared by {SHARED}", "markerfacecolor": "white"}
    with panels(path, minutes.index, 3.9) as axes_list:
        for axes, (budget, took) in zip(axes_list, minutes.iterrows(), strict=True):
            rows = cells.loc[[budget]].set_index("arm")
            scratch, pretrained = rows.loc[["scratch", "scratch-longer"]], rows.loc[["pretrained"]]
            plot_costs(axes, scratch.assign(minutes=took[["scratch", "longer"]].array), SCRATCH)
            for share, look in ((1, PRETRAINED), (1 / SHARED, PRETRAINED | hollow)):
                whole = took["fine_tuning"] + share * took["pretraining"]
                plot_costs(axes, pretrained.assign(minutes=whole), look)
            for look, own in classical(tables, study):
                plot_costs(axes, own[own.index == budget], look)
            log_axis(axes, numticks=6)
        axes_list[0].figure.supxlabel("core minutes, pretraining included")
        axes_list[0].set_ylabel("test accuracy, %; bars: 95 % interval")
        legend_above(axes_list[0], columns=2)


def plot_costs(axes: Axes, rows: pd.DataFrame, look: dict) -> None:
    """Mean and 95 % interval in percent against minutes."""
    axes.errorbar(rows["minutes"], 100 * rows["mean"], half_interval(rows), capsize=2, **look)


# ------------------------------------------------------------------ objectives of pretraining


def draw_factorial(tables: Tables, path: Path, study: Study, _: pd.DataFrame) -> None:
    """Test accuracy by what is filled in, with and without skips, over the same seeds."""
    cells = accuracies(tables, study, study.question("factorial"))
    budgets = cells.groupby("label_fraction")
    with panels(path, list(budgets.groups), 3.6) as axes_list:
        for axes, (_, rows) in zip(axes_list, budgets, strict=True):
            own = rows.set_index("arm")
            for arm in own.index.intersection(list(REFERENCES)):
                axes.axhline(100 * own.loc[arm, "mean"], color=BLUE, **REFERENCES[arm])
            for suffix, side, look in SKIPS:
                arms = own.reindex([f"{arm}{suffix}" for arm in OBJECTIVES])
                places = np.arange(len(arms)) + side
                axes.errorbar(places, 100 * arms["mean"], half_interval(arms), capsize=3, **look)
            axes.set_xticks(range(len(OBJECTIVES)), OBJECTIVES.values())
        axes_list[0].set_ylabel("test accuracy, %; bars: 95 % interval")
        legend_above(axes_list[0], columns=4)


OF_BOTH_ARMS = {
    "arms_overlaid": draw_arms,
    "confusion": draw_confusion,
    "reliability": draw_reliability,
}
OF_STUDY = {  # by question
    "primary": {
        "label_efficiency": draw_label_efficiency,
        "gain": draw_gain,
        "learning_speed": draw_learning_speed,
        "class_differences": draw_class_differences,
    },
    "compute": {"cost": draw_cost},
    "factorial": {"factorial": draw_factorial},
}
