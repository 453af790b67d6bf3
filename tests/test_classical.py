"""Baselines without a network: what they see, what they learn from, what is measured when."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from baselines import classical
from baselines.classical import BASELINES, gradients, gradients_and_means, make_baseline, pixels
from data import FILES, load_dataset, split, stratified_subset
from harness.errors import UserError

DIGITS = load_dataset("digits", "")
FEW = dataclasses.replace(DIGITS, **{part: getattr(DIGITS, part)[:240] for part in FILES})
TRIALS = Path(__file__).parents[1] / "results/classical_trials.csv"


def run(path, seeds=(0,), budgets=(0.3,)) -> pd.DataFrame:
    classical.run_classical(path, FEW, seeds, budgets)
    return pd.read_csv(path)


def options_of(name, budget) -> tuple[float, float | None]:
    """C and, where there is one, gamma."""
    options = make_baseline(name, budget)[-1].get_params()
    return options["C"], options.get("gamma", 0)


@pytest.mark.parametrize(
    "features, length", [(pixels, 784), (gradients, 1620), (gradients_and_means, 1816)]
)
def test_features_have_one_row_an_image_and_stay_in_range(features, length):
    images = FEW.test_images[:3].numpy().copy()
    images[0] = 0  # flat
    rows = features(images)
    assert rows.shape == (3, length) and rows.dtype == np.float32
    assert (rows >= 0).all() and (rows <= 1).all() and not rows[0].any() and rows[1].any()


def test_hog_sees_edges_and_not_brightness():
    bright = FEW.test_images[:5].numpy()
    np.testing.assert_allclose(gradients(bright // 2 * 2), gradients(bright // 2), atol=1e-3)


def test_a_cell_mean_is_the_mean_grey_of_its_pixels():
    image = np.zeros((1, 28, 28), dtype=np.uint8)
    image[0, 2:4, 8] = 255  # half of the cell in the second row and fifth column
    hog, means = np.split(gradients_and_means(image)[0], [1620])
    assert means[14 + 4] == pytest.approx(0.5) and means.sum() == pytest.approx(0.5)
    np.testing.assert_array_equal(hog, gradients(image)[0])


@pytest.mark.parametrize("name", BASELINES)
def test_hyperparameters_are_the_best_on_validation(name):
    trials = pd.read_csv(TRIALS).query("name == @name").fillna({"gamma": 0})
    for budget, own in trials.groupby("label_fraction"):
        tried = own.groupby(["C", "gamma"]).valid_accuracy.sum()
        assert tried[options_of(name, budget)] == pytest.approx(tried.max())


@pytest.mark.parametrize("budget, nearest", [(0.3, 0.1), (1.0, 0.1), (0.009, 0.01), (1e-4, 0.001)])
def test_where_none_were_searched_the_nearest_budgets_are_taken(budget, nearest):
    name = "pixels, RBF support vector machine"
    assert options_of(name, budget) == options_of(name, nearest)


def test_a_measurement_that_was_cut_goes_on_and_nothing_is_measured_twice(tmp_path):
    path = tmp_path / "classical.csv"
    table = run(path)
    assert list(table.name) == list(BASELINES)
    assert (table.test_accuracy > 0.5).all() and (table.core_seconds > 0).all()
    whole = path.read_bytes()
    run(path)
    assert path.read_bytes() == whole
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    resumed = run(path, seeds=(0, 1))
    assert len(resumed) == 2 * len(table)
    again = resumed[resumed.seed == 0].set_index("name").test_accuracy
    pd.testing.assert_series_equal(again, table.set_index("name").test_accuracy)


def test_with_too_many_images_a_support_vector_machine_has_few_seeds(tmp_path, monkeypatch):
    """Of the budgets 10 and 100 % (22 and 220 images)."""
    monkeypatch.setattr(classical, "SVM_IMAGES", 100)
    name = "pixels, RBF support vector machine"
    monkeypatch.setattr(classical, "BASELINES", {name: BASELINES[name]})
    table = run(tmp_path / "classical.csv", (0, 7, 8, 9), (1.0, 0.1))
    seeds = {budget: list(own.seed) for budget, own in table.groupby("label_fraction")}
    assert seeds == {0.1: [0, 7, 8, 9], 1.0: [0, 7, 8]}


def test_a_network_has_as_many_images(baseline_dir):
    data = json.loads((baseline_dir / "config.json").read_text())["data"]
    train, valid = split(DIGITS, 0)
    labelled = stratified_subset(DIGITS.train_labels, train, 1.0, 0)
    assert (data["train_images"], data["valid_images"]) == (len(labelled), len(valid))


@pytest.mark.parametrize("content", ["", "name,seed\npixels,0\n", '"name'])
def test_a_damaged_table_is_named_and_stays(tmp_path, content):
    path = tmp_path / "classical.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=r"classical\.csv"):
        run(path)
    assert path.read_text() == content
