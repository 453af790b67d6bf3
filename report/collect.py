"""The one door from finished runs to the tables: nothing else reads a run folder for a page.

A run that is damaged, in another's folder, or that disagrees with itself is refused by name. What
is in the tables already stays there; a run of the same name and seed replaces its row.
"""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec.structs import asdict

from harness.errors import UserError
from harness.files import read_arrays, read_bytes, read_json, shown, write_arrays, write_atomically
from harness.rundir import Config
from metrics import Metrics, calibration
from recipes import AutoencoderRecipe, Setup
from report.study import read_study, study_file
from report.tables import COLUMNS, HISTORY, KEYS, LABELS, RESULTS, read_table

PREDICTIONS = ("predicted", "probability", "calibrated", "label")
RECONSTRUCTIONS = ("original", "corrupted", "output", "label")
# The runs whose calibration and examples the pages show: all labels, a preset's options.
WITH_PROBABILITIES = re.compile(
    r"(baseline|pretrained)(-\w*mnist|-digits)?(-original)?(-width[\d.]+)?"
)
Predicted = dict[str, dict[int, dict[str, np.ndarray]]]  # by name and seed
MEASURED = ["epoch", "train_loss", "valid_loss", "learning_rate", "seconds"]


def collect(runs_dir: str | Path, results_dir: str | Path) -> int:
    """Add every finished run below `runs_dir` to the tables in `results_dir`; how many there were.

    Raises:
        UserError: a run is not what it should be; the tables stay as they were.
    """
    runs_dir, results_dir = Path(runs_dir), Path(results_dir)
    folders = sorted(path.parent for path in runs_dir.glob("*/*/metrics.json"))
    for config in sorted(runs_dir.glob("*/*/config.json")):
        if not (config.parent / "metrics.json").exists():
            print(f"left out, not finished: {shown(config.parent)}")
    rows, histories, predicted = [], [], Predicted()
    for folder in folders:
        row, history, arrays = read_run(folder, runs_dir)
        rows.append(row)
        histories.append(history.assign(name=row["name"], seed=row["seed"]))
        if arrays:
            predicted.setdefault(row["name"], {})[row["seed"]] = arrays
    if not rows:
        return 0
    results = merge(read_table(results_dir / RESULTS), pd.DataFrame(rows))
    refuse_mixed(results)
    arms = read_study(study_file(results["dataset"].iloc[0])).names()
    results["arm"] = [arms.get(name, "") for name in results["name"]]
    results = results.reindex(columns=list(dict.fromkeys([*results, *COLUMNS[RESULTS]])))
    history = merge(read_table(results_dir / HISTORY), pd.concat(histories))
    history = history[[*KEYS[RESULTS], *history.columns.drop(KEYS[RESULTS])]]
    keep_labels(results_dir / LABELS, rows[0]["dataset"], predicted)
    for name, by_seed in predicted.items():
        write_predictions(results_dir / "predictions" / f"{name}.npz", name, by_seed)
    keep_reconstructions(runs_dir, results_dir, results["name"])
    write_table(results_dir / HISTORY, history)
    write_table(results_dir / RESULTS, results)
    return len(rows)


def read_run(folder: Path, runs_dir: Path) -> tuple[dict, pd.DataFrame, dict[str, np.ndarray]]:
    """A finished run's row, its history, and its predictions, if it read the test set.

    Raises:
        UserError: a file is missing or damaged, or the run disagrees with itself.
    """
    config = read_json(folder / "config.json", Config[Setup])
    metrics = read_json(folder / "metrics.json", Metrics)
    setup = config.setup
    if folder != (should := setup.folder(runs_dir)):
        raise UserError(
            f"'{shown(folder)}' holds a run that belongs in '{shown(should)}', as its config.json "
            "says: move the folder there, or out of the folder of runs"
        )
    classifies = not isinstance(setup.recipe, AutoencoderRecipe)
    wanted = classifies and not setup.recipe.skip_test
    if wanted != (metrics.test is not None) or classifies != (metrics.valid.accuracy is not None):
        raise UserError(
            f"'{shown(folder / 'metrics.json')}' has other figures than a run of its config.json: "
            "run it again with --overwrite"
        )
    arrays = read_predictions(folder, config, metrics) if wanted else {}
    history = read_history(folder / "history.csv", classifies)
    return facts(config, metrics, history) | calibration_errors(arrays), history, arrays


def read_predictions(folder: Path, config: Config, metrics: Metrics) -> dict[str, np.ndarray]:
    """predictions.npz, held against the run's own accuracy."""
    path = folder / "predictions.npz"
    names = PREDICTIONS if metrics.temperature is not None else PREDICTIONS[:2] + PREDICTIONS[3:]
    arrays = read_arrays(path, names)
    shares = [arrays[name] for name in names if name in ("probability", "calibrated")]
    predicted, labels = arrays["predicted"], arrays["label"]
    if {array.shape for array in arrays.values()} != {(config.data.test_images,)}:
        raise UserError(f"'{shown(path)}' is not of this run's test images: restore it")
    if not np.isin([predicted, labels], range(len(metrics.classes))).all():
        raise UserError(f"'{shown(path)}' holds a class that does not exist: restore it")
    if not all(((share >= 0) & (share <= 1)).all() for share in shares):
        raise UserError(f"'{shown(path)}' holds a probability that is not in 0..1: restore it")
    if abs(np.mean(predicted == labels) - metrics.test.accuracy) > 1e-9:
        raise UserError(
            f"'{shown(folder)}' disagrees with itself: its predictions are right in "
            f"{np.mean(predicted == labels):.4f} of the test images, its metrics.json says "
            f"{metrics.test.accuracy:.4f}: run it again with --overwrite"
        )
    return arrays


def read_history(path: Path, classifies: bool) -> pd.DataFrame:
    try:
        history = pd.read_csv(io.BytesIO(read_bytes(path)))
        columns = [*MEASURED, "valid_accuracy"] if classifies else MEASURED
        fine = np.isfinite(history[columns].to_numpy(float)).all() and len(history)
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"'{shown(path)}' is no history ({shown(error)}): restore it") from error
    if not fine:
        raise UserError(f"'{shown(path)}' holds a value that is not finite: restore it")
    return history


def facts(config: Config, metrics: Metrics, history: pd.DataFrame) -> dict[str, object]:
    """One run's row: what it was told, on what and where, and what came out."""
    setup, environment = config.setup, config.environment
    recipe = setup.recipe
    row = {"name": setup.name, "arm": "", "kind": setup.kind, **asdict(recipe)}
    if setup.encoder:
        options = asdict(setup.encoder.recipe) | {"digest": setup.encoder.digest}
        row |= {f"encoder_{name}": value for name, value in options.items()}
    on_cpu = environment.device == "cpu"  # several runs may have shared a card
    return row | {
        "data_digest": config.data.digest,
        "train_images": config.data.train_images,
        "machine": shown(environment.accelerator or environment.processor),
        **{name: getattr(environment, name) for name in ("device", "threads", "precision")},
        "torch": shown(environment.torch),
        "commit": shown(environment.commit),
        "core_seconds": history["seconds"].sum() * environment.threads if on_cpu else None,
        "valid_loss": metrics.valid.loss,
        "valid_accuracy": metrics.valid.accuracy,
        "test_loss": metrics.test.loss if metrics.test else None,
        "test_accuracy": metrics.test.accuracy if metrics.test else None,
        "temperature": metrics.temperature,
        "parameters": metrics.parameters,
        "multiply_adds": metrics.multiply_adds,
    }


def calibration_errors(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Expected calibration error of the probabilities, before and after the temperature."""
    columns = {"ece": "probability", "ece_calibrated": "calibrated"}
    return {
        column: calibration(arrays[name], arrays["predicted"] == arrays["label"]).ece
        for column, name in columns.items()
        if name in arrays
    }


def keep_labels(path: Path, dataset: str, predicted: Predicted) -> None:
    """Keep the test images' labels; refuse a run that has others."""
    known = read_arrays(path, (dataset,))[dataset] if path.exists() else None
    for name, by_seed in predicted.items():
        for seed, arrays in by_seed.items():
            known = arrays["label"] if known is None else known
            if not np.array_equal(known, arrays["label"]):
                raise UserError(f"{name}/seed{seed} has other test labels than the other runs")
    if predicted and not path.exists():
        write_arrays(path, **{dataset: known.astype(np.uint8)})


def keep_reconstructions(runs_dir: Path, results_dir: Path, names: pd.Series) -> None:
    """Keep the examples of the first autoencoder, which a picture shows, if there are none yet."""
    path, encoders = results_dir / "reconstructions.npz", names[names.str.startswith("autoencoder")]
    for name in [] if path.exists() else encoders.unique()[:1]:
        examples = min((runs_dir / name).glob("seed*/reconstructions.npz"), default=None)
        if examples:
            write_arrays(path, **read_arrays(examples, RECONSTRUCTIONS))


def merge(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Both tables' rows in order of name and seed; where both have a run, the new one's."""
    run = KEYS[RESULTS]
    kept = old[~pd.MultiIndex.from_frame(old[run]).isin(pd.MultiIndex.from_frame(new[run]))]
    both = pd.concat([frame for frame in (kept, new) if len(frame)])
    order = KEYS[HISTORY] if "epoch" in both else run
    return both.sort_values(order, kind="stable", ignore_index=True)


def refuse_mixed(results: pd.DataFrame) -> None:
    """Raise UserError where runs were trained on different images: tables are of one data set."""
    if results["data_digest"].nunique() > 1:
        names = ", ".join(map(shown, results["dataset"].unique()))
        raise UserError(
            f"the runs were trained on different images ({names}): keep them in two folders of runs"
        )


def write_predictions(path: Path, name: str, by_seed: dict[int, dict[str, np.ndarray]]) -> None:
    """Stack the seeds' predictions, those already in the file included."""
    names = (
        ["predicted", *PREDICTIONS[1:3]] if WITH_PROBABILITIES.fullmatch(name) else ["predicted"]
    )
    if path.exists():
        old = read_arrays(path, ("seed", *names))
        kept = {seed: k for k, seed in enumerate(old["seed"].tolist())}
        by_seed = {s: {n: old[n][k] for n in names} for s, k in kept.items()} | by_seed
    seeds = sorted(by_seed)
    missing = np.full_like(by_seed[seeds[0]]["predicted"], np.nan, dtype=np.float32)
    stacks = {n: np.stack([by_seed[seed].get(n, missing) for seed in seeds]) for n in names}
    stacks["predicted"] = stacks["predicted"].astype(np.uint8)
    write_arrays(path, seed=np.array(seeds), **stacks)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A CSV with every digit, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, table.to_csv(index=False, lineterminator="\n").encode())
