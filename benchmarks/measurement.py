"""Images per second: every loop in turn, round after round."""

import os
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from itertools import product
from multiprocessing import get_context, get_start_method, set_start_method

import numpy as np
import torch

from benchmarks.contenders import (
    Contender,
    Loop,
    Stopwatch,
    flops_per_image,
    new_task,
    operation_shares,
    our_contenders,
    our_parts,
)
from benchmarks.peers import Peer, loops
from data import load_dataset
from harness.compute import Compute
from harness.processes import end_with
from recipes import Recipe, Setup
from report.measured import LEAST_OF_BARE_STEP, MOST_FOR_DATA


def measure(
    recipes: dict[str, Recipe], data_dir: str, rounds: int, steps: int, compute: Compute
) -> tuple[dict, list[dict]]:
    """Every loop, and where this project's time goes: `Part.facts` and `Part.rows`.

    Args:
        recipes: of each model, by its name.
        steps: that are timed in a round.

    Raises:
        UserError: as `data.load_dataset`.
    """
    facts, rows = {"rounds": rounds, "steps": steps, "runs": {}, "flops": {}, "operations": {}}, []
    with other_process() as there:
        for model, recipe in recipes.items():
            make = partial(new_task, recipe, load_dataset(recipe.dataset, data_dir), compute)
            contenders = our_contenders(make, steps)
            for loop in product(loops(), (False, True)):
                given = (loop, recipe, data_dir, compute, steps)
                contenders[loop] = lambda given=given: there.submit(peer_turn, *given).result()
            contenders |= our_parts(make())
            task = make()
            facts["runs"][model] = Setup(recipe=recipe).name
            facts["flops"][model] = flops_per_image(task)
            facts["operations"][model] = operation_shares(make(), steps)
            facts["images"] = len(task.batches.labels)
            facts["evaluated_images"] = len(task.valid_batches.labels)
            rows += [
                {"model": model, "loop": name, "tuned": tuned, "seconds": seconds}
                for (name, tuned), seconds in take_turns(model, contenders, rounds).items()
            ]
    return facts, rows


def slow_parts(
    recipes: dict[str, Recipe], data_dir: str, rounds: int, steps: int, compute: Compute
) -> list[str]:
    """Where our training wastes time, in words: ratios alone, so that any machine can tell.

    Raises:
        UserError: as `data.load_dataset`.
    """
    slow = []
    for model, recipe in recipes.items():
        make = partial(new_task, recipe, load_dataset(recipe.dataset, data_dir), compute)
        seconds = take_turns(model, our_contenders(make, steps), rounds).values()
        ours, bare, data = map(np.array, seconds)
        share, waiting = np.median(bare / ours), np.median(data / ours)
        print(f"{model}: {share:.3f} of the bare step's speed, {waiting:.3f} of the time for data")
        if share < LEAST_OF_BARE_STEP:
            slow.append(f"{model}: slower than {LEAST_OF_BARE_STEP} of the bare step's speed")
        if waiting > MOST_FOR_DATA:
            slow.append(f"{model}: data take more than {MOST_FOR_DATA} of the training time")
    return slow


def take_turns(
    model: str, contenders: dict[Loop, Contender], rounds: int
) -> dict[Loop, list[float]]:
    """Seconds an image, round by round, of each contender; a round before them warms up."""
    seconds = {loop: [] for loop in contenders}
    for done in range(rounds + 1):
        for loop, run in contenders.items():
            seconds[loop].append(run())
        print(f"{model}: {f'round {done} of {rounds}' if done else 'warm'}", flush=True)
    return {loop: values[1:] for loop, values in seconds.items()}


@contextmanager
def other_process() -> Iterator[ProcessPoolExecutor]:
    """A process that computes with as many threads.

    The usual script and other libraries' loops run in it as they would by themselves: in this
    project's own process they would gain from `compute.keep_freed_memory`.
    """
    given = (os.getpid(), torch.get_num_threads(), get_start_method())
    with ProcessPoolExecutor(1, get_context("spawn"), _begin, given) as pool:
        yield pool


def _begin(parent: int, threads: int, method: str) -> None:
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is the first process's to answer
    # Data workers start as in a user's script: by themselves they would be spawned here too.
    set_start_method(method, force=True)
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")  # of what other libraries have to say


def peer_turn(loop: Loop, *given) -> float:
    """One turn of a peer, in the other process; seconds an image."""
    train, stopwatch = peer_loop(loop, *given)
    train()
    return stopwatch.seconds_per_image


@cache
def peer_loop(loop: Loop, recipe: Recipe, data_dir: str, compute: Compute, steps: int):
    """What trains a peer's epoch, and its stopwatch."""
    name, tuned = loop
    make, workers = loops()[name]
    dataset, stopwatch = load_dataset(recipe.dataset, data_dir), Stopwatch(steps)
    peer = Peer(recipe, dataset, compute, tuned=tuned, workers=workers[tuned], stopwatch=stopwatch)
    return make(peer), stopwatch
