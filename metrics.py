"""Figures of one run, and paired comparisons of two recipes; on scikit-learn and SciPy."""

import numpy as np

# Six paired seeds are the fewest with which a two-sided sign-flip test can reach p < 0.05: all
# differences of one sign give p = 2 / 2**n, which is 0.0625 with five and 0.03125 with six.
MIN_SEEDS = 6
SIGNIFICANCE = 0.05
RESAMPLES = 99_999  # with up to 16 pairs, that is every pattern of signs


def classification_report(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> dict:
    """Overall and per-class figures.

    Args:
        labels, predicted: class indices (N,).
        classes: names, in the order of the indices.

    Returns:
        accuracy, mean_class_accuracy, macro averages (over the classes where they are defined),
        a row a class, and the confusion matrix with a row a true class. A class's accuracy is
        the share of its images that were classified correctly, which is its recall. The
        precision of a class that was never predicted is None; its F1 score is 0.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    indices = range(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=indices, zero_division=np.nan
    )
    return {
        "accuracy": float(np.mean(labels == predicted)),
        "mean_class_accuracy": float(np.nanmean(recall)),
        "macro_precision": float(np.nanmean(precision)),
        "macro_recall": float(np.nanmean(recall)),
        "macro_f1": float(np.nanmean(f1)),
        "per_class": [
            {
                "class": classes[k],
                "accuracy": _defined(recall[k]),
                "precision": _defined(precision[k]),
                "recall": _defined(recall[k]),
                "f1_score": _defined(f1[k]),
                "support": int(support[k]),
            }
            for k in indices
        ],
        "confusion": confusion_matrix(labels, predicted, labels=indices).tolist(),
    }


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def summary(values: list[float]) -> dict:
    """Mean, sample standard deviation (None for one value) and number of values."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": spread, "n": len(values)}


def mean_interval(values: list[float]) -> tuple[float, float]:
    """Mean and half its 95 % t interval, in the values' unit; 0 for a single value."""
    from scipy import stats

    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n) if n > 1 else 0.0
    return float(np.mean(values)), float(half)


def paired_difference(a: list[float], b: list[float]) -> dict:
    """How much higher `b` is than `a`, pair by pair (one pair a seed).

    Returns:
        mean difference; its 95 % interval, a BCa bootstrap over pairs (Efron 1987), None where
        the differences do not vary; p of the two-sided sign-flip permutation test,
        exact for up to 16 pairs; n.
    """
    from scipy import stats

    differences = np.subtract(b, a)
    interval, p = None, 1.0  # what one pair gives
    if len(differences) > 1:
        test = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=0
        )
        p = float(test.pvalue)
        if np.ptp(differences) > 0:
            bootstrap = stats.bootstrap(
                (differences,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=0
            )
            interval = [float(bound) for bound in bootstrap.confidence_interval]
    return {
        "mean": float(differences.mean()),
        "interval": interval,
        "p": p,
        "n": len(differences),
    }


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> dict:
    """McNemar's exact test of two classifiers on the same images.

    Args:
        correct_a, correct_b: bool (N,), whether each image was classified correctly.

    Returns:
        how many images only a, and only b, has right, and the two-sided binomial p.
    """
    from scipy import stats

    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(correct_b & ~correct_a))
    discordant = only_a + only_b
    p = stats.binomtest(only_a, discordant).pvalue if discordant else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": float(p)}


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjustment (1979), in the order given."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    return adjusted.tolist()
