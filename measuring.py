"""benchmark.py's measurement: every contender in turn, round after round."""

from importlib.metadata import version

from batches import Batches, Normalisation
from contenders import (
    EVALUATED_IMAGES,
    Conditions,
    Contender,
    Stopwatch,
    Task,
    bare_step,
    data_path,
    evaluation,
    flops_per_image,
    matrix_product,
    our_loop,
    tasks,
)
from data import ImageSet, split
from peers import WatchedLoader, installed_peers, peer_loop, usual_script
from rundir import describe_environment
from speed import summarise
from training import Compute

WORKERS = (0, 2)  # of the usual script's data loader


def measure(
    dataset: ImageSet,
    compute: Compute,
    *,
    width: float,
    batch_size: int,
    rounds: int,
    steps: int,
    seed: int,
) -> dict:
    """All figures on both models; what `speed` makes its tables and its picture of."""
    common = conditions(dataset, compute, batch_size, rounds, steps, seed)
    images = len(common.labels)
    models = {
        name: measure_model(name, task, common)
        for name, task in tasks(width, len(dataset.classes), seed).items()
    }
    return {
        "options": {"width": width, "batch_size": batch_size, "rounds": rounds, "steps": steps},
        "data": {
            "name": dataset.name,
            "train_images": images,
            "evaluated_images": min(images, EVALUATED_IMAGES),
        },
        "environment": describe_environment()
        | compute.describe()
        | {name: version(name) for name in installed_peers()},
        "models": models,
    }


def conditions(
    dataset: ImageSet, compute: Compute, batch_size: int, rounds: int, steps: int, seed: int
) -> Conditions:
    """The training split, cut and augmented as the training scripts do by default."""
    train, _ = split(dataset, seed)
    images, labels = dataset.train_images[train], dataset.train_labels[train]
    batches = Batches(
        images.to(compute.device),
        labels.to(compute.device),
        Normalisation.of(images),
        batch_size=batch_size,
        shift=2,
        flip="alternate",
        seed=seed,
    )
    return Conditions(images, labels, batches, compute, Stopwatch(steps), rounds)


def measure_model(name: str, task: Task, common: Conditions) -> dict:
    """One model's arithmetic, and each contender's time for an image, also as ratios."""
    loaders = {workers: WatchedLoader(task, common, workers) for workers in WORKERS}
    contenders = {
        "ours": our_loop(task, common),
        "bare": bare_step(task, common),
        **{f"usual_{n}": usual_script(task, loader) for n, loader in loaders.items()},
        **{peer: peer_loop(peer, task, loaders[0]) for peer in installed_peers()},
        "data": data_path(task, common),
        "matrix": matrix_product(task, common),
    }
    if name == "classifier":
        contenders |= evaluation(task, common)
    seconds = take_turns(name, contenders, common.rounds)
    return {
        "flops_per_image": flops_per_image(task, common),
        "seconds_per_image": seconds,
        "ratios": summarise(seconds),
    }


def take_turns(name: str, contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Seconds an image, round by round, of each contender; a round before them warms up."""
    seconds = {contender: [] for contender in contenders}
    for done in range(rounds + 1):
        for contender, run in contenders.items():
            seconds[contender].append(run())
        print(f"{name}: {f'round {done} of {rounds}' if done else 'warm'}", flush=True)
    return {contender: values[1:] for contender, values in seconds.items()}
