"""BENCHMARK.md: what its template says, from what was measured."""

from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measured import (
    GOALS,
    LEAST_OF_BARE_STEP,
    MOST_FOR_DATA,
    TOO_SLOW,
    Card,
    CardPoint,
    Growth,
    Measured,
    Point,
    Speeds,
    Spread,
    Throughput,
    TimeToAccuracy,
    Trial,
    images_per_second,
    ratio,
    ratios,
    reached,
    whole_seeds,
)
from recipes import Recipe, Setup
from report.markdown import render, render_blocks
from report.readme import ORIGINAL

TEMPLATE = "benchmark.md.j2"
# The loops that train, in the order in which they are shown.
LOOPS = {
    "ours": "this project",
    "bare": "bare step on one batch",
    "usual_0": "usual script, num_workers=0",
    "usual_2": "usual script, num_workers=2",
    "lightning": "Lightning",
    "fastai": "fastai",
    "keras": "Keras",
}
OWN = ("ours", "bare")  # they have one form, which is tuned
RACERS = {
    "ours": "this project",
    "ours_fp32": "this project, fp32",
    "usual_tuned": "usual script, tuned",
    "usual": "usual script",
    "augmented_tuned": "usual script, tuned, with augmentation",
    "augmented": "usual script with augmentation",
}

AXES = {
    "width": "width",
    "batch_size": "images in a batch",
    "images": "training images",
    "threads": "threads",
    "runs": "runs at a time",
}


class Speed(NamedTuple):
    """Images per second, and the time for an image over ours; None: not measured, or it is ours."""

    rate: float | None
    over_ours: Spread | None


class LoopRow(NamedTuple):
    """A training loop as its tutorial has it, and tuned."""

    loop: str
    name: str
    tutorial: Speed
    tuned: Speed


class Reach(NamedTuple):
    """How one recipe comes to one goal: over seeds, and its seconds over ours, seed by seed."""

    seconds: Spread
    epochs: float
    over_ours: Spread | None


class VariantRow(NamedTuple):
    """What a way to train costs and reaches, over seeds; None: it is the recipe itself.

    Args:
        accuracy: in percent.
        gain: of accuracy, over what the recipe reaches in as many seconds with the same seed.
    """

    name: str
    epochs: int
    seconds: Spread
    accuracy: Spread
    gain: Spread | None


class CardRow(NamedTuple):
    """Ten epochs of every model in one form; None where it was not measured."""

    name: str
    seconds: list[Spread | None]


class GrowthRow(NamedTuple):
    """What every model costs at one value of an axis; None where it was not measured."""

    axis: str
    value: float
    epochs: list[Spread | None]
    peaks: list[float | None]


def benchmark_page(measured: Measured, img_dir: str) -> str:
    """The whole page.

    Args:
        img_dir: the pictures' folder, as seen from the page.
    """
    return render("benchmarks", TEMPLATE, **page_values(measured, img_dir))


def page_blocks(measured: Measured) -> dict[str, str]:
    """The page's parts by name, as in the template; one not measured says so."""
    return render_blocks("benchmarks", TEMPLATE, **page_values(measured, "img"))


def page_values(measured: Measured, img_dir: str) -> dict[str, Any]:
    """What the template uses."""
    throughput, race = measured.throughput, measured.time_to_accuracy
    models = throughput.models if throughput else {}
    trials = race.trials if race else []
    ran = {trial.contender for trial in trials}
    return {
        "img": img_dir,
        "throughput": throughput,
        "race": race,
        "variants": measured.variants,
        "variant_rows": variant_rows(measured.variants) if measured.variants else [],
        "growth": measured.growth,
        "start": median(p.start_seconds for p in measured.growth.points) if measured.growth else 0,
        "growth_rows": growth_rows(measured.growth) if measured.growth else [],
        "card": measured.card,
        "card_rows": card_rows(measured.card) if measured.card else [],
        "loops": {name: loop_rows(throughput, model) for name, model in models.items()},
        "ratios": {name: ratios(model.seconds_per_image) for name, model in models.items()},
        "operations": {name: model.operations for name, model in models.items()},
        "machine_figures": {name: machine_figures(throughput, m) for name, m in models.items()},
        "recipes": {name: Setup(recipe=model.recipe).name for name, model in models.items()},
        "former": former({name: model.recipe for name, model in models.items()}),
        "former_growth": former(measured.growth.recipes) if measured.growth else [],
        "original": ORIGINAL["mean"][0],
        "goals": GOALS,
        "racers": racer_rows(race) if race else {},
        "augmented": [RACERS["augmented"], RACERS["augmented_tuned"]],
        "seeds": sorted({len(whole_seeds(trials, racer)) for racer in ran}),
        "cycles": sorted({trial.cycle for trial in trials if trial.contender == "ours"}),
        "longest": max((trial.cycle for trial in trials), default=0),
        "least_of_bare_step": LEAST_OF_BARE_STEP,
        "too_slow": TOO_SLOW,
        "most_for_data": MOST_FOR_DATA,
        "spread": spread,
    }


def former(recipes: dict[str, Recipe]) -> list[str]:
    """The models that were measured when their defaults were others than they are now."""
    chosen = ("width", "batch_size", "dataset", "seed")  # by the measurement's user
    return [
        name
        for name, recipe in recipes.items()
        if recipe != type(recipe)(**{option: getattr(recipe, option) for option in chosen})
    ]


def spread(figure: Spread | None, digits: int) -> str:
    """A figure with its least and most; a dash where it was not measured."""
    if figure is None:
        return "–"
    middle, least, most = (f"{value:,.{digits}f}" for value in figure)
    return f"{middle} ({least}–{most})"


def loop_rows(throughput: Throughput, model: Speeds) -> list[LoopRow]:
    """A row for each loop that ran, with the library's version."""
    found, rows = ratios(model.seconds_per_image), []
    for loop, name in LOOPS.items():
        tutorial = speed(model, found, "" if loop in OWN else loop)
        tuned = speed(model, found, loop if loop in OWN else f"{loop}_tuned")
        if tutorial.rate or tuned.rate:
            name = f"{name} {throughput.libraries.get(loop, '')}".rstrip()
            rows.append(LoopRow(loop, name, tutorial, tuned))
    return rows


def speed(model: Speeds, found: dict[str, Spread], contender: str) -> Speed:
    if contender not in model.seconds_per_image:
        return Speed(None, None)
    return Speed(images_per_second(model, contender), found.get(contender))


def machine_figures(throughput: Throughput, model: Speeds) -> dict[str, float]:
    """A matrix product's peak in GFLOP/s, and a training epoch in seconds."""
    product = median(model.seconds_per_image["matrix"])
    return {
        "peak": model.flops_per_image / product / 1e9,
        "epoch": throughput.train_images / images_per_second(model, "ours"),
    }


def racer_rows(race: TimeToAccuracy) -> dict[str, list[Reach | None]]:
    """For each recipe by its name, how it came to each goal; None where not every seed did."""
    ran = {trial.contender for trial in race.trials}
    return {
        name: [reach(race, racer, goal) for goal in GOALS]
        for racer, name in RACERS.items()
        if racer in ran
    }


def reach(race: TimeToAccuracy, racer: str, goal: float) -> Reach | None:
    own, ours = (reached(race.trials, name, goal) for name in (racer, "ours"))
    if not own:
        return None
    shared = [] if racer == "ours" else [seed for seed in own if seed in ours]
    over_ours = ratio([own[s][0] for s in shared], [ours[s][0] for s in shared]) if shared else None
    seconds, epochs = zip(*own.values(), strict=True)
    return Reach(Spread.of(list(seconds)), median(epochs), over_ours)


def variant_rows(race: TimeToAccuracy) -> list[VariantRow]:
    """The recipe for some numbers of epochs, then each way that was tried; over shared seeds."""
    ways: dict[tuple[str, int], dict[int, Trial]] = {}
    for trial in race.trials:
        ways.setdefault((trial.contender, trial.cycle), {})[trial.seed] = trial
    seeds = sorted(set.intersection(*map(set, ways.values())))
    own = {seed: [ways[way][seed] for way in ways if way[0] == "ours"] for seed in seeds}
    return [
        VariantRow(
            name,
            cycle,
            Spread.of([found[seed].seconds[-1] for seed in seeds]),
            Spread.of([100 * found[seed].accuracy[-1] for seed in seeds]),
            Spread.of([gain(found[seed], own[seed]) for seed in seeds]) if name != "ours" else None,
        )
        for (name, cycle), found in ways.items()
        if seeds
    ]


def gain(trial: Trial, recipes: list[Trial]) -> float:
    """Of accuracy, over the recipe in as many seconds: read between its runs, or at their ends."""
    seconds, accuracy = zip(*sorted((t.seconds[-1], t.accuracy[-1]) for t in recipes), strict=True)
    return trial.accuracy[-1] - float(np.interp(trial.seconds[-1], seconds, accuracy))


def growth_rows(growth: Growth) -> list[GrowthRow]:
    """A row for each value of each axis."""
    measured = {(point.axis, point.value, point.model): point for point in growth.points}
    rows = []
    for axis, value in sorted({key[:2] for key in measured}, key=place_of):
        found = [measured.get((axis, value, model)) for model in growth.recipes]
        epochs = [epoch_seconds(growth, point) if point else None for point in found]
        peaks = [point.peak_mib if point else None for point in found]
        rows.append(GrowthRow(AXES[axis], value, epochs, peaks))
    return rows


def place_of(key: tuple[str, float]) -> tuple[int, float]:
    """An axis's place in the table, then the value."""
    axis, value = key
    return list(AXES).index(axis), value


def epoch_seconds(growth: Growth, point: Point) -> Spread:
    """Over the rounds; of all training images, but where their number is the axis."""
    images = point.value if point.axis == "images" else growth.train_images
    return Spread.of([images * seconds for seconds in point.seconds_per_image])


def card_rows(card: Card) -> list[CardRow]:
    """A row for each form, in the order in which they were measured."""
    found = {(point.graphs, point.runs, point.model): point for point in card.points}
    rows = []
    for graphs, runs in dict.fromkeys(key[:2] for key in found):
        points = [found.get((graphs, runs, model)) for model in card.recipes]
        rows.append(
            CardRow(form_name(graphs, runs), [ten_epochs(card, p) if p else None for p in points])
        )
    return rows


def form_name(graphs: bool, runs: int) -> str:
    if runs > 1:
        return f"{runs} runs at a time, a run's share"
    return "steps replayed from CUDA graphs" if graphs else "each kernel launched by itself"


def ten_epochs(card: Card, point: CardPoint) -> Spread:
    """In seconds."""
    return Spread.of([10 * card.train_images * seconds for seconds in point.seconds_per_image])
