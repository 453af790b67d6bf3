"""How seconds and memory grow with width, batch size, images, threads and runs at a time.

Each point is measured in processes of its own, which have done nothing else: a process's peak of
memory never falls.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from os import cpu_count, getpid
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from benchmarks.contenders import Stopwatch, our_loop
from benchmarks.measured import Growth, Point, Turns
from benchmarks.workloads import make_workload
from data import load_dataset
from harness.compute import Compute, set_up_compute
from harness.processes import end_with
from recipes import Machine, Recipe

WIDTHS = (0.125, 0.25, 0.5, 1.0)
BATCHES = (32, 64, 128, 256, 512)
SHARES = (0.01, 0.1, 1.0)  # of the training images
COUNTS = (1, 2, 4)  # of threads, and of runs at a time
PATIENCE = 600  # seconds until a process that others wait for counts as lost
MIB = 2**20


class Setting(NamedTuple):
    """What a process trains: the axis's value is already in it."""

    recipe: Recipe
    share: float
    machine: Machine
    turns: Turns
    data_dir: str


class Cost(NamedTuple):
    """What it took: `start` until it could train, in seconds, `peak` in MiB."""

    seconds_per_image: list[float]
    images: int
    start: float
    peak: float


def points(
    recipes: dict[str, Recipe], machine: Machine, turns: Turns, data_dir: str
) -> Iterator[tuple[str, str, float, int, Setting]]:
    """All that is to be measured: model, axis, value, processes at a time, setting."""
    counts = [count for count in COUNTS if count <= (cpu_count() or 1)]
    for model, recipe in recipes.items():
        base = Setting(recipe, 1.0, machine, turns, data_dir)
        for width in WIDTHS:
            wider = structs.replace(recipe, width=width)
            yield model, "width", width, 1, base._replace(recipe=wider)
        for size in BATCHES:
            batch = structs.replace(recipe, batch_size=size)
            yield model, "batch_size", size, 1, base._replace(recipe=batch)
        for share in SHARES:
            yield model, "images", share, 1, base._replace(share=share)
        for threads in counts:
            fewer = structs.replace(machine, threads=threads)
            yield model, "threads", threads, 1, base._replace(machine=fewer)
        for runs in counts:
            alone = structs.replace(machine, threads=1)
            yield model, "runs", runs, runs, base._replace(machine=alone)


def measure_growth(
    recipes: dict[str, Recipe],
    machine: Machine,
    turns: Turns,
    data_dir: str,
    compute: Compute,
    command: str,
) -> Growth:
    """Every point, one after the other.

    Raises:
        UserError: as `data.load_dataset`.
    """
    found = []
    for model, axis, value, processes, setting in points(recipes, machine, turns, data_dir):
        costs = list(side_by_side(processes, setting))
        point = Point(
            model=model,
            axis=axis,
            value=costs[0].images if axis == "images" else value,
            seconds_per_image=together(costs),
            start_seconds=max(cost.start for cost in costs),
            peak_mib=sum(cost.peak for cost in costs),
        )
        print(f"{model}, {axis} {point.value:g}: {point.peak_mib:,.0f} MiB", flush=True)
        found.append(point)
    return Growth(
        command=command,
        environment=compute.environment(),
        recipes=recipes,
        turns=turns,
        train_images=max(int(point.value) for point in found if point.axis == "images"),
        points=found,
    )


def together(costs: list[Cost]) -> list[float]:
    """Seconds an image, round by round, where all processes' images count."""
    rounds = zip(*(cost.seconds_per_image for cost in costs), strict=True)
    return [1 / sum(1 / seconds for seconds in of_all) for of_all in rounds]


def side_by_side(processes: int, setting: Setting) -> Iterator[Cost]:
    """The same training in so many processes, which begin to train together."""
    spawn = get_context("spawn")
    barrier = spawn.Barrier(processes, timeout=PATIENCE)
    with ProcessPoolExecutor(processes, spawn, _begin, (getpid(), barrier)) as pool:
        asked = [pool.submit(_cost, setting, time.time()) for _ in range(processes)]
        yield from [one.result() for one in asked]


_barrier: Barrier  # in a process of its own: where it waits for the others


def _begin(parent: int, barrier: Barrier) -> None:
    global _barrier
    end_with(parent)
    _barrier = barrier


def _cost(setting: Setting, asked: float) -> Cost:
    """Train a few steps of the setting, when all processes of the point can."""
    compute = set_up_compute(**structs.asdict(setting.machine))
    dataset = load_dataset(setting.recipe.dataset, setting.data_dir)
    workload = make_workload(setting.recipe, dataset, compute, setting.share)
    stopwatch, turns = Stopwatch(setting.turns.steps), setting.turns
    train = our_loop(workload, stopwatch, turns.rounds)
    start = time.time() - asked
    _barrier.wait()
    train()  # warms up
    seconds = [train() for _ in range(turns.rounds)]
    return Cost(seconds, len(workload.labels), start, peak_memory())


def peak_memory() -> float:
    """The most memory that this process has had, in MiB; an accelerator's is not in it."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: getrusage would count the process that started this one
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    import resource  # Windows has none

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MIB if sys.platform == "darwin" else most / 1024
