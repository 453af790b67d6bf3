"""The one training loop: batches, learning-rate schedule, checkpoints."""

import math
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from batches import Batches, Normalisation
from data import SIZE, ImageSet, derive_seed
from harness.board import Board
from harness.compute import Compute
from harness.errors import UserError
from harness.progress import Progress
from harness.rundir import Data, Run
from harness.weights import Tensors, fill, load_weights, save_weights
from recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WARM_UP = 0.1  # share of a one-cycle run in which the learning rate rises
EVALUATION_BATCH = 250  # images; a larger one leaves a CPU's cache


class Task(Protocol):
    """What is trained. A batch's mean loss is `loss(model(inputs), *targets)`."""

    model: nn.Module
    batches: Batches

    def __len__(self) -> int:
        """Batches an epoch."""

    def epoch(self, epoch: int) -> Iterable[tuple[Tensor, ...]]:
        """The epoch's batches, each (inputs, *targets); a function of the epoch alone."""

    def loss(self, output: Tensor, *targets: Tensor) -> Tensor:
        """A batch's mean loss, a scalar; `output` is float32."""

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """Adam's parameter groups."""

    def evaluate(self, forward: Callable[..., Tensor]) -> dict[str, float]:
        """What is measured on validation images, without randomness."""

    def pictures(self) -> dict[str, "Figure"]:
        """What the model does with validation images, for TensorBoard."""


def fit(run: Run, task: Task, recipe: Recipe, compute: Compute) -> list[dict]:
    """Train the task's model in place with Adam, from the run's last checkpoint on.

    Returns:
        history, a row for each epoch that was measured: mean losses over the images, the train
        loss since the row before; the rate at the epoch's end.

    Raises:
        UserError: a loss is no longer a finite number; the last good checkpoint stays.
    """
    optimizer = torch.optim.Adam(task.parameter_groups(recipe.learning_rate), fused=True)
    scheduler = make_scheduler(optimizer, recipe.schedule, len(task) * recipe.epochs)
    size, steps = size_of(task.model, compute), len(task)
    print(f"{size}; {recipe.epochs} epochs of {steps} steps", flush=True)
    history = load_checkpoint(run, task.model, optimizer, scheduler)
    board = Board(run.folder, history) if run.tensorboard else None
    done = history[-1]["epoch"] if history else 0
    forward = compute.callable(task.model)
    backward = make_backward(task, forward, optimizer, compute)
    images = len(task.batches.labels) / steps
    with Progress(recipe.epochs, steps, done, images) as progress:
        for leg in legs(done, recipe.epochs, recipe.validations):
            started = time.perf_counter()
            task.model.train()
            losses = []
            for epoch in leg:
                torch.manual_seed(derive_seed(recipe.seed, "model", epoch + 1))
                batches = task.epoch(epoch)
                losses.append(train_epoch(backward, optimizer, scheduler, batches, progress))
            task.model.eval()
            row = {
                "epoch": leg.stop,
                "train_loss": sum(losses) / len(losses),
                **task.evaluate(forward),
                "learning_rate": scheduler.get_last_lr()[-1],
                "seconds": time.perf_counter() - started,
            }
            refuse_infinite(row)
            history.append(row)
            save_checkpoint(run, task.model, optimizer, scheduler, history)
            progress.end_epoch(row)
            if board:
                board.add(row, task.pictures())
    return history


@torch.no_grad()
def size_of(model: nn.Module, compute: Compute) -> str:
    """Parameters, and the multiply-adds of one image, in words."""
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, 1, SIZE, SIZE, device=compute.device))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    millions = counter.get_total_flops() / 2 / 1e6
    return f"{parameters:,} parameters, {millions:.1f} million multiply-adds an image"


def legs(done: int, epochs: int, validations: int) -> list[range]:
    """The epochs still to train, cut after each that is measured: every n-th and the last."""
    every = math.ceil(epochs / validations)
    ends = [done, *(end for end in range(every, epochs, every) if end > done), epochs]
    return [range(a, b) for a, b in pairwise(ends) if a < b]


def make_scheduler(
    optimizer: torch.optim.Optimizer, schedule: str, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """One cycle (Smith 2018, arXiv:1803.09820), linear up and down, or a constant rate."""
    if schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    rates = steps + 1  # the rate after the last step, which is shown, is one too
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=rates,
        pct_start=max(WARM_UP, 2 / rates),  # it divides by zero where it cannot rise by one step
        anneal_strategy="linear",
        cycle_momentum=False,
    )


def make_backward(
    task: Task, forward: Callable[..., Tensor], optimizer: torch.optim.Optimizer, compute: Compute
) -> Callable[..., Tensor]:
    """What computes a batch's gradients: from (inputs, *targets), its mean loss."""

    def backward(inputs: Tensor, *targets: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with compute.autocast():
            loss = task.loss(forward(inputs).float(), *targets)
        loss.backward()
        return loss.detach()

    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return compute.recorded(backward, parameters)


def train_epoch(
    backward: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[tuple[Tensor, ...]],
    progress: Progress,
) -> float:
    """One pass over the batches; the mean loss over images."""
    loss_sum, images_seen = 0.0, 0
    for batch in batches:
        loss, images = backward(*batch), len(batch[0])
        optimizer.step()
        scheduler.step()
        loss_sum += loss * images  # stays on the device: reading it would make a GPU wait
        images_seen += images
        progress.step(lambda loss=loss: loss.item())
    return loss_sum.item() / images_seen


def refuse_infinite(row: dict) -> None:
    """Raise UserError where a figure of an epoch is no longer a finite number."""
    for name, value in row.items():
        if not math.isfinite(value):
            raise UserError(
                f"{name} is {value} after epoch {row['epoch']}: use a lower --learning-rate"
            )


class Checkpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The card of a checkpoint: what is needed to resume, beside the tensors.

    Args:
        steps: optimizer steps done.
        rates: the learning rate of each parameter group after them.
    """

    history: list[dict[str, float]]
    steps: Annotated[int, Meta(ge=1)]
    rates: list[float]


def save_checkpoint(run: Run, model, optimizer, scheduler, history: list[dict]) -> None:
    """Write everything needed to resume after this epoch."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    card = Checkpoint(history=history, steps=scheduler.last_epoch, rates=scheduler.get_last_lr())
    save_weights(run.checkpoint_path, tensors, card)
    run.write_history(history)


def load_checkpoint(run: Run, model, optimizer, scheduler) -> list[dict]:
    """Load what `save_checkpoint` wrote, if anything; the history so far.

    Raises:
        UserError: the checkpoint is damaged or of another network.
    """
    path = run.checkpoint_path
    if not path.exists():
        return []
    tensors, card = load_weights(path, Checkpoint, "the same command with --overwrite")
    fill(model, with_prefix(tensors, "model."), path)
    restore_optimizer(optimizer, with_prefix(tensors, "optimizer."), path)
    progress = {"last_epoch": card.steps, "_step_count": card.steps + 1, "_last_lr": card.rates}
    scheduler.load_state_dict(scheduler.state_dict() | progress)
    for group, rate in zip(optimizer.param_groups, card.rates, strict=True):
        group["lr"] = rate
    history = [{**row, "epoch": int(row["epoch"])} for row in card.history]
    run.write_history(history)  # the kill may have come between the two
    print(f"resuming after epoch {history[-1]['epoch']}", flush=True)
    return history


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors, path: Path) -> None:
    """Give Adam its steps and moments back, `<parameter's index>.<name>` each.

    Raises:
        UserError: they are not of this optimizer's parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, Tensors] = {}
    for index, parameter in enumerate(parameters):
        moments = with_prefix(tensors, f"{index}.")
        if not moments:  # of a frozen parameter
            continue
        shapes = {name: tuple(tensor.shape) for name, tensor in moments.items()}
        shape = tuple(parameter.shape)
        if shapes != {"step": (), "exp_avg": shape, "exp_avg_sq": shape}:
            raise UserError(f"'{path}' is of another optimizer: use --overwrite")
        # In the parameter's memory layout, which the fused optimizer takes for granted.
        state[index] = {
            name: torch.empty_like(parameter).copy_(moment) if moment.ndim else moment
            for name, moment in moments.items()
        }
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors whose names begin with the prefix, by the rest of their names."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def describe_data(dataset: ImageSet, used: Tensor, valid: Tensor) -> Data:
    """What config.json says of the images; `used` and `valid` are indices of training images."""
    return Data(
        name=dataset.name,
        digest=dataset.digest,
        train_images=len(used),
        valid_images=len(valid),
        test_images=len(dataset.test_labels),
    )


def training_batches(
    dataset: ImageSet, index: Tensor, normalise: Normalisation, recipe: Recipe, compute: Compute
) -> Batches:
    """The training images of these indices on the device, augmented as the recipe says."""
    return Batches(
        dataset.train_images[index].to(compute.device),
        dataset.train_labels[index].to(compute.device),
        normalise,
        batch_size=recipe.batch_size,
        shift=recipe.shift,
        flip=recipe.flip,
        seed=recipe.seed,
    )


def evaluation_batches(
    images: Tensor, labels: Tensor, normalise: Normalisation, compute: Compute, shift: int = 0
) -> Batches:
    """Batches of uint8 images (n, 28, 28) to be read in order, moved by up to `shift` pixels."""
    return Batches(
        images.to(compute.device),
        labels.to(compute.device),
        normalise,
        batch_size=EVALUATION_BATCH,
        shift=shift,
    )
