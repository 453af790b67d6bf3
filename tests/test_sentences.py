"""The sentences of the pages: which figures they take, and what they say where one is missing."""

import pandas as pd
import pytest

from report import sentences


def compared(*rows: dict, **columns) -> pd.DataFrame:
    """Comparisons as `report.compare.compare` gives them, each with what differs from the usual."""
    usual = {"arm": "a", "control": "b", "label_fraction": 0.01, "labels": 550, "difference": 0.02}
    usual |= {"low": 0.01, "high": 0.03, "pairs": 10, "planned": 10, "tested": True}
    usual |= {"verdict": "better", "two_machines": 0}
    return pd.DataFrame([usual | columns | row for row in rows])


FEW = compared(
    {"label_fraction": 0.001, "labels": 55, "difference": 0.0807},
    {"difference": 0.0172},
    {"label_fraction": 0.1, "difference": 0.00388},
    {"label_fraction": 1.0, "difference": 0.00214},
)
LONGER = compared(
    {"label_fraction": 0.3, "difference": 0.0002, "verdict": "equivalent"},
    {"label_fraction": 1.0, "difference": -0.0001, "tested": False, "pairs": 7},
)
SAME = compared({"label_fraction": 0.001, "difference": 0.0877}, {"label_fraction": 0.003})
PLAIN = compared({"label_fraction": 0.001, "difference": 0.0092, "verdict": "undecided"})
LOSSES = [compared({"difference": d, "low": -0.0035}) for d in (-0.0089, -0.0081, -0.0008)]
ERRORS = {"from scratch": (0.083, 0.015), "pretrained": (0.082, 0.014)}
BINS = pd.DataFrame({"confidence": [0.31, 0.835, 0.904], "accuracy": [0.163, 0.727, 0.808]})
TREND = pd.Series({"slope": -0.0222, "p": 0.002, "low": -0.0269, "high": -0.0176, "n": 10})
SMALL = pd.Series({"label_fraction": 1.0, "images_low": -0.00001, "images_high": 0.0044})


@pytest.mark.parametrize(("text", "figures"), [
    (sentences.over_images(SMALL), "At 100 %, −0.00 to +0.44"),
    (sentences.slightly_better(pd.DataFrame()), "no runs yet"),
    (sentences.trains_faster(pd.DataFrame(), 10), "no runs yet"),
    (sentences.slightly_better(LONGER[1:]), "(+1.00 to +3.00): 7 of 10 seeds."),
    (sentences.standing("worse", True, 10, 10), "worse"),
    (sentences.standing("worse", False, 3, 10), "3 of 10 seeds"),
    (sentences.standing("worse", False, 3, 3), "too few seeds"),
    (sentences.few_labels(FEW), "55 to 550 labels, 8.07 to 1.72 points"),
    (sentences.many_labels(FEW, LONGER), "0.21 to 0.39 points, +0.02 at 30 % (equivalent)"),
    (sentences.many_labels(FEW, LONGER), "−0.01 at 100 % (7 of 10 seeds)"),
    (sentences.searched(LONGER), "+0.02 at 30 % (equivalent)"),
    (sentences.task(SAME, PLAIN), "at 0.1 % of the labels, +8.77 points, +0.92 (undecided)"),
    (sentences.same_recipe_note(*LOSSES), "−0.89 at 1 %, −0.81, −0.08 (−0.35 to +3.00)"),
    (sentences.trend(TREND), "−2.22 points, −2.69 to −1.76"),
    (sentences.calibrated(ERRORS, -0.08), "8.3 to 1.5 %, 8.2 to 1.4 %, too low, by 8.0 points"),
    (sentences.calibrated(ERRORS, 0.08), "too high"),
    (sentences.reliable(BINS), "90 % are right in 81 %, 31 % are right in 16 %"),
])  # fmt: skip
def test_a_sentence_takes_the_right_figures(text, figures):
    assert [figure for figure in figures.split(", ") if figure not in text] == []


def test_more_epochs_from_scratch_are_told_with_what_they_take():
    costs = pd.DataFrame({"longer": [20.0], "fine_tuning": [5.0], "pretraining": [20.0]})
    assert "0.8 times as long" in sentences.longer_scratch(compared({}), costs)
    assert "times as long" not in sentences.longer_scratch(compared({}), costs.iloc[:0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "above scratch at 1 % (+2.00, +1.00 to +3.00); pretrained is above it everywhere."),
        ({"difference": -0.01}, "above scratch at 1 % (+2.00, +1.00 to +3.00)."),
        ({"over_difference": -0.02}, "is nowhere above scratch."),
        ({"pairs": 5}, "is nowhere above scratch."),  # too few for a claim
    ],
)
def test_the_best_baseline_without_a_network(change, says):
    row = {"name": "HOG | SVM", "label_fraction": 0.01, "pairs": 6, "difference": 0.01}
    row |= {"over_difference": 0.02, "over_low": 0.01, "over_high": 0.03, "mean": 0.9}
    worse = row | {"name": "worse", "mean": 0.8, "over_difference": -0.08}
    assert sentences.without_network(pd.DataFrame([worse, row | change])).endswith(says)


@pytest.mark.parametrize(("columns", "says"), [
    ({}, "is ahead at epochs 1 and 2 and behind at epoch 3"),
    ({"corrected_p": 0.2}, "at none of the epochs"),
    ({"pairs": 3.0}, "not tested, 3 of 10 seeds"),
])  # fmt: skip
def test_training_faster_is_told_by_epoch(columns, says):
    interval = {"low": [0.1, 0.1, -0.3, -0.1], "high": [0.2, 0.2, -0.1, 0.1]}
    epochs = pd.DataFrame(interval, index=[1, 2, 3, 4]).assign(pairs=10.0, corrected_p=0.01)
    assert says in sentences.trains_faster(epochs.assign(**columns), 10)
