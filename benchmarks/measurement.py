"""benchmark.py's measurement of training speed: every contender in turn, round after round."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, get_start_method, set_start_method

import torch

from benchmarks.contenders import (
    Contender,
    Stopwatch,
    bare_step,
    data_path,
    evaluation,
    flops_per_image,
    matrix_product,
    our_loop,
)
from benchmarks.measured import (
    LEAST_OF_BARE_STEP,
    MOST_FOR_DATA,
    Speeds,
    Throughput,
    Turns,
    ratios,
)
from benchmarks.operations import operation_shares
from benchmarks.peers import installed_libraries, peer_loop, peer_names
from benchmarks.workloads import Workload, make_workload
from data import load_dataset
from harness.compute import Compute
from harness.processes import end_with
from recipes import Recipe


def measure(
    recipes: dict[str, Recipe], data_dir: str, turns: Turns, compute: Compute, command: str
) -> Throughput:
    """Images per second of all loops.

    Args:
        recipes: of each model, by its name.
        command: that the user gave.

    Raises:
        UserError: as `data.load_dataset`.
    """
    peers, models = peer_names(), {}
    with other_process(_build, peers, recipes, data_dir, compute, turns.steps) as there:
        for name, recipe in recipes.items():
            workload = make_workload(recipe, load_dataset(recipe.dataset, data_dir), compute)
            contenders = {
                **our_contenders(workload, turns),
                **{peer: partial(ask, there, name, peer) for peer in peers},
                "matrix": matrix_product(workload),
                **evaluation(workload),
            }
            models[name] = Speeds(
                recipe=recipe,
                flops_per_image=flops_per_image(workload),
                seconds_per_image=take_turns(name, contenders, turns.rounds),
                operations=operation_shares(workload, turns.steps),
            )
    return Throughput(
        command=command,
        environment=compute.environment(),
        libraries=installed_libraries(),
        turns=turns,
        train_images=len(workload.labels),
        evaluated_images=len(workload.valid_batches.labels),
        models=models,
    )


def ask(there: ProcessPoolExecutor, model: str, peer: str) -> float:
    """One turn of a peer, in the other process."""
    return there.submit(_train, model, peer).result()


def our_contenders(workload: Workload, turns: Turns) -> dict[str, Contender]:
    """This project's training, and the parts that it is held against."""
    stopwatch = Stopwatch(turns.steps)
    return {
        "ours": our_loop(workload, stopwatch, turns.rounds),
        "bare": bare_step(workload, stopwatch),
        "data": data_path(workload),
    }


def slow_parts(
    recipes: dict[str, Recipe], data_dir: str, turns: Turns, compute: Compute
) -> list[str]:
    """Where our training wastes time, in words: ratios alone, so that any machine can tell.

    Raises:
        UserError: as `data.load_dataset`.
    """
    slow = []
    for name, recipe in recipes.items():
        workload = make_workload(recipe, load_dataset(recipe.dataset, data_dir), compute)
        found = ratios(take_turns(name, our_contenders(workload, turns), turns.rounds))
        bare, data = found["bare"].median, found["data"].median
        print(f"{name}: {bare:.3f} of the bare step's speed, {data:.3f} of the time for data")
        if bare < LEAST_OF_BARE_STEP:
            slow.append(f"{name}: slower than {LEAST_OF_BARE_STEP} of the bare step's speed")
        if data > MOST_FOR_DATA:
            slow.append(f"{name}: data take more than {MOST_FOR_DATA} of the training time")
    return slow


def take_turns(name: str, contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Seconds an image, round by round, of each contender; a round before them warms up."""
    seconds = {contender: [] for contender in contenders}
    for done in range(rounds + 1):
        for contender, run in contenders.items():
            seconds[contender].append(run())
        print(f"{name}: {f'round {done} of {rounds}' if done else 'warm'}", flush=True)
    return {contender: values[1:] for contender, values in seconds.items()}


@contextmanager
def other_process(start: Callable[..., None], *arguments: object) -> Iterator[ProcessPoolExecutor]:
    """A process that computes with as many threads, once `start(*arguments)` was called there.

    The usual script and other libraries' loops run in it as they would by themselves: in this
    project's own process they would gain from `compute.keep_freed_memory`.
    """
    given = (os.getpid(), torch.get_num_threads(), get_start_method(), start, *arguments)
    with ProcessPoolExecutor(1, get_context("spawn"), _begin, given) as pool:
        yield pool


def _begin(
    parent: int, threads: int, method: str, start: Callable[..., None], *arguments: object
) -> None:
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is the first process's to answer
    # Data workers start as in a user's script: by themselves they would be spawned here too.
    set_start_method(method, force=True)
    torch.set_num_threads(threads)
    start(*arguments)


_loops: dict[tuple[str, str], Contender] = {}  # in the other process


def _build(
    peers: list[str], recipes: dict[str, Recipe], data_dir: str, compute: Compute, steps: int
) -> None:
    for model, recipe in recipes.items():
        workload = make_workload(recipe, load_dataset(recipe.dataset, data_dir), compute)
        for peer in peers:
            _loops[model, peer] = peer_loop(peer, workload, Stopwatch(steps))


def _train(model: str, peer: str) -> float:
    return _loops[model, peer]()
