"""The U-Net autoencoder: reconstruction loss, pretraining, the encoder that it leaves behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from msgspec import Meta, Struct
from torch import Tensor, nn

from batches import ORIENTATIONS, Batches, corrupt, oriented_gradients, patch_statistics
from data import ImageSet, derive_seed, generator
from harness import board
from harness.files import write_arrays
from harness.rundir import Run
from harness.weights import Tensors, digest_of, load_weights, save_weights
from metrics import Metrics, ValidScores
from models import Decoder, Encoder, UNetAutoencoder
from recipes import ENCODER, AutoencoderRecipe, ClassifierRecipe, EncoderSource
from training import Task

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


def new_autoencoder(recipe: AutoencoderRecipe) -> UNetAutoencoder:
    """An autoencoder whose random start depends on the seed alone."""
    torch.manual_seed(derive_seed(recipe.seed, "model"))
    return UNetAutoencoder(recipe.width, recipe.skips, outputs(recipe), recipe.decoder_width)


def outputs(recipe: AutoencoderRecipe) -> int:
    """How many maps the decoder gives: the image's, and one an orientation of its gradients."""
    return 1 + ORIENTATIONS if recipe.target == "gradients" else 1


def reconstruction_batch(
    images: Tensor, recipe: AutoencoderRecipe, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """What the encoder sees of normalised images, what is wanted, and which pixels count.

    All are (N, 1, 28, 28); with the target `gradients` what is wanted is (N, 9, 28, 28): the pixels
    of patches normalised each by its own mean and deviation (He et al. 2022, arXiv:2111.06377), so
    that faint patterns count too, and the histogram of oriented gradients around each pixel (Wei
    et al. 2022, arXiv:2112.09133).
    """
    seen, counted = corrupt(images, recipe.corruption, recipe.hidden_patches, rng)
    if recipe.target == "pixels":
        return seen, images, counted
    mean, std = patch_statistics(images)
    wanted = (images - mean) / std
    if recipe.target == "gradients":
        wanted = torch.cat([wanted, oriented_gradients(images).mul_(GRADIENTS)], dim=1)
    return seen, wanted, counted


def corrupted(
    batches: Batches, recipe: AutoencoderRecipe, epoch: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """`reconstruction_batch` of each of an epoch's; seed and epoch alone decide."""
    rng = generator(recipe.seed, "corruption", epoch)
    for images, _ in batches.epoch(epoch):
        yield reconstruction_batch(images, recipe, rng)


def reconstruction_loss(output: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Squared error, a mean over the pixels that count.

    In units of the training images' pixel variance, where 1 is what the mean grey would reach; of
    normalised patches in units of each patch's own, where its mean would reach at most 1.
    """
    return ((output - wanted).square() * counted).sum() / counted.sum()


class Reconstruction(Task):
    """The autoencoder's task: fill in what the corruption took away."""

    recipe: AutoencoderRecipe

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return corrupted(self.batches, self.recipe, epoch)

    @cached_property
    def validation(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The validation images, corrupted alike every time.

        They are kept, up to 170 MB: making them anew would lengthen every evaluation.
        """
        rng = generator(self.recipe.seed, "validation")
        batches = self.valid_batches.in_order()
        return [reconstruction_batch(images, self.recipe, rng) for images in batches]

    def loss(self, output: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
        return reconstruction_loss(output, wanted, counted)

    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.model.parameters()), "lr": self.recipe.learning_rate}]

    @torch.inference_mode()
    def evaluate(self, forward: Callable[..., Tensor]) -> dict[str, float]:
        loss_sum = 0.0
        for seen, *targets in self.validation:
            with self.compute.autocast():
                loss = self.loss(forward(seen).float(), *targets)
            loss_sum += loss.item() * len(seen)
        return {"valid_loss": loss_sum / len(self.valid_batches.labels)}


class AuxiliaryReconstruction(nn.Module):
    """Reconstruction as a second loss of a classifier, of images without labels.

    Each of the classifier's steps takes as many of these images as of those with labels. They are
    corrupted as in the default pretraining; the decoder has a random start.

    Args:
        encoder: the classifier's.
        batches: of all training images.
        recipe: the classifier's.
    """

    def __init__(self, encoder: Encoder, batches: Batches, recipe: ClassifierRecipe):
        super().__init__()
        self.recipe = own = AutoencoderRecipe(dataset=recipe.dataset, seed=recipe.seed)
        self.weight = recipe.auxiliary_loss
        self.batches = batches
        self.decoder = Decoder(encoder.channels, own.skips, outputs(own), own.decoder_width)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What `loss` takes, batch by batch; a function of the epoch alone."""
        return corrupted(self.batches, self.recipe, epoch)

    def loss(self, encoder: Encoder, seen: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
        """The weighted reconstruction loss, a scalar."""
        with keeping_bn_statistics(encoder):
            output = self.decoder(*encoder(seen))
        return self.weight * reconstruction_loss(output.float(), wanted, counted)


@contextmanager
def keeping_bn_statistics(encoder: nn.Module) -> Iterator[None]:
    """While it lasts, batch normalisation's running statistics stay as they are.

    The classifier is used on whole images: statistics of corrupted ones would not suit it.
    """
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def save(run: Run, task: Reconstruction, dataset: ImageSet, history: list[dict]) -> None:
    """Write the encoder, and examples of what the autoencoder makes of validation images."""
    labels = task.valid_batches.labels[:EXAMPLES].cpu().numpy()
    write_arrays(run.folder / "reconstructions.npz", **reconstructions(task), label=labels)
    normalise = task.batches.normalise
    card = EncoderCard(recipe=task.recipe, mean=normalise.mean, std=normalise.std)
    save_weights(run.folder / ENCODER, task.model.encoder.state_dict(), card)
    valid = ValidScores(loss=history[-1]["valid_loss"])
    run.finish(Metrics(**task.size, classes=dataset.classes, valid=valid))


@torch.inference_mode()
def reconstructions(task: Reconstruction) -> dict[str, np.ndarray]:
    """`original`, `corrupted` and `output` as pixels in [0, 1], (n, 28, 28) each.

    Hidden pixels of `corrupted` are NaN. An output of normalised patches gets the original
    patches' mean and deviation back.
    """
    images = next(task.valid_batches.in_order())[:EXAMPLES]
    seen, _, counted = (part[:EXAMPLES] for part in task.validation[0])
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


def pictures(task: Reconstruction) -> dict[str, "Figure"]:
    """What TensorBoard shows of an autoencoder."""
    return {"reconstructions": board.images(reconstructions(task))}


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
