"""Pretraining the U-Net autoencoder: its loss, its evaluation, and what it leaves behind."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from batches import Batches, corrupt, patch_statistics
from compute import Compute
from data import ImageSet, derive_seed, generator
from models import UNetAutoencoder
from rundir import Run, tensors_digest
from training import Recipe, fit, prepare

EXAMPLES = 10  # validation images whose reconstructions are kept for the report


def new_autoencoder(width: float, skips: bool, seed: int) -> UNetAutoencoder:
    """An autoencoder whose random start depends on the seed alone."""
    torch.manual_seed(derive_seed(seed, "model"))
    return UNetAutoencoder(width, skips)


def pretrain(
    run: Run,
    model: UNetAutoencoder,
    dataset: ImageSet,
    recipe: Recipe,
    compute: Compute,
    *,
    corruption: str,
    target: str,
    train_fraction: float,
    condition: str,
) -> None:
    """Train `model` to undo `corruption`, then write its encoder and what the report shows.

    The loss is the mean squared error over the pixels that the corruption lets count, in units
    of the training images' pixel variance, where 1 is what the mean grey would reach; with
    `normalised`, in units of each patch's own variance, where its mean would reach at most 1.

    Args:
        target: `pixels`; or `normalised`, the pixels less their 4x4 patch's mean, over its
            deviation (He et al. 2022, arXiv:2111.06377), so that faint patterns count too.
        train_fraction: share of the training split's images, in (0, 1].
        condition: the pretraining's short name, kept with the encoder.

    Raises:
        UserError: as `Run.start` and `training.fit`.
    """
    train_batches, valid_batches = prepare(
        run, dataset, recipe, compute, choose=lambda train: share(train, train_fraction, recipe)
    )

    def corrupted(batches: Iterable[tuple[Tensor, Tensor]], rng: torch.Generator) -> Iterator:
        for images, _ in batches:
            seen, counted = corrupt(images, corruption, rng)
            yield images, seen, counted

    def loss_of(forward: Callable[..., Tensor], images: Tensor, seen: Tensor, counted: Tensor):
        wanted = images
        if target == "normalised":
            mean, std = patch_statistics(images)
            wanted = (images - mean) / std
        squared_errors = (forward(seen).float() - wanted).square()
        return (squared_errors * counted).sum() / counted.sum()

    @torch.inference_mode()
    def evaluate(forward: Callable[..., Tensor]) -> dict[str, float]:
        loss_sum = 0.0
        for batch in corrupted(valid_batches.in_order(), generator(recipe.seed, "validation")):
            with compute.autocast():
                loss_sum += loss_of(forward, *batch).item() * len(batch[0])
        return {"valid_loss": loss_sum / len(valid_batches.labels)}

    compute.place(model)
    history = fit(
        run,
        model,
        recipe,
        compute,
        steps=len(train_batches),
        epoch_of=lambda epoch: corrupted(
            train_batches.epoch(epoch), generator(recipe.seed, "corruption", epoch)
        ),
        loss_of=loss_of,
        evaluate=evaluate,
    )
    examples = next(corrupted(valid_batches.in_order(), generator(recipe.seed, "validation")))
    examples = [part[:EXAMPLES] for part in examples]
    write_reconstructions(run, model, examples, target, valid_batches)
    encoder = model.encoder.state_dict()
    run.write_weights(
        "encoder.pt",
        "encoder",
        {
            "arguments": {"width": model.encoder.width},
            "condition": condition,
            "provenance": {"sha256": tensors_digest(encoder), **run.config["options"]},
            "state": encoder,
        },
    )
    run.finish({"valid": {"loss": history[-1]["valid_loss"]}})


def share(train: Tensor, fraction: float, recipe: Recipe) -> Tensor:
    """A random `fraction` of the indices, chosen without a look at the labels."""
    order = torch.randperm(len(train), generator=generator(recipe.seed, "subset"))
    return train[order[: max(1, round(fraction * len(train)))]].sort().values


@torch.inference_mode()
def write_reconstructions(
    run: Run, model: UNetAutoencoder, examples: list[Tensor], target: str, batches: Batches
) -> None:
    """Keep examples as pixels in [0, 1], (n, 28, 28) each; hidden ones of `corrupted` are NaN.

    An output of normalised patches gets the original patches' mean and deviation back.
    """
    images, seen, counted = examples
    model.eval()
    output = model(seen)
    if target == "normalised":
        mean, std = patch_statistics(images)
        output = output * std + mean
    pixels = {
        name: batches.normalise.undo(tensor.float()).cpu()
        for name, tensor in {"original": images, "corrupted": seen, "output": output}.items()
    }
    if not counted.all():
        pixels["corrupted"][counted.squeeze(1).cpu()] = torch.nan
    arrays = {name: tensor.numpy() for name, tensor in pixels.items()}
    run.write_arrays(
        "reconstructions.npz", **arrays, label=batches.labels[: len(images)].cpu().numpy()
    )
