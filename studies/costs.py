"""What runs cost in core minutes, pretraining included."""

from dataclasses import dataclass, replace

from report.minutes import classifier_minutes, on_one_processor, pretraining_minutes
from report.runs import Runs, accuracy
from studies.arms import LONGER, SCRATCH
from studies.cells import Block, Cell
from studies.comparisons import runs_of
from studies.first_round import SCRATCH_FOURFOLD, SCRATCH_SHORT

BUDGETS = (0.01, 0.1, 1.0)  # at which cost is looked at
USES = 10  # classifiers that might share one pretraining
# Arms that take more or fewer steps from a random start.
FROM_SCRATCH = (SCRATCH_SHORT, SCRATCH, SCRATCH_FOURFOLD, LONGER)


@dataclass(frozen=True, eq=False)
class Cost:
    """One cell's core minutes, a classifier's and its pretraining's, and test accuracies."""

    cell: Cell
    classifier: float
    pretraining: float
    accuracies: list[float]

    @property
    def total(self) -> float:
        return self.classifier + self.pretraining

    @property
    def amortised(self) -> float:
        """As if ten classifiers shared the pretraining."""
        return self.classifier + self.pretraining / USES


def costs(runs: Runs, block: Block) -> list[Cost]:
    """What the arms of a block's round cost that take more or fewer steps."""
    ((pretrained, _),) = block.families[0]
    lengths = [arm.length for arm in (SCRATCH_SHORT, SCRATCH, SCRATCH_FOURFOLD)]
    others = (
        replace(pretrained, length=length) for length in lengths if length != pretrained.length
    )
    arms = (*FROM_SCRATCH, pretrained, *others)
    cells = [
        block.cell(arm, budget)
        for budget in BUDGETS
        if budget in block.round.budgets
        for arm in arms
    ]
    there = on_one_processor(runs)
    return [cost for cell in cells if (cost := cost_of(runs, cell, there))]


def cost_of(runs: Runs, cell: Cell, there: Runs) -> Cost | None:
    """None where the cell has no runs, or where nothing like them was run on the processor.

    Args:
        there: what `on_one_processor` gives.
    """
    classifiers, pretraining = runs_of(runs, cell), cell.pretraining(0)
    if not classifiers:
        return None
    training = classifier_minutes(there, cell.recipe, classifiers[0].config.data.train_images)
    encoding = pretraining_minutes(there, pretraining.recipe) if pretraining else 0.0
    if training is None or encoding is None:
        return None
    return Cost(cell, training, encoding, [accuracy(run) for run in classifiers])


def cost_rows(runs: Runs, block: Block) -> list[dict]:
    """By label budget, what both arms cost, and what scratch with as much compute reaches."""
    rows, there = [], on_one_processor(runs)
    (arms,) = block.families[0]
    for budget in BUDGETS:
        if budget not in block.round.budgets:
            continue
        pretrained, scratch = (cost_of(runs, block.cell(arm, budget), there) for arm in arms)
        if scratch and pretrained:
            more = cost_of(runs, block.cell(LONGER, budget), there)
            rows.append(
                {"budget": budget, "scratch": scratch, "pretrained": pretrained, "more": more}
            )
    return rows
