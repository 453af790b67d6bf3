"""The one training loop, and what it needs: batches, the schedule, checkpoints."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from batches import Batches, Normalisation
from compute import Compute
from data import ImageSet, derive_seed, split
from errors import UserError
from progress import Progress
from rundir import Run, describe_environment

WARM_UP = 0.1  # share of a one-cycle run in which the learning rate rises
EVALUATION_BATCH = 250  # images; a larger one leaves a CPU's cache


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; names, defaults and meaning as on the command line."""

    epochs: int
    valid_every: int
    batch_size: int
    learning_rate: float
    schedule: str
    flip: str
    shift: int
    seed: int


def prepare(
    run: Run,
    dataset: ImageSet,
    recipe: Recipe,
    compute: Compute,
    choose: Callable[[Tensor], Tensor],
) -> tuple[Batches, Batches]:
    """Start the run, and put its training and validation images on the device.

    Args:
        choose: from the training split's indices, those to train on.

    Raises:
        UserError: as `Run.start` and `choose`.
    """
    train, valid = split(dataset, recipe.seed)
    normalise = Normalisation.of(dataset.train_images[train])
    used = choose(train)
    run.start(
        data={
            "name": dataset.name,
            "digest": dataset.digest,
            "train_images": len(used),
            "valid_images": len(valid),
            "test_images": len(dataset.test_labels),
        },
        environment=describe_environment() | compute.describe(),
    )
    print(f"{run.folder}: {len(used):,} images on {compute}", flush=True)
    train_batches = Batches(
        dataset.train_images[used].to(compute.device),
        dataset.train_labels[used].to(compute.device),
        normalise,
        batch_size=recipe.batch_size,
        shift=recipe.shift,
        flip=recipe.flip,
        seed=recipe.seed,
    )
    return train_batches, evaluation_batches(
        dataset.train_images[valid], dataset.train_labels[valid], normalise, compute
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


def fit(
    run: Run,
    model: nn.Module,
    recipe: Recipe,
    compute: Compute,
    *,
    steps: int,
    epoch_of: Callable[[int], Iterable[tuple[Tensor, ...]]],
    loss_of: Callable[..., Tensor],
    evaluate: Callable[[Callable[..., Tensor]], dict[str, float]],
    parameters: list[dict] | None = None,
) -> list[dict]:
    """Train `model` in place with Adam, going on after the last epoch that `run` has kept.

    Args:
        steps: batches an epoch.
        epoch_of: the batches of an epoch, a function of the epoch alone.
        loss_of: (forward, *batch) to the batch's mean loss.
        evaluate: forward to what is measured after an epoch, without randomness.
        parameters: Adam's parameter groups; all of the model's where None.

    Returns:
        history, a row for each epoch that was measured: mean losses over the images, the train
        loss since the row before; the rate at the epoch's end.

    Raises:
        UserError: the loss is no longer a number.
    """
    groups = parameters or [{"params": list(model.parameters())}]
    optimizer = torch.optim.Adam(groups, lr=recipe.learning_rate, fused=True)
    scheduler = make_scheduler(optimizer, recipe.schedule, steps * recipe.epochs)
    history = restore(run, model, optimizer, scheduler)
    done = history[-1]["epoch"] if history else 0
    forward = compute.callable(model)
    with Progress(recipe.epochs, steps, done) as progress:
        for leg in legs(done, recipe.epochs, recipe.valid_every):
            started = time.perf_counter()
            model.train()
            losses = []
            for epoch in leg:
                torch.manual_seed(derive_seed(recipe.seed, "model", epoch + 1))
                batches = epoch_of(epoch)
                losses.append(
                    train_epoch(forward, optimizer, scheduler, batches, loss_of, compute, progress)
                )
            model.eval()
            row = {
                "epoch": leg.stop,
                "train_loss": sum(losses) / len(losses),
                **evaluate(forward),
                "learning_rate": scheduler.get_last_lr()[-1],
                "seconds": time.perf_counter() - started,
            }
            history.append(row)
            keep(run, model, optimizer, scheduler, history)
            progress.end_epoch(row)
    return history


def legs(done: int, epochs: int, valid_every: int) -> list[range]:
    """The epochs still to train, cut after each that is measured: every n-th and the last."""
    ends = [*range(done + valid_every, epochs, valid_every), epochs]
    return [range(a, b) for a, b in pairwise([done, *ends]) if a < b]


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


def train_epoch(
    forward: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[tuple[Tensor, ...]],
    loss_of: Callable[..., Tensor],
    compute: Compute,
    progress: Progress,
) -> float:
    """One pass over the batches; the mean loss over images."""
    loss_sum, images_seen = torch.zeros((), device=compute.device), 0
    for batch in batches:
        with compute.autocast():
            loss = loss_of(forward, *batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        scheduler.step()
        loss_sum += loss.detach() * len(batch[0])
        images_seen += len(batch[0])
        progress.step(lambda loss=loss: loss.item())
    mean_loss = loss_sum.item() / images_seen
    if not math.isfinite(mean_loss):
        raise UserError("the train loss is no longer a number: use a lower --learning-rate")
    return mean_loss


def keep(run, model, optimizer, scheduler, history) -> None:
    """Write everything needed to go on after this epoch."""
    run.save_checkpoint(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "history": history,
        }
    )
    run.write_history(history)


def restore(run, model, optimizer, scheduler) -> list[dict]:
    """Load what `keep` wrote, if anything; the history so far."""
    state = run.load_checkpoint()
    if state is None:
        return []
    model.load_state_dict(state["model"], strict=True)
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    run.write_history(state["history"])  # the kill may have come between the two
    print(f"going on after epoch {state['history'][-1]['epoch']}", flush=True)
    return state["history"]
