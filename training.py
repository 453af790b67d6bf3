"""The one training loop: tasks, optimizers, learning-rate schedule, checkpoints."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from msgspec import Meta, Struct
from msgspec.structs import asdict
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from batches import Batches
from data import SIZE, ImageSet, derive_seed, load_dataset
from harness.board import Board, summary_writer
from harness.compute import Compute, Recorded, set_up_compute
from harness.errors import UserError
from harness.options import take
from harness.progress import Progress, counted, quietly
from harness.rundir import Data, Run
from harness.weights import Tensors, fill, load_weights, save_weights
from metrics import Metrics
from models import hidden_filters
from recipes import ENCODER, Machine, Recipe, Setup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WARM_UP = 0.1  # share of a one-cycle run in which the learning rate rises
MUON_RATE = 25  # Muon's learning rate, as a multiple of Adam's; longer runs want less of both
MUON_MOMENTUM = 0.6
NEWTON_SCHULZ_STEPS = 3


def train_or_resume(setup: Setup, args, train: Callable[[Run, ImageSet, Compute], None]) -> None:
    """Train what the command line asks for, or go on with it, or say that it is finished.

    Args:
        args: the command line's, with `Files`, `Display` and `Machine`.
        train: trains the run and writes its results.

    Raises:
        UserError: as `Run`, `summary_writer`, `set_up_compute`, `load_dataset` and `train`.
    """
    weights = ENCODER if setup.kind == "autoencoder" else ""
    with quietly(args.quiet):
        run = Run(setup.folder(args.runs_dir), setup, Metrics, weights, args.overwrite)
        run.tensorboard = args.tensorboard
        if run.finished:
            return run.tidy_up()
        if args.tensorboard:
            summary_writer()  # before anything is deleted
        compute = set_up_compute(**asdict(take(args, Machine)))
        train(run, load_dataset(setup.recipe.dataset, args.data_dir), compute)


class Task(nn.Module):
    """What is trained: a model, with its batches. Each kind of task has beside that:

    - `epoch(epoch)`: the epoch's batches, each (inputs, *targets); a function of the epoch alone.
    - `loss(output, *targets)`: a batch's mean loss, a scalar, of the model's float32 output.
    - `parameter_groups()`: the optimizer's, those of the highest rate last.
    - `evaluate(forward)`: what is measured on validation images, without randomness.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        valid_batches: Batches,
        recipe: Recipe,
        compute: Compute,
    ):
        super().__init__()
        self.model = compute.place(model)
        self.batches = batches
        self.valid_batches = valid_batches
        self.recipe = recipe
        self.compute = compute

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.batches)

    def data(self, dataset: ImageSet) -> Data:
        """What config.json says of the images."""
        return Data(
            name=dataset.name,
            digest=dataset.digest,
            train_images=len(self.batches.labels),
            valid_images=len(self.valid_batches.labels),
            test_images=len(dataset.test_labels),
        )

    @cached_property
    @torch.no_grad()
    def size(self) -> dict[str, int]:
        """`parameters`, and `multiply_adds` of one image in the convolutions and linear layers."""
        with FlopCounterMode(display=False) as counter:
            self.model.eval()(torch.zeros(1, 1, SIZE, SIZE, device=self.compute.device))
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return {"parameters": parameters, "multiply_adds": counter.get_total_flops() // 2}


def fit(run: Run, task: Task, pictures: Callable[[], dict[str, "Figure"]]) -> list[dict]:
    """Train the task's model in place, from the run's last checkpoint on.

    Args:
        pictures: what the model does with validation images, for TensorBoard.

    Returns:
        history, a row for each epoch that was measured: mean losses over the images, the train
        loss since the row before; the rate at the epoch's end.

    Raises:
        UserError: a loss is no longer a finite number; the last good checkpoint stays.
    """
    recipe, compute, steps = task.recipe, task.compute, len(task)
    optimizer = make_optimizer(task)
    scheduler = make_scheduler(optimizer, recipe.schedule, steps * recipe.epochs)
    images = len(task.batches.labels)
    print(f"{run.folder}: {counted(images, 'image')} on {compute}")
    length = f"{counted(recipe.epochs, 'epoch')} of {counted(steps, 'step')}"
    print(f"{in_words(**task.size)}; {length}", flush=True)
    history = load_checkpoint(run, task, optimizer, scheduler)
    board = Board(run.folder, history) if run.tensorboard else None
    done = history[-1]["epoch"] if history else 0
    forward = compute.callable(task.model)
    backward = make_backward(task, forward, optimizer, compute)
    with Progress(recipe.epochs, steps, done, images / steps) as progress:
        for leg in legs(done, recipe.epochs, recipe.validations):
            started = time.perf_counter()
            task.train()
            losses, first = [], not history
            with unbiased_statistics(task.model, len(leg) * steps) if first else nullcontext():
                for epoch in leg:
                    torch.manual_seed(derive_seed(recipe.seed, "model", epoch + 1))
                    batches = task.epoch(epoch)
                    losses.append(train_epoch(backward, optimizer, scheduler, batches, progress))
            task.eval()
            row = {
                "epoch": leg.stop,
                "train_loss": sum(losses) / len(losses),
                **task.evaluate(forward),
                "learning_rate": scheduler.get_last_lr()[-1],
                "seconds": time.perf_counter() - started,
            }
            refuse_infinite(row)
            history.append(row)
            save_checkpoint(run, task, optimizer, scheduler, history)
            progress.end_epoch(row)
            if board:
                board.add(row, pictures())
    return history


@contextmanager
def unbiased_statistics(model: nn.Module, steps: int) -> Iterator[None]:
    """Meanwhile, that is in a training's first steps, no running statistics of before count.

    Batch normalisation's begin with mean 0 and variance 1, or as in pretraining, of which a tenth
    is left after 22 steps: in one layer little, but over all enough to make a short training's
    predictions useless. As in Adam, the moving averages begin with 0 and are divided by the sum
    of their weights. After some hundred steps, all of this is below their last bit.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    trained = [norm for norm in norms if norm.training]  # a frozen encoder's are as they shall be
    for norm in trained:
        norm.running_mean.zero_()
        norm.running_var.zero_()
    yield
    for norm in trained:
        weights = 1 - (1 - norm.momentum) ** steps
        norm.running_mean /= weights
        norm.running_var /= weights


def in_words(parameters: int, multiply_adds: int) -> str:
    return f"{parameters:,} parameters, {multiply_adds / 1e6:.1f} million multiply-adds an image"


def legs(done: int, epochs: int, validations: int) -> list[range]:
    """The epochs still to train, cut after each that is measured: every n-th and the last."""
    every = math.ceil(epochs / validations)
    ends = [done, *(end for end in range(every, epochs, every) if end > done), epochs]
    return [range(a, b) for a, b in pairwise(ends) if a < b]


def make_optimizer(task: Task) -> torch.optim.Optimizer:
    """Adam; or Muon for the filters of 3x3 convolutions but the first, and Adam for the rest.

    With Muon for the classifier's two hidden layers, too, validation accuracy was no higher after
    one epoch, and Muon took several times as long.
    """
    groups = task.parameter_groups()
    if task.recipe.optimizer == "adam":
        return torch.optim.Adam(groups, fused=True)
    filters = {id(weight) for weight in hidden_filters(task.model)}
    parts = [
        {
            **group,
            "params": [p for p in group["params"] if (id(p) in filters) == muon],
            "muon": muon,
        }
        for muon in (True, False)
        for group in groups
    ]
    return Muon([part for part in parts if part["params"]], fused=True)


class Muon(torch.optim.Adam):
    """Adam, but for groups that are marked `muon`: their steps are matrices near orthogonal ones.

    Momentum's step is orthogonalised by Newton and Schulz's iteration (Jordan 2024,
    https://kellerjordan.github.io/posts/muon), with filters flattened to a matrix, and weights are
    kept at a norm of the square root of the number of their outputs, as in his
    https://github.com/KellerJordan/cifar10-airbench. PyTorch's own Muon takes matrices alone,
    and computes in bf16, which many processors only emulate.
    """

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in group["params"] if group["muon"] else ():
                if weight.grad is not None:  # not of a frozen encoder
                    self._muon_step(weight, MUON_RATE * group["lr"])
                    weight.grad = None  # so that Adam leaves it alone
        super().step()

    def __setstate__(self, state: dict) -> None:
        torch.optim.Optimizer.__setstate__(self, state)  # Adam's wants its own in every state

    def _muon_step(self, weight: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(MUON_MOMENTUM).add_(weight.grad)
        step = orthogonalised(weight.grad.add(momentum, alpha=MUON_MOMENTUM).flatten(1))
        weight.mul_(len(weight) ** 0.5 / weight.norm())
        weight.sub_(step.view(weight.shape), alpha=rate)


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors, and singular values near 1.

    It may be of any shape; it is fastest with fewer rows than columns.
    """
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = matrix @ matrix.mT
        matrix = 3.4445 * matrix + (2.0315 * square @ square - 4.7750 * square) @ matrix
    return matrix


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
    return Recorded(backward, parameters) if compute.graphs else backward


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


def save_checkpoint(run: Run, task: Task, optimizer, scheduler, history: list[dict]) -> None:
    """Write everything needed to resume after this epoch."""
    tensors = dict(task.state_dict())
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    card = Checkpoint(history=history, steps=scheduler.last_epoch, rates=scheduler.get_last_lr())
    save_weights(run.checkpoint_path, tensors, card)
    run.write_history(history)


def load_checkpoint(run: Run, task: Task, optimizer, scheduler) -> list[dict]:
    """Load what `save_checkpoint` wrote, if anything; the history so far.

    Raises:
        UserError: the checkpoint is damaged or of another network.
    """
    path = run.checkpoint_path
    if not path.exists():
        return []
    tensors, card = load_weights(path, Checkpoint, "the same command with --overwrite")
    state = {name: tensors.pop(name) for name in [*tensors] if name.startswith("optimizer.")}
    fill(task, tensors, path)
    restore_optimizer(optimizer, state, path)
    progress = {"last_epoch": card.steps, "_step_count": card.steps + 1, "_last_lr": card.rates}
    scheduler.load_state_dict(scheduler.state_dict() | progress)
    for group, rate in zip(optimizer.param_groups, card.rates, strict=True):
        group["lr"] = rate
    history = [{**row, "epoch": int(row["epoch"])} for row in card.history]
    run.write_history(history)  # the kill may have come between the two
    print(f"resuming after epoch {history[-1]['epoch']}", flush=True)
    return history


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors, path: Path) -> None:
    """Give the optimizer its state back, `optimizer.<parameter's index>.<name>` each.

    Raises:
        UserError: it is not of this optimizer's parameters.
    """
    parameters = [(p, g.get("muon")) for g in optimizer.param_groups for p in g["params"]]
    state: dict[int, Tensors] = {}
    for index, (parameter, muon) in enumerate(parameters):
        prefix = f"optimizer.{index}."
        found = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if not found:  # of a frozen parameter
            continue
        shape = tuple(parameter.shape)
        wanted = (
            {"momentum": shape} if muon else {"step": (), "exp_avg": shape, "exp_avg_sq": shape}
        )
        if {name: tuple(tensor.shape) for name, tensor in found.items()} != wanted:
            raise UserError(f"'{path}' is of another optimizer: use --overwrite")
        # In the parameter's memory layout, which the fused optimizer takes for granted.
        state[index] = {
            name: torch.empty_like(parameter).copy_(tensor) if tensor.ndim else tensor
            for name, tensor in found.items()
        }
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
