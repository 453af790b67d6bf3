"""Figures of one run, and what may be said of two recipes over paired seeds.

Scores are plain arrays. A pair is one seed run with both recipes, a difference is always
treatment less baseline, and accuracies are shares in 0..1, so a margin of 0.0025 is 0.25 points.
"""

from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike

SIGNIFICANCE = 0.05
MARGIN = 0.0025  # the smallest difference in accuracy that matters
# Fewest pairs for a verdict. Differences of one sign give the smallest p that a two-sided
# sign-flip test can reach, 2 / 2**n: 0.0625 with five pairs, 0.03125 with six.
MIN_PAIRS = 6
MOST_EXACT = 16  # pairs for which every pattern of signs is tried
RANDOM_PATTERNS = 99_999  # tried beside the observed one where there are more pairs

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Loss = Annotated[float, Meta(ge=0)]
Verdict = Literal["helps", "harms", "equivalent", "undecided"]


# ------------------------------------------------------------------ one run: its metrics.json


class ClassScores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One class on the test set. None is undefined: no such image, or never predicted.

    `accuracy` is the share of the class's images that were classified correctly, its recall.
    """

    class_name: str = msgspec.field(name="class")
    accuracy: Share | None
    precision: Share | None
    recall: Share | None
    f1_score: Share | None
    support: Count


class TestScores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The test set; `confusion` has a row a true class and a column a predicted one."""

    __test__ = False  # not a class of tests, whatever pytest makes of its name

    loss: Loss
    accuracy: Share
    mean_class_accuracy: Share
    macro_precision: Share
    macro_recall: Share
    macro_f1: Share
    per_class: Annotated[list[ClassScores], Meta(min_length=1)]
    confusion: list[list[Count]]

    def __post_init__(self) -> None:
        size = len(self.per_class)
        if [len(row) for row in self.confusion] != [size] * size:
            raise ValueError(f"confusion is not a square of {size} classes")
        if [sum(row) for row in self.confusion] != [row.support for row in self.per_class]:
            raise ValueError("confusion's rows do not add up to the classes' support")


class ValidScores(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The validation set; an autoencoder has no accuracy."""

    loss: Loss
    accuracy: Share | None = None


class Metrics(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A run's metrics.json. An autoencoder has no classes; a run may leave the test set alone.

    Args:
        parameters, multiply_adds: of the network; multiply-adds are of one image.
    """

    classes: list[str] = []
    parameters: Count | None = None  # not there in runs from before it was kept
    multiply_adds: Count | None = None
    valid: ValidScores
    test: TestScores | None = None
    temperature: Annotated[float, Meta(gt=0)] | None = None  # makes its probabilities calibrated

    def __post_init__(self) -> None:
        if self.test and self.classes != [row.class_name for row in self.test.per_class]:
            raise ValueError("per_class does not list the classes in their order")


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How many images (classes, classes) of each true class, the row, are taken for each class."""
    cells = np.asarray(labels, int) * classes + np.asarray(predicted, int)
    return np.bincount(cells.ravel(), minlength=classes**2).reshape(classes, classes)


def per_class(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Each class's `accuracy`, `precision`, `recall` and `f1_score`; NaN is undefined.

    Undefined is the precision of a class that was never predicted, while its F1 score is 0 if
    there are images of it.
    """
    right, true, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        recall, precision, f1 = right / true, right / said, 2 * right / (true + said)
    return {"accuracy": recall, "precision": precision, "recall": recall, "f1_score": f1}


def classification_report(
    labels: ArrayLike, predicted: ArrayLike, classes: list[str], loss: float
) -> TestScores:
    """Overall and per-class scores; macro averages are over the classes that have the score.

    Args:
        labels, predicted: class indices (N,), at least one.
        classes: names, in the order of the indices.
        loss: mean loss over the same images.

    Raises:
        ValueError: the two differ in length, are empty or hold something that is no index.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape or labels.size == 0:
        raise ValueError(f"labels {labels.shape} and predicted {predicted.shape} are not pairs")
    if not np.isin([labels, predicted], range(len(classes))).all():
        raise ValueError(f"a label or prediction is no index of {len(classes)} classes")
    confusion = confusion_matrix(labels, predicted, len(classes))
    scores = per_class(confusion)
    means = {name: float(np.nanmean(values)) for name, values in scores.items()}
    defined = [[None if np.isnan(x) else x for x in values.tolist()] for values in scores.values()]
    return TestScores(
        loss=loss,
        accuracy=float(np.mean(labels == predicted)),
        mean_class_accuracy=means["accuracy"],
        macro_precision=means["precision"],
        macro_recall=means["recall"],
        macro_f1=means["f1_score"],
        per_class=[
            ClassScores(class_name=name, support=sum(row), **dict(zip(scores, own, strict=True)))
            for name, row, *own in zip(classes, confusion.tolist(), *defined, strict=True)
        ],
        confusion=confusion.tolist(),
    )


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Expected calibration error, and a reliability diagram's bins from 0 to 1.

    `confidence` is a bin's mean probability and `accuracy` its share of correct predictions,
    both None where the bin is empty; `count` is its number of predictions.
    """

    ece: float
    confidence: list[float | None]
    accuracy: list[float | None]
    count: list[int]


def calibration(
    probability_of_predicted: ArrayLike, correct: ArrayLike, bins: int = 15
) -> Calibration:
    """How far a classifier's probabilities are from its accuracy (Guo et al. 2017, 1706.04599).

    Bins have equal width and are open on the left, as in the paper's equation 3.

    Args:
        probability_of_predicted: (N,) in 0..1, what each image's predicted class was given.
        correct: bool (N,), whether that was the true class.

    Raises:
        ValueError: the two differ in length, are empty or leave their range.
    """
    probability, correct = np.asarray(probability_of_predicted, float), np.asarray(correct, bool)
    if probability.ndim != 1 or probability.shape != correct.shape or probability.size == 0:
        raise ValueError(f"{probability.shape} probabilities, {correct.shape} predictions")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("a probability is not in 0..1")
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    where = np.digitize(probability, inner_edges, right=True)
    count = np.bincount(where, minlength=bins)
    confidence = np.bincount(where, probability, bins)  # sums, until they are divided
    accuracy = np.bincount(where, correct, bins)
    mean = [
        [float(total / n) if n else None for total, n in zip(sums, count, strict=True)]
        for sums in (confidence, accuracy)
    ]
    # A bin's gap weighs as much as its share of the images: sum of n/N * |accuracy - confidence|.
    ece = float(np.abs(accuracy - confidence).sum() / probability.size)
    return Calibration(ece=ece, confidence=mean[0], accuracy=mean[1], count=count.tolist())


class McNemar(msgspec.Struct, frozen=True, kw_only=True):
    """How many images only the baseline, and only the treatment, has right; two-sided p."""

    only_baseline: int
    only_treatment: int
    p: float


def mcnemar(correct_baseline: ArrayLike, correct_treatment: ArrayLike) -> McNemar:
    """McNemar's exact test of two classifiers on the same images.

    It speaks of these two networks alone: another seed's may differ the other way.

    Args:
        correct_baseline, correct_treatment: bool (N,), whether each image was classified correctly.

    Raises:
        ValueError: the two differ in shape.
    """
    from scipy.special import bdtr

    baseline, treatment = np.asarray(correct_baseline, bool), np.asarray(correct_treatment, bool)
    if baseline.shape != treatment.shape:
        raise ValueError(f"{baseline.shape} and {treatment.shape} are not of the same images")
    only_baseline = int(np.sum(baseline & ~treatment))
    only_treatment = int(np.sum(treatment & ~baseline))
    fewer, both = min(only_baseline, only_treatment), only_baseline + only_treatment
    p = min(1.0, 2 * float(bdtr(fewer, both, 0.5)))  # twice the binomial tail
    return McNemar(only_baseline=only_baseline, only_treatment=only_treatment, p=p)


# ------------------------------------------------------------------ over seeds


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Mean difference over `n` pairs, its 95 % interval (None for one pair), and p."""

    mean: float
    low: float | None
    high: float | None
    p: float
    n: int


def paired_difference(baseline: ArrayLike, treatment: ArrayLike) -> Difference:
    """How much higher the treatment scores than the baseline, seed by seed.

    The interval is Student's t, which keeps its 95 % with few pairs where bootstraps fall short
    of it; p is the sign-flip test's (`sign_flip_p`), which assumes no distribution. Where the
    differences do not vary, the interval is their mean.

    Args:
        baseline, treatment: scores (n,), the same seeds in the same order.

    Raises:
        ValueError: the two differ in length, are empty or are not finite.
    """
    baseline, treatment = _finite(baseline), _finite(treatment)
    if len(baseline) != len(treatment):
        raise ValueError(f"{len(baseline)} and {len(treatment)} scores are not pairs")
    differences = treatment - baseline
    low, high = _interval(differences)
    return Difference(
        mean=float(differences.mean()),
        low=low,
        high=high,
        p=sign_flip_p(differences),
        n=len(differences),
    )


def _finite(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError("there must be one row of finite values")
    return values


# SciPy's special functions are what scipy.stats itself calls, and load in a third of its time.
def _interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """Student's 95 % t interval of the mean; (None, None) for one value."""
    from scipy.special import stdtrit

    n, mean = len(values), values.mean()
    if n == 1:
        return None, None
    half = stdtrit(n - 1, 1 - SIGNIFICANCE / 2) * values.std(ddof=1) / np.sqrt(n)
    return float(mean - half), float(mean + half)


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p of the sign-flip permutation test of a mean of 0 (Fisher 1935).

    If the recipes do not differ, each difference could as well have had the other sign: p is the
    share of sign patterns whose mean lies at least as far from 0 as the observed one. It is exact
    up to 16 pairs, from random patterns (seeded) beyond.
    """
    differences = _finite(differences)
    n = len(differences)
    if n <= MOST_EXACT:
        negative = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        negative = np.random.default_rng(0).integers(2, size=(RANDOM_PATTERNS + 1, n))
        negative[0] = 0  # the observed pattern counts, so that p is never 0
    sums = np.abs((1 - 2 * negative) @ differences)
    # Accuracies are counts, so ties are frequent: rounding must not decide them.
    rounding = 1e-9 * np.abs(differences).sum()
    return float(np.mean(sums >= abs(differences.sum()) - rounding))


def equivalence_p(differences: ArrayLike, margin: float = MARGIN) -> float:
    """p of two one-sided t tests that the mean difference lies within +-margin (Schuirmann 1987).

    The null hypothesis is a difference of the margin or more; below 0.05, the 90 % t interval
    lies inside the margin. One difference shows nothing: 1.

    Raises:
        ValueError: the margin is not positive, or the differences are none or not finite.
    """
    from scipy.special import stdtr

    differences = _finite(differences)
    if not margin > 0:
        raise ValueError(f"a margin of {margin} is not positive")
    n = len(differences)
    if n == 1:
        return 1.0
    room = margin - abs(differences.mean())  # to the nearer bound: its test has the larger p
    error = differences.std(ddof=1) / np.sqrt(n)
    if error == 0:
        return 0.0 if room > 0 else 1.0
    return float(stdtr(n - 1, -room / error))


def holm(p_values: ArrayLike) -> list[float]:
    """Holm's step-down correction (1979) of one family's p values, in the order given.

    Raises:
        ValueError: a p is not in 0..1.
    """
    p = np.asarray(p_values, float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a p value is not in 0..1")
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(corrected, 1).tolist()


def verdict(
    n: int, low: float, high: float, corrected_p: float, corrected_equivalence_p: float
) -> Verdict:
    """What may be said of one comparison, both p values being corrected for its family.

    Equivalence comes first: a difference may be clear and yet too small to matter, and the margin
    is what says so. "Helps" and "harms" ask that the t interval agrees with the sign-flip test;
    they speak of the direction, and the difference may turn out smaller than the margin.

    Args:
        n: pairs; fewer than `MIN_PAIRS` decide nothing.
        low, high: the difference's 95 % interval.
    """
    if n < MIN_PAIRS:
        return "undecided"
    if corrected_equivalence_p < SIGNIFICANCE:
        return "equivalent"
    if corrected_p < SIGNIFICANCE and low > 0:
        return "helps"
    if corrected_p < SIGNIFICANCE and high < 0:
        return "harms"
    return "undecided"
