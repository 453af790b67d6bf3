"""Questions as rows: pairs by seed, families, corrections and verdicts."""

import pandas as pd
import pytest
from made_up import STUDY, pretrained, scratch, tables_of, write_run, wrong
from msgspec.structs import replace

from report.compare import accuracies, compare
from report.study import Question
from report.tables import Tables

ARMS = {"scratch": scratch, "pretrained": pretrained}
ONE_FAMILY = [["pretrained minus scratch"]]


def question(seeds, compare=ONE_FAMILY) -> Question:
    cells = {"arms": [*ARMS], "budgets": [1.0], "seeds": [*seeds]}
    return Question(id="asked", sentence="?", **cells, compare=compare)


def tables(tmp_path, **errors) -> Tables:
    """Tables of runs whose i-th seed has so many wrong predictions of 200, by arm."""
    for arm, counts in errors.items():
        for seed, count in enumerate(counts):
            write_run(tmp_path, ARMS[arm](seed), wrong(count))
    return tables_of(tmp_path)


def test_a_difference_is_the_arm_less_its_control_over_the_seeds_that_both_have(tmp_path):
    found = tables(tmp_path, scratch=[20, 30, 40], pretrained=[10, 10])
    (row,) = compare(found, STUDY, question(range(3))).itertuples()
    assert (row.arm, row.control, row.pairs, row.planned) == ("pretrained", "scratch", 2, 3)
    assert row.difference == pytest.approx((10 / 200 + 20 / 200) / 2)
    assert row.seeds == (0, 1)
    means = accuracies(found, STUDY, question(range(3))).set_index("arm")
    # The means of both arms are of the seeds that both have.
    assert means.loc["scratch", "mean"] == pytest.approx(1 - 25 / 200)
    assert means.loc["scratch", "n"] == 2


def test_six_complete_pairs_decide_and_five_do_not(tmp_path):
    found = tables(tmp_path, scratch=[40, 41, 42, 43, 44, 45], pretrained=[10] * 6)
    (row,) = compare(found, STUDY, question(range(6))).itertuples()
    assert (row.verdict, row.tested) == ("better", True)
    assert row.corrected_p == row.p == pytest.approx(2 / 2**6)
    (row,) = compare(found, STUDY, question(range(5))).itertuples()
    assert (row.verdict, row.tested) == ("undecided", False)


def test_an_incomplete_comparison_is_not_tested_and_keeps_its_place_in_the_correction(tmp_path):
    found = tables(tmp_path, scratch=[40, 41, 42, 43, 44, 45, 46], pretrained=[10] * 6)
    (row,) = compare(found, STUDY, question(range(7))).itertuples()
    assert (row.pairs, row.tested, row.verdict) == (6, False, "undecided")
    # Two comparisons are planned, of which one has no run yet: it counts as p = 1.
    family = [["pretrained minus scratch", "frozen minus scratch"]]
    (row,) = compare(found, STUDY, question(range(6), family)).itertuples()
    assert row.corrected_p == pytest.approx(2 * row.p) and row.verdict == "undecided"
    # In a family of its own it would not.
    families = [["pretrained minus scratch"], ["frozen minus scratch"]]
    (row,) = compare(found, STUDY, question(range(6), families)).itertuples()
    assert row.corrected_p == row.p and row.verdict == "better"


def test_equal_arms_are_equivalent_and_the_primary_question_has_its_own_words(tmp_path):
    found = tables(tmp_path, scratch=[20] * 8, pretrained=[20] * 8)
    (row,) = compare(found, STUDY, question(range(8))).itertuples()
    assert row.verdict == "equivalent"
    worse = tables(tmp_path / "worse", scratch=[10] * 6, pretrained=[40, 41, 42, 43, 44, 45])
    asked = question(range(6))
    assert compare(worse, STUDY, asked)["verdict"].tolist() == ["worse"]
    assert compare(worse, STUDY, replace(asked, id="primary"))["verdict"].tolist() == ["harms"]


def test_a_closed_question_is_rows_of_a_table(tmp_path):
    found = tables(tmp_path, scratch=[20] * 6, pretrained=[10, 11, 12, 13, 14, 15])
    row = {"question": "old", "family": 0, "arm": "an arm", "label_fraction": 1.0}
    row |= {"name": "pretrained", "seeds": "0 1 2 3 4 5", "control": "another"}
    row |= {"control_name": "baseline", "measure": "test_accuracy"}
    cell = row | {"family": None, "control": "", "control_name": "", "seeds": "0 1"}
    pd.DataFrame([row, cell]).to_csv(found.folder / "finished.csv", index=False)
    old = Question(id="old", sentence="?")
    (judged,) = compare(Tables(found.folder), STUDY, old).itertuples()
    assert (judged.arm, judged.pairs, judged.verdict) == ("an arm", 6, "better")
    (mean,) = accuracies(Tables(found.folder), STUDY, old).itertuples()
    assert (mean.arm, mean.n, mean.mean) == ("an arm", 2, pytest.approx(1 - 10.5 / 200))


def test_a_question_without_runs_has_no_rows(tmp_path):
    found = tables(tmp_path, scratch=[20])
    assert compare(found, STUDY, question(range(6))).empty
