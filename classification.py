"""The classifier: its loss, its predictions, its test report."""

import math
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Annotated

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from autoencoding import AuxiliaryReconstruction
from batches import Batches, Normalisation, evaluation_batches
from data import ImageSet, derive_seed
from harness import board
from harness.compute import Compute
from harness.errors import UserError
from harness.files import write_arrays
from harness.rundir import Run
from harness.weights import Tensors, fill, load_weights, save_weights
from metrics import Metrics, Share, TestScores, ValidScores, classification_report
from models import AlexNet
from recipes import MODEL, ClassifierRecipe, EncoderSource
from training import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 10  # validation images that TensorBoard shows


class ModelCard(Struct, frozen=True, kw_only=True, tag="classifier", tag_field="kind"):
    """What a file of trained weights says of itself.

    Args:
        mean, std: of the training images' pixels, in units of 0..255.
        temperature: divides the logits, so that probabilities match frequencies (Guo et al. 2017,
            arXiv:1706.04599); fitted on validation images.
    """

    recipe: ClassifierRecipe
    encoder: EncoderSource | None = None
    classes: Annotated[list[str], Meta(min_length=2, max_length=1000)]
    mean: Annotated[float, Meta(ge=0, le=255)]
    std: Annotated[float, Meta(gt=0, le=255)]
    temperature: Annotated[float, Meta(gt=0, le=100)] = 1.0
    test_accuracy: Share | None = None


def new_alexnet(
    recipe: ClassifierRecipe, num_classes: int, encoder: Tensors | None = None
) -> AlexNet:
    """An AlexNet whose random start depends on the seed alone.

    Args:
        encoder: a pretrained encoder's weights to start from, all of them or none.

    Raises:
        UserError: they are not exactly this model's encoder, for example of another width.
    """
    torch.manual_seed(derive_seed(recipe.seed, "model"))
    model = AlexNet(recipe.width, num_classes)
    if encoder is not None:
        fill(model.encoder, encoder, "the pretrained encoder")
    return model


class Classification(Task):
    """The classifier's task.

    Args:
        unlabelled: batches of images without labels, for the auxiliary loss.

    Raises:
        UserError: the encoder is frozen, but has an auxiliary loss.
    """

    recipe: ClassifierRecipe

    def __init__(
        self,
        model: AlexNet,
        batches: Batches,
        valid_batches: Batches,
        recipe: ClassifierRecipe,
        compute: Compute,
        unlabelled: Batches | None = None,
    ):
        super().__init__(model, batches, valid_batches, recipe, compute)
        if unlabelled and recipe.freeze_encoder:
            raise UserError("--auxiliary-loss trains the encoder: leave out --freeze-encoder")
        auxiliary = unlabelled and AuxiliaryReconstruction(model.encoder, unlabelled, recipe)
        self.auxiliary = auxiliary and compute.place(auxiliary)
        if recipe.freeze_encoder:
            recompute_bn_stats(model.encoder, batches, compute)
            model.freeze_encoder()

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        unlabelled = self.auxiliary.epoch(epoch) if self.auxiliary else repeat(())
        for batch, others in zip(self.batches.epoch(epoch), unlabelled, strict=False):
            yield *batch, *others

    def loss(self, logits: Tensor, labels: Tensor, *unlabelled: Tensor) -> Tensor:
        """Cross-entropy with label smoothing, in nats; the auxiliary loss on top, if any."""
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        if self.auxiliary:
            loss = loss + self.auxiliary.loss(self.model.encoder, *unlabelled)
        return loss

    def parameter_groups(self) -> list[dict]:
        head = list(self.model.classifier.parameters())
        head += self.auxiliary.parameters() if self.auxiliary else []
        rate, scale = self.recipe.learning_rate, self.recipe.encoder_lr_scale
        return [
            {"params": list(self.model.encoder.parameters()), "lr": rate * scale},
            {"params": head, "lr": rate},
        ]

    def evaluate(self, forward: Callable[..., Tensor]) -> dict[str, float]:
        predicted = predict(forward, self.valid_batches, self.recipe, self.compute)
        loss, accuracy = score(predicted, self.valid_batches.labels)
        return {"valid_loss": loss, "valid_accuracy": accuracy}


@torch.no_grad()
def recompute_bn_stats(encoder: nn.Module, batches: Batches, compute: Compute) -> None:
    """Take batch normalisation's statistics anew, over one epoch.

    A frozen encoder would keep those of its start: none where that is random, and those of
    corrupted images where it is pretrained.
    """
    with compute.autocast():
        update_bn(batches.epoch(0), encoder)


def tempered(probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities (n, classes) whose logarithms are divided by the temperature.

    It moves no class ahead of another.
    """
    if temperature == 1:
        return probabilities
    smallest = torch.finfo(probabilities.dtype).tiny
    return (probabilities.clamp_min(smallest).log() / temperature).softmax(dim=1)


def fit_temperature(probabilities: Tensor, labels: Tensor) -> float:
    """The temperature with the least negative log likelihood (Guo et al. 2017, arXiv:1706.04599).

    Args:
        probabilities: of validation images, (n, classes).
        labels: int64 (n,).
    """
    from scipy.optimize import minimize_scalar

    exact = probabilities.double()
    found = minimize_scalar(
        lambda log: score(tempered(exact, math.exp(log)), labels)[0],
        bounds=(math.log(0.05), math.log(20)),
        method="bounded",
    )
    return math.exp(found.x)


def test(run: Run, task: Classification, dataset: ImageSet) -> Metrics:
    """The trained model's scores; the test set is read here, once, and its predictions written."""
    recipe, compute, model = task.recipe, task.compute, task.model.eval()
    valid = predict(model, task.valid_batches, recipe, compute).cpu()
    labels = task.valid_batches.labels.cpu()
    loss, accuracy = score(valid, labels)
    temperature = fit_temperature(valid, labels)
    scores = None
    if not recipe.skip_test:
        batches = evaluation_batches(
            dataset.test_images, dataset.test_labels, task.batches.normalise, compute
        )
        probabilities = predict(model, batches, recipe, compute).cpu()
        scores = write_predictions(run, probabilities, temperature, dataset)
    return Metrics(
        **task.size,
        classes=dataset.classes,
        valid=ValidScores(loss=loss, accuracy=accuracy),
        test=scores,
        temperature=temperature,
    )


def write_predictions(
    run: Run, probabilities: Tensor, temperature: float, dataset: ImageSet
) -> TestScores:
    """Write the test set's predictions; their loss and all figures over classes."""
    labels = dataset.test_labels
    confidence, predicted = probabilities.max(dim=1)
    write_arrays(
        run.folder / "predictions.npz",
        predicted=predicted.to(torch.uint8).numpy(),
        probability=confidence.numpy(),
        calibrated=tempered(probabilities, temperature).amax(dim=1).numpy(),
        label=labels.to(torch.uint8).numpy(),
    )
    loss, accuracy = score(probabilities, labels)
    print(f"test accuracy {accuracy:.4f} on {len(labels):,} images", flush=True)
    return classification_report(labels.numpy(), predicted.numpy(), dataset.classes, loss)


@torch.inference_mode()
def predict(
    forward: Callable[..., Tensor], batches: Batches, recipe: ClassifierRecipe, compute: Compute
) -> Tensor:
    """Class probabilities (N, classes), float32, in the batches' order."""
    with compute.autocast():
        return torch.cat([average(forward, images, recipe) for images in batches.in_order()])


def average(forward: Callable[..., Tensor], images: Tensor, recipe: ClassifierRecipe) -> Tensor:
    """Class probabilities (n, classes), float32, of normalised images (n, 1, 28, 28).

    Where training mirrors images, an image and its mirror image are averaged: test-time
    augmentation (Krizhevsky et al. 2012, section 4.1).
    """
    views = [images] if recipe.flip == "none" else [images, images.flip(-1)]
    logits = torch.stack([forward(view) for view in views])
    return logits.float().softmax(dim=-1).mean(dim=0)


def score(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean negative log likelihood in nats, and accuracy in [0, 1], over all images."""
    # Apple's GPUs have no float64.
    probabilities, labels = probabilities.cpu(), labels.cpu()
    smallest = torch.finfo(torch.float32).tiny  # a probability that underflowed costs 87 nats
    loss = F.nll_loss(probabilities.double().clamp_min(smallest).log(), labels).item()
    return loss, (probabilities.argmax(dim=1) == labels).sum().item() / len(labels)


def save(run: Run, task: Classification, metrics: Metrics) -> None:
    """Write the weights, with all that is needed to use them on other images, and the scores."""
    normalise = task.batches.normalise
    card = ModelCard(
        recipe=task.recipe,
        encoder=run.setup.encoder,
        classes=metrics.classes,
        mean=normalise.mean,
        std=normalise.std,
        temperature=metrics.temperature,
        test_accuracy=metrics.test.accuracy if metrics.test else None,
    )
    typical = Typical.of(task).state_dict(prefix="typical.")
    save_weights(run.folder / MODEL, task.model.state_dict() | typical, card)
    run.finish(metrics)


def pictures(task: Classification, classes: list[str]) -> dict[str, "Figure"]:
    """What TensorBoard shows of a classifier."""
    predicted = predict(task.model, task.valid_batches, task.recipe, task.compute).cpu()
    labels = task.valid_batches.labels.cpu()
    first = next(task.valid_batches.in_order())[:EXAMPLES]
    titles = [
        f"{classes[row.argmax()]} {row.max():.2f}\n{classes[label]}"
        for row, label in zip(predicted[:EXAMPLES], labels, strict=False)
    ]
    pixels = task.batches.normalise.undo(first).cpu().numpy()
    confusion = board.confusion(labels.numpy(), predicted.argmax(dim=1).numpy(), classes)
    examples = board.images({"": pixels}, titles)
    return {"confusion": confusion, "predicted class, probability; true class": examples}


class Typical(nn.Module):
    """How far images are from those that a classifier was trained for.

    The Mahalanobis distance of the last hidden layer's features to the nearest class mean (Lee et
    al. 2018, arXiv:1807.03888); 95 % of validation images are within `limit`.
    """

    def __init__(self, features: int, num_classes: int):
        super().__init__()
        self.register_buffer("means", torch.zeros(num_classes, features))
        self.register_buffer("precision", torch.zeros(features, features))
        self.register_buffer("limit", torch.zeros(()))

    @classmethod
    @torch.no_grad()
    def of(cls, task: Classification) -> "Typical":
        """Means and covariance of half of a trained task's validation images, limit of the rest."""
        from sklearn.covariance import ledoit_wolf

        model = task.model.eval()
        batches = task.valid_batches.in_order()
        hidden = torch.cat([model.hidden(images).float().cpu() for images in batches])
        labels = task.valid_batches.labels.cpu()
        typical = cls(hidden.shape[1], model.classifier[-1].out_features)
        fitted, held = hidden[::2], hidden[1::2]  # far more would be within a limit of its own fit
        for label in labels[::2].unique():
            typical.means[label] = fitted[labels[::2] == label].mean(dim=0)
        residuals = (fitted - typical.means[labels[::2]]).double().numpy()
        covariance, _ = ledoit_wolf(residuals, assume_centered=True)
        typical.precision.copy_(torch.from_numpy(covariance).inverse())
        typical.limit.copy_(typical(held).quantile(0.95))
        return typical

    def forward(self, hidden: Tensor) -> Tensor:
        """Features (n, features) to squared distances (n,)."""
        offsets = hidden[:, None] - self.means
        return torch.einsum("ncd,de,nce->nc", offsets, self.precision, offsets).amin(dim=1)


class TrainedModel:
    """A trained classifier from its file, ready to predict.

    Raises:
        UserError: the file is missing, damaged, or not a classifier's.
    """

    def __init__(self, path: str, compute: Compute):
        made_by = "train_baseline.py or train_pretrained.py (--overwrite after a finished run)"
        tensors, self.card = load_weights(path, ModelCard, made_by)
        card = self.card
        with torch.device("meta"):
            model = AlexNet(card.recipe.width, len(card.classes))
        known = {n[8:]: tensors.pop(n) for n in [*tensors] if n.startswith("typical.")}
        fill(model, tensors, path)
        self.typical = None  # in files from before it was kept
        if known:
            self.typical = Typical(model.classifier[-1].in_features, len(card.classes))
            fill(self.typical, known, path)
        self.classes = card.classes
        self.model = compute.place(model).eval()
        self.normalise = Normalisation(card.mean, card.std)
        self.compute = compute

    def predict(self, images: Tensor) -> Tensor:
        """Class probabilities, float32 (n, classes) on the CPU, of uint8 images (n, 28, 28)."""
        unused = torch.zeros(len(images), dtype=torch.int64)
        batches = evaluation_batches(images, unused, self.normalise, self.compute)
        found = predict(self.model, batches, self.card.recipe, self.compute).cpu()
        return tempered(found, self.card.temperature)

    @torch.inference_mode()
    def is_like_training(self, images: Tensor) -> list[bool | None]:
        """Whether each uint8 image (n, 28, 28) is like the ones it was trained for, if known."""
        if self.typical is None:
            return [None] * len(images)
        hidden = [self.model.hidden(self.normalise(part)) for part in images.split(1000)]
        return (self.typical(torch.cat(hidden)) <= self.typical.limit).tolist()
