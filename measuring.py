"""benchmark.py's measurement: every contender in turn, round after round."""

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context

import torch

from batches import Batches, Normalisation
from compute import Compute
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
from data import load_dataset, split
from peers import WatchedLoader, installed_peers, peer_loop, usual_script
from rundir import describe_environment
from speed import summarise

USUAL = {"usual_0": 0, "usual_2": 2}  # the usual script, by its data loader's workers


@dataclass(frozen=True)
class Setting:
    """What is measured on; names and meaning as on the command line."""

    dataset: str
    data_dir: str
    width: float
    batch_size: int
    rounds: int
    steps: int
    seed: int


def measure(setting: Setting, compute: Compute) -> dict:
    """All figures on both models; what `speed` makes its tables and its picture of.

    Raises:
        UserError: as `data.load_dataset`.
    """
    models, common = prepare(setting, compute)
    with other_process(setting, compute) as others:
        measured = {
            name: measure_model(name, task, common, others) for name, task in models.items()
        }
    options = asdict(setting)
    images = len(common.labels)
    return {
        "options": {name: options[name] for name in ("width", "batch_size", "rounds", "steps")},
        "data": {
            "name": setting.dataset,
            "train_images": images,
            "evaluated_images": min(images, EVALUATED_IMAGES),
        },
        "environment": describe_environment()
        | compute.describe()
        | {name: version(name) for name in installed_peers()},
        "models": measured,
    }


def prepare(setting: Setting, compute: Compute) -> tuple[dict[str, Task], Conditions]:
    """The models, and the training split cut and augmented as the training scripts do it."""
    dataset = load_dataset(setting.dataset, setting.data_dir)
    train, _ = split(dataset, setting.seed)
    images, labels = dataset.train_images[train], dataset.train_labels[train]
    batches = Batches(
        images.to(compute.device),
        labels.to(compute.device),
        Normalisation.of(images),
        batch_size=setting.batch_size,
        shift=2,
        flip="alternate",
        seed=setting.seed,
    )
    common = Conditions(images, labels, batches, compute, Stopwatch(setting.steps), setting.rounds)
    return tasks(setting.width, len(dataset.classes), setting.seed), common


def measure_model(name: str, task: Task, common: Conditions, others: "OtherProcess") -> dict:
    """One model's arithmetic, and each contender's time for an image, also as ratios."""
    contenders = {
        "ours": our_loop(task, common),
        "bare": bare_step(task, common),
        **{other: others.contender(other, name) for other in (*USUAL, *installed_peers())},
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


@dataclass(frozen=True)
class OtherProcess:
    """Where the usual script and other libraries' loops run as they would by themselves.

    In this project's own process they would gain from `compute.keep_freed_memory`.
    """

    pool: ProcessPoolExecutor

    def contender(self, name: str, model: str) -> Contender:
        """The loop of this name on this model; it is built there, and only its time comes back."""
        self.pool.submit(_build, name, model).result()
        return lambda: self.pool.submit(_call, name, model).result()


@contextmanager
def other_process(setting: Setting, compute: Compute) -> Iterator[OtherProcess]:
    """A process that has prepared the same models and conditions, with as many threads."""
    start = (setting, compute, torch.get_num_threads())
    with ProcessPoolExecutor(1, get_context("spawn"), _start, start) as pool:
        yield OtherProcess(pool)


# The state of the other process: what `prepare` gives there, and the contenders built from it.
_prepared: list = []
_built: dict[tuple[str, str], Contender] = {}


def _start(setting: Setting, compute: Compute, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
    torch.set_num_threads(threads)
    _prepared.extend(prepare(setting, compute))


def _build(name: str, model: str) -> None:
    models, common = _prepared
    task = models[model]
    loader = WatchedLoader(task, common, USUAL.get(name, 0))
    _built[name, model] = (
        usual_script(task, loader) if name in USUAL else peer_loop(name, task, loader)
    )


def _call(name: str, model: str) -> float:
    return _built[name, model]()
