import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

import metrics
from metrics import Difference

RUNS = Path(__file__).parents[1] / "runs"
properties = settings(deadline=None, max_examples=50)
scores = st.lists(st.integers(0, 10_000).map(lambda right: right / 10_000), min_size=2, max_size=10)
shares = st.floats(0, 1)


def paired(elements):
    """Two lists of one length."""
    return st.lists(st.tuples(elements, elements), min_size=1, max_size=10).map(
        lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
    )


# ------------------------------------------------------------------ metrics.json


def by_hand():
    labels, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 1]
    return metrics.classification_report(labels, predicted, ["a", "b", "c"], loss=0.5)


def test_every_metrics_file_of_the_project_fits_its_schema_and_is_written_back_the_same():
    files = list(RUNS.rglob("metrics.json"))
    assert files
    for path in files:
        written = msgspec.json.decode(path.read_bytes())
        if written.get("test", 0) is None:
            del written["test"]  # a run that left the test set alone: null and absent are the same
        assert msgspec.to_builtins(msgspec.convert(written, metrics.Metrics)) == written


def test_what_an_autoencoder_and_a_run_without_test_leave():
    def decode(text):
        return msgspec.json.decode(text, type=metrics.Metrics)

    autoencoder = decode('{"valid": {"loss": 0.25}}')
    assert msgspec.json.encode(autoencoder) == b'{"valid":{"loss":0.25}}'
    untested = decode('{"classes": ["a"], "valid": {"loss": 1, "accuracy": 0.5}, "test": null}')
    assert untested.test is None and untested.valid.accuracy == 0.5


def altered(change):
    """A valid file's content after `change`."""
    content = metrics.Metrics(
        classes=["a", "b", "c"], valid=metrics.ValidScores(loss=0.1), test=by_hand()
    )
    content = msgspec.to_builtins(content)
    change(content)
    return msgspec.json.encode(content)


def test_an_unaltered_file_passes():
    decoded = msgspec.json.decode(altered(lambda content: None), type=metrics.Metrics)
    assert decoded.test == by_hand()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("valid"),
        lambda content: content.update(extra=1),
        lambda content: content.update(classes=["a", "b"]),
        lambda content: content.update(classes=["a", "c", "b"]),
        lambda content: content["valid"].update(loss=-1),
        lambda content: content["valid"].update(loss=None),
        lambda content: content["test"].update(accuracy=1.1),
        lambda content: content["test"].update(accuracy="0.9"),
        lambda content: content["test"].update(per_class=[]),
        lambda content: content["test"]["per_class"].pop(),
        lambda content: content["test"]["per_class"][0].pop("precision"),
        lambda content: content["test"]["per_class"][0].update(support=4),
        lambda content: content["test"]["confusion"].pop(),
        lambda content: content["test"]["confusion"][1].append(0),
        lambda content: content["test"].update(confusion=[[3, 1, -1], [0, 2, 0], [0, 1, 0]]),
        lambda content: content["test"].update(confusion=[[2.5, 0.5, 0], [0, 2, 0], [0, 1, 0]]),
    ],
)
def test_a_file_of_another_shape_is_refused(change):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(altered(change), type=metrics.Metrics)


# ------------------------------------------------------------------ one classifier


def test_a_report_worked_out_by_hand():
    report = by_hand()
    assert report.loss == 0.5
    assert report.accuracy == pytest.approx(4 / 6)
    assert report.confusion == [[2, 1, 0], [0, 2, 0], [0, 1, 0]]
    a, b, c = report.per_class
    assert a.accuracy == a.recall == pytest.approx(2 / 3)
    assert a.precision == 1
    assert b.precision == pytest.approx(2 / 4)
    assert b.f1_score == pytest.approx(2 * 0.5 / 1.5)
    assert c.precision is None  # never predicted
    assert c.f1_score == 0
    assert [row.support for row in report.per_class] == [3, 2, 1]
    assert report.mean_class_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert report.macro_precision == pytest.approx((1 + 0.5) / 2)


@properties
@given(paired(st.integers(0, 3)))
def test_a_report_is_scikit_learns_whichever_classes_are_absent(pairs):
    labels, predicted = pairs
    names = ["a", "b", "c", "d"]
    report = metrics.classification_report(labels, predicted, names, loss=1.0)
    expected = sklearn_metrics.classification_report(
        labels,
        predicted,
        labels=range(4),
        target_names=names,
        output_dict=True,
        zero_division=np.nan,
    )
    ours = [(row.precision, row.recall, row.f1_score, row.support) for row in report.per_class]
    theirs = [tuple(expected[name].values()) for name in names]
    assert np.array(ours, float) == pytest.approx(np.array(theirs), nan_ok=True)  # None as nan
    macro = expected["macro avg"]
    assert report.macro_precision == pytest.approx(macro["precision"])
    assert report.macro_recall == report.mean_class_accuracy == pytest.approx(macro["recall"])
    assert report.macro_f1 == pytest.approx(macro["f1-score"])
    assert report.accuracy == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert sum(map(sum, report.confusion)) == len(labels)


@pytest.mark.parametrize(
    ("labels", "predicted"), [([], []), ([0, 1], [0]), ([0, 2], [0, 1]), ([0, 1], [-1, 1])]
)
def test_a_report_of_what_are_no_predictions_is_refused(labels, predicted):
    with pytest.raises(ValueError):
        metrics.classification_report(labels, predicted, ["a", "b"], loss=1.0)


def test_calibration_worked_out_by_hand():
    # Bins (0, 0.5] and (0.5, 1]: the edge 0.5 belongs to the lower one.
    found = metrics.calibration([0.4, 0.5, 0.8, 1.0], [True, False, True, True], bins=2)
    assert found.count == [2, 2]
    assert found.confidence == pytest.approx([0.45, 0.9])
    assert found.accuracy == pytest.approx([0.5, 1.0])
    assert found.ece == pytest.approx(0.5 * 0.05 + 0.5 * 0.1)
    assert metrics.calibration([0.9], [False], bins=4).confidence == [None, None, None, 0.9]


@properties
@given(st.lists(st.tuples(shares, st.booleans()), min_size=1), st.integers(1, 20))
def test_calibration_stays_in_its_bounds(predictions, bins):
    probability, correct = zip(*predictions, strict=True)
    found = metrics.calibration(probability, correct, bins)
    assert 0 <= found.ece <= 1
    assert sum(found.count) == len(predictions)
    assert len(found.confidence) == len(found.accuracy) == len(found.count) == bins
    for k, confidence in enumerate(found.confidence):
        assert (confidence is None) == (found.count[k] == 0) == (found.accuracy[k] is None)
        assert confidence is None or k / bins - 1e-9 <= confidence <= (k + 1) / bins + 1e-9


def test_calibration_has_the_bins_of_scikit_learn():
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.3, 1, 2_000)
    correct = rng.random(2_000) < probability
    found = metrics.calibration(probability, correct)
    accuracy, confidence = calibration_curve(correct, probability, n_bins=15)
    assert [value for value in found.accuracy if value is not None] == pytest.approx(accuracy)
    assert [value for value in found.confidence if value is not None] == pytest.approx(confidence)
    assert found.ece < 0.05 < metrics.calibration(np.ones(2_000), correct).ece


@pytest.mark.parametrize("probability", [[1.1], [-0.1], [math.nan], [], [0.5, 0.5]])
def test_calibration_of_what_is_no_probability_is_refused(probability):
    with pytest.raises(ValueError):
        metrics.calibration(probability, [True])


def test_mcnemar_is_that_of_statsmodels():
    rng = np.random.default_rng(0)
    a, b = rng.random(500) < 0.9, rng.random(500) < 0.86
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    found = metrics.mcnemar(a, b)
    assert found.p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert (found.only_baseline, found.only_treatment) == (table[0][1], table[1][0])
    # Three images against none: both tails of three fair coins, 2 / 8.
    assert metrics.mcnemar([1, 1, 1, 1], [0, 0, 0, 1]).p == pytest.approx(0.25)
    assert metrics.mcnemar(a, a).p == 1
    with pytest.raises(ValueError):
        metrics.mcnemar([True], [True, False])


# ------------------------------------------------------------------ over seeds


def test_summary():
    found = metrics.summary([1.0, 2.0, 4.0])
    assert (found.mean, found.std) == pytest.approx((7 / 3, np.sqrt(7 / 3)))
    assert found.n == 3
    assert metrics.summary([1.0]).std is None
    with pytest.raises(ValueError):
        metrics.summary([])


@pytest.mark.parametrize("n", [5, 6, 10])
def test_the_smallest_p_is_two_in_two_to_the_n(n):
    found = metrics.paired_difference([0.9] * n, 0.9 + 0.001 * np.arange(1, n + 1))
    assert found.p == pytest.approx(2 / 2**n)
    assert (found.p < metrics.SIGNIFICANCE) == (n >= metrics.MIN_PAIRS)


def test_a_sign_flip_p_counted_by_hand():
    # Sums of the 8 sign patterns of (3, 2, -1): |sum| >= 4 for (3, 2, -1), (3, 2, 1) and their
    # mirror images, so p = 4 / 8.
    assert metrics.sign_flip_p([3, 2, -1]) == 0.5
    # Differences of -3, 3, -3 and -5 points, sum -8: one pattern has 14, three have 8, and their
    # mirror images, so p = 8 / 16. Added as shares, some of these ties differ by rounding.
    found = metrics.paired_difference([0.94, 0.91, 0.88, 0.94], [0.91, 0.94, 0.85, 0.89])
    assert found.p == 0.5


def test_the_sign_flip_p_is_that_of_scipy():
    differences = np.random.default_rng(4).normal(0.5, 1, 20)
    for n in (2, 7, 10):  # exact
        expected = stats.permutation_test(
            (differences[:n],), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert metrics.sign_flip_p(differences[:n]) == pytest.approx(expected.pvalue)
    random = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=99_999, rng=1
    )
    assert metrics.sign_flip_p(differences) == pytest.approx(random.pvalue, abs=0.003)
    assert metrics.sign_flip_p(np.arange(1, 40)) == pytest.approx(1e-5)  # never 0


def test_the_interval_is_students():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.8, 0.01, 10), rng.normal(0.81, 0.01, 10)
    found = metrics.paired_difference(a, b)
    expected = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.mean, found.n) == (pytest.approx(np.mean(b - a)), 10)


def test_differences_that_do_not_vary():
    one = metrics.paired_difference([0.9], [0.8])
    assert (one.mean, one.low, one.high, one.p, one.n) == (pytest.approx(-0.1), None, None, 1, 1)
    same = metrics.paired_difference([1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7])
    assert (same.mean, same.low, same.high, same.p) == (1, 1, 1, pytest.approx(2 / 64))
    none = metrics.paired_difference([0.9] * 6, [0.9] * 6)
    assert (none.mean, none.low, none.high, none.p) == (0, 0, 0, 1)


@pytest.mark.parametrize("a", [[], [0.9], [0.9, math.nan], [[0.9, 0.8]]])
def test_what_are_no_pairs_is_refused(a):
    with pytest.raises(ValueError):
        metrics.paired_difference(a, [0.8, 0.9])


@properties
@given(paired(st.integers(0, 10_000).map(lambda right: right / 10_000)))
def test_a_paired_difference_is_antisymmetric(pairs):
    there, back = metrics.paired_difference(*pairs), metrics.paired_difference(*pairs[::-1])
    assert (there.mean, there.p, there.n) == (-back.mean, back.p, back.n)
    if there.n > 1:
        assert (there.low, there.high) == (-back.high, -back.low)
        assert there.low <= there.mean <= there.high
    assert 2 / 2**there.n <= there.p <= 1


def test_ten_pairs_intervals_cover_the_truth_and_tests_keep_their_level():
    differences = np.random.default_rng(7).normal(0.003, 0.002, (2_000, 10))
    found = [metrics.paired_difference(np.zeros(10), row) for row in differences]
    covered = np.mean([one.low <= 0.003 <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=0.015)  # three standard errors
    rejected = [metrics.sign_flip_p(row - 0.003) < 0.05 for row in differences]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.015)
    at_the_margin = [metrics.equivalence_p(row, margin=0.003) < 0.05 for row in differences]
    assert np.mean(at_the_margin) == pytest.approx(0.05, abs=0.015)


@properties
@given(scores, st.sampled_from([0.001, 0.0025, 0.01, 0.5]))
def test_the_equivalence_test_is_that_of_statsmodels(values, margin):
    differences = np.array(values) - np.mean(values) / 2
    assume(np.ptp(differences) > 1e-6)  # statsmodels divides by zero
    expected = ttost_paired(differences, np.zeros(len(differences)), -margin, margin)[0]
    assert metrics.equivalence_p(differences, margin) == pytest.approx(expected)


def test_equivalence_of_differences_that_do_not_vary():
    assert metrics.equivalence_p([0.001] * 6, 0.0025) == 0
    assert metrics.equivalence_p([-0.003] * 6, 0.0025) == 1
    assert metrics.equivalence_p([0.5] * 6, 0.5) == 1  # at the margin is not within it
    assert metrics.equivalence_p([0.0], 0.0025) == 1  # one pair shows nothing
    with pytest.raises(ValueError):
        metrics.equivalence_p([0.0, 0.1], 0.0)


@properties
@given(st.lists(shares, max_size=12))
def test_holm_keeps_the_order_and_never_lowers_a_p(p_values):
    corrected = metrics.holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    in_order = [q for _, q in sorted(zip(p_values, corrected, strict=True))]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_holm_is_that_of_statsmodels(n):
    p_values = np.random.default_rng(n).integers(0, 50, n) / 500  # with ties
    expected = multipletests(p_values, method="holm")[1]
    assert metrics.holm(p_values) == pytest.approx(expected.tolist())


def test_holm_worked_out_by_hand():
    assert metrics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    with pytest.raises(ValueError):
        metrics.holm([0.5, math.nan])


@pytest.mark.parametrize(
    ("low", "high", "n", "p", "equivalence_p", "expected"),
    [
        (0.01, 0.02, 6, 0.049, 0.9, "helps"),
        (-0.02, -0.01, 6, 0.049, 0.9, "harms"),
        (-0.001, 0.001, 6, 0.9, 0.049, "equivalent within the margin"),
        (0.001, 0.002, 6, 0.001, 0.001, "equivalent within the margin"),  # clear, and too small
        (0.01, 0.02, 6, 0.05, 0.05, "undecided"),
        (-0.001, 0.02, 6, 0.01, 0.9, "undecided"),  # the interval does not agree
        (0.01, 0.02, 5, 0.001, 0.001, "undecided"),  # too few pairs
        (None, None, 1, 1.0, 1.0, "undecided"),
    ],
)
def test_the_four_verdicts(low, high, n, p, equivalence_p, expected):
    difference = Difference(mean=0.0, low=low, high=high, p=p, n=n)
    assert metrics.verdict(difference, p, equivalence_p) == expected


def test_a_family_is_judged_together():
    baseline = np.full(10, 0.8)
    wiggle = np.tile([-0.0005, 0.0005], 5)
    family = {
        "1 %": (baseline, baseline + 0.02 + wiggle),
        "10 %": (baseline, baseline - 0.02 + wiggle),
        "100 %": (baseline, baseline + wiggle),
        "few": (baseline[:5], baseline[:5] + 0.02),
    }
    judged = metrics.verdicts(family)
    assert list(judged) == list(family)
    assert [one.verdict for one in judged.values()] == [
        "helps",
        "harms",
        "equivalent within the margin",
        "undecided",
    ]
    # Holm: the two p of 2 / 1024 are the smallest of four, 5 seeds' 2 / 32 the third.
    assert judged["1 %"].difference.p == pytest.approx(2 / 1024)
    assert judged["1 %"].p == judged["10 %"].p == pytest.approx(4 * 2 / 1024)
    assert judged["few"].p == pytest.approx(2 * 2 / 32)
    alone = metrics.equivalence_p(wiggle, metrics.MARGIN)
    assert judged["100 %"].equivalence_p == pytest.approx(4 * alone)
    assert metrics.verdicts({"wide": family["1 %"]}, margin=0.1)["wide"].verdict.startswith("equi")
    assert metrics.verdicts({}) == {}


def test_six_pairs_decide_one_comparison_and_not_two():
    pairs = (np.zeros(6), 0.01 * np.arange(1, 7))
    assert metrics.verdicts({"a": pairs})["a"].verdict == "helps"
    assert metrics.verdicts({"a": pairs, "b": pairs})["a"].verdict == "undecided"


# ------------------------------------------------------------------ seeds and images, budgets


def test_the_bootstrap_is_the_one_that_draws_every_image():
    rng = np.random.default_rng(3)
    a, b = rng.random((6, 300)) < 0.8, rng.random((6, 300)) < 0.85
    difference = b.astype(int) - a
    plain = [
        difference[rng.integers(6, size=6)][:, rng.integers(300, size=300)].mean()
        for _ in range(4_000)
    ]
    expected = np.percentile(plain, [2.5, 97.5])
    width = np.ptp(expected)
    found = metrics.bootstrap_seeds_and_images(a, b)
    assert found == pytest.approx(expected, abs=0.05 * width)
    assert found[0] < difference.mean() < found[1]
    assert metrics.bootstrap_seeds_and_images(a, b) == found  # seeded


def test_one_seeds_bootstrap_is_the_interval_over_images():
    rng = np.random.default_rng(5)
    a, b = rng.random((1, 2_000)) < 0.8, rng.random((1, 2_000)) < 0.85
    difference = (b.astype(int) - a)[0]
    expected = stats.norm.interval(0.95, difference.mean(), stats.sem(difference))
    assert metrics.bootstrap_seeds_and_images(a, b) == pytest.approx(expected, abs=0.002)


def test_the_bootstrap_of_seeds_whose_images_agree_is_the_one_over_seeds():
    # A seed is right on all images or on none: images add no chance of their own.
    b = np.repeat([[True], [False], [True], [True]], 50, axis=1)
    low, high = metrics.bootstrap_seeds_and_images(np.zeros_like(b), b)
    expected = stats.binom.ppf([0.025, 0.975], 4, 0.75) / 4
    assert (low, high) == pytest.approx(tuple(expected))
    assert metrics.bootstrap_seeds_and_images(b, b) == (0, 0)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (3,)), ((0, 3), (0, 3))])
def test_the_bootstrap_refuses_other_shapes(shapes):
    with pytest.raises(ValueError):
        metrics.bootstrap_seeds_and_images(*map(np.zeros, shapes))


def test_a_trend_is_the_mean_of_the_seeds_least_squares_slopes():
    rng = np.random.default_rng(2)
    budgets = np.array([0.001, 0.01, 0.1, 1])
    gains = -0.02 * np.log10(budgets) + rng.normal(0, 0.005, (8, 4))
    slopes = [stats.linregress(np.log10(budgets), row).slope for row in gains]
    found = metrics.trend(budgets, gains)
    low, high = stats.t.interval(0.95, 7, np.mean(slopes), stats.sem(slopes))
    assert (found.slope, found.low, found.high) == pytest.approx((np.mean(slopes), low, high))
    assert (found.p, found.n) == (pytest.approx(2 / 2**8), 8)
    assert found.high < 0


def test_a_trend_of_one_seed_has_no_interval():
    found = metrics.trend([1, 10, 100], [[3, 2, 1]])
    assert found.slope == pytest.approx(-1)  # per decade
    assert (found.low, found.high, found.p, found.n) == (None, None, 1, 1)


@pytest.mark.parametrize(
    ("budgets", "gains"),
    [([1, 10], [1, 2]), ([1, 10], [[1, 2, 3]]), ([0, 10], [[1, 2]]), ([10, 10], [[1, 2]])],
)
def test_a_trend_over_what_are_no_budgets_is_refused(budgets, gains):
    with pytest.raises(ValueError):
        metrics.trend(budgets, gains)
