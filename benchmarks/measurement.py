"""Images per second of every loop in turn, and seconds to an accuracy of every contender in turn.

The time to an accuracy is measured as in DAWNBench (Coleman et al. 2017) and by Keller Jordan 2024
(arXiv:2404.00498): seconds of training from a random start. The start of the program and the
measurement of the accuracy, after each epoch, are not counted.
"""

import os
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import accumulate, product
from multiprocessing import get_context, get_start_method, set_start_method

import numpy as np
import torch
from msgspec import structs

from benchmarks.contenders import (
    Contender,
    Loop,
    Stopwatch,
    flops_per_image,
    new_task,
    now,
    operation_shares,
    our_contenders,
    our_parts,
    train,
)
from benchmarks.peers import Peer, loops, usual_script
from data import ImageSet, load_dataset
from harness.compute import Compute
from harness.processes import end_with
from recipes import ClassifierRecipe, Recipe, Setup
from report.measured import LEAST_OF_BARE_STEP, MOST_FOR_DATA

GOALS = [0.9, 0.912, 0.92, 0.93, 0.94]  # 91.2 % is the original experiment's
KEYS = ("contender", "seed", "cycle")  # of a training
# Epochs of a run whose learning rate rises and falls once: a run for each goal.
CYCLES = (1, 2, 3, 4, 5, 10)
PART = 0.8  # of an epoch: one pass over so many of the images
LONGEST = (15,)  # where the rate is constant
# Muon's peak learning rate from so many epochs on; BENCHMARK.md has the search.
MUON_RATES = [[3, 2.8e-3], [10, 2e-3]]
PLAIN = {"shift": 0, "flip": "none", "label_smoothing": 0.0}
CONSTANT = PLAIN | {"schedule": "constant", "learning_rate": 1e-3}
AUGMENTED = CONSTANT | {"shift": 2, "flip": "random"}
OURS, TUTORIAL, TUNED = None, False, True  # who trains: this project, or the usual script
CONTENDERS = {  # who trains, the options that differ from the user's recipe, the epochs of each run
    "this project (fast)": (OURS, ClassifierRecipe.presets["fast"], (PART, *CYCLES)),
    "this project (default)": (OURS, {}, CYCLES),
    "usual script": (TUTORIAL, CONSTANT, LONGEST),
    "usual script, tuned": (TUNED, CONSTANT, LONGEST),
    "usual script with augmentation": (TUTORIAL, AUGMENTED, LONGEST),
    "usual script, tuned, with augmentation": (TUNED, AUGMENTED, LONGEST),
    "usual script, tuned, with Muon": (TUNED, PLAIN | {"optimizer": "muon"}, CYCLES),
}


# ------------------------------------------------------------------ images per second


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
            task = make()
            rows += take_turns(model, contenders | our_parts(make()), rounds)
            facts["runs"][model] = Setup(recipe=recipe).name
            facts["flops"][model] = flops_per_image(task)
            facts["operations"][model] = operation_shares(make(), steps)
            facts["images"] = len(task.batches.labels)
            facts["evaluated_images"] = len(task.valid_batches.labels)
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
        rows = take_turns(model, our_contenders(make, steps), rounds)
        ours, bare, data = (np.array(row["seconds"]) for row in rows)
        share, waiting = np.median(bare / ours), np.median(data / ours)
        print(f"{model}: {share:.3f} of the bare step's speed, {waiting:.3f} of the time for data")
        if share < LEAST_OF_BARE_STEP:
            slow.append(f"{model}: slower than {LEAST_OF_BARE_STEP} of the bare step's speed")
        if waiting > MOST_FOR_DATA:
            slow.append(f"{model}: data take more than {MOST_FOR_DATA} of the training time")
    return slow


def take_turns(model: str, contenders: dict[Loop, Contender], rounds: int) -> list[dict]:
    """A row a contender: its seconds an image, round by round, after a round that warms up."""
    rows = [
        {"model": model, "loop": loop, "tuned": tuned, "seconds": []} for loop, tuned in contenders
    ]
    for done in range(rounds + 1):
        for row, contend in zip(rows, contenders.values(), strict=True):
            seconds = contend()
            if done:
                row["seconds"].append(seconds)
        print(f"{model}: {f'round {done} of {rounds}' if done else 'warm'}", flush=True)
    return rows


def peer_turn(*given) -> float:
    """One turn of a peer, in the other process; seconds an image."""
    return peer_contender(*given)()


@cache
def peer_contender(
    loop: Loop, recipe: Recipe, data_dir: str, compute: Compute, steps: int
) -> Contender:
    (name, tuned), stopwatch = loop, Stopwatch(steps)
    make, workers = loops()[name]
    dataset = load_dataset(recipe.dataset, data_dir)
    peer = Peer(recipe, dataset, compute, tuned, workers[tuned], stopwatch)
    return stopwatch.times(make(peer))


# ------------------------------------------------------------------ time to accuracy


def trainings(first_seed: int, seeds: int) -> list[tuple[str, int, float]]:
    """What is measured: contender, seed, cycle.

    Seed by seed, so that what slows the machine for a while slows all contenders.
    """
    return [
        (name, seed, cycle)
        for seed in range(first_seed, first_seed + seeds)
        for name, (_, _, cycles) in CONTENDERS.items()
        for cycle in cycles
    ]


def race(
    plan: list[tuple[str, int, float]],
    base: ClassifierRecipe,
    dataset: ImageSet,
    data_dir: str,
    compute: Compute,
) -> Iterator[dict]:
    """A row for each of the trainings, as `Measured` describes it.

    Args:
        base: the recipe to which a contender's options are added.
        data_dir: where the other process finds the data set.
    """
    with other_process() as there:
        for name, seed, cycle in plan:
            recipe, who = recipe_of(name, base, seed, cycle), CONTENDERS[name][0]
            if who is OURS:
                epochs = our_epochs(recipe, dataset, compute)
            else:
                epochs = there.submit(usual_epochs, recipe, data_dir, compute, who).result()
            seconds, accuracy = (list(each) for each in zip(*epochs, strict=True))
            whole = list(accumulate(seconds))
            print(f"seed {seed}, {name}: {accuracy[-1]:.4f} after {whole[-1]:.1f} s", flush=True)
            row = dict(zip(KEYS, (name, seed, cycle), strict=True))
            yield row | {"seconds": whole, "accuracy": accuracy}


def recipe_of(name: str, base: ClassifierRecipe, seed: int, cycle: float) -> ClassifierRecipe:
    """What is trained; without mirroring where that does not suit the data set."""
    mirror = {"flip": "none"} if base.flip == "none" else {}
    options, epochs = CONTENDERS[name][1], max(1, round(cycle))
    run = {"seed": seed, "epochs": epochs, "validations": epochs}
    run |= {"label_fraction": cycle} if cycle < 1 else {}
    for least, rate in MUON_RATES if "optimizer" in options else ():
        run |= {"learning_rate": rate} if cycle >= least else {}
    return structs.replace(base, **options | run | mirror)


def our_epochs(
    recipe: ClassifierRecipe, dataset: ImageSet, compute: Compute
) -> list[tuple[float, float]]:
    """Seconds of training, and the accuracy after it, of each epoch of this project's training."""
    task = new_task(recipe, dataset, compute)
    evaluate, evaluations = task.evaluate, []

    def timed_evaluation(forward) -> dict[str, float]:
        started = now()
        found = evaluate(forward)
        evaluations.append(now() - started)
        return found

    task.evaluate = timed_evaluation
    history = zip(train(task), evaluations, strict=True)
    return [(row["seconds"] - other, row["valid_accuracy"]) for row, other in history]


def usual_epochs(
    recipe: ClassifierRecipe, data_dir: str, compute: Compute, tuned: bool
) -> list[tuple[float, float]]:
    """The same of the usual script, until the last goal is reached."""
    peer, epochs = Peer(recipe, load_dataset(recipe.dataset, data_dir), compute, tuned), []
    train_epoch = usual_script(peer, recipe.epochs)
    while len(epochs) < recipe.epochs and (not epochs or epochs[-1][1] < max(GOALS)):
        started = now()
        train_epoch()
        seconds = now() - started
        peer.model.eval()
        epochs.append((seconds, peer.task.evaluate(peer.model)["valid_accuracy"]))
    return epochs


# ------------------------------------------------------------------ the other process


def other_process() -> ProcessPoolExecutor:
    """A process that computes with as many threads.

    The usual script and other libraries' loops run in it as they would by themselves: in this
    project's own process they would gain from `compute.keep_freed_memory`.
    """
    given = (os.getpid(), torch.get_num_threads(), get_start_method())
    return ProcessPoolExecutor(1, get_context("spawn"), _begin, given)


def _begin(parent: int, threads: int, method: str) -> None:
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is the first process's to answer
    # Data workers start as in a user's script: by themselves they would be spawned here too.
    set_start_method(method, force=True)
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")  # of what other libraries have to say
