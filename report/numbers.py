"""What the pages' tables say beside the comparisons: DataFrames of figures, not yet spelled.

Accuracies and their differences are shares in [0, 1]; a difference is always arm minus control.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from metrics import calibration, confusion_matrix, holm, per_class
from recipes import ClassifierRecipe
from report.compare import difference, paired
from report.tables import Tables

Seeds = Sequence[int]


def means_of(tables: Tables, rows: pd.DataFrame, columns: list[str]) -> dict[str, list[float]]:
    """Mean columns of results.csv for comparisons: `control_<column>` and `arm_<column>`."""
    return {
        f"{arm}_{column}": [
            np.mean([getattr(run, column) for run in tables.runs(name, seeds)])
            for name, seeds in zip(rows[names], rows["seeds"], strict=True)
        ]
        for arm, names in (("control", "control_name"), ("arm", "name"))
        for column in columns
    }


# ------------------------------------------------------------------ predictions


def correct(tables: Tables, name: str, seeds: Seeds) -> np.ndarray:
    """Whether each test image was classified right, bool (seeds, images)."""
    return tables.predictions(name, seeds).predicted == tables.labels


def class_scores(tables: Tables, name: str, seeds: Seeds) -> pd.DataFrame:
    """The original report's columns, a row a seed and class (the index).

    A class's accuracy is the share of its test images that are classified right: its recall.
    NaN is undefined: no such image or, for the precision, never predicted.
    """
    classes = pd.Index(tables.classes, name="class")
    predicted = tables.predictions(name, seeds).predicted
    counts = [confusion_matrix(tables.labels, own, len(classes)) for own in predicted]
    frames = [pd.DataFrame(per_class(each), classes) for each in counts]
    found = pd.concat(frames, keys=seeds, names=["seed"])
    return found.rename(columns=str.capitalize)


def class_means(tables: Tables, name: str, seeds: Seeds) -> pd.DataFrame:
    """Each class's scores and, last, the means over classes: columns (mean or sd, score).

    Where a score is undefined for one seed, so is its mean: over fewer seeds it would mislead.
    """
    scores = class_scores(tables, name, seeds)
    over_classes = scores.groupby("seed").mean()
    over_classes.index = pd.MultiIndex.from_product([seeds, ["**mean**"]], names=["seed", "class"])
    by_class = pd.concat([scores, over_classes]).groupby("class", sort=False)
    found = {"mean": by_class.agg(lambda s: s.mean(skipna=False)), "sd": by_class.std()}
    return pd.concat(found, axis=1)


def class_differences(tables: Tables, control: str, arm: str, seeds: Seeds) -> pd.DataFrame:
    """Class accuracy, arm minus control: a row a class, p corrected for the classes (Holm)."""
    both = [class_scores(tables, name, seeds)["Accuracy"].unstack() for name in (control, arm)]
    rows = {k: difference(both[0][k], both[1][k]) for k in both[0].dropna(axis=1)}
    found = pd.DataFrame(rows).T.reindex([k for k in tables.classes if k in rows])
    return found.assign(corrected_p=holm(found["p"]))


def reliability(tables: Tables, name: str, seeds: Seeds, kind: str = "calibrated") -> pd.DataFrame:
    """All seeds' predictions in 15 bins of `kind` of probability: confidence, accuracy, count."""
    probability = getattr(tables.predictions(name, seeds), kind)
    bins = calibration(probability.ravel(), correct(tables, name, seeds).ravel())
    columns = {"confidence": bins.confidence, "accuracy": bins.accuracy, "count": bins.count}
    return pd.DataFrame(columns, dtype=float)


def prediction_interval(values: pd.Series) -> tuple[float, float]:
    """Where one more run lies with 95 %, if runs are normally distributed."""
    from scipy.special import stdtrit

    half = stdtrit(len(values) - 1, 0.975) * values.std() * np.sqrt(1 + 1 / len(values))
    return values.mean() - half, values.mean() + half


# ------------------------------------------------------------------ learning


def curves(tables: Tables, name: str, column: str, seeds: Seeds) -> pd.DataFrame:
    """A column of the history, a row a seed and a column an epoch that all have.

    A train loss, a mean since the row before, becomes the mean since the last of these epochs.
    """
    rows = tables.history[(tables.history["name"] == name) & tables.history["seed"].isin(seeds)]
    if column != "train_loss":
        return rows.pivot(index="seed", columns="epoch", values=column).dropna(axis=1)
    lengths = rows.groupby("seed")["epoch"].diff().fillna(rows["epoch"])
    sums = rows.assign(sums=(rows[column] * lengths).groupby(rows["seed"]).cumsum())
    found = sums.pivot(index="seed", columns="epoch", values="sums").dropna(axis=1)
    return found.diff(axis=1).fillna(found) / np.diff(found.columns, prepend=0)


def same_epoch(tables: Tables, control: str, arm: str, seeds: Seeds) -> pd.DataFrame:
    """Validation accuracy at the same epoch, a row an epoch, p corrected for the epochs (Holm)."""
    both = [curves(tables, name, "valid_accuracy", seeds) for name in (control, arm)]
    epochs = both[0].columns.intersection(both[1].columns)
    found = pd.DataFrame({e: difference(*(each[e] for each in both)) for e in epochs}).T
    means = {"control_mean": both[0].mean(), "arm_mean": both[1].mean()}
    return found.assign(**means, corrected_p=holm(found["p"]))


# ------------------------------------------------------------------ beside the networks' runs


def costs(tables: Tables) -> pd.DataFrame:
    """Core minutes of each label budget where scratch was given more epochs (`longer`)."""
    return tables.analysis("costs", "scratch", "fine_tuning", "longer", "pretraining")


def classical(tables: Tables, primary: pd.DataFrame) -> pd.DataFrame:
    """Baselines without a network beside both arms of the primary question, on shared seeds.

    Returns:
        difference, low, high, pairs: the pretrained arm minus the baseline; over_difference,
        over_low, over_high: the baseline minus scratch.
    """
    pairs = {
        row.label_fraction: paired(tables, row.name, row.control_name, row.seeds)
        for row in primary.itertuples()
    }
    rows = []
    for (budget, name), own in tables.classical.groupby(["label_fraction", "name"]):
        values = own.set_index("seed")["test_accuracy"]
        both = pairs[budget].join(values, how="inner") if budget in pairs else ()
        if len(both):
            theirs, scratch = both["test_accuracy"], both["control"]
            row = {"label_fraction": budget, "name": name, "mean": theirs.mean()}
            row |= {"sd": theirs.std(), "core_seconds": own["core_seconds"].mean()}
            row |= {"scratch_mean": scratch.mean(), "scratch_sd": scratch.std()}
            row |= difference(scratch, theirs).add_prefix("over_")
            rows.append(row | dict(difference(theirs, both["arm"])))
    return pd.DataFrame(rows)


def probes(tables: Tables) -> pd.DataFrame:
    """Test accuracy by label budget and encoder, the better ones last; columns are (mean, std or
    count; probe; stage)."""
    by = ["label_fraction", "encoder", "probe", "stage"]
    found = tables.probes.groupby(by, sort=False)["test_accuracy"].agg(["mean", "std", "count"])
    found = found.unstack(["probe", "stage"])
    last = found["mean"].iloc[:, -1].rename("last").reset_index()
    order = last.sort_values(["label_fraction", "last"])[["label_fraction", "encoder"]]
    return found.loc[pd.MultiIndex.from_frame(order)]


def own_pairs(results: pd.DataFrame) -> pd.DataFrame:
    """Pretrained runs beside runs from scratch with the same options: control_name, name, seeds."""
    options = [f for f in ClassifierRecipe.__struct_fields__ if f in results]
    tested = results[results["test_accuracy"].notna()].assign(control_name=results["name"])
    control = tested[tested["kind"] == "baseline"][[*options, "control_name"]]
    arm = tested[tested["kind"] == "pretrained"][[*options, "name"]]
    pairs = control.merge(arm, on=options).groupby(["control_name", "name"], sort=False)
    return pairs["seed"].agg(sorted).reset_index(name="seeds")
