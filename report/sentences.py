"""What the pages say in words: each function returns one sentence (or a few that belong together).

Rows are comparisons as `report.compare.compare` gives them. Differences are told in points.
"""

import pandas as pd

from metrics import MARGIN, MIN_PAIRS, McNemar, paired_difference
from report.markdown import budget, cell, ends, listed, p, percent, points


def standing(verdict: str, tested: bool, pairs: int, planned: int) -> str:
    """A comparison's verdict or, where it is not tested, why."""
    if tested:
        return verdict
    return f"{pairs} of {planned} seeds" if pairs < planned else "too few seeds"


def p_is(value: float) -> str:
    """`p = 0.002`, or `p <0.001`."""
    return f"p {'' if value < 0.001 else '= '}{p(value)}"


def standing_of(row: object) -> str:
    return standing(row.verdict, row.tested, row.pairs, row.planned)


def told(rows: pd.DataFrame) -> str:
    """`+0.12 at 10 % (undecided) and +0.02 at 30 % (equivalent within the margin)`."""
    return listed(
        f"{points(row.difference)} at {budget(row.label_fraction)} ({standing_of(row)})"
        for row in rows.itertuples()
    )


# ------------------------------------------------------------------ the answer


def few_labels(primary: pd.DataFrame) -> str:
    """What pretraining is worth at the fewest labels, those of up to 1 %."""
    fewest, *_, most = primary[primary["label_fraction"] <= 0.01].itertuples()
    return (
        f"With {fewest.labels} to {most.labels} labels, pretraining on the images without labels "
        f"is worth {percent(fewest.difference)} to {percent(most.difference)} points of test "
        "accuracy."
    )


def task(same_recipe: pd.DataFrame, plain: pd.DataFrame) -> str:
    """That the task of pretraining decides: masked + HOG, and whole images copied.

    Args:
        same_recipe: the pretrained arm minus scratch with its recipe.
        plain: the plain arm minus the same.
    """
    rows = same_recipe[same_recipe["label_fraction"].isin(plain["label_fraction"])]
    where = listed(map(budget, rows["label_fraction"]))
    hog, copied = (listed(map(points, each["difference"])) for each in (rows, plain))
    verdicts = listed(dict.fromkeys(plain["verdict"]))
    verdicts = f"both {verdicts}" if list(plain["verdict"]) == 2 * [verdicts] else verdicts
    return (
        f"What is predicted decides. With the same hyperparameters in all networks, predicting "
        f"hidden patches and their gradients (HOG) brings {hog} points over scratch at {where} of "
        f"the labels. Copying whole images, as the original did, brings {copied} ({verdicts})."
    )


def many_labels(primary: pd.DataFrame, longer: pd.DataFrame) -> str:
    """What is left from 10 % of the labels on, and what more epochs for both leave of that."""
    rows = primary[primary["label_fraction"] >= 0.1]
    return (
        f"From 10 % of the labels on, pretraining is worth {percent(rows['difference'].min())} to "
        f"{percent(rows['difference'].max())} points with the study's short trainings. When both "
        f"networks train longer, it is worth {told(longer)}."
    )


def same_recipe_note(plain: pd.DataFrame, recipe: pd.DataFrame, start: pd.DataFrame) -> str:
    """Why the plain arm's difference is not its start's: the recipe is another one.

    Args:
        plain: plain minus scratch; recipe: scratch with plain's recipe minus scratch;
        start: plain minus scratch with the same recipe. One row each, at one label budget.
    """
    a, b, c = (rows.iloc[0] for rows in (plain, recipe, start))
    return (
        "Below 10 % of the labels the pretrained arms have hyperparameters of their own. Of "
        f"plain's {points(a.difference)} at {budget(a.label_fraction)}, {points(b.difference)} "
        f"comes with these, and {points(c.difference)} ({ends(c.low, c.high)}) with its encoder."
    )


def over_images(row: object) -> str:
    """A gain below the margin, with its interval over seeds and images."""
    return (
        f"At {budget(row.label_fraction)} the gain is below {percent(MARGIN)} points, the smallest "
        f"difference that matters; over other test images as well, its 95 % interval is "
        f"{ends(row.images_low, row.images_high)}."
    )


# ------------------------------------------------------------------ the controls


def longer_scratch(rows: pd.DataFrame, costs: pd.DataFrame) -> str:
    """More epochs from scratch instead of pretraining, and what they take, where that is known.

    Args:
        rows: pretrained minus scratch with more epochs.
        costs: core minutes, `longer` and those of `fine_tuning` and `pretraining`.
    """
    times = costs["longer"] / (costs["fine_tuning"] + costs["pretraining"])
    taken = listed(f"{value:.1f}" for value in times)
    took = f" It takes {taken} times as long as pretraining and fine-tuning." if taken else ""
    return (
        "Training from scratch for 20 more passes over all images instead: pretrained minus that "
        f"is {told(rows)}.{took}"
    )


def searched(rows: pd.DataFrame) -> str:
    """Each arm with the hyperparameters that a search chose for it after the primary results."""
    return (
        "With hyperparameters that a search chose for each arm later, pretrained minus from "
        f"scratch is {told(rows)}."
    )


def auxiliary(rows: pd.DataFrame, pretrained: pd.DataFrame) -> str:
    """The task of pretraining as an auxiliary loss, without pretraining and on top of it."""
    return (
        f"The same task as an auxiliary loss while learning from scratch, without pretraining: "
        f"{told(rows)} over scratch. Pretraining plus that loss, minus the loss alone: "
        f"{told(pretrained)}."
    )


def without_network(classical: pd.DataFrame) -> str:
    """The best baseline without a network: where its mean is above scratch's.

    Args:
        classical: as `report.numbers.classical` gives them.
    """
    if classical.empty:
        return ""
    best = classical.loc[classical.groupby("label_fraction")["mean"].idxmax()]
    above = best[(best["over_difference"] > 0) & (best["pairs"] >= MIN_PAIRS)]
    names = listed(map(cell, best["name"].unique()), "or")
    text = f"The best baseline without a network, {names}, is "
    if above.empty:
        return f"{text}nowhere above scratch."
    where = listed(
        f"{budget(r.label_fraction)} ({points(r.over_difference)}, {ends(r.over_low, r.over_high)})"
        for r in above.itertuples()
    )
    beaten = "; pretrained is above it everywhere" if (best["difference"] > 0).all() else ""
    return f"{text}by its mean above scratch at {where}{beaten}."


# ------------------------------------------------------------------ what else the runs say


def trend(found: object) -> str:
    """How the gain changes with the label budget: the slope, its interval, p and seeds."""
    shown = f" (95 % interval {ends(found.low, found.high)}; exact sign-flip test, {p_is(found.p)})"
    return (
        "a straight line through the gains, drawn over the logarithm of the label budget, changes "
        f"by {points(found.slope)} points with ten times as many labels{shown}, over "
        f"the {found.n:.0f} seeds that all label budgets have. The gains need not lie on a line: "
        "see the picture."
    )


def calibrated(errors: dict[str, tuple[float, float]], surplus: float) -> str:
    """What one temperature does to the calibration error, and which way it was off before.

    Args:
        errors: by arm, before and after the temperature.
        surplus: mean probability less accuracy before it, from scratch.
    """
    both = listed(
        f"{percent(before, 1)} to {percent(after, 1)} % ({arm})"
        for arm, (before, after) in errors.items()
    )
    return (
        "One temperature, fitted on validation, brings the expected calibration error from "
        f"{both}. Before it, probabilities are too {'low' if surplus < 0 else 'high'}, from "
        f"scratch by {percent(abs(surplus), 1)} points on average."
    )


def reliable(bins: pd.DataFrame) -> str:
    """What is left after the temperature, at probabilities of about 90, 83 and 31 %."""
    parts = []
    for goal in (0.9, 0.83, 0.31):
        row = bins.loc[(bins["confidence"] - goal).abs().idxmin()]
        parts.append(
            f"{percent(row['confidence'], 0)} % are right in {percent(row['accuracy'], 0)} %"
        )
    return f"After it, predictions of {listed(parts)}: still somewhat too high below the highest."


# ------------------------------------------------------------------ the original experiment


def slightly_better(rows: pd.DataFrame) -> str:
    """The original report's first conclusion, held against our pairs."""
    if rows.empty:
        return "«The pretrained network is only slightly better»: no runs yet (`make original`)."
    return f"«The pretrained network is only slightly better»: {class_accuracy(rows.iloc[0])}"


def class_accuracy(row: object) -> str:
    """The difference in mean class accuracy, which with classes of one size is the accuracy."""
    return (
        f"pretrained minus from scratch is {points(row.difference)} points of mean class accuracy "
        f"({ends(row.low, row.high)}): {standing_of(row)}."
    )


def trains_faster(epochs: pd.DataFrame, planned: int) -> str:
    """The original report's second conclusion: validation accuracy at the same epoch.

    Args:
        epochs: as `report.numbers.same_epoch` gives them; planned: pairs that are to be.
    """
    if epochs.empty:
        return "«It seems to train slightly faster»: no runs yet."
    pairs = int(epochs["pairs"].iloc[0])
    if pairs < max(planned, MIN_PAIRS):
        return f"«It seems to train slightly faster»: not tested, {pairs} of {planned} seeds."
    clear = epochs[epochs["corrected_p"] < 0.05]
    ahead, behind = clear[clear["low"] > 0].index, clear[clear["high"] < 0].index
    parts = [
        f"{word} at epoch{'s' if len(where) > 1 else ''} {listed(map(str, where))}"
        for word, where in (("ahead", ahead), ("behind", behind))
        if len(where)
    ]
    verdict = listed(parts) if parts else "clearly ahead or behind at none of the epochs"
    return (
        "«It seems to train slightly faster»: at the same epoch, by validation accuracy, the "
        f"pretrained network is {verdict} (paired, corrected for {len(epochs)} epochs)."
    )


# ------------------------------------------------------------------ a person's own runs


def own_pair(control: pd.Series, arm: pd.Series) -> str:
    """Test accuracies by seed and their difference, and what may be said of it."""
    found, n = paired_difference(control, arm), len(arm)
    basis = "one seed: no test"
    if n > 1:
        says = p_is(found.p) if n >= MIN_PAIRS else "too few for a test"
        basis = f"95 % interval {ends(found.low, found.high)}; {n} seeds: {says}"
    return (
        f"From scratch {percent(control.mean())} %, pretrained {percent(arm.mean())} %: "
        f"{points(found.mean)} points ({basis})."
    )


def own_images(seed: int, found: McNemar) -> str:
    """McNemar's test of one pair of networks."""
    return (
        f"Of seed {seed}'s test images, {found.only_baseline} are right only from scratch and "
        f"{found.only_treatment} only with pretraining (McNemar's exact test of these two "
        f"networks, {p_is(found.p)})."
    )
