"""What benchmark.py times: this project's training, its parts, and what limits it.

A contender is called once a round, and returns the seconds that it took for one image.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import chain, count, islice, repeat

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.workloads import Workload
from harness.progress import Progress
from training import Task, make_backward, make_scheduler, train_epoch

WARM_UP_STEPS = 2  # not timed: data workers start in them
MATRIX_SIZES = (1024, 2048)  # rows and columns
MATRIX_REPEATS = 3

Contender = Callable[[], float]
TrainBatches = Callable[[Iterable[tuple[Tensor, ...]]], None]


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


def our_training(task: Task, workload: Workload, steps: int) -> TrainBatches:
    """This project's training, set up as `training.fit` does it, for so many steps in all."""
    recipe, compute = workload.recipe, workload.compute
    compute.place(task.model)
    optimizer = torch.optim.Adam(task.parameter_groups(recipe.learning_rate), fused=True)
    scheduler = make_scheduler(optimizer, recipe.schedule, steps)
    backward = make_backward(task, compute.callable(task.model), optimizer, compute)

    def train(batches: Iterable[tuple[Tensor, ...]]) -> None:
        task.model.train()
        # No terminal, so no bar, and no word of the time left: the benchmark has its own lines.
        nowhere = StringIO()
        with redirect_stderr(nowhere), redirect_stdout(nowhere), Progress(1, steps, 0) as progress:
            train_epoch(backward, optimizer, scheduler, batches, progress)

    return train


def our_loop(workload: Workload, stopwatch: Stopwatch, rounds: int) -> Contender:
    """This project's training epoch, on the first batches of one epoch after the other."""
    task = workload.new_task()
    train = our_training(task, workload, (1 + rounds) * stopwatch.batches)
    rounds_done = count()

    def contend() -> float:
        endless = chain.from_iterable(map(task.epoch, count(next(rounds_done))))
        train(stopwatch.watch(endless))
        return stopwatch.seconds_per_image

    return contend


def bare_step(workload: Workload, stopwatch: Stopwatch) -> Contender:
    """Forward, backward and optimizer step, on one batch that is there already."""
    task, compute = workload.new_task(), workload.compute
    forward = compute.callable(compute.place(task.model))
    groups = task.parameter_groups(workload.recipe.learning_rate)
    optimizer = torch.optim.Adam(groups, fused=True)
    backward = make_backward(task, forward, optimizer, compute)
    fixed = next(iter(task.epoch(0)))

    def contend() -> float:
        for batch in stopwatch.watch(repeat(fixed)):
            backward(*batch)
            optimizer.step()
        return stopwatch.seconds_per_image

    return contend


def data_path(workload: Workload) -> Contender:
    """One epoch of this project's batches, which nobody uses."""
    task = workload.new_task()

    def contend() -> float:
        started = now()
        for _ in task.epoch(0):
            pass
        return (now() - started) / len(workload.labels)

    return contend


def matrix_product(workload: Workload) -> Contender:
    """The training step's arithmetic alone, at the rate of the fastest large matrix product."""
    dtype = torch.bfloat16 if workload.compute.precision == "bf16" else torch.float32
    device = workload.compute.device
    matrices = [torch.randn(size, size, device=device).to(dtype) for size in MATRIX_SIZES]
    flops = flops_per_image(workload)

    def contend() -> float:
        rates = []
        for matrix in matrices * MATRIX_REPEATS:
            started = now()
            matrix @ matrix
            rates.append(2 * len(matrix) ** 3 / (now() - started))
        return flops / max(rates)

    return contend


def flops_per_image(workload: Workload) -> float:
    """Floating-point operations of convolutions and matrix products, forward and backward."""
    task = workload.new_task()
    inputs, *targets = (part.cpu() for part in next(iter(task.epoch(0))))
    with FlopCounterMode(display=False) as counter:
        task.loss(task.model(inputs), *targets).backward()
    return counter.get_total_flops() / len(inputs)


def evaluation(workload: Workload) -> dict[str, Contender]:
    """This project's evaluation of the validation images, and the forward passes in it alone."""
    task, compute = workload.new_task(), workload.compute
    model = compute.place(task.model).eval()
    forward = compute.callable(model)
    images = len(workload.valid_batches.labels)
    inputs: list[Tensor] = []

    def remember(batch: Tensor) -> Tensor:
        inputs.append(batch)
        return model(batch)

    task.evaluate(remember)

    def evaluate() -> float:
        started = now()
        task.evaluate(forward)
        return (now() - started) / images

    @torch.inference_mode()
    def forward_only() -> float:
        started = now()
        for batch in inputs:
            with compute.autocast():
                forward(batch)
        return (now() - started) / images

    return {"evaluation": evaluate, "forward": forward_only}
