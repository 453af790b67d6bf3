"""How fast a graphics card trains: epochs, several runs at a time, and whether bits repeat."""

from dataclasses import replace

from msgspec import structs

from benchmarks.contenders import now, our_training
from benchmarks.growth import Setting, side_by_side, together
from benchmarks.measured import Card, CardPoint, Turns
from benchmarks.workloads import Workload, make_workload
from data import load_dataset
from harness.compute import Compute
from harness.errors import UserError
from harness.weights import digest_of
from recipes import Machine, Recipe

RUNS = (8,)  # at a time


def measure_card(
    recipes: dict[str, Recipe],
    machine: Machine,
    turns: Turns,
    data_dir: str,
    compute: Compute,
    command: str,
) -> Card:
    """Whole epochs alone, with CUDA graphs and without; then steps of several runs at a time.

    Raises:
        UserError: there is no graphics card; as `data.load_dataset`.
    """
    if compute.device.type != "cuda":
        raise UserError("--graphics-card needs one that PyTorch can use with CUDA")
    points, warm_up, repeats = [], {}, {}
    for model, recipe in recipes.items():
        workload = make_workload(recipe, load_dataset(recipe.dataset, data_dir), compute)
        images = len(workload.labels)
        for graphs in (True, False):
            form = replace(workload, compute=replace(compute, graphs=graphs))
            first, *seconds = epoch_seconds(form, turns.rounds)
            per_image = [one / images for one in seconds]
            points.append(
                CardPoint(model=model, graphs=graphs, runs=1, seconds_per_image=per_image)
            )
            if graphs:
                warm_up[model] = first - min(seconds)
            print(f"{model}, graphs {graphs}: {min(seconds):.2f} s an epoch", flush=True)
        repeats[model] = weights_after_an_epoch(workload) == weights_after_an_epoch(workload)
        setting = Setting(recipe, 1.0, structs.replace(machine, threads=1), turns, data_dir)
        for runs in RUNS:
            shared = together(list(side_by_side(runs, setting)))
            points.append(CardPoint(model=model, graphs=True, runs=runs, seconds_per_image=shared))
            print(f"{model}, {runs} runs: {min(shared) * images:.2f} s an epoch", flush=True)
    return Card(
        command=command,
        environment=compute.environment(),
        recipes=recipes,
        turns=turns,
        train_images=images,
        points=points,
        warm_up=warm_up,
        repeats=repeats,
    )


def epoch_seconds(workload: Workload, rounds: int) -> list[float]:
    """Of each epoch of one training, the first included."""
    task = workload.new_task()
    train = our_training(task, workload, len(task) * (1 + rounds))
    seconds = []
    for epoch in range(1 + rounds):
        started = now()
        train(task.epoch(epoch))
        seconds.append(now() - started)
    return seconds


def weights_after_an_epoch(workload: Workload) -> str:
    """Their digest."""
    task = workload.new_task()
    our_training(task, workload, len(task))(task.epoch(0))
    return digest_of(task.model.state_dict())
