"""What benchmark.py times: this project's training, its parts, and what limits it.

A contender is called once a round, and returns the seconds that it took for one image.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import chain, count, islice, repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode

from autoencoding import new_autoencoder
from batches import Batches, corrupt
from classification import new_alexnet, predict
from compute import Compute
from progress import Progress
from training import evaluation_batches, make_scheduler, train_epoch

WARM_UP_STEPS = 2  # not timed: data workers start in them
EVALUATED_IMAGES = 10_000
LEARNING_RATE = 1e-3
MATRIX_SIZES = (1024, 2048)  # rows and columns
MATRIX_REPEATS = 3

Contender = Callable[[], float]


@dataclass(frozen=True)
class Task:
    """What is trained, in any loop's terms: the loss is `criterion(model(input), *targets)`.

    Args:
        to_batch: normalised images (N, 1, 28, 28) and labels (N,) to (input, *targets).
    """

    new_model: Callable[[], nn.Module]
    to_batch: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    criterion: Callable[..., Tensor]

    def loss_of(self, forward: Callable[..., Tensor], inputs: Tensor, *targets: Tensor) -> Tensor:
        """The loss as `training.train_epoch` asks for it."""
        return self.criterion(forward(inputs), *targets)

    def collate(self, examples: list[tuple[Tensor, int]]) -> tuple[Tensor, ...]:
        """A batch as `DataLoader` asks for it."""
        return self.to_batch(*default_collate(examples))


def as_they_are(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The classifier's batch."""
    return images, labels


def smoothed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The classifier's train loss."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=0.1)


def with_hidden_patches(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The autoencoder's batch: what it sees, what it should give, and which pixels count."""
    seen, counted = corrupt(images, "mask", torch.default_generator)
    return seen, images, counted


def hidden_squared_error(output: Tensor, images: Tensor, counted: Tensor) -> Tensor:
    """The autoencoder's train loss."""
    return ((output.float() - images).square() * counted).sum() / counted.sum()


def tasks(width: float, num_classes: int, seed: int) -> dict[str, Task]:
    """The two models that the training scripts train."""
    return {
        "classifier": Task(
            partial(new_alexnet, width, num_classes, seed), as_they_are, smoothed_cross_entropy
        ),
        "autoencoder": Task(
            partial(new_autoencoder, width, True, seed), with_hidden_patches, hidden_squared_error
        ),
    }


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
        self.seconds_per_image = math.nan
        batches = islice(batches, self.batches)
        yield from islice(batches, WARM_UP_STEPS)
        started, images = now(), 0
        for batch in islice(batches, self.steps):
            yield batch
            images += len(batch[0])
        self.seconds_per_image = (now() - started) / images
        yield from batches


def now() -> float:
    """Seconds on a clock, read when all that was asked of an accelerator is done."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


@dataclass(frozen=True)
class Conditions:
    """What all contenders have in common.

    Args:
        images: uint8 (N, 28, 28), the training split on the CPU.
        labels: int64 (N,)
        batches: the same split as this project's batches.
    """

    images: Tensor
    labels: Tensor
    batches: Batches
    compute: Compute
    stopwatch: Stopwatch
    rounds: int


def our_loop(task: Task, common: Conditions) -> Contender:
    """This project's training epoch, on the first batches of one epoch after the other."""
    stopwatch, compute = common.stopwatch, common.compute
    model = compute.place(task.new_model())
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    scheduler = make_scheduler(optimizer, "one-cycle", (1 + common.rounds) * stopwatch.batches)
    forward = compute.callable(model)
    rounds_done = count()

    def train() -> float:
        epochs = map(common.batches.epoch, count(next(rounds_done)))
        endless = (task.to_batch(*batch) for batch in chain.from_iterable(epochs))
        batches = stopwatch.watch(endless)
        # No terminal, so no bar: the lines of the benchmark are enough.
        with redirect_stderr(StringIO()), Progress(1, stopwatch.batches, 0) as progress:
            train_epoch(forward, optimizer, scheduler, batches, task.loss_of, compute, progress)
        return stopwatch.seconds_per_image

    return train


def bare_step(task: Task, common: Conditions) -> Contender:
    """Forward, backward and optimizer step, on one batch that is there already."""
    model = common.compute.place(task.new_model())
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    forward = common.compute.callable(model)
    fixed = task.to_batch(*next(common.batches.epoch(0)))

    def train() -> float:
        for batch in common.stopwatch.watch(repeat(fixed)):
            with common.compute.autocast():
                loss = task.loss_of(forward, *batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return common.stopwatch.seconds_per_image

    return train


def data_path(task: Task, common: Conditions) -> Contender:
    """One epoch of this project's batches, which nobody uses."""

    def read() -> float:
        started = now()
        for batch in common.batches.epoch(0):
            task.to_batch(*batch)
        return (now() - started) / len(common.labels)

    return read


def matrix_product(task: Task, common: Conditions) -> Contender:
    """The training step's arithmetic alone, at the rate of the fastest large matrix product."""
    dtype = torch.bfloat16 if common.compute.precision == "bf16" else torch.float32
    device = common.compute.device
    matrices = [torch.randn(size, size, device=device).to(dtype) for size in MATRIX_SIZES]
    flops = flops_per_image(task, common)

    def multiply() -> float:
        rates = []
        for matrix in matrices * MATRIX_REPEATS:
            started = now()
            matrix @ matrix
            rates.append(2 * len(matrix) ** 3 / (now() - started))
        return flops / max(rates)

    return multiply


def flops_per_image(task: Task, common: Conditions) -> float:
    """Floating-point operations of convolutions and matrix products, forward and backward."""
    model = task.new_model()
    inputs, *targets = (part.cpu() for part in task.to_batch(*next(common.batches.epoch(0))))
    with FlopCounterMode(display=False) as counter:
        task.criterion(model(inputs), *targets).backward()
    return counter.get_total_flops() / len(inputs)


def evaluation(task: Task, common: Conditions) -> dict[str, Contender]:
    """This project's evaluation, and the forward passes in it alone, on batches already cut."""
    images = common.images[:EVALUATED_IMAGES]
    labels = common.labels[:EVALUATED_IMAGES]
    compute = common.compute
    batches = evaluation_batches(images, labels, common.batches.normalise, compute)
    cut = [batch for batch, _ in batches.in_order()]
    model = compute.place(task.new_model()).eval()
    forward = compute.callable(model)

    def evaluate() -> float:
        started = now()
        predict(forward, batches, compute)
        return (now() - started) / len(labels)

    @torch.inference_mode()
    def forward_only() -> float:
        started = now()
        for batch in cut:
            with compute.autocast():
                forward(batch)
        return (now() - started) / len(labels)

    return {"evaluation": evaluate, "forward": forward_only}
