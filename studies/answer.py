"""The answer for the first screen of README and STUDY.md, computed from finished runs."""

from typing import Any

import numpy as np

from metrics import MARGIN, bootstrap_seeds_and_images
from report.readme import Answer
from report.runs import Runs
from studies.arms import (
    LENGTHS,
    LONGER,
    LONGER_PRETRAINED,
    PIXELS,
    PLAIN,
    PLAIN_NO_SKIPS,
    PRETRAINED,
    RECHOSEN,
    RECHOSEN_OTHER,
    RECHOSEN_SCRATCH,
    SAME_RECIPE,
    SCRATCH,
    UNMASKED,
    WITH_LOSS,
    WITH_LOSS_SCRATCH,
)
from studies.baseline_rows import best_baselines, classical_rows
from studies.cells import Arm, Block, Study
from studies.comparisons import Compared, compare, main_comparison, study_of
from studies.costs import cost_rows
from studies.extra import extra_of

RESAMPLES = 4_000  # of seeds and images
# What the first screen tells beside the main comparison: block, arm, and what it is held against.
OVER_LONGER = ("compute", PRETRAINED, LONGER)
BOTH_LONGER = (
    ("searched", RECHOSEN_OTHER, RECHOSEN_SCRATCH),
    ("longer", LONGER_PRETRAINED, LONGER),
)
BESIDE = (
    ("recipe", PRETRAINED, SAME_RECIPE),
    OVER_LONGER,
    *BOTH_LONGER,
    ("length", LENGTHS[-1], SCRATCH),
    ("factorial", PLAIN, SAME_RECIPE),
    ("factorial", PLAIN_NO_SKIPS, SAME_RECIPE),
    ("factorial", PIXELS, SAME_RECIPE),
    ("unmasked", UNMASKED, SAME_RECIPE),
    ("auxiliary-scratch", WITH_LOSS_SCRATCH, SCRATCH),
    ("auxiliary-scratch", WITH_LOSS, WITH_LOSS_SCRATCH),
)


def answer(runs: Runs) -> Answer | None:
    """What the runs say to the question; None without a pair."""
    main = main_comparison(runs)
    if not main.rows:
        return None
    study = study_of(runs)

    def tested(block: str, arm: Arm, control: Arm) -> list[Compared]:
        found = rows_of(runs, study.block(block), arm, control)
        return [row for row in found if row.is_tested]

    beside = {each: tested(*each) for each in BESIDE}
    times = {row["budget"]: times_longer(row) for row in cost_rows(runs, main.block)}
    return Answer(
        rows=main.rows,
        other_seeds=main.other_seeds,
        small=[(row, seeds_and_images(row)) for row in main.rows if is_small(row)],
        least_p=least_p(study) if any(row.is_tested for row in main.rows) else None,
        plain=tested("factorial", PLAIN, SCRATCH),
        hiding=tested("factorial", PIXELS, PLAIN),
        hiding_with_hog=tested("unmasked", PRETRAINED, UNMASKED),
        rechosen=tested("searched", RECHOSEN, RECHOSEN_SCRATCH),
        both_longer=[row for each in BOTH_LONGER for row in beside[each]],
        beside=[rows for rows in beside.values() if rows],
        longer=[(row, times.get(row.budget)) for row in beside[OVER_LONGER]],
        more_passes=LONGER.passes,
        baselines=best_baselines(classical_rows(main, extra_of(runs))),
    )


def rows_of(runs: Runs, block: Block, arm: Arm, control: Arm) -> list[Compared]:
    """The block's comparisons of one arm with another, corrected for the family that has them."""
    pair = (arm, control)
    family = next(family for family in block.families if pair in family)
    return [row for row in compare(runs, block, family) if (row.arm, row.control) == pair]


def is_small(row: Compared) -> bool:
    """Whether it helps or harms by less than what matters."""
    judged = row.judged
    return judged.verdict in ("helps", "harms") and abs(judged.difference.mean) < MARGIN


def times_longer(costs: dict[str, Any]) -> float | None:
    """Of a row of `cost_rows`: what scratch with more epochs takes, over the pretrained arm."""
    return costs["more"].total / costs["pretrained"].total if costs["more"] else None


def seeds_and_images(row: Compared) -> tuple[float, float]:
    """The difference's 95 % interval over other seeds and other test images."""
    arms = (row.pairs.control, row.pairs.treated)
    correct = [np.stack([run.correct for run in runs]) for runs in arms]
    return bootstrap_seeds_and_images(*correct, resamples=RESAMPLES)


def least_p(study: Study) -> float:
    """The least corrected p that a complete cell of the primary family can have."""
    return min(1.0, len(study.protocol.budgets) * 2 / 2 ** len(study.seeds))
