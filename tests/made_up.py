"""Finished runs that are made up, so that what a page has to say of them is known."""

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from harness.files import write_arrays, write_json
from harness.rundir import Config, Data, Environment, Run
from metrics import Metrics, ValidScores, classification_report
from recipes import AutoencoderRecipe, ClassifierRecipe, EncoderSource, Setup

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
CLASSES += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
LABELS = np.repeat(np.arange(10), 20)  # 200 test images, 20 a class
DATA = Data(name="fashion", digest="d" * 64, train_images=550, valid_images=50, test_images=200)
ENVIRONMENT = Environment(
    python="3.11",
    torch="2",
    torchvision="0",
    numpy="2",
    scikit_learn="1",
    processor="some processor",
    threads=2,
    commit="c0ffee",
    device="cpu",
    precision="fp32",
    memory_format="contiguous",
    compile=False,
)


def scratch(seed: int = 0, **options) -> Setup:
    """A classifier from scratch."""
    return Setup(recipe=ClassifierRecipe(seed=seed, **options))


def pretrained(seed: int = 0, encoder: AutoencoderRecipe | None = None, **options) -> Setup:
    """The same classifier, from the same seed's encoder."""
    recipe = replace(encoder or AutoencoderRecipe(), seed=seed)
    source = EncoderSource(recipe=recipe, digest=f"{seed:064x}")
    return Setup(recipe=ClassifierRecipe(seed=seed, **options), encoder=source)


def autoencoder(seed: int = 0, **options) -> Setup:
    return Setup(recipe=AutoencoderRecipe(seed=seed, **options))


def first_images_wrong(count: int) -> list[tuple[int, int]]:
    """Errors for `write_run`, spread over the classes: image, and the class it is taken for."""
    return [(20 * (k % 10) + k // 10, (k + 1) % 10) for k in range(count)]


def write_run(
    runs_dir: Path,
    setup: Setup,
    errors=(),
    *,
    valid_accuracy: float = 0.9,
    history: dict[int, float] | None = None,
    temperature: float | None = None,
    data: Data = DATA,
    environment: Environment = ENVIRONMENT,
    classes: list[str] = CLASSES,
) -> Path:
    """Write a finished run where its setup belongs; its folder.

    Args:
        errors: pairs of image and predicted class; all other predictions are right.
        valid_accuracy: in metrics.json.
        history: epoch and validation accuracy of each row of history.csv, 30 s a row; by default
            0.5 after epoch 1 and 0.9 after epoch 2.
        temperature: of a run whose probabilities, 0.9 each, were calibrated, to 0.95.
    """
    folder = setup.folder(runs_dir)
    classifier = isinstance(setup.recipe, ClassifierRecipe)
    write_json(folder / "config.json", Config(setup=setup, data=data, environment=environment))
    rows = [
        {"epoch": epoch, "train_loss": 1 - accuracy, "valid_loss": 0.9 - accuracy / 2}
        | ({"valid_accuracy": accuracy} if classifier else {})
        | {"learning_rate": 0.1 / epoch, "seconds": 30}
        for epoch, accuracy in (history or {1: 0.5, 2: 0.9}).items()
    ]
    Run(folder, setup, Metrics).write_history(rows)
    test = None
    if not classifier:
        images = np.random.default_rng(0).random((3, 28, 28))
        arrays = {"original": images, "corrupted": images, "output": images}
        write_arrays(folder / "reconstructions.npz", **arrays, label=np.arange(3))
    elif not setup.recipe.skip_test:
        predicted = LABELS.copy()
        for image, wrong in errors:
            predicted[image] = wrong
        probability = np.full(len(LABELS), 0.9, dtype=np.float32)
        arrays = {"predicted": predicted, "probability": probability, "label": LABELS}
        if temperature:
            arrays["calibrated"] = np.full(len(LABELS), 0.95, dtype=np.float32)
        write_arrays(folder / "predictions.npz", **arrays)
        test = classification_report(LABELS, predicted, classes, loss=0.1)
    valid = ValidScores(loss=0.4, accuracy=valid_accuracy if classifier else None)
    named = classes if classifier else []
    metrics = Metrics(classes=named, valid=valid, test=test, temperature=temperature)
    write_json(folder / "metrics.json", metrics)
    return folder
