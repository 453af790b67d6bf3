"""Baselines without a network: their features, their images, how their settings are chosen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from msgspec.structs import replace as changed

from data import load_dataset
from harness.errors import UserError
from harness.files import read_json, write_json
from harness.rundir import Config
from recipes import Setup
from studies.baselines import BASELINES, Features, cell_means, gradients, pixels
from studies.classical import TRIALS, Measurement, Trial, run_classical
from studies.extra import CLASSICAL, read_extra
from studies.grid import STUDIES
from studies.scores import labelled_and_valid

STUDY = STUDIES["digits"]
DIGITS = load_dataset("digits", "")
FEW = replace(
    DIGITS,
    train_images=DIGITS.train_images[:240],
    train_labels=DIGITS.train_labels[:240],
    test_images=DIGITS.test_images[:60],
    test_labels=DIGITS.test_labels[:60],
)


def run(runs_dir, seeds=1, dataset=FEW) -> list[str]:
    """The lines that it says."""
    lines: list[str] = []
    run_classical(STUDY, dataset, runs_dir, seeds=seeds, budgets=(1.0,), say=lines.append)
    return lines


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with one seed of each baseline."""
    runs_dir = tmp_path_factory.mktemp("classical")
    run(runs_dir)
    return runs_dir


@pytest.mark.parametrize(
    "feature, length, highest", [(pixels, 784, 1), (gradients, 1620, 1), (cell_means, 196, 1)]
)
def test_features_have_one_row_an_image_and_stay_in_range(feature, length, highest):
    images = FEW.test_images[:3].numpy().copy()
    images[0] = 0  # flat
    rows = feature(images)
    assert rows.shape == (3, length) and rows.dtype == np.float32
    assert (rows >= 0).all() and (rows <= highest).all() and not rows[0].any() and rows[1].any()


def test_hog_sees_edges_and_not_brightness():
    bright = FEW.test_images[:5].numpy()
    np.testing.assert_allclose(gradients(bright // 2 * 2), gradients(bright // 2), atol=1e-3)


def test_a_cell_mean_is_the_mean_grey_of_its_pixels():
    image = np.zeros((1, 28, 28), dtype=np.uint8)
    image[0, 2:4, 8] = 255  # half of the cell in the second row and fifth column
    rows = cell_means(image)
    assert rows[0, 14 + 4] == pytest.approx(0.5) and rows.sum() == pytest.approx(0.5)


def test_parts_stand_side_by_side():
    index = torch.tensor([5, 2])
    rows = Features(FEW.train_images).rows(("pixels", "cell means"), index)
    images = FEW.train_images[index].numpy()
    np.testing.assert_array_equal(rows, np.hstack([pixels(images), cell_means(images)]))


def test_label_budgets_are_nested_and_never_touch_validation():
    small, large = (set(labelled_and_valid(DIGITS, 3, b)[0].tolist()) for b in (0.1, 1.0))
    valid = set(labelled_and_valid(DIGITS, 3, 0.1)[1].tolist())
    assert small < large and not large & valid
    assert large | valid == set(range(len(DIGITS.train_labels)))


def test_a_network_has_as_many_images(baseline_dir):
    data = read_json(baseline_dir / "config.json", Config[Setup]).data
    labelled, valid = labelled_and_valid(DIGITS, 0, 1.0)
    assert (data.train_images, data.valid_images) == (len(labelled), len(valid))


def test_every_baseline_is_measured_and_beats_chance(measured):
    rows = read_extra(measured).classical
    assert [row.name for row in rows] == [baseline.name for baseline in BASELINES]
    assert all(row.test_accuracy[0] > 0.5 and row.core_seconds > 0 for row in rows)


def test_what_is_there_is_not_measured_again(measured):
    before = [(measured / name).stat().st_mtime_ns for name in (CLASSICAL, TRIALS)]
    assert run(measured) == []
    assert [(measured / name).stat().st_mtime_ns for name in (CLASSICAL, TRIALS)] == before


def test_a_cut_run_resumes_to_the_same_accuracies(measured, tmp_path):
    rows = read_extra(measured).classical
    write_json(tmp_path / CLASSICAL, rows[:1])
    write_json(tmp_path / TRIALS, read_json(measured / TRIALS, list[Trial])[:5])
    assert len(run(tmp_path)) == len(BASELINES) - 1
    resumed = read_extra(tmp_path).classical
    assert [row.test_accuracy for row in resumed] == [row.test_accuracy for row in rows]


def test_another_seed_joins_its_row(measured, tmp_path):
    for name in (CLASSICAL, TRIALS):
        (tmp_path / name).write_bytes((measured / name).read_bytes())
    assert len(run(tmp_path, seeds=2)) == len(BASELINES)
    rows = read_extra(tmp_path).classical
    assert [sorted(row.test_accuracy) for row in rows] == [[0, 1]] * len(BASELINES)


def test_test_labels_have_no_part_in_the_choice(measured, tmp_path):
    labels = (FEW.test_labels + 1) % 10
    run(tmp_path, dataset=replace(FEW, test_labels=labels))
    assert (tmp_path / TRIALS).read_bytes() == (measured / TRIALS).read_bytes()
    rows = read_extra(tmp_path).classical
    assert all(row.test_accuracy[0] < 0.3 for row in rows)


@pytest.mark.parametrize("winner", range(4))
def test_the_best_on_validation_is_chosen(tmp_path, winner):
    baseline = BASELINES[0]
    kept = [
        Trial(
            name=baseline.name,
            label_fraction=1.0,
            options=options,
            valid_accuracy={100: 0.5, 101: 0.9 if k == winner else 0.5},
        )
        for k, options in enumerate(baseline.settings())
    ]
    write_json(tmp_path / TRIALS, kept)
    study = replace(STUDY, search_seeds=(100, 101))
    chosen = Measurement(FEW, tmp_path, study).choose(baseline, 1.0)
    assert chosen == baseline.settings()[winner]


def test_only_what_was_not_tried_is_tried(measured, tmp_path):
    trials = read_json(measured / TRIALS, list[Trial])
    marked = [changed(trial, valid_accuracy={100: 0.123}) for trial in trials[1:]]
    write_json(tmp_path / TRIALS, marked)
    Measurement(FEW, tmp_path, STUDY).choose(BASELINES[0], 1.0)
    assert read_json(tmp_path / TRIALS, list[Trial]) == [*marked, trials[0]]


def test_with_too_many_images_the_setting_of_a_smaller_budget_is_kept(tmp_path):
    """Of the budgets 1, 10 and 100 % (220 images); with still more, on fewer seeds."""
    measurement = Measurement(FEW, tmp_path, STUDY)
    slow, quick = (
        replace(BASELINES[2], most_searched=images, all_seeds=images) for images in (219, 220)
    )
    assert [measurement.searched_at(each, 1.0) for each in (slow, quick)] == [0.1, 1.0]
    assert measurement.missing(slow, 1.0, (0, 7, 8, 9)) == [0, 7, 8]
    assert measurement.missing(quick, 1.0, (0, 7, 8, 9)) == [0, 7, 8, 9]
    measurement.test(slow, 1.0, 7)
    assert measurement.missing(slow, 1.0, (0, 7, 8, 9)) == [0, 8]
    tried = read_json(tmp_path / TRIALS, list[Trial])
    assert {trial.label_fraction for trial in tried} == {0.1}
    (row,) = read_extra(tmp_path).classical
    assert (row.label_fraction, row.settings_of, list(row.test_accuracy)) == (1.0, 0.1, [7])


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / CLASSICAL).write_text('[{"name": "pixels"}]')
    with pytest.raises(UserError, match=r"classical\.json"):
        run(tmp_path)
