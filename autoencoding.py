"""The U-Net autoencoder: corruption, reconstruction loss, the encoder that it leaves behind."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from msgspec import Meta, Struct
from torch import Tensor

from batches import (
    ORIENTATIONS,
    Batches,
    Normalisation,
    corrupt,
    oriented_gradients,
    patch_statistics,
)
from data import ImageSet, derive_seed, generator, random_subset, split
from harness import board
from harness.compute import Compute
from harness.files import write_arrays
from harness.rundir import Run
from harness.weights import Tensors, digest_of, load_weights, save_weights
from metrics import Metrics, ValidScores
from models import UNetAutoencoder
from recipes import ENCODER, AutoencoderRecipe, EncoderSource, Setup
from training import describe_data, evaluation_batches, fit, training_batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRADIENTS = 3.0  # what their histograms are multiplied by: most of the loss is then theirs
EXAMPLES = 10  # validation images whose reconstructions are kept for the report


class EncoderCard(Struct, frozen=True, kw_only=True, tag="encoder", tag_field="kind"):
    """What a file of pretrained weights says of itself.

    Args:
        mean, std: of the training images' pixels, in units of 0..255.
    """

    recipe: AutoencoderRecipe
    mean: Annotated[float, Meta(ge=0, le=255)]
    std: Annotated[float, Meta(gt=0, le=255)]


def pretrain(run: Run[Setup], dataset: ImageSet, compute: Compute) -> None:
    """Train a U-Net to undo a corruption; write its encoder, and examples for the report.

    Raises:
        UserError: as `Run.start` and `fit`.
    """
    recipe = run.setup.recipe
    train, valid = split(dataset, recipe.seed)
    used = random_subset(train, recipe.image_fraction, recipe.seed)
    normalise = Normalisation.of(dataset.train_images[train])
    batches = training_batches(dataset, used, normalise, recipe, compute)
    valid_batches = evaluation_batches(
        dataset.train_images[valid], dataset.train_labels[valid], normalise, compute
    )
    model = new_autoencoder(recipe)

    run.start(describe_data(dataset, used, valid), compute.environment())
    print(f"{run.folder}: {len(used):,} images on {compute}", flush=True)
    compute.place(model)
    task = Reconstruction(model, batches, valid_batches, recipe, compute)
    history = fit(run, task, recipe, compute)

    write_reconstructions(run, task)
    card = EncoderCard(recipe=recipe, mean=normalise.mean, std=normalise.std)
    save_weights(run.folder / ENCODER, model.encoder.state_dict(), card)
    valid_scores = ValidScores(loss=history[-1]["valid_loss"])
    run.finish(Metrics(classes=dataset.classes, valid=valid_scores))


def new_autoencoder(recipe: AutoencoderRecipe) -> UNetAutoencoder:
    """An autoencoder whose random start depends on the seed alone."""
    torch.manual_seed(derive_seed(recipe.seed, "model"))
    outputs = 1 + ORIENTATIONS if recipe.target == "gradients" else 1
    return UNetAutoencoder(recipe.width, recipe.skips, outputs, recipe.decoder_width)


class Reconstruction:
    """The autoencoder's `training.Task`: fill in what the corruption took away.

    The loss is the mean squared error over the pixels that the corruption lets count, in units
    of the training images' pixel variance, where 1 is what the mean grey would reach; with the
    target `normalised` (He et al. 2022, arXiv:2111.06377), in units of each patch's own variance,
    so that faint patterns count too and the patch's mean would reach at most 1. The target
    `gradients` asks for both these pixels and the histogram of oriented gradients around each
    (Wei et al. 2022, arXiv:2112.09133).
    """

    def __init__(
        self,
        model: UNetAutoencoder,
        batches: Batches,
        valid_batches: Batches,
        recipe: AutoencoderRecipe,
        compute: Compute,
    ):
        self.model = model
        self.batches = batches
        self.valid_batches = valid_batches
        self.recipe = recipe
        self.compute = compute

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        rng = generator(self.recipe.seed, "corruption", epoch)
        return self.corrupted(self.batches.epoch(epoch), rng)

    def corrupted(
        self, batches: Iterable[tuple[Tensor, Tensor]], rng: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What the encoder sees, what is wanted, and which pixels count.

        All are (N, 1, 28, 28); with the target `gradients` what is wanted is (N, 9, 28, 28).
        """
        for images, _ in batches:
            yield self.corrupt(images, rng)

    def corrupt(self, images: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        recipe = self.recipe
        seen, counted = corrupt(images, recipe.corruption, recipe.hidden_patches, rng)
        if recipe.target == "pixels":
            return seen, images, counted
        mean, std = patch_statistics(images)
        wanted = (images - mean) / std
        if recipe.target == "gradients":
            wanted = torch.cat([wanted, GRADIENTS * oriented_gradients(images)], dim=1)
        return seen, wanted, counted

    def loss(self, output: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
        """Mean squared error over the pixels that count."""
        return ((output - wanted).square() * counted).sum() / counted.sum()

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    @torch.inference_mode()
    def evaluate(self, forward: Callable[..., Tensor]) -> dict[str, float]:
        loss_sum = 0.0
        for seen, *targets in self.validation():
            with self.compute.autocast():
                loss = self.loss(forward(seen).float(), *targets)
            loss_sum += loss.item() * len(seen)
        return {"valid_loss": loss_sum / len(self.valid_batches.labels)}

    def validation(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The validation images, corrupted alike every time."""
        rng = generator(self.recipe.seed, "validation")
        return self.corrupted(self.valid_batches.in_order(), rng)

    def pictures(self) -> dict[str, "Figure"]:
        return {"reconstructions": board.images(reconstructions(self))}


def write_reconstructions(run: Run, task: Reconstruction) -> None:
    """Keep examples of what the trained autoencoder makes of validation images."""
    arrays = reconstructions(task)
    labels = task.valid_batches.labels[:EXAMPLES].cpu().numpy()
    write_arrays(run.folder / "reconstructions.npz", **arrays, label=labels)


@torch.inference_mode()
def reconstructions(task: Reconstruction) -> dict[str, np.ndarray]:
    """`original`, `corrupted` and `output` as pixels in [0, 1], (n, 28, 28) each.

    Hidden pixels of `corrupted` are NaN. An output of normalised patches gets the original
    patches' mean and deviation back.
    """
    images = next(task.valid_batches.in_order())[0][:EXAMPLES]
    seen, _, counted = (part[:EXAMPLES] for part in next(task.validation()))
    output = task.model.eval()(seen)[:, :1]
    if task.recipe.target != "pixels":
        mean, std = patch_statistics(images)
        output = output * std + mean
    pixels = {
        name: task.batches.normalise.undo(tensor.float()).cpu()
        for name, tensor in {"original": images, "corrupted": seen, "output": output}.items()
    }
    if not counted.all():
        pixels["corrupted"][counted.squeeze(1).cpu()] = torch.nan
    return {name: tensor.numpy() for name, tensor in pixels.items()}


def read_encoder(
    path: str, made_by: str = "pretrain_autoencoder.py"
) -> tuple[Tensors, EncoderSource]:
    """A pretrained encoder's weights, and what is kept of where they come from.

    Args:
        made_by: the command that makes the file, for the error message.

    Raises:
        UserError: the file is missing, damaged, or not an encoder's.
    """
    tensors, card = load_weights(path, EncoderCard, made_by)
    return tensors, EncoderSource(recipe=card.recipe, digest=digest_of(tensors))
