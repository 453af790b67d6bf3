"""This project's training, its parts, and what limits it.

A contender is called once a round, and returns the seconds that it took for one image.
"""

import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from msgspec.structs import replace
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import pretrain_autoencoder
import train_baseline
from data import ImageSet
from harness.compute import Compute
from harness.progress import quietly
from harness.rundir import Run
from metrics import Metrics
from recipes import AutoencoderRecipe, Recipe, Setup
from training import Task, fit, make_backward, make_optimizer

WARM_UP_STEPS = 2  # not timed: data workers start in them
MATRIX_SIZES = (1024, 2048)  # rows and columns
MATRIX_REPEATS = 3
KINDS = {  # of operation, and how a profile calls them; the first that fits counts
    "convolutions": "conv",
    "batch normalisation": "batch_?norm",
    "pooling": "pool",
    "ReLU": "relu|threshold|clamp_min",
    "upsampling and concatenation": "upsample|aten::cat",
    "linear layers": "aten::(mm|addmm|linear)",
    "optimizer": "adam|optimizer",
    "everything else": "",
}

Contender = Callable[[], float]
Loop = tuple[str, bool]  # its name, and whether it is tuned


def new_task(recipe: Recipe, dataset: ImageSet, compute: Compute) -> Task:
    """The experiment's own task."""
    is_autoencoder = isinstance(recipe, AutoencoderRecipe)
    script = pretrain_autoencoder if is_autoencoder else train_baseline
    return script.new_task(recipe, dataset, compute)


def now() -> float:
    """Seconds on a clock, read when all that was asked of an accelerator is done."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def timed(action: Callable[[], object], images: int) -> Contender:
    """A contender that does the action, which handles so many images."""

    def contend() -> float:
        started = now()
        action()
        return (now() - started) / images

    return contend


class Stopwatch:
    """Times a training loop by when it asks for batches, so that any loop can be timed alike.

    Args:
        steps: how many are timed, after `WARM_UP_STEPS` that are not.
    """

    def __init__(self, steps: int):
        self.steps = steps
        self.batches = WARM_UP_STEPS + steps + 1  # the request for one more ends the last step
        self.seconds_per_image = math.nan

    def watch(self, batches: Iterable[Sequence[Tensor]]) -> Iterator[Sequence[Tensor]]:
        """The first of the batches; once all are used, `seconds_per_image` tells of the loop."""
        batches = islice(batches, self.batches)
        yield from islice(batches, WARM_UP_STEPS)
        started, images = now(), 0
        for batch in islice(batches, self.steps):
            yield batch
            images += len(batch[0])
        self.seconds_per_image = (now() - started) / images
        yield from batches

    def times(self, train: Callable[[], object]) -> Contender:
        """A contender that trains on batches which this stopwatch watches."""

        def contend() -> float:
            train()
            return self.seconds_per_image

        return contend


class Watched:
    """A task whose epoch is a few batches, under a stopwatch; it is not evaluated."""

    def __init__(self, task: Task, stopwatch: Stopwatch):
        self.task, self.stopwatch = task, stopwatch
        self.recipe = replace(task.recipe, epochs=1)

    def __getattr__(self, name: str) -> object:
        return getattr(self.task, name)

    def __len__(self) -> int:
        return self.stopwatch.batches

    def epoch(self, epoch: int) -> Iterator[Sequence[Tensor]]:
        return self.stopwatch.watch(chain.from_iterable(map(self.task.epoch, count(epoch))))

    def evaluate(self, forward: Callable[..., Tensor]) -> dict[str, float]:
        return {"valid_loss": 0.0}


def train(task: Task) -> list[dict]:
    """This project's own training, in a folder that does not stay; its history."""
    with TemporaryDirectory() as folder, quietly(True):
        return fit(Run(Path(folder), Setup(recipe=task.recipe), Metrics), task, pictures=dict)


def our_loop(task: Task, steps: int) -> Contender:
    stopwatch = Stopwatch(steps)
    return stopwatch.times(lambda: train(Watched(task, stopwatch)))


def bare_step(task: Task, steps: int) -> Contender:
    """Forward, backward and optimizer step, on one batch that is there already."""
    compute, stopwatch = task.compute, Stopwatch(steps)
    optimizer = make_optimizer(task)
    backward = make_backward(task, compute.callable(task.model), optimizer, compute)
    fixed = next(iter(task.epoch(0)))

    def step_by_step() -> None:
        for batch in stopwatch.watch(repeat(fixed)):
            backward(*batch)
            optimizer.step()

    return stopwatch.times(step_by_step)


def our_contenders(make: Callable[[], Task], steps: int) -> dict[Loop, Contender]:
    """This project's training, and the parts of it that `--check` holds it against.

    Args:
        make: a new task at each call.
    """
    data = make()
    return {
        ("this project", True): our_loop(make(), steps),
        ("bare step on one batch", True): bare_step(make(), steps),
        ("data", True): timed(lambda: deque(data.epoch(0), maxlen=0), len(data.batches.labels)),
    }


def our_parts(task: Task) -> dict[Loop, Contender]:
    """A step's multiplications at a large product's rate; evaluation, and its forward passes."""
    compute, images, flops = task.compute, len(task.valid_batches.labels), flops_per_image(task)
    dtype = torch.bfloat16 if compute.precision == "bf16" else torch.float32
    matrices = [torch.randn(n, n, device=compute.device).to(dtype) for n in MATRIX_SIZES]
    products = [timed(lambda m=m: m @ m, 2 * len(m) ** 3) for m in matrices * MATRIX_REPEATS]
    forward, inputs = compute.callable(task.model.eval()), []
    task.evaluate(lambda batch: inputs.append(batch) or task.model(batch))

    @torch.inference_mode()
    def forward_only() -> None:
        for batch in inputs:
            with compute.autocast():
                forward(batch)

    return {
        ("matrix", True): lambda: flops * min(product() for product in products),
        ("evaluation", True): timed(lambda: task.evaluate(forward), images),
        ("forward", True): timed(forward_only, images),
    }


def flops_per_image(task: Task) -> float:
    """Floating-point operations of convolutions and matrix products, forward and backward."""
    inputs, *targets = next(iter(task.epoch(0)))
    with FlopCounterMode(display=False) as counter:
        task.loss(task.model(inputs), *targets).backward()
    return counter.get_total_flops() / len(inputs)


def operation_shares(task: Task, steps: int) -> dict[str, float]:
    """Each kind's share of the time of so many bare steps, in [0, 1]; together they are 1."""
    step = bare_step(task, steps)
    step()  # warms up
    on_card = task.compute.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_card]) as seen:
        step()
    spent = dict.fromkeys(KINDS, 0.0)
    for event in seen.key_averages():
        kind = next(kind for kind, name in KINDS.items() if re.search(name, event.key.lower()))
        spent[kind] += event.self_device_time_total if on_card else event.self_cpu_time_total
    return {kind: own / sum(spent.values()) for kind, own in spent.items()}
