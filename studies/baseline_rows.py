"""The baselines without a network beside both arms: rows of STUDY.md's table, and what they say."""

from itertools import groupby, product
from typing import Any

import numpy as np

from metrics import MIN_PAIRS, paired_difference
from studies.comparisons import Main
from studies.extra import Classical, Extra


def classical_rows(main: Main, extra: Extra) -> list[dict[str, Any]]:
    """Baselines without a network beside both arms, on the seeds that all have."""
    arms = {
        row.budget: {
            seed: both
            for seed, *both in zip(row.pairs.seeds, row.scratch, row.pretrained, strict=True)
        }
        for row in main.rows
    }
    rows = []
    for baseline in sorted(extra.classical, key=lambda row: (row.label_fraction, row.name)):
        ours = arms.get(baseline.label_fraction, {})
        seeds = sorted(ours.keys() & baseline.test_accuracy.keys())
        if seeds:
            theirs = [baseline.test_accuracy[seed] for seed in seeds]
            scratch, pretrained = zip(*(ours[seed] for seed in seeds), strict=True)
            rows.append(
                {
                    "baseline": baseline,
                    "accuracies": theirs,
                    "scratch": list(scratch),
                    "difference": paired_difference(theirs, list(pretrained)),
                }
            )
    return rows


def best_baselines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of `classical_rows`, each label budget's best by its mean, where all were measured.

    With `over`, its difference from scratch, and `is_above`, whether that is a gain; of fewer than
    MIN_PAIRS seeds it is none.
    """
    names = {row["baseline"].name for row in rows}
    best = []
    for _, own in groupby(rows, key=lambda row: row["baseline"].label_fraction):
        found = {row["baseline"].name: row for row in own}
        if found.keys() == names:
            row = max(found.values(), key=lambda row: np.mean(row["accuracies"]))
            over = paired_difference(row["scratch"], row["accuracies"])
            best.append(row | {"over": over, "is_above": over.mean > 0 and over.n >= MIN_PAIRS})
    return best


def kept_settings(rows: list[dict[str, Any]]) -> list[tuple[str, list[Classical]]]:
    """By name, the baselines that kept a smaller label budget's setting."""
    kept = [row["baseline"] for row in rows if row["baseline"].settings_of]
    kept.sort(key=lambda baseline: baseline.name)
    return [(name, list(own)) for name, own in groupby(kept, key=lambda each: each.name)]


def not_measured(main: Main, extra: Extra) -> dict[str, list[float]]:
    """By name, the label budgets at which a baseline that is known was not measured."""
    found = {(row.name, row.label_fraction) for row in extra.classical}
    missing: dict[str, list[float]] = {}
    for name, budget in product(sorted({name for name, _ in found}), main.block.budgets):
        if (name, budget) not in found:
            missing.setdefault(name, []).append(budget)
    return missing
