"""What the pages' tables say beside the comparisons: DataFrames of figures, not yet spelled.

Accuracies and their differences are shares in [0, 1]; a difference is always arm minus control.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.errors import UserError
from harness.files import shown
from metrics import bootstrap_seeds_and_images, calibration, holm, paired_difference
from recipes import ClassifierRecipe
from report.study import Study
from report.tables import Tables

QUICK = 0.99  # how fast an arm learns: epochs to this share of the control's last accuracy
RESAMPLES = 4_000  # of seeds and images
DRAWS = 4_000  # of few validation images
PRETRAINING = "autoencoder"  # the name of the default pretraining
COST_BY = ["width", "batch_size", "freeze_encoder"]  # what an image's cost depends on

Seeds = Sequence[int]


def difference(control: pd.Series, arm: pd.Series) -> pd.Series:
    """Difference, low, high (NaN for one pair), p and pairs of two scores with one index."""
    found = paired_difference(control, arm)
    values = {"difference": found.mean, "low": found.low, "high": found.high, "p": found.p}
    return pd.Series(values | {"pairs": found.n}, dtype=float)


def mean_of(tables: Tables, name: str, seeds: Seeds, column: str) -> float:
    """A column of results.csv, mean over the runs of a name."""
    return float(np.mean([getattr(run, column) for run in tables.runs(name, seeds)]))


def means_of(tables: Tables, rows: pd.DataFrame, columns: list[str]) -> dict[str, list[float]]:
    """Columns of results.csv for comparisons: `control_<column>` and `arm_<column>`."""
    return {
        f"{arm}_{column}": [
            mean_of(tables, name, seeds, column)
            for name, seeds in zip(rows[names], rows["seeds"], strict=True)
        ]
        for arm, names in (("control", "control_name"), ("arm", "name"))
        for column in columns
    }


# ------------------------------------------------------------------ predictions


def rows_of(tables: Tables, name: str, seeds: Seeds) -> list[int]:
    """Where these seeds lie in the predictions of a name.

    Raises:
        UserError: one is not there, or they are of other test images.
    """
    found = tables.predictions(name)
    where = {seed: row for row, seed in enumerate(found.seed.tolist())}
    if not where.keys() >= set(seeds) or found.predicted.shape != (len(where), len(tables.labels)):
        raise UserError(
            f"'{shown(tables.folder / 'predictions' / name)}.npz' does not hold what results.csv "
            "says that was predicted: restore it"
        )
    return [where[seed] for seed in seeds]


def correct(tables: Tables, name: str, seeds: Seeds) -> np.ndarray:
    """Whether each test image was classified right, bool (seeds, images)."""
    return tables.predictions(name).predicted[rows_of(tables, name, seeds)] == tables.labels


def over_images(tables: Tables, control: str, arm: str, seeds: Seeds) -> tuple[float, float]:
    """The 95 % interval of the difference over other seeds and other test images."""
    both = (correct(tables, name, seeds) for name in (control, arm))
    return bootstrap_seeds_and_images(*both, resamples=RESAMPLES)


def class_scores(tables: Tables, name: str, seeds: Seeds) -> pd.DataFrame:
    """The original report's columns, a row a seed and class (the index).

    A class's accuracy is the share of its test images that are classified right: its recall.
    NaN is undefined: no such image or, for the precision, never predicted.
    """
    size, frames = len(tables.classes), {}
    predicted = tables.predictions(name).predicted[rows_of(tables, name, seeds)]
    for seed, own in zip(seeds, predicted, strict=True):
        confusion = np.bincount(tables.labels.astype(int) * size + own, minlength=size**2)
        confusion = confusion.reshape(size, size)
        right, true, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        with np.errstate(invalid="ignore"):
            recall, precision, f1 = right / true, right / said, 2 * right / (true + said)
        columns = {"Accuracy": recall, "Precision": precision, "Recall": recall, "F1_score": f1}
        frames[seed] = pd.DataFrame(columns, index=pd.Index(tables.classes, name="class"))
    return pd.concat(frames, names=["seed"])


def class_means(tables: Tables, name: str, seeds: Seeds) -> pd.DataFrame:
    """Each class's scores and, last, the means over classes: columns (mean or sd, score).

    Where a score is undefined for one seed, so is its mean: over fewer seeds it would mislead.
    """
    scores = class_scores(tables, name, seeds)
    over_classes = scores.groupby("seed").mean()
    by_class = scores.groupby("class", sort=False)
    found = {"mean": by_class.agg(lambda s: s.mean(skipna=False)), "sd": by_class.std()}
    found["mean"].loc["**mean**"], found["sd"].loc["**mean**"] = (
        over_classes.mean(),
        over_classes.std(),
    )
    return pd.concat(found, axis=1)


def class_differences(tables: Tables, control: str, arm: str, seeds: Seeds) -> pd.DataFrame:
    """Class accuracy, arm minus control: a row a class, p corrected for the classes (Holm)."""
    both = [class_scores(tables, name, seeds)["Accuracy"].unstack() for name in (control, arm)]
    rows = {k: difference(both[0][k], both[1][k]) for k in both[0].dropna(axis=1)}
    found = pd.DataFrame(rows).T.reindex([k for k in tables.classes if k in rows])
    return found.assign(corrected_p=holm(found["p"]))


def reliability(tables: Tables, name: str, seeds: Seeds, kind: str = "calibrated") -> pd.DataFrame:
    """All seeds' predictions in 15 bins of `kind` of probability: confidence, accuracy, count."""
    probability = getattr(tables.predictions(name), kind)[rows_of(tables, name, seeds)]
    bins = calibration(probability.ravel(), correct(tables, name, seeds).ravel())
    columns = {"confidence": bins.confidence, "accuracy": bins.accuracy, "count": bins.count}
    return pd.DataFrame(columns, dtype=float)


def prediction_interval(values: pd.Series) -> tuple[float, float]:
    """Where one more run lies with 95 %, if runs are normally distributed."""
    from scipy.special import stdtrit

    half = stdtrit(len(values) - 1, 0.975) * values.std() * np.sqrt(1 + 1 / len(values))
    return values.mean() - half, values.mean() + half


# ------------------------------------------------------------------ learning


def valid_history(tables: Tables, name: str, seeds: Seeds) -> pd.DataFrame:
    """Validation accuracy, a row an epoch that all seeds have and a column a seed."""
    rows = tables.history[tables.history["name"] == name]
    found = rows.pivot(index="epoch", columns="seed", values="valid_accuracy")
    return found.reindex(columns=list(seeds)).dropna()


def same_epoch(tables: Tables, control: str, arm: str, seeds: Seeds) -> pd.DataFrame:
    """Validation accuracy at the same epoch, a row an epoch, p corrected for the epochs (Holm)."""
    both = [valid_history(tables, name, seeds) for name in (control, arm)]
    epochs = both[0].index.intersection(both[1].index)
    found = pd.DataFrame({e: difference(*(each.loc[e] for each in both)) for e in epochs}).T
    means = {"control_mean": both[0].mean(axis=1), "arm_mean": both[1].mean(axis=1)}
    return found.assign(**means, corrected_p=holm(found["p"]))


def epochs_to(measured: pd.Series, goal: float, chance: float) -> float:
    """Epochs until the accuracy, indexed by epoch, first reaches `goal`; all if it never does.

    Between two measurements, and between chance before the first epoch and the first, it is taken
    to rise evenly.
    """
    epochs, accuracies = np.r_[0, measured.index], np.r_[chance, measured]
    reached = np.flatnonzero(accuracies[1:] >= goal)
    if not len(reached):
        return float(epochs[-1])
    here = slice(reached[0], reached[0] + 2)
    return float(np.interp(goal, accuracies[here], epochs[here]))


def learning(tables: Tables, primary: pd.DataFrame) -> pd.DataFrame:
    """Epochs to 99 % of scratch's last validation accuracy, a row a label budget.

    `early_*` count the runs that reach it before their first measurement; where these are more
    than half of an arm's, a difference says nothing (NaN), and its p counts as 1.
    """
    rows, curves = [], {}
    names = pd.concat([primary["name"], primary["control_name"]])
    chosen = tables.history[tables.history["name"].isin(names)]
    for (name, seed), rows_of_run in chosen.groupby(["name", "seed"]):
        curves[name, seed] = rows_of_run.set_index("epoch")["valid_accuracy"]
    for row in primary.itertuples():
        goals = [QUICK * curves[row.control_name, seed].iloc[-1] for seed in row.seeds]
        found = {}
        for arm, name in (("control", row.control_name), ("arm", row.name)):
            own = [curves[name, seed] for seed in row.seeds]
            chance = 1 / len(tables.classes)
            found[arm] = np.array(
                [epochs_to(c, goal, chance) for c, goal in zip(own, goals, strict=True)]
            )
            found[f"early_{arm}"] = int(sum(found[arm] < [curve.index[0] for curve in own]))
        values = difference(found["control"], found["arm"])
        if max(found["early_control"], found["early_arm"]) > row.pairs / 2:
            values[["difference", "low", "high", "p"]] = np.nan
        found |= {arm: found[arm].mean() for arm in ("control", "arm")}
        rows.append({"label_fraction": row.label_fraction, **found, **values, "pairs": row.pairs})
    table = pd.DataFrame(rows)
    corrected = pd.Series(holm(table["p"].fillna(1)))
    return table.assign(corrected_p=corrected.where(table["p"].notna()))


# ------------------------------------------------------------------ what it costs


def on_one_processor(results: pd.DataFrame) -> pd.DataFrame:
    """The runs on one kind of processor, that which made most encoders of the default recipe."""
    known = results[results["core_seconds"].notna()]
    if known.empty:
        return known
    kinds = known.groupby(["machine", "precision"])["name"]
    made = kinds.agg(encoders=lambda names: (names == PRETRAINING).sum(), runs="size")
    machine, precision = made.sort_values(["encoders", "runs"]).index[-1]
    return known[(known["machine"] == machine) & (known["precision"] == precision)]


def classifier_minutes(there: pd.DataFrame, run: Any) -> float:
    """Core minutes of a classifier, validation included, whatever it starts from; NaN: unknown.

    Most processors did other work beside, so the quickest counts: its images, times what one took
    in the quickest run of its recipe or, where none ran on the processor, in the quickest run with
    as large batches of as wide a net.

    Args:
        there: the runs on the processor; run: a row of results.csv.
    """
    options = [f for f in ClassifierRecipe.__struct_fields__ if f in there and f != "seed"]
    own = there[there["kind"] != "autoencoder"]
    for columns in (COST_BY, options):
        same = own[columns].astype(str) == [str(getattr(run, column)) for column in columns]
        own = own[same.all(axis=1)] if same.all(axis=1).any() or columns is COST_BY else own
    an_image = (own["core_seconds"] / (own["epochs"] * own["train_images"])).min()
    return an_image * run.epochs * run.train_images / 60


def pretraining_minutes(there: pd.DataFrame) -> float:
    """Core minutes of the quickest pretraining of the default recipe; NaN: unknown."""
    return there.loc[there["name"] == PRETRAINING, "core_seconds"].min() / 60


def costs(tables: Tables, study: Study, compute: pd.DataFrame) -> pd.DataFrame:
    """Core minutes by label budget (index), where scratch was given more epochs.

    Args:
        compute: the comparisons of the question `compute`.
    """
    rows, there = {}, on_one_processor(tables.results)
    for row in compute[compute["arm"] == "pretrained"].itertuples():
        names = (study.name("scratch", row.label_fraction), row.name, row.control_name)
        runs = [tables.runs(name, row.seeds)[0] for name in names]
        minutes = [classifier_minutes(there, run) for run in runs]
        rows[row.label_fraction] = [*minutes, pretraining_minutes(there)]
    columns = ["scratch", "fine_tuning", "longer", "pretraining"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).dropna()


# ------------------------------------------------------------------ beside the networks' runs


def classical(tables: Tables, pairs: dict[float, pd.DataFrame]) -> pd.DataFrame:
    """Baselines without a network beside both arms, on the seeds that all have.

    Args:
        pairs: by label budget, the primary comparison's pairs: arm and control by seed.

    Returns:
        difference, low, high, pairs: the pretrained arm minus the baseline; over, over_low,
        over_high: the baseline minus scratch.
    """
    rows = []
    for (budget, name), own in tables.classical.groupby(["label_fraction", "name"]):
        values = own.set_index("seed")["test_accuracy"]
        both = pairs[budget].join(values, how="inner") if budget in pairs else ()
        if len(both):
            theirs, scratch = both["test_accuracy"], both["control"]
            over = difference(scratch, theirs)[["difference", "low", "high"]]
            over = over.set_axis(["over", "over_low", "over_high"])
            means = {"mean": theirs.mean(), "sd": theirs.std()}
            means |= {"scratch_mean": scratch.mean(), "scratch_sd": scratch.std()}
            first = {"label_fraction": budget, "name": name, **means}
            seconds = {"core_seconds": own["core_seconds"].mean()}
            rows.append(first | dict(difference(theirs, both["arm"])) | dict(over) | seconds)
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


def chosen_by_few(trials: pd.DataFrame, images: int, few: int) -> float:
    """Mean accuracy of the trials that so few validation images choose (arXiv:1804.09170).

    Runs keep how many of their validation images are right, not which. So for each draw a trial's
    few images are drawn from its own, independently of the other trials'; to look at the same
    images in all trials, as one would, makes the choice somewhat better than this.

    Args:
        trials: validation accuracies, a row a seed and a column a trial.
        images: in the whole validation set; few: in the small one.
    """
    accuracies = trials.to_numpy()
    right = np.rint(accuracies * images).astype(int)
    rng = np.random.default_rng(0)
    drawn = rng.hypergeometric(right, images - right, few, size=(DRAWS, *right.shape))
    chosen = (drawn + rng.random(drawn.shape)).argmax(axis=2)  # a draw is decided by lot
    return float(accuracies.mean(axis=0)[chosen].mean())


def own_pairs(results: pd.DataFrame) -> pd.DataFrame:
    """Pretrained runs beside runs from scratch with the same options: arm, control, their seeds."""
    options = [f for f in ClassifierRecipe.__struct_fields__ if f in results]
    tested = results[results["test_accuracy"].notna()]
    control, arm = (tested[tested["kind"] == kind] for kind in ("baseline", "pretrained"))
    pairs = control.merge(arm, on=options, suffixes=("_control", "_arm"))
    seeds = pairs.groupby(["name_control", "name_arm"], sort=False)["seed"].agg(sorted)
    return seeds.reset_index().set_axis(["control", "arm", "seeds"], axis=1)
