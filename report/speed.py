"""BENCHMARK.md and its pictures, from results/benchmark.json."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from report.markdown import NONE, cell, listed, render, signed, table
from report.measured import LEAST_OF_BARE_STEP, MOST_FOR_DATA, TOO_SLOW, Measured, Part, Table
from report.printed import ORIGINAL

OURS, BARE, USUAL = "this project", "bare step on one batch", "usual script"
TUTORIAL, TUNED = FORMS = ("in its tutorial", "tuned")  # of a loop
PARTS = ["data", "matrix", "evaluation", "forward"]  # of this project's training, not loops
AIMS = {  # times as fast, to each of the two goals that the page begins with
    USUAL: ("the usual script", 8),
    f"{USUAL}, tuned": ("the same script tuned", 4),
}
MUON = f"{USUAL}, tuned, with Muon"
SOON, LATE, LAST = 0.912, 0.93, 0.94  # goals
SOON_SECONDS, LAST_EPOCHS = 8, 10  # aimed at
LIGHT_BLUE = "#9CCBE8"
LINES = {  # Okabe and Ito's colours; markers tell the lines apart without any
    "color": [
        "#D55E00",
        "#E69F00",
        "#0072B2",
        "#56B4E9",
        "#009E73",
        "#CC79A7",
        "#999999",
        "#000000",
    ],
    "marker": list("osD^v<>P"),
}


def benchmark_page(measured: Measured) -> str:
    """The whole page."""
    speed, race = measured.throughput, measured.time_to_accuracy
    return render(
        "benchmark.md.j2",
        speed=speed and {"part": speed, **speed_values(speed)},
        race=race and {"part": race, **race_values(race)},
        others=[(part, finished_table(part)) for part in measured.tables],
        original=f"{100 * ORIGINAL['from scratch'][0]:.2f} %",
        limits={"bare": LEAST_OF_BARE_STEP, "data": MOST_FOR_DATA, "code": TOO_SLOW},
    )


def spread(values: pd.Series | list[float], digits: int, sign: bool = False) -> str:
    """Median (least–most) of the values that are not NaN; a dash where there is none."""
    values = np.asarray(values)[~np.isnan(values)]
    if not len(values):
        return NONE
    ends = (np.median(values), values.min(), values.max())
    median, *both = [signed(end, digits) if sign else f"{end:,.{digits}f}" for end in ends]
    return f"{median} ({(' to ' if sign else '–').join(both)})" if len(values) > 1 else median


def finished_table(part: Table) -> str:
    """The rows as they are; of several values the median and both ends."""

    def spell(value: object, digits: str | None) -> str:
        if isinstance(value, str):
            return cell(value)
        if digits is None:
            return f"{value:,g}"
        return spread(np.atleast_1d(value), int(digits), sign=digits.startswith("+"))

    rows = [{c: spell(v, part.digits.get(c)) for c, v in row.items()} for row in part.rows]
    return table(pd.DataFrame(rows))


# ------------------------------------------------------------------ time to accuracy


def curves_of(race: Part) -> pd.DataFrame:
    """A row an epoch of the seeds that are whole, in the file's order of contenders."""
    frame = pd.DataFrame(race.rows)
    trainings = frame["seed"].value_counts()
    frame = frame[frame["seed"].map(trainings) == trainings.max()].explode(["seconds", "accuracy"])
    frame["epochs"] = np.minimum(frame.groupby(level=0).cumcount() + 1, frame["cycle"])
    return frame.astype({"seconds": float, "accuracy": float})


def reached(curves: pd.DataFrame, goal: float) -> pd.DataFrame:
    """A row a contender: `seconds` and `epochs` to the goal of each seed, with the shortest cycle
    that takes every seed there; NaN where none does."""
    there = curves[["seconds", "epochs"]].where(curves["accuracy"] >= goal)
    training = [curves[name] for name in ("contender", "cycle", "seed")]
    every_seed = there.groupby(training).first().unstack("seed").dropna()
    names = dict.fromkeys([*curves["contender"], *AIMS])
    return every_seed.groupby("contender").first().reindex(list(names))


def race_values(part: Part) -> dict[str, object]:
    """What the template says of the time to an accuracy."""
    curves, goals = curves_of(part), part.facts["goals"]
    found = {goal: reached(curves, goal) for goal in (*goals, LAST)}
    first, *others = names = list(curves["contender"].unique())
    seconds, times = {"Trained by": map(cell, names)}, {"Trained by": map(cell, others)}
    for goal in goals:
        over = found[goal]["seconds"] / found[goal]["seconds"].loc[first]
        seconds[percent(goal)] = [seconds_text(found[goal].loc[name]) for name in names]
        times[percent(goal)] = [spread(over.loc[name], 2) for name in others]
    return {
        "answers": [answer(first, goal, found[goal]["seconds"]) for goal in (SOON, LATE)],
        "seconds": table(seconds),
        "ratios": table(times),
        "aims": aims(curves, found, LAST in goals),
        "first": first,
        "seeds": curves["seed"].nunique(),
        "cycles": listed(
            f"{c:g}" for c in np.unique(curves["cycle"][curves["contender"] == first])
        ),
        "longest": f"{curves['cycle'].max():g}",
        "with_muon": MUON in names,
        "with_part": curves["cycle"].min() < 1,
    }


def percent(goal: float) -> str:
    return f"{100 * goal:g} %"


def seconds_text(there: pd.Series) -> str:
    seconds, epochs = there["seconds"].median(), there["epochs"].median()
    if np.isnan(seconds):
        return NONE
    text = spread(there["seconds"], 0 if seconds >= 10 else 1)
    return f"{text} s, {epochs:g} epoch{'' if epochs == 1 else 's'}"


def answer(first: str, goal: float, seconds: pd.DataFrame) -> str:
    """A sentence that the page begins with, of the first contender's seconds and the others'."""
    ours = seconds.iloc[0]
    if ours.isna().any():
        return f"{percent(goal)} is not reached with every seed."
    than = [
        f"{spread(seconds.loc[name] / ours, 1)} times as fast as {words}"
        for name, (words, _) in AIMS.items()
        if seconds.loc[name].notna().all()
    ]
    name, median = first[0].upper() + first[1:], ours.median()
    digits = 0 if median >= 10 else 1
    return (
        f"{name} trains to {percent(goal)} validation accuracy in {median:.{digits}f} seconds"
        f"{': ' if than else ''}{listed(than)}."
    )


def aims(curves: pd.DataFrame, found: dict[float, pd.DataFrame], last_measured: bool) -> str:
    """What was aimed at, and whether it was reached.

    Args:
        found: `reached`, of each goal.
        last_measured: whether the contenders trained until the last goal.
    """

    def said(met: bool, measured: bool = True) -> str:
        return ("reached" if met else "missed") if measured else "not measured"

    def times(goal: float, figure: str) -> str:
        ours, parts = found[goal]["seconds"].iloc[0], []
        for name, (words, least) in AIMS.items():
            own = curves[curves["contender"] == name]
            there = own["seconds"].where(own["accuracy"] >= goal).groupby(own["seed"]).first()
            over = there.fillna(own.groupby("seed")["seconds"].last()) / ours
            parts.append(f"{least} times as fast as {words} ({said(over.agg(figure) >= least)})")
        return listed(parts)

    soon = found[SOON]["seconds"].iloc[0].median() <= SOON_SECONDS
    ours, *others = (there["epochs"].max() for _, there in found[LAST].iterrows())
    alone = all(map(np.isnan, others))
    return (
        f"Aimed at: to {percent(SOON)}, {times(SOON, 'median')}, and that in {SOON_SECONDS} "
        f"seconds on two cores ({said(soon)}); to {percent(LATE)}, with every seed, "
        f"{times(LATE, 'min')}, where a script that does not get there counts with all its epochs; "
        f"{percent(LAST)} with every seed in at most {LAST_EPOCHS} epochs "
        f"({said(ours <= LAST_EPOCHS, last_measured)}), where no other contender gets in up to "
        f"{curves['cycle'].max():g} ({said(alone, last_measured)})."
    )


# ------------------------------------------------------------------ images per second


class Speeds:
    """One model's seconds an image: a row a (loop, form), a column a round."""

    def __init__(self, part: Part, model: str):
        rows = [row for row in part.rows if row["model"] == model]
        keys = pd.MultiIndex.from_tuples([(row["loop"], FORMS[row["tuned"]]) for row in rows])
        self.model = model
        self.seconds = pd.DataFrame([row["seconds"] for row in rows], keys)
        self.ratios = self.seconds / self.seconds.loc[OURS, TUNED]
        loops = self.seconds.drop(PARTS, level=0)
        self.rates = (1 / loops.median(axis=1)).unstack(sort=False)[[*FORMS]]  # a column a form

    def usual(self, form: str) -> pd.Series:
        """The ratio of the usual script, with the faster of its data loaders."""
        rates = self.rates.loc[self.rates.index.str.startswith(USUAL), form]
        return self.ratios.loc[rates.idxmax(), form]

    def table(self) -> str:
        """A row a training loop, as its tutorial has it and tuned."""
        loops = self.rates.index
        columns = {"Training loop": [f"**{x}**" if x == OURS else cell(x) for x in loops]}
        for form in FORMS:
            over = self.ratios.drop((OURS, TUNED)).reindex([(loop, form) for loop in loops])
            columns[f"{form}: images/s"] = [spread([rate], 0) for rate in self.rates[form]]
            columns[f"{form}: time ÷ ours"] = [spread(times, 2) for times in over.to_numpy()]
        return table(columns)

    def answer(self) -> str:
        usual, tuned = (self.usual(form).median() for form in FORMS)
        return (
            f"It trains the {self.model} on {usual:.2f} times as many images a second as the usual "
            f"script, and on {tuned:.2f} times as many as the same script tuned."
        )

    def figures(self, facts: dict) -> dict[str, tuple[str, str]]:
        """Where the time goes: by a figure's words, the figure and what was aimed at."""

        def figure(values, digits: int, least: float = 0, most: float = math.inf):
            missed = "" if least <= np.median(values) <= most else " (missed)"
            target = f"at least {least}" if least else f"at most {most}" if most < math.inf else ""
            return spread(values, digits) + missed, target

        ours = {name: self.ratios.loc[name, TUNED] for name in (BARE, *PARTS)}
        peak = facts["flops"][self.model] / self.seconds.loc["matrix", TUNED].median() / 1e9
        images, tested = facts["images"], facts["evaluated_images"]
        passes, epoch = ours["evaluation"] / ours["forward"], images / self.rates.loc[OURS, TUNED]
        usual, tuned = map(self.usual, FORMS)
        return {
            "Times as fast as the usual script in its tutorial": figure(usual, 2, least=3),
            "Times as fast as the usual script, tuned": figure(tuned, 3, least=1.5),
            "Share of the bare step's speed": figure(ours[BARE], 3, least=LEAST_OF_BARE_STEP),
            "Batches alone: share of the training time": figure(
                ours["data"], 3, most=MOST_FOR_DATA
            ),
            "Share of a matrix product's peak": figure(ours["matrix"], 3),
            f"Evaluation of {tested:,} images ÷ its forward passes alone": figure(
                passes, 2, most=1.2
            ),
            "Matrix product's peak, GFLOP/s": figure([peak], 0),
            f"Epoch of {images:,} images, s": figure([epoch], 1),
        }


def speed_values(part: Part) -> dict[str, object]:
    """What the template says of the images per second."""
    facts, models = part.facts, [Speeds(part, model) for model in part.facts["runs"]]
    found = {speeds.model.capitalize(): speeds.figures(facts) for speeds in models}
    figures = pd.DataFrame(found)
    values, targets = figures.apply(lambda column: column.str[0]), figures.iloc[:, 0].str[1]
    operations = pd.DataFrame(facts["operations"]).rename(columns=str.capitalize)
    operations = operations.map(lambda share: f"{100 * share:.1f}")
    return {
        "answers": [speeds.answer() for speeds in models],
        "loops": {speeds.model: speeds.table() for speeds in models},
        "figures": table({"Figure": figures.index, **values, "Target": targets}),
        "operations": table({"Operation": operations.index, **operations}),
        "runs": listed([f"`{name}`" for name in facts["runs"].values()]),
    }


# ------------------------------------------------------------------ pictures


def draw_benchmark(measured: Measured, img_dir: Path) -> None:
    """Draw what was measured: benchmark.png and time_to_accuracy.png."""
    if part := measured.throughput:
        draw_speeds([Speeds(part, model) for model in part.facts["runs"]], img_dir)
    if part := measured.time_to_accuracy:
        draw_curves(curves_of(part), part.facts["goals"], img_dir)


def draw_speeds(models: list[Speeds], img_dir: Path) -> None:
    """A bar for each training loop and form."""
    from report.plots import BLUE, picture  # only now: the page is made without matplotlib

    height = 1.3 + 0.48 * len(models[0].rates)
    with picture(img_dir / "benchmark.png", height, columns=len(models), sharey=True) as (row,):
        for axes, model in zip(row, models, strict=True):
            model.rates.plot.barh(ax=axes, color=[LIGHT_BLUE, BLUE], width=0.8, legend=False)
            for bars in axes.containers:
                axes.bar_label(bars, fmt=lambda rate: f"{rate:,.0f}" if rate else "", padding=3)
            axes.margins(x=0.2)
            axes.set(title=f"training the {model.model}", xlabel="images per second", ylabel="")
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.grid(visible=False)
        row[0].invert_yaxis()
        row[0].figure.legend(row[0].containers, FORMS, loc="outside lower center", ncols=2)


def draw_curves(curves: pd.DataFrame, goals: list[float], img_dir: Path) -> None:
    """Accuracy against seconds, means over seeds: each epoch, or the ends of runs of any length."""
    from report.plots import log_axis, picture

    with picture(img_dir / "time_to_accuracy.png", 5.0) as ((axes,),):
        axes.set_prop_cycle(**LINES)
        for name, own in curves.groupby("contender", sort=False):
            if own["cycle"].nunique() > 1:
                own = own[own["epochs"] == own["cycle"]]
            epochs = own.groupby("epochs")
            every_seed = epochs["seed"].nunique() == own["seed"].nunique()
            means = epochs[["seconds", "accuracy"]].mean()[every_seed]
            line = ":" if name == USUAL or name.startswith(f"{USUAL} with") else "-"
            axes.plot(means["seconds"], 100 * means["accuracy"], linestyle=line, label=name)
        for goal in goals:
            axes.axhline(100 * goal, color="black", linewidth=0.6)
        log_axis(axes, subs=(1, 2, 5))
        axes.set(xlabel="seconds of training", ylabel="validation accuracy, %")
        axes.set_ylim(bottom=100 * min(goals) - 4)
        axes.set_title("mean over seeds; of several run lengths the ends; black: the goals")
        axes.figure.legend(loc="outside lower center", ncols=2)
