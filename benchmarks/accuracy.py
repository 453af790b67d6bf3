"""How long until a validation accuracy is reached: this project's recipes and the usual script's.

The measure is that of DAWNBench (Coleman et al. 2017) and of Keller Jordan 2024
(arXiv:2404.00498): seconds of training from a random start. The start of the program and the
measurement of the accuracy, after each epoch, are not counted.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple

from msgspec import structs
from torch import Tensor

from benchmarks.contenders import new_task, now, train
from benchmarks.measurement import other_process
from benchmarks.peers import Peer, usual_script
from data import ImageSet, load_dataset
from harness.compute import Compute
from recipes import ClassifierRecipe

GOALS = [0.9, 0.912, 0.92, 0.93, 0.94]  # 91.2 % is the original experiment's
KEYS = ("contender", "seed", "cycle")  # of a training
CYCLES = (1, 2, 3, 5, 10)  # epochs of a run whose learning rate rises and falls once: one a goal
LONGEST = (15,)  # where the rate is constant
PLAIN = {"shift": 0, "flip": "none", "label_smoothing": 0.0}
CONSTANT = PLAIN | {"schedule": "constant", "learning_rate": 1e-3}
AUGMENTED = CONSTANT | {"shift": 2, "flip": "random"}


class Contender(NamedTuple):
    """What is raced.

    Args:
        options: that differ from the user's recipe.
        cycles: epochs for which a schedule is made; each is a training.
        tuned: whether the usual script is; None: this project trains.
    """

    options: dict[str, object]
    cycles: tuple[int, ...]
    tuned: bool | None = None


CONTENDERS = {
    "this project (fast)": Contender(ClassifierRecipe.presets["fast"], CYCLES),
    "this project (default)": Contender({}, CYCLES),
    "usual script": Contender(CONSTANT, LONGEST, tuned=False),
    "usual script, tuned": Contender(CONSTANT, LONGEST, tuned=True),
    "usual script with augmentation": Contender(AUGMENTED, LONGEST, tuned=False),
    "usual script, tuned, with augmentation": Contender(AUGMENTED, LONGEST, tuned=True),
    "usual script, tuned, with Muon": Contender(PLAIN | {"optimizer": "muon"}, CYCLES, tuned=True),
}


def trainings(first_seed: int, seeds: int) -> list[tuple[str, int, int]]:
    """What is measured: contender, seed, cycle.

    Seed by seed, so that what slows the machine for a while slows all contenders.
    """
    return [
        (name, seed, cycle)
        for seed in range(first_seed, first_seed + seeds)
        for name, contender in CONTENDERS.items()
        for cycle in contender.cycles
    ]


def race(
    plan: list[tuple[str, int, int]],
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
            recipe, tuned = recipe_of(name, base, seed, cycle), CONTENDERS[name].tuned
            if tuned is None:
                curve = our_curve(recipe, dataset, compute)
            else:
                curve = there.submit(usual_curve, recipe, data_dir, compute, tuned).result()
            seconds, accuracy = (each[-1] for each in curve.values())
            print(f"seed {seed}, {name}: {accuracy:.4f} after {seconds:.1f} s", flush=True)
            yield dict(zip(KEYS, (name, seed, cycle), strict=True)) | curve


def recipe_of(name: str, base: ClassifierRecipe, seed: int, cycle: int) -> ClassifierRecipe:
    """What is trained; without mirroring where that does not suit the data set."""
    options = dict(CONTENDERS[name].options, seed=seed, epochs=cycle, validations=cycle)
    if base.flip == "none":
        options["flip"] = "none"
    return structs.replace(base, **options)


def our_curve(
    recipe: ClassifierRecipe, dataset: ImageSet, compute: Compute
) -> dict[str, list[float]]:
    """`seconds` and `accuracy` after each epoch of this project's own training."""
    task = new_task(recipe, dataset, compute)
    evaluate, evaluations = task.evaluate, []

    def timed(forward: Callable[..., Tensor]) -> dict[str, float]:
        started = now()
        found = evaluate(forward)
        evaluations.append(now() - started)
        return found

    task.evaluate = timed
    history = train(task)
    seconds = [row["seconds"] - other for row, other in zip(history, evaluations, strict=True)]
    accuracy = [row["valid_accuracy"] for row in history]
    return {"seconds": list(accumulate(seconds)), "accuracy": accuracy}


def usual_curve(
    recipe: ClassifierRecipe, data_dir: str, compute: Compute, tuned: bool
) -> dict[str, list[float]]:
    """The same of the usual script, until the last goal is reached."""
    peer = Peer(recipe, load_dataset(recipe.dataset, data_dir), compute, tuned)
    train_epoch, seconds, accuracy = usual_script(peer, recipe.epochs), [], [0.0]
    while len(seconds) < recipe.epochs and accuracy[-1] < max(GOALS):
        started = now()
        train_epoch()
        seconds.append(now() - started)
        peer.model.eval()
        accuracy.append(peer.task.evaluate(peer.model)["valid_accuracy"])
    return {"seconds": list(accumulate(seconds)), "accuracy": accuracy[1:]}
