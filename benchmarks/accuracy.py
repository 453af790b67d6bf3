"""How long until a validation accuracy is reached: this project's recipe and the usual script's.

The measure is that of DAWNBench (Coleman et al. 2017) and of Keller Jordan 2024
(arXiv:2404.00498): seconds of training from a random start. The start of the program and the
measurement of the accuracy, after each epoch, are not counted.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from msgspec import structs

from benchmarks.contenders import now, our_training
from benchmarks.measured import GOALS, TimeToAccuracy, Trial
from benchmarks.measurement import other_process
from benchmarks.peers import TUNED
from benchmarks.usual import WORKERS, Form, Peer, UsualLoader, usual_script
from benchmarks.workloads import make_workload
from data import ImageSet, load_dataset, split
from harness.compute import Compute
from harness.errors import UserError
from harness.rundir import alike
from recipes import ClassifierRecipe
from training import Task, describe_data

CYCLES = (1, 2, 3, 5)  # epochs of our learning-rate schedule, one for each goal
LONGEST = 15  # epochs of the usual script, which has no cycle
USUAL = {"schedule": "constant", "learning_rate": 1e-3, "label_smoothing": 0.0}
USUAL_SCRIPTS = ("usual", "augmented")  # without and with random crops and mirroring


class Entry(NamedTuple):
    """A training to be measured, as `Trial` names it."""

    contender: str
    seed: int
    cycle: int


def racers(compute: Compute) -> dict[str, tuple[int, ...]]:
    """The contenders of the race, each with its cycles."""
    ours = ["ours", *(["ours_fp32"] if compute.precision == "bf16" else [])]
    usual = [name + ending for name in USUAL_SCRIPTS for ending in ("", TUNED)]
    return dict.fromkeys(ours, CYCLES) | dict.fromkeys(usual, (LONGEST,))


def entries(first_seed: int, seeds: int, contenders: dict[str, tuple[int, ...]]) -> list[Entry]:
    """All trainings, seed by seed, so that what slows the machine for a while slows all."""
    return [
        Entry(name, seed, cycle)
        for seed in range(first_seed, first_seed + seeds)
        for name, cycles in contenders.items()
        for cycle in cycles
    ]


def recipe_of(entry: Entry, ours: ClassifierRecipe) -> ClassifierRecipe:
    """What the training's batches, loss and rate are."""
    recipe = structs.replace(ours, seed=entry.seed, epochs=entry.cycle)
    name = entry.contender.removesuffix(TUNED)
    if name not in USUAL_SCRIPTS:
        return recipe
    if name == "usual":
        return structs.replace(recipe, shift=0, flip="none", **USUAL)
    flip = "none" if ours.flip == "none" else "random"
    return structs.replace(recipe, flip=flip, **USUAL)


def start(
    recipe: ClassifierRecipe, dataset: ImageSet, compute: Compute, command: str
) -> TimeToAccuracy:
    """The part of the file as it is before the first training."""
    return TimeToAccuracy(
        command=command,
        environment=compute.environment(),
        recipe=recipe,
        data=describe_data(dataset, *split(dataset, recipe.seed)),
        trials=[],
    )


def resume(before: TimeToAccuracy | None, fresh: TimeToAccuracy) -> TimeToAccuracy:
    """What was measured before, if anything, to be continued by another command.

    Raises:
        UserError: it was measured on something else.
    """
    if before is None:
        return fresh
    same = before.recipe == fresh.recipe and before.data == fresh.data
    if not (same and alike(before.environment, fresh.environment)):
        raise UserError(
            "what is there was measured with another recipe, data set or "
            "machine: use --overwrite to measure it anew"
        )
    return structs.replace(before, command=fresh.command)


def missing(part: TimeToAccuracy, plan: list[Entry]) -> list[Entry]:
    """Those of the trainings that are still to be measured."""
    done = {Entry(trial.contender, trial.seed, trial.cycle) for trial in part.trials}
    return [entry for entry in plan if entry not in done]


def with_trial(part: TimeToAccuracy, trial: Trial) -> TimeToAccuracy:
    """One training more, which is printed."""
    print(
        f"seed {trial.seed}, {trial.contender}: {trial.accuracy[-1]:.4f} after "
        f"{len(trial.accuracy)} epochs, {trial.seconds[-1]:.1f} s",
        flush=True,
    )
    return structs.replace(part, trials=[*part.trials, trial])


def race(
    part: TimeToAccuracy, plan: list[Entry], data_dir: str, compute: Compute
) -> Iterator[TimeToAccuracy]:
    """Run the trainings of the plan, one after the other; all results, after each of them.

    Raises:
        UserError: as `data.load_dataset`.
    """
    dataset = load_dataset(part.recipe.dataset, data_dir)
    with other_process(_load, part.recipe.dataset, data_dir) as there:
        for entry in plan:
            if entry.contender.startswith("ours"):
                trial = our_trial(entry, part.recipe, dataset, compute)
            else:
                trial = there.submit(_usual_trial, entry, part.recipe, compute).result()
            part = with_trial(part, trial)
            yield part


def our_trial(
    entry: Entry,
    ours: ClassifierRecipe,
    dataset: ImageSet,
    compute: Compute,
    kind: type[Task] | None = None,
) -> Trial:
    """This project's training, with its schedule made for as many epochs as the cycle has.

    Args:
        kind: the task to train in place of the recipe's own.
    """
    if entry.contender == "ours_fp32":
        compute = replace(compute, precision="fp32")
    recipe = recipe_of(entry, ours)
    workload = make_workload(recipe, dataset, compute)
    task = workload.new_task(kind)
    train = our_training(task, workload, len(task) * recipe.epochs)
    return measured_trial(entry, task, lambda epoch: train(task.epoch(epoch)), until=1.0)


def usual_trial(entry: Entry, ours: ClassifierRecipe, dataset: ImageSet, compute: Compute) -> Trial:
    """The usual script's training, with its own data path."""
    recipe = recipe_of(entry, ours)
    tuned = entry.contender.endswith(TUNED)
    form = Form.best(compute) if tuned else Form.tutorial(compute, WORKERS)
    workload = make_workload(recipe, dataset, form.compute)
    task = workload.new_task()
    train = usual_script(Peer(task, workload, form, UsualLoader(task, workload, form)))
    return measured_trial(entry, task, lambda epoch: train(), until=max(GOALS))


def measured_trial(entry: Entry, task: Task, train: Callable[[int], None], until: float) -> Trial:
    """Train epoch by epoch to the end of the cycle, or until an accuracy is reached."""
    seconds, accuracy, spent = [], [], 0.0
    for epoch in range(entry.cycle):
        started = now()
        train(epoch)
        spent += now() - started
        seconds.append(spent)
        task.model.eval()
        accuracy.append(task.evaluate(task.model)["valid_accuracy"])
        if accuracy[-1] >= until:
            break
    return Trial(**entry._asdict(), seconds=seconds, accuracy=accuracy)


_dataset: list[ImageSet] = []  # in the other process


def _load(name: str, data_dir: str) -> None:
    _dataset.append(load_dataset(name, data_dir))


def _usual_trial(entry: Entry, ours: ClassifierRecipe, compute: Compute) -> Trial:
    return usual_trial(entry, ours, _dataset[0], compute)
