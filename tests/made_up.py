"""Runs and tables that are made up, so that what a page has to say of them is known."""

from pathlib import Path

import numpy as np
import pandas as pd
from msgspec.structs import asdict

from harness.files import write_arrays, write_json
from harness.rundir import Config, Data, Environment, Run
from metrics import Metrics, ValidScores, classification_report
from recipes import AutoencoderRecipe, ClassifierRecipe, EncoderSource, Setup
from report.collect import collect
from report.study import read_study, study_file
from report.tables import COLUMNS, RESULTS, Tables

STUDY = read_study(study_file("fashion"))
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
CLASSES += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
LABELS = np.repeat(np.arange(10, dtype=np.uint8), 20)  # 200 test images, 20 a class
DATA = Data(name="fashion", digest="d" * 64, train_images=550, valid_images=50, test_images=200)
ENVIRONMENT = Environment(
    python="3.11", torch="2", torchvision="0", numpy="2", scikit_learn="1", device="cpu",
    processor="some processor", threads=2, precision="fp32", memory_format="contiguous",
    compile=False, commit="c0ffee",
)  # fmt: skip
SIZES = {"parameters": 1000, "multiply_adds": 2_000_000}


def scratch(seed: int = 0, **options) -> Setup:
    """A classifier from scratch."""
    return Setup(recipe=ClassifierRecipe(seed=seed, **options))


def pretrained(seed: int = 0, **options) -> Setup:
    """The same classifier, from the same seed's encoder."""
    recipe = ClassifierRecipe(seed=seed, **options)
    shared = {"dataset": recipe.dataset, "width": recipe.width, "seed": seed}
    source = EncoderSource(recipe=AutoencoderRecipe(**shared), digest=f"{seed:064x}")
    return Setup(recipe=recipe, encoder=source)


def autoencoder(seed: int = 0, **options) -> Setup:
    return Setup(recipe=AutoencoderRecipe(seed=seed, **options))


def wrong(count: int) -> np.ndarray:
    """Predicted classes with so many errors, spread over the classes."""
    predicted = LABELS.copy()
    for k in range(count):
        predicted[20 * (k % 10) + k // 10] = (k + 1) % 10
    return predicted


def write_run(
    runs_dir: Path,
    setup: Setup,
    predicted: np.ndarray = LABELS,
    *,
    history: dict[int, float] | None = None,
    temperature: float | None = None,
    data: Data = DATA,
    environment: Environment = ENVIRONMENT,
    labels: np.ndarray = LABELS,
) -> Path:
    """Write a finished run where its setup belongs; its folder.

    Args:
        history: epoch and validation accuracy of each row of history.csv, 30 s a row.
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
        shares = {"probability": 0.9} | ({"calibrated": 0.95} if temperature else {})
        arrays = {name: np.full(len(labels), of, np.float32) for name, of in shares.items()}
        write_arrays(folder / "predictions.npz", **arrays, predicted=predicted, label=labels)
        test = classification_report(labels, predicted, CLASSES, loss=0.1)
    valid = ValidScores(loss=0.4, accuracy=0.9 if classifier else None)
    named = CLASSES if classifier else []
    metrics = Metrics(**SIZES, classes=named, valid=valid, test=test, temperature=temperature)
    write_json(folder / "metrics.json", metrics)
    return folder


def tables_of(runs_dir: Path) -> Tables:
    """The tables of the runs there, collected into its results/."""
    collect(runs_dir, runs_dir / "results")
    return Tables(runs_dir / "results")


MACHINE = {"machine": "some processor", "device": "cpu", "threads": 1, "precision": "fp32"}


def row_of(setup: Setup, predicted: np.ndarray | None, **columns) -> dict[str, object]:
    """A run's row of results.csv; it predicts nothing where it does not read the test images."""
    recipe = setup.recipe
    row = {"name": setup.name, "arm": "", "kind": setup.kind, **asdict(recipe), **MACHINE, **SIZES}
    share = getattr(recipe, "label_fraction", 1.0)
    row |= {"torch": "2", "train_images": round(55_000 * share), "core_seconds": 60.0}
    row |= {"data_digest": "d" * 64, "valid_loss": 0.4}
    if isinstance(recipe, ClassifierRecipe):
        row["valid_accuracy"] = 0.9
    if predicted is not None:
        row |= {"test_accuracy": float(np.mean(predicted == LABELS)), "test_loss": 0.5}
        row |= {"ece": 0.08, "ece_calibrated": 0.01, "temperature": 0.7}
    return row | columns


def write_tables(folder: Path, runs: list[tuple[Setup, np.ndarray | None]]) -> Path:
    """Write the results of these runs; each is measured after epochs 1 and 2, 0.5 and 0.9."""
    (folder / "predictions").mkdir(parents=True)
    rows = pd.DataFrame([row_of(*run) for run in runs])
    every = dict.fromkeys([*rows.columns, *COLUMNS[RESULTS]])  # empty where no run here has it
    rows.reindex(columns=list(every)).to_csv(folder / "results.csv", index=False)
    np.savez(folder / "labels.npz", **{runs[0][0].recipe.dataset: LABELS})
    measured = pd.DataFrame({"epoch": [1, 2], "valid_accuracy": [0.5, 0.9]})
    measured = measured.assign(train_loss=1.0, valid_loss=0.5, seconds=30)
    history = rows[["name", "seed", "kind"]].merge(measured, how="cross")
    history.loc[history.pop("kind") == "autoencoder", "valid_accuracy"] = np.nan
    history.to_csv(folder / "history.csv", index=False)
    by_name = {}
    for setup, predicted in runs:
        if predicted is not None:
            by_name.setdefault(setup.name, []).append((setup.recipe.seed, predicted))
    for name, seeds in by_name.items():
        write_predictions(folder, name, *zip(*seeds, strict=True))
    return folder


def write_predictions(folder: Path, name: str, seeds: tuple[int], predicted: tuple) -> None:
    """With probabilities of 0.9, calibrated 0.95, for the default runs, as they are published."""
    arrays = {"seed": np.array(seeds), "predicted": np.stack(predicted)}
    if name in ("baseline", "pretrained"):
        shape = arrays["predicted"].shape
        for kind, value in (("probability", 0.9), ("calibrated", 0.95)):
            arrays[kind] = np.full(shape, value, np.float32)
    np.savez(folder / "predictions" / f"{name}.npz", **arrays)


def whole_study(errors: dict[str, int]) -> list[tuple[Setup, np.ndarray]]:
    """Every run of the open questions.

    Args:
        errors: by arm, how many test images are wrong; 30 for the others. Odd seeds have one more.
    """
    plan = pd.concat([STUDY.plan(question) for question in STUDY.questions]).explode("seeds")
    cells = plan.drop_duplicates(["name", "seeds"])[["arm", "label_fraction", "seeds"]]
    return [
        (STUDY.setup(arm, budget, seed), wrong(errors.get(arm, 30) + seed % 2))
        for arm, budget, seed in cells.itertuples(index=False)
    ]
