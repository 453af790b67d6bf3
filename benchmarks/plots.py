"""BENCHMARK.md's pictures: images per second, and accuracy against seconds of training."""

from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.measured import GOALS, Growth, Measured, Throughput, TimeToAccuracy, Trial
from benchmarks.page import AXES, OWN, RACERS, LoopRow, epoch_seconds, loop_rows
from report.plots import BLUE, GREY, PRETRAINED, SCRATCH, VERMILION, picture

LIGHT_BLUE = "#9CCBE8"
LINES = {  # colour, line style, marker
    "ours": (VERMILION, "-", "o"),
    "ours_fp32": (VERMILION, ":", "o"),
    "usual_tuned": (BLUE, "-", "s"),
    "usual": (BLUE, ":", "s"),
    "augmented_tuned": (GREY, "-", "^"),
    "augmented": (GREY, ":", "^"),
}


def draw_benchmark(measured: Measured, img_dir: Path) -> None:
    """Draw what was measured: benchmark.png, time_to_accuracy.png, growth.png."""
    if measured.throughput:
        draw_loops(measured.throughput, img_dir / "benchmark.png")
    if measured.time_to_accuracy:
        draw_race(measured.time_to_accuracy, img_dir / "time_to_accuracy.png")
    if measured.growth:
        draw_growth(measured.growth, img_dir / "growth.png")


def draw_loops(throughput: Throughput, path: Path) -> None:
    """A bar for each training loop and form, its length the images per second; a panel a model."""
    models = {name: loop_rows(throughput, model) for name, model in throughput.models.items()}
    height = 1.3 + 0.48 * max(map(len, models.values()))
    with picture(path, height, columns=len(models), sharey=True) as (row,):
        for axes, (name, loops) in zip(row, models.items(), strict=True):
            plot_loops(axes, loops)
            axes.set_title(f"training the {name}")
        row[0].set_yticks(range(len(loops)), [loop.name for loop in loops])
        row[0].invert_yaxis()
        forms = dict(zip(*reversed(row[0].get_legend_handles_labels()), strict=True))
        row[0].figure.legend(forms.values(), forms, loc="outside lower center", ncols=len(forms))


def plot_loops(axes: Axes, loops: list[LoopRow]) -> None:
    """The bars of one panel, each with its value."""
    for place, row in enumerate(loops):
        for shift, rate, colour, label in bars_of(row):
            bar = axes.barh(place + shift, rate, height=0.38, color=colour, label=label)
            axes.bar_label(bar, fmt="{:,.0f}", padding=3)
    axes.margins(x=0.2)
    axes.set_xlabel("images per second")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)


def bars_of(row: LoopRow) -> list[tuple[float, float, str, str]]:
    """Shift, length, colour and legend of each bar that a loop has."""
    if row.loop in OWN:
        return [(0.0, row.tuned.rate, {"ours": VERMILION, "bare": GREY}[row.loop], "")]
    bars = [
        (row.tutorial.rate, LIGHT_BLUE, "as in its tutorial"),
        (row.tuned.rate, BLUE, "tuned"),
    ]
    there = [bar for bar in bars if bar[0] is not None]
    shifts = (-0.2, 0.2) if len(there) == 2 else (0.0,)
    return [(shift, *bar) for shift, bar in zip(shifts, there, strict=True)]


def draw_race(race: TimeToAccuracy, path: Path) -> None:
    """Validation accuracy against seconds of training, means over seeds."""
    with picture(path, 4.2) as ((axes,),):
        for racer, name in RACERS.items():
            trials = [trial for trial in race.trials if trial.contender == racer]
            if trials:
                colour, line, marker = LINES[racer]
                seconds, accuracy = zip(*curve(trials), strict=True)
                axes.plot(
                    seconds, accuracy, color=colour, linestyle=line, marker=marker, label=name
                )
        for goal in GOALS:
            axes.axhline(100 * goal, color="black", linewidth=0.6)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=100 * min(GOALS) - 4)
        axes.set_xlabel("seconds of training")
        axes.set_ylabel("validation accuracy, %")
        axes.set_title(
            "mean over seeds; this project: ends of runs, others: of epochs; black: the goals"
        )
        axes.legend(loc="lower right")


def curve(trials: list[Trial]) -> list[tuple[float, float]]:
    """Seconds and percent: of several cycles the end of each, of one cycle after every epoch."""
    cycles = sorted({trial.cycle for trial in trials})
    if len(cycles) > 1:
        ends = [[(t.seconds[-1], t.accuracy[-1]) for t in trials if t.cycle == c] for c in cycles]
    else:
        shortest = min(len(trial.seconds) for trial in trials)
        ends = [[(t.seconds[k], t.accuracy[k]) for t in trials] for k in range(shortest)]
    return [(fmean(s for s, _ in points), 100 * fmean(a for _, a in points)) for points in ends]


def draw_growth(growth: Growth, path: Path) -> None:
    """Seconds an epoch above, memory below; a column for each thing that they grow with."""
    with picture(path, 4.8, rows=2, columns=len(AXES), sharex="col", sharey="row") as panels:
        for column, (axis, name) in zip(panels.T, AXES.items(), strict=True):
            for model, style in zip(growth.recipes, (SCRATCH, PRETRAINED), strict=False):
                points = [p for p in growth.points if (p.model, p.axis) == (model, axis)]
                values = [point.value for point in points]
                epochs = [epoch_seconds(growth, point).median for point in points]
                column[0].plot(values, epochs, **style | {"label": model})
                column[1].plot(values, [p.peak_mib for p in points], **style | {"label": model})
            column[1].set_xlabel(name)
            column[1].set_xscale("log")
            ticks = sorted({point.value for point in growth.points if point.axis == axis})
            column[1].set_xticks(ticks, [f"{tick:,g}" for tick in ticks], rotation=45)
            column[1].minorticks_off()
        panels[0, 0].set_yscale("log")
        panels[0, 0].yaxis.set_major_formatter("{x:g}")
        panels[0, 0].set_ylabel("seconds an epoch")
        panels[1, 0].set_ylabel("memory, MiB")
        panels[1, 0].set_ylim(bottom=0)
        panels[0, 0].legend()
