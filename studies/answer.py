"""The answer for the first screen of README and STUDY.md, computed from finished runs."""

from typing import Any

import numpy as np

from metrics import MARGIN, bootstrap_seeds_and_images
from report.readme import Answer
from report.runs import Runs
from studies.cells import PRETRAINED, SCRATCH, Arm, Block, Study
from studies.comparisons import Compared, Main, compare, main_comparison, study_of
from studies.costs import cost_rows
from studies.grid import LONGER, PLAIN, WITH_LOSS, WITH_LOSS_SCRATCH

RESAMPLES = 4_000  # of seeds and images


def answer(runs: Runs, main: Main | None = None) -> Answer | None:
    """What the runs say to the question; None without a pair.

    Args:
        main: the main comparison, where it is known by now.
    """
    main = main or main_comparison(runs)
    if not main.rows:
        return None
    study = study_of(runs)
    factorial, compute, auxiliary = map(study.block, ("factorial", "compute", "auxiliary-scratch"))
    times = {row["budget"]: times_longer(row) for row in cost_rows(runs, main.block)}
    longer = rows_of(runs, compute, PRETRAINED, LONGER)
    with_loss = rows_of(runs, auxiliary, WITH_LOSS_SCRATCH, SCRATCH)
    both = rows_of(runs, auxiliary, WITH_LOSS, WITH_LOSS_SCRATCH)
    return Answer(
        rows=main.rows,
        other_seeds=main.other_seeds,
        small=[(row, seeds_and_images(row)) for row in main.rows if is_small(row)],
        least_p=least_p(study) if any(row.is_tested for row in main.rows) else None,
        plain=tested(rows_of(runs, factorial, PLAIN, SCRATCH)),
        auxiliary=tested(with_loss),
        both=tested(both),
        longer=[(row, times.get(row.budget)) for row in longer],
    )


def rows_of(runs: Runs, block: Block, arm: Arm, control: Arm) -> list[Compared]:
    """The block's comparisons of one arm with another, corrected for the family that has them."""
    pair = (arm, control)
    family = next(family for family in block.families if pair in family)
    return [row for row in compare(runs, block, family) if (row.arm, row.control) == pair]


def tested(rows: list[Compared]) -> list[Compared]:
    return [row for row in rows if row.is_tested]


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
