"""What runs cost in core minutes, pretraining included."""

from dataclasses import dataclass, replace

from report.runs import Runs, accuracy, core_minutes
from studies.cells import SCRATCH, Block, Cell
from studies.comparisons import runs_of
from studies.first_round import EXTRA, ROUND_1, SCRATCH_FOURFOLD, SCRATCH_SHORT
from studies.grid import SAME_COMPUTE

BUDGETS = (0.01, 0.1, 1.0)  # at which cost is looked at
USES = 10  # classifiers that might share one pretraining
# Arms that take more or fewer steps from a random start.
FROM_SCRATCH = (SCRATCH_SHORT, SCRATCH, SCRATCH_FOURFOLD, EXTRA, SAME_COMPUTE)


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
    arms = (*FROM_SCRATCH, *(replace(pretrained, length=length) for length in lengths))
    cells = [
        block.cell(arm, budget)
        for budget in BUDGETS
        if budget in block.round.budgets
        for arm in arms
    ]
    return [cost for cell in cells if (cost := cost_of(runs, cell))]


def cost_of(runs: Runs, cell: Cell) -> Cost | None:
    """None where the cell has no runs, or where what its pretraining took is not known."""
    classifiers = runs_of(runs, cell)
    pretraining, seeds = cell.pretraining(0), {run.seed for run in classifiers}
    encoders = runs.get(pretraining.name, []) if pretraining else []
    encoders = [run for run in encoders if run.seed in seeds]
    if not classifiers or (pretraining and not encoders):
        return None
    accuracies = [accuracy(run) for run in classifiers]
    return Cost(cell, core_minutes(classifiers), core_minutes(encoders), accuracies)


def cost_rows(runs: Runs, block: Block) -> list[dict]:
    """By label budget, what both arms cost, and what scratch with as much compute reaches."""
    rows = []
    (arms,) = block.families[0]
    for budget in BUDGETS:
        if budget not in block.round.budgets:
            continue
        pretrained, scratch = (cost_of(runs, block.cell(arm, budget)) for arm in arms)
        if scratch and pretrained:
            arm = EXTRA if block.round is ROUND_1 else SAME_COMPUTE
            more = cost_of(runs, block.cell(arm, budget))
            rows.append(
                {"budget": budget, "scratch": scratch, "pretrained": pretrained, "more": more}
            )
    return rows
