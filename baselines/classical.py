"""Baselines without a network, on the networks' splits, label budgets and seeds."""

import warnings
from itertools import product
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from baselines.rows import Rows
from data import ImageSet, split, stratified_subset


def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 28, 28) to (N, 784) in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def gradients(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 28, 28) to histograms of oriented gradients (Dalal and Triggs 2005), (N, 1620) in [0, 1].

    Nine orientations in 7x7 and in 4x4 cells, normalised over blocks of 2x2 cells.
    """
    sizes = [{"pixels_per_cell": (side, side), "cells_per_block": (2, 2)} for side in (4, 7)]
    rows = [np.hstack([hog(image, orientations=9, **size) for size in sizes]) for image in images]
    return np.array(rows, dtype=np.float32)


def gradients_and_means(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """HOG, and the mean grey of each 2x2 pixels: (N, 28, 28) to (N, 1620 + 196) in [0, 1]."""
    means = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype=np.float32)
    return np.hstack([gradients(images), pixels(means)])


LOGISTIC = LogisticRegression(max_iter=300)  # to end early keeps weights small, as C does
SVM = SVC(kernel="rbf", cache_size=1000)
# With 55,000 images, a support vector machine takes most of an hour: above so many, few seeds.
SVM_IMAGES, SVM_SEEDS = 20_000, 3
# What is seen of an image, what learns from it, and its hyperparameters at each of BUDGETS: the
# best on the validation images of Fashion-MNIST's seeds 100 and 101, and of equals the smallest
# (results/classical_trials.csv). From 30 % on, support vector machines took too long for a search.
# Nothing is standardised: at 1 % of the labels that took 0.2 to 1.6 points off each of these on
# validation, since it magnifies pixels that hardly ever change.
BUDGETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
BASELINES = {
    "pixels, logistic regression": (pixels, LOGISTIC, {"C": (1, 1, 1, 0.1, 0.1, 0.1, 0.1)}),
    "HOG, logistic regression": (gradients, LOGISTIC, {"C": (1, 1, 0.1, 0.1, 0.1, 0.1, 1)}),
    "pixels, RBF support vector machine": (
        pixels,
        SVM,
        {"C": (100, 100, 10, 100, 10), "gamma": (0.005, 0.005, 0.005, 0.02, 0.02)},
    ),
    "HOG and cell means, RBF support vector machine": (
        gradients_and_means,
        SVM,
        {"C": (10, 10, 10, 10, 10), "gamma": (0.005, 0.005, 0.01, 0.02, 0.04)},
    ),
}


def make_baseline(name: str, budget: float) -> Pipeline:
    """A classifier of uint8 images (N, 28, 28), with the nearest label budget's hyperparameters."""
    features, classifier, searched = BASELINES[name]
    distances = [abs(known - budget) for known in BUDGETS[: len(searched["C"])]]
    options = {option: values[np.argmin(distances)] for option, values in searched.items()}
    return make_pipeline(FunctionTransformer(features), clone(classifier).set_params(**options))


def run_classical(
    table_path: Path, dataset: ImageSet, seeds: list[int], budgets: list[float], threads: int = 1
) -> None:
    """Add what is missing to the table `name, label_fraction, seed, test_accuracy, core_seconds`.

    The core seconds are of fitting and of predicting the test set, features included.

    Raises:
        UserError: the table is damaged, or a budget leaves a class without an image.
    """
    rows = Rows(table_path, "name", "label_fraction", "seed", "test_accuracy", "core_seconds")
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for budget, name, seed in product(sorted(budgets), BASELINES, seeds):
            train, _ = split(dataset, seed)
            labelled = stratified_subset(dataset.train_labels, train, budget, seed)
            is_slow = BASELINES[name][1] is SVM and len(labelled) > SVM_IMAGES
            if rows.has(name, budget, seed) or (is_slow and seed not in seeds[:SVM_SEEDS]):
                continue
            images, labels = dataset.train_images[labelled], dataset.train_labels[labelled]
            start = process_time()
            model = make_baseline(name, budget).fit(images.numpy(), labels.numpy())
            accuracy = model.score(dataset.test_images.numpy(), dataset.test_labels.numpy())
            rows.add(name, budget, seed, accuracy, process_time() - start)
            share = f"{100 * budget:g} % of the labels"
            print(f"{name}, {share}, seed {seed}: test accuracy {accuracy:.4f}", flush=True)
