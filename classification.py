"""Training and evaluating a classifier: what both arms do, whatever the encoder starts from."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from batches import Batches, Normalisation
from compute import Compute
from data import ImageSet, derive_seed, split, subset
from errors import UserError
from metrics import classification_report
from models import AlexNet
from rundir import Run
from training import Recipe, evaluation_batches, fit, prepare


def new_alexnet(width: float, num_classes: int, seed: int) -> AlexNet:
    """An AlexNet whose random start depends on the seed alone."""
    torch.manual_seed(derive_seed(seed, "model"))
    return AlexNet(width, num_classes)


def hand_over(encoder_state: dict[str, Tensor], model: AlexNet, source: str) -> None:
    """Start the model's encoder from a pretrained one, all of it or not at all.

    Raises:
        UserError: it is not exactly this model's encoder, for example of another width.
    """
    try:
        model.encoder.load_state_dict(encoder_state, strict=True)
    except RuntimeError as error:
        there = [tensor.shape[0] for tensor in encoder_state.values() if tensor.ndim == 4]
        raise UserError(
            f"the encoder in '{source}' has {there} channels and the model "
            f"{model.encoder.channels}: give the --width of its pretraining"
        ) from error


def train_classifier(
    run: Run,
    model: AlexNet,
    dataset: ImageSet,
    recipe: Recipe,
    compute: Compute,
    *,
    label_fraction: float = 1.0,
    label_smoothing: float = 0.0,
    freeze_encoder: bool = False,
    encoder_lr_scale: float = 1.0,
    average_shift: int = 0,
    skip_test: bool = False,
) -> None:
    """Train `model`, then read the test set once, and write the run's results.

    Args:
        encoder_lr_scale: the encoder's learning rate, as a share of the classifier's.
        average_shift: final predictions are averaged over images moved by up to so many pixels.
        skip_test: leave the test set alone, for runs that choose between recipes.

    Raises:
        UserError: as `data.subset`, `Run.start` and `training.fit`.
    """
    train_batches, valid_batches = prepare(
        run,
        dataset,
        recipe,
        compute,
        choose=lambda train: subset(dataset.train_labels, train, label_fraction, recipe.seed),
    )

    def loss_of(forward: Callable[..., Tensor], images: Tensor, labels: Tensor) -> Tensor:
        logits = forward(images).float()
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    mirror = recipe.flip != "none"

    def evaluate(forward: Callable[..., Tensor]) -> dict[str, float]:
        predicted = predict(forward, valid_batches, compute, mirror=mirror)
        loss, accuracy = score(predicted, valid_batches.labels)
        return {"valid_loss": loss, "valid_accuracy": accuracy}

    compute.place(model)
    if freeze_encoder:
        settle(model.encoder, train_batches, compute)
        model.freeze_encoder()
    rate = recipe.learning_rate
    fit(
        run,
        model,
        recipe,
        compute,
        steps=len(train_batches),
        epoch_of=train_batches.epoch,
        loss_of=loss_of,
        evaluate=evaluate,
        parameters=[
            {"params": list(model.encoder.parameters()), "lr": rate * encoder_lr_scale},
            {"params": list(model.classifier.parameters()), "lr": rate},
        ],
    )
    normalise = train_batches.normalise
    write_model(run, model, dataset, normalise)
    model.eval()

    def results_on(images: Tensor, labels: Tensor) -> Tensor:
        batches = evaluation_batches(images, labels, normalise, compute, average_shift)
        return predict(model, batches, compute, mirror=mirror, shift=average_shift)

    valid = split(dataset, recipe.seed)[1]
    valid_labels = dataset.train_labels[valid]
    loss, accuracy = score(results_on(dataset.train_images[valid], valid_labels), valid_labels)
    test_results = None
    if not skip_test:
        test_results = report_test(
            run, results_on(dataset.test_images, dataset.test_labels), dataset
        )
    run.finish(
        {
            "classes": dataset.classes,
            "valid": {"loss": loss, "accuracy": accuracy},
            "test": test_results,
        }
    )


@torch.no_grad()
def settle(encoder: nn.Module, batches: Batches, compute: Compute) -> None:
    """Take normalisation statistics anew, over one epoch.

    A frozen encoder would keep those of its start: none where that is random, and those of
    corrupted images where it is pretrained.
    """
    with compute.autocast():
        update_bn(batches.epoch(0), encoder)


def write_model(run: Run, model: AlexNet, dataset: ImageSet, normalise: Normalisation) -> None:
    """Write the weights, with all that is needed to use them on other images."""
    run.write_weights(
        "model.pt",
        "alexnet",
        {
            "arguments": {"width": model.encoder.width, "num_classes": len(dataset.classes)},
            "classes": dataset.classes,
            "normalisation": {"mean": normalise.mean, "std": normalise.std},
            "state": model.state_dict(),
        },
    )


def report_test(run: Run, probabilities: Tensor, dataset: ImageSet) -> dict:
    """Write the test set's predictions, and return the loss and all figures over classes."""
    probabilities, labels = probabilities.cpu(), dataset.test_labels
    confidence, predicted = probabilities.max(dim=1)
    run.write_arrays(
        "predictions.npz",
        predicted=predicted.to(torch.uint8).numpy(),
        probability=confidence.numpy(),
        label=labels.to(torch.uint8).numpy(),
    )
    loss, accuracy = score(probabilities, labels)
    print(f"test accuracy {accuracy:.4f} on {len(labels):,} images", flush=True)
    figures = classification_report(labels.numpy(), predicted.numpy(), dataset.classes)
    return {"loss": loss, **figures}


@torch.inference_mode()
def predict(
    forward: Callable[..., Tensor],
    batches: Batches,
    compute: Compute,
    *,
    mirror: bool = False,
    shift: int = 0,
) -> Tensor:
    """Class probabilities (N, classes), float32, in the batches' order, averaged over views.

    Args:
        mirror: each view's mirror image is one too, which suits a model trained on both.
        shift: the views are the image moved by up to so many pixels, down or up, right or left.
    """
    views = [
        torch.cat([probabilities(forward, images, compute, mirror) for images, _ in moved])
        for moved in (
            batches.in_order(*offsets) for offsets in product(range(-shift, shift + 1), repeat=2)
        )
    ]
    return torch.stack(views).mean(dim=0)


def probabilities(
    forward: Callable[..., Tensor], images: Tensor, compute: Compute, mirror: bool
) -> Tensor:
    """Class probabilities of one batch, (n, classes) float32; over images and mirror images."""
    both = [images, images.flip(-1)] if mirror else [images]
    with compute.autocast():
        logits = [forward(view) for view in both]
    return torch.stack(logits).float().softmax(dim=-1).mean(dim=0)


def score(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean negative log likelihood in nats, and accuracy in [0, 1], over all images."""
    # Apple's GPUs have no float64.
    probabilities, labels = probabilities.cpu(), labels.cpu()
    smallest = torch.finfo(torch.float32).tiny  # a probability that underflowed costs 87 nats
    loss = F.nll_loss(probabilities.double().clamp_min(smallest).log(), labels).item()
    return loss, (probabilities.argmax(dim=1) == labels).sum().item() / len(labels)
