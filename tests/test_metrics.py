import numpy as np
import pytest
from scipy import stats

import metrics


def test_a_report_worked_out_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 1, 1])
    report = metrics.classification_report(labels, predicted, ["a", "b", "c"])
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["confusion"] == [[2, 1, 0], [0, 2, 0], [0, 1, 0]]
    a, b, c = report["per_class"]
    assert a["accuracy"] == a["recall"] == pytest.approx(2 / 3)
    assert a["precision"] == 1
    assert b["precision"] == pytest.approx(2 / 4)
    assert b["f1_score"] == pytest.approx(2 * 0.5 / 1.5)
    assert c["precision"] is None  # never predicted
    assert c["f1_score"] == 0
    assert [row["support"] for row in (a, b, c)] == [3, 2, 1]
    assert report["mean_class_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert report["macro_precision"] == pytest.approx((1 + 0.5) / 2)


def test_summary():
    assert metrics.summary([1.0, 2.0, 4.0]) == {
        "mean": pytest.approx(7 / 3),
        "std": pytest.approx(np.sqrt(7 / 3)),
        "n": 3,
    }
    assert metrics.summary([1.0])["std"] is None


@pytest.mark.parametrize("n", [5, 6, 10])
def test_the_smallest_p_is_two_in_two_to_the_n(n):
    difference = metrics.paired_difference([0.9] * n, list(0.9 + 0.01 * np.arange(1, n + 1)))
    assert difference["p"] == pytest.approx(2 / 2**n)
    assert (difference["p"] < 0.05) == (n >= metrics.MIN_SEEDS)


def test_a_sign_flip_p_counted_by_hand():
    # Sums of the 8 sign patterns of (3, 2, -1): |sum| >= 4 for (3,2,-1), (3,2,1) and their
    # mirror images, so p = 4 / 8.
    assert metrics.paired_difference([0, 0, 0], [3, 2, -1])["p"] == pytest.approx(0.5)


def test_the_interval_is_near_that_of_student():
    rng = np.random.default_rng(1)
    differences = rng.normal(0.5, 1, 40)
    low, high = metrics.paired_difference(np.zeros(40), differences)["interval"]
    student = stats.t.interval(0.95, 39, differences.mean(), stats.sem(differences))
    assert (low, high) == pytest.approx(student, abs=0.06)


def test_differences_that_allow_no_interval():
    assert metrics.paired_difference([0.9], [0.8]) == {
        "mean": pytest.approx(-0.1),
        "interval": None,
        "p": 1.0,
        "n": 1,
    }
    assert metrics.paired_difference([1, 2, 3], [2, 3, 4])["interval"] is None


def test_mcnemar_is_that_of_statsmodels():
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    rng = np.random.default_rng(0)
    a, b = rng.random(500) < 0.9, rng.random(500) < 0.86
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    expected = contingency.mcnemar(table, exact=True).pvalue
    assert metrics.mcnemar(a, b)["p"] == pytest.approx(expected)
    assert metrics.mcnemar(a, a) == {"only_a": 0, "only_b": 0, "p": 1.0}


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = [0.04, 0.001, 0.2, 0.011, 0.9]
    assert metrics.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])
    assert metrics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
