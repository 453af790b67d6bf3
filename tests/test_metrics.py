"""The statistics, each against an independent library or by hand, and metrics.json's schema."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

import metrics


@pytest.mark.parametrize("change", [
    lambda content: content.pop("valid"),
    lambda content: content.update(extra=1),
    lambda content: content.update(classes=["a", "c", "b"]),
    lambda content: content["valid"].update(loss=-1),
    lambda content: content["test"].update(accuracy=1.1),
    lambda content: content["test"].update(per_class=[]),
    lambda content: content["test"]["per_class"][0].update(support=4),
    lambda content: content["test"]["confusion"][1].append(0),
    lambda content: content["test"].update(confusion=[[3, 1, -1], [0, 2, 0], [0, 1, 0]]),
])  # fmt: skip
def test_a_file_of_another_shape_is_refused(change):
    valid, names = metrics.ValidScores(loss=0.1), ["a", "b", "c"]
    labels, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 1]
    test = metrics.classification_report(labels, predicted, names, loss=0.5)
    content = msgspec.to_builtins(metrics.Metrics(classes=names, valid=valid, test=test))
    assert msgspec.convert(content, metrics.Metrics).test == test
    change(content)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(content, metrics.Metrics)


@pytest.mark.parametrize(("function", "given"), [
    *((metrics.classification_report, (*pair, ["a", "b"], 1.0)) for pair in
      [([], []), ([0, 1], [0]), ([0, 2], [0, 1]), ([0, 1], [-1, 1])]),
    *((metrics.calibration, (probability, [True])) for probability in
      [[1.1], [-0.1], [math.nan], [], [0.5, 0.5]]),
    (metrics.mcnemar, ([True], [True, False])),
    *((metrics.paired_difference, (a, [0.8, 0.9])) for a in
      [[], [0.9], [0.9, math.nan], [[0.9, 0.8]]]),
    (metrics.equivalence_p, ([0.0, 0.1], 0.0)),
    (metrics.holm, ([0.5, math.nan],)),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(function, given):
    with pytest.raises(ValueError):
        function(*given)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 2), min_size=1, max_size=10))
def test_a_report_is_scikit_learns_whichever_classes_are_absent(images):
    pairs, names = tuple(zip(*images, strict=True)), ["a", "b", "c", "d"]
    report = metrics.classification_report(*pairs, names, loss=1.0)
    expected = sklearn_metrics.classification_report(
        *pairs, labels=range(4), target_names=names, output_dict=True, zero_division=np.nan
    )
    ours = [(row.precision, row.recall, row.f1_score, row.support) for row in report.per_class]
    theirs = [tuple(expected[name].values()) for name in names]
    assert np.array(ours, float) == pytest.approx(np.array(theirs), nan_ok=True)  # None as nan
    macro = expected["macro avg"]
    assert report.macro_precision == pytest.approx(macro["precision"])
    assert report.macro_recall == report.mean_class_accuracy == pytest.approx(macro["recall"])
    assert report.macro_f1 == pytest.approx(macro["f1-score"])
    assert report.accuracy == pytest.approx(sklearn_metrics.accuracy_score(*pairs))


def test_calibration_worked_out_by_hand():
    # Bins (0, 0.5] and (0.5, 1]: the edge 0.5 belongs to the lower one.
    found = metrics.calibration([0.4, 0.5, 0.8, 1.0], [True, False, True, True], bins=2)
    assert found.count == [2, 2]
    assert found.confidence == pytest.approx([0.45, 0.9])
    assert found.accuracy == pytest.approx([0.5, 1.0])
    assert found.ece == pytest.approx(0.5 * 0.05 + 0.5 * 0.1)
    assert metrics.calibration([0.9], [False]).confidence == [None] * 13 + [0.9, None]


def test_mcnemar_is_that_of_statsmodels():
    rng = np.random.default_rng(0)
    a, b = rng.random(500) < 0.9, rng.random(500) < 0.86
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    found = metrics.mcnemar(a, b)
    assert found.p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert (found.only_baseline, found.only_treatment) == (table[0][1], table[1][0])
    assert metrics.mcnemar(a, a).p == 1


def test_rounding_decides_no_tie_of_the_sign_flip_test_and_no_p_is_0():
    # Differences of -3, 3, -3 and -5 points, sum -8: one pattern has 14, three have 8, and their
    # mirror images, so p = 8 / 16. Added as shares, some of these ties differ by rounding.
    found = metrics.paired_difference([0.94, 0.91, 0.88, 0.94], [0.91, 0.94, 0.85, 0.89])
    assert found.p == 0.5
    assert metrics.sign_flip_p(np.arange(1, 40)) == pytest.approx(1e-5)  # never 0


@pytest.mark.parametrize(("n", "tolerance"), [(2, 1e-12), (7, 1e-12), (10, 1e-12), (20, 0.003)])
def test_the_sign_flip_p_is_that_of_scipy(n, tolerance):
    differences = np.random.default_rng(4).normal(0.5, 1, n)
    patterns = np.inf if n <= metrics.MOST_EXACT else 99_999
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=patterns, rng=1
    )
    assert metrics.sign_flip_p(differences) == pytest.approx(expected.pvalue, abs=tolerance)


def test_the_interval_is_students():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.8, 0.01, 10), rng.normal(0.81, 0.01, 10)
    found = metrics.paired_difference(a, b)
    expected = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.mean, found.n) == (pytest.approx(np.mean(b - a)), 10)


@pytest.mark.parametrize(("a", "b", "expected"), [
    ([1], [0.5], (-0.5, None, None, 1)),
    ([1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7], (1, 1, 1, 2 / 64)),
    ([0.9] * 6, [0.9] * 6, (0, 0, 0, 1)),
])  # fmt: skip
def test_differences_that_do_not_vary(a, b, expected):
    found = metrics.paired_difference(a, b)
    assert (found.mean, found.low, found.high, found.p) == expected


@pytest.mark.parametrize("margin", [0.001, 0.0025, 0.01, 0.5])
def test_the_equivalence_test_is_that_of_statsmodels(margin):
    differences = np.random.default_rng(2).normal(0.001, 0.002, 8)
    expected = ttost_paired(differences, np.zeros(8), -margin, margin)[0]
    assert metrics.equivalence_p(differences, margin) == pytest.approx(expected)
    # Of differences that do not vary, those at the margin are not within it; one shows nothing.
    for same, p in (([0.001] * 6, 0), ([-0.003] * 6, 1), ([0.0025] * 6, 1), ([0.0], 1)):
        assert metrics.equivalence_p(same, 0.0025) == p


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_holm_is_that_of_statsmodels(n):
    p_values = np.random.default_rng(n).integers(0, 50, n) / 500  # with ties
    expected = multipletests(p_values, method="holm")[1]
    assert metrics.holm(p_values) == pytest.approx(expected.tolist())


@pytest.mark.parametrize(("low", "high", "n", "p", "equivalence_p", "expected"), [
    (0.01, 0.02, 6, 0.049, 0.9, "helps"), (-0.02, -0.01, 6, 0.049, 0.9, "harms"),
    (-0.001, 0.001, 6, 0.9, 0.049, "equivalent"), (0.01, 0.02, 6, 0.05, 0.05, "undecided"),
    (0.001, 0.002, 6, 0.001, 0.001, "equivalent"),  # clear, and too small
    (-0.001, 0.02, 6, 0.01, 0.9, "undecided"),  # the interval does not agree
    (0.01, 0.02, 5, 0.001, 0.001, "undecided"),  # too few pairs
    (None, None, 1, 1.0, 1.0, "undecided"),
])  # fmt: skip
def test_the_four_verdicts(low, high, n, p, equivalence_p, expected):
    assert metrics.verdict(n, low, high, p, equivalence_p) == expected
