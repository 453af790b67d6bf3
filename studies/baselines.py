"""The baselines without a network: what each sees of an image, and what learns from it."""

from collections.abc import Callable
from dataclasses import dataclass
from time import process_time

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid
from sklearn.svm import SVC
from torch import Tensor

CELLS = (4, 7)  # of HOG, pixels a side: 7x7 and 4x4 cells
MEAN = 2  # pixels a side of the cells whose mean grey counts: 14x14
# A support vector machine's time grows with the square of its images: with 55,000, one fit takes
# most of an hour. So its settings are searched with no more than so many, and with more than the
# other number it has few seeds.
SVM_SEARCHED, SVM_ALL_SEEDS = 6_000, 20_000
EVERY = 60_000
STEPS = 300  # of logistic regression's solver; to end early keeps weights small, as C does

Options = dict[str, float]


def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 28, 28) to (N, 784) in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def gradients(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 28, 28) to histograms of oriented gradients (Dalal and Triggs 2005), (N, 1620) in [0, 1].

    Nine orientations in cells of two sizes, normalised over blocks of 2x2 cells.
    """
    sizes = [{"pixels_per_cell": (side, side), "cells_per_block": (2, 2)} for side in CELLS]
    return np.stack(
        [
            np.concatenate([hog(image, orientations=9, **size) for size in sizes]).astype(
                np.float32
            )
            for image in images
        ]
    )


def cell_means(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 28, 28) to the mean grey of each 2x2 pixels, (N, 196) in [0, 1]."""
    side = 28 // MEAN
    cells = images.reshape(len(images), side, MEAN, side, MEAN)
    return pixels(cells.mean(axis=(2, 4), dtype=np.float32))


FEATURES = {"pixels": pixels, "HOG": gradients, "cell means": cell_means}


class Features:
    """Images as rows of numbers; each part is computed once for all of them and kept.

    Args:
        images: uint8 (N, 28, 28).
    """

    def __init__(self, images: Tensor):
        self.images = images.numpy()
        self.parts: dict[str, NDArray[np.float32]] = {}
        self.seconds: dict[str, float] = {}  # of one core for an image, by part

    def rows(self, parts: tuple[str, ...], index: Tensor | slice) -> NDArray[np.float32]:
        """The parts side by side, a row for each image that is asked for."""
        for name in parts:
            if name not in self.parts:
                start = process_time()
                self.parts[name] = FEATURES[name](self.images)
                self.seconds[name] = (process_time() - start) / len(self.images)
        return np.hstack([self.parts[name][index] for name in parts])


@dataclass(frozen=True)
class Baseline:
    """Features and the classifier that learns from them.

    Nothing is standardised: at 1 % of the labels that took 0.2 to 1.6 points off each of these on
    validation, since it magnifies pixels that hardly ever change.

    Args:
        parts: names in FEATURES, side by side.
        classifier: takes one setting of the grid.
        most_searched: images to learn from, up to which settings are searched; with more, the
            setting is kept that was best at the largest label budget that has no more.
        all_seeds: images to learn from, up to which all of the study's seeds are measured; with
            more, only as many as of what else costs most.
    """

    name: str
    parts: tuple[str, ...]
    classifier: Callable[..., ClassifierMixin]
    grid: dict[str, tuple[float, ...]]
    most_searched: int = EVERY
    all_seeds: int = EVERY

    def settings(self) -> list[Options]:
        return list(ParameterGrid(self.grid))


def logistic_regression(**options: float) -> LogisticRegression:
    return LogisticRegression(max_iter=STEPS, **options)


def support_vectors(**options: float) -> SVC:
    return SVC(kernel="rbf", cache_size=1000, **options)


PENALTIES = {"C": (0.01, 0.1, 1.0, 10.0)}
# 1000 was tried as well, where fitting is quick, and was nowhere better than the best of these.
SVM_PENALTIES = (1.0, 10.0, 100.0)
BASELINES = (
    Baseline("pixels, logistic regression", ("pixels",), logistic_regression, PENALTIES),
    Baseline("HOG, logistic regression", ("HOG",), logistic_regression, PENALTIES),
    Baseline(
        "pixels, RBF support vector machine",
        ("pixels",),
        support_vectors,
        {"C": SVM_PENALTIES, "gamma": (0.001, 0.002, 0.005, 0.01, 0.02, 0.04)},
        SVM_SEARCHED,
        SVM_ALL_SEEDS,
    ),
    Baseline(
        "HOG and cell means, RBF support vector machine",
        ("HOG", "cell means"),
        support_vectors,
        {"C": SVM_PENALTIES, "gamma": (0.002, 0.005, 0.01, 0.02, 0.04, 0.08)},
        SVM_SEARCHED,
        SVM_ALL_SEEDS,
    ),
)
