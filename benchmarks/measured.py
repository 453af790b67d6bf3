"""What benchmark.py has measured: the schema of runs/benchmark.json, and the ratios it gives."""

from pathlib import Path
from statistics import median
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from harness.files import read_json
from harness.options import about
from harness.rundir import Data, Environment
from recipes import AutoencoderRecipe, ClassifierRecipe

FILE = "benchmark.json"  # in the folder of the runs
LEAST_OF_BARE_STEP = 0.9  # of its speed, for our training loop
TOO_SLOW = 3  # the check's exit code then; a crash has 1
MOST_FOR_DATA = 0.05  # of the training time, for our batches
GOALS = (0.9, 0.912, 0.92, 0.93)  # validation accuracies; 91.2 % is the original experiment's

Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]


class Turns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """training speed"""

    rounds: Annotated[
        int, about("turns that each loop takes, after one to warm up", None, ge=1, le=1000)
    ] = 7
    steps: Annotated[int, about("training steps timed in a turn", None, ge=1, le=1000)] = 10


class Race(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """time to accuracy"""

    seeds: Annotated[int, about("trainings of each kind, from --seed on", None, ge=1, le=100)] = 3


class Speeds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model's training, step by step, in every loop.

    Args:
        flops_per_image: floating-point operations of a training step.
        seconds_per_image: of each contender, one value a round. The training loops are those of
            `page.LOOPS`, `_tuned` behind the name of a tuned one; `data` is our data path alone;
            `matrix` the step's arithmetic alone, at a matrix product's rate; `evaluation` our
            evaluation, and `forward` the forward passes in it alone.
        operations: share of the bare step's time, by kind of operation; none: not measured.
    """

    recipe: ClassifierRecipe | AutoencoderRecipe
    flops_per_image: Annotated[float, Meta(gt=0)]
    seconds_per_image: dict[str, Annotated[list[Seconds], Meta(min_length=1)]]
    operations: dict[str, Share] = {}


class Throughput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Images per second: all loops take turns, round by round.

    Args:
        libraries: versions of those whose loops were timed.
    """

    command: str
    environment: Environment
    libraries: dict[str, str]
    turns: Turns
    train_images: Count
    evaluated_images: Count
    models: Annotated[dict[str, Speeds], Meta(min_length=1)]


class Trial(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training, measured after each epoch.

    Args:
        contender: one of `page.RACERS`, or what a variant is called.
        cycle: the epochs for which its learning-rate schedule was made.
        seconds: of training, from the start to the end of each epoch.
        accuracy: on validation images, after each epoch.
    """

    contender: str
    seed: int
    cycle: Count
    seconds: list[Seconds]
    accuracy: list[Share]


class TimeToAccuracy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trainings that say in how many seconds a validation accuracy is reached.

    Args:
        recipe: ours; cycle and seed are each trial's own.
    """

    command: str
    environment: Environment
    recipe: ClassifierRecipe
    data: Data
    trials: list[Trial]


class Point(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training one model costs at one value of what it grows with.

    Args:
        axis: what grows.
        value: width, images in a batch, training images, threads, or runs at a time.
        seconds_per_image: one value a round; of all runs together.
        start_seconds: until the process could train: imports, images, network.
        peak_mib: the most memory that the processes had, in MiB; an accelerator's is not in it.
    """

    model: str
    axis: Literal["width", "batch_size", "images", "threads", "runs"]
    value: Annotated[float, Meta(gt=0)]
    seconds_per_image: Annotated[list[Seconds], Meta(min_length=1)]
    start_seconds: Seconds
    peak_mib: Annotated[float, Meta(gt=0)]


class Growth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the cost of training grows; all else is `recipes`, one for each model."""

    command: str
    environment: Environment
    recipes: dict[str, ClassifierRecipe | AutoencoderRecipe]
    turns: Turns
    train_images: Count
    points: Annotated[list[Point], Meta(min_length=1)]


class CardPoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training one model takes on a graphics card.

    Args:
        graphs: whether steps are replayed from CUDA graphs.
        runs: at a time, in processes of their own.
        seconds_per_image: one value a round; of all runs together.
    """

    model: str
    graphs: bool
    runs: Count
    seconds_per_image: Annotated[list[Seconds], Meta(min_length=1)]


class Card(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training on a graphics card.

    Args:
        warm_up: of each model, the seconds that the first epoch takes more than the next.
        repeats: of each model, whether an epoch trained twice gives the same weights, bit for bit.
    """

    command: str
    environment: Environment
    recipes: dict[str, ClassifierRecipe | AutoencoderRecipe]
    turns: Turns
    train_images: Count
    points: Annotated[list[CardPoint], Meta(min_length=1)]
    warm_up: dict[str, float]
    repeats: dict[str, bool]


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of runs/benchmark.json; a part that was not measured is None."""

    throughput: Throughput | None = None
    time_to_accuracy: TimeToAccuracy | None = None
    variants: TimeToAccuracy | None = None
    growth: Growth | None = None
    card: Card | None = None


def read_measured(path: str | Path) -> Measured | None:
    """What the file holds; None where there is no file.

    Raises:
        UserError: it is damaged.
    """
    return read_json(path, Measured) if Path(path).exists() else None


class Spread(NamedTuple):
    """A figure's median, least and most over the rounds or seeds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


def ratio(seconds: list[float], reference: list[float]) -> Spread:
    """Of two timings, each round's alone: what slows the machine for a while slows both."""
    return Spread.of([a / b for a, b in zip(seconds, reference, strict=True)])


def ratios(seconds: dict[str, list[float]]) -> dict[str, Spread]:
    """Each time over our training loop's, and our evaluation's over its forward passes'.

    `usual` and `usual_tuned` are the usual script with the faster of its data loaders.

    Args:
        seconds: as in `Speeds.seconds_per_image`.
    """
    whole = ("ours", "evaluation", "forward")
    found = {
        name: ratio(values, seconds["ours"])
        for name, values in seconds.items()
        if name not in whole
    }
    for ending in ("", "_tuned"):
        variants = [name for name in (f"usual_0{ending}", f"usual_2{ending}") if name in seconds]
        if variants:
            faster = min(variants, key=lambda name: median(seconds[name]))
            found[f"usual{ending}"] = found[faster]
    if "evaluation" in seconds:
        found["evaluation"] = ratio(seconds["evaluation"], seconds["forward"])
    return found


def images_per_second(model: Speeds, contender: str) -> float:
    """Median over the rounds."""
    return 1 / median(model.seconds_per_image[contender])


def first_reach(trial: Trial, goal: float) -> tuple[float, int] | None:
    """Seconds and epochs after which the trial first had the accuracy; None where it never had."""
    for epochs, (seconds, accuracy) in enumerate(
        zip(trial.seconds, trial.accuracy, strict=True), start=1
    ):
        if accuracy >= goal:
            return seconds, epochs
    return None


def reached(trials: list[Trial], contender: str, goal: float) -> dict[int, tuple[float, int]]:
    """Each seed's seconds and epochs to the goal, with the shortest cycle that always reaches it.

    Empty where no cycle takes every seed there.
    """
    seeds = whole_seeds(trials, contender)
    own = [trial for trial in trials if trial.contender == contender and trial.seed in seeds]
    for cycle in sorted({trial.cycle for trial in own}):
        found = {t.seed: first_reach(t, goal) for t in own if t.cycle == cycle}
        if all(found.values()):
            return dict(sorted(found.items()))
    return {}


def whole_seeds(trials: list[Trial], contender: str) -> list[int]:
    """The seeds of which all of the contender's cycles were measured."""
    cycles: dict[int, set[int]] = {}
    for trial in trials:
        if trial.contender == contender:
            cycles.setdefault(trial.seed, set()).add(trial.cycle)
    every = set().union(*cycles.values())
    return sorted(seed for seed, done in cycles.items() if done == every)
