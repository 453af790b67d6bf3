"""What runs cost in core minutes, pretraining included."""

from dataclasses import dataclass, replace

import numpy as np

from recipes import ClassifierRecipe
from report.runs import Runs, accuracy, core_minutes, core_seconds
from studies.cells import SCRATCH, Block, Cell
from studies.comparisons import runs_of
from studies.first_round import EXTRA, ROUND_1, SCRATCH_FOURFOLD, SCRATCH_SHORT
from studies.grid import SAME_COMPUTE

BUDGETS = (0.01, 0.1, 1.0)  # at which cost is looked at
COST_BY = ("width", "batch_size", "freeze_encoder")  # what an image's cost depends on
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
    """None where the cell has no runs, or where nothing like them was run on a processor."""
    classifiers, pretraining = runs_of(runs, cell), cell.pretraining(0)
    an_image = image_seconds(runs, cell.recipe)
    encoding = core_minutes(runs.get(pretraining.name, [])) if pretraining else 0.0
    if not classifiers or an_image is None or encoding is None:
        return None
    images = cell.recipe.epochs * classifiers[0].config.data.train_images
    accuracies = [accuracy(run) for run in classifiers]
    return Cost(cell, images * an_image / 60, encoding, accuracies)


def image_seconds(runs: Runs, like: ClassifierRecipe) -> float | None:
    """What a training image takes of one processor core, validation included.

    The median over all classifiers with as large batches of as wide a net, whatever they started
    from: so that runs on a graphics card have a cost, too. None where there are none.
    """
    known = [
        seconds / (run.setup.recipe.epochs * run.config.data.train_images)
        for found in runs.values()
        for run in found
        if (recipe := run.setup.recipe) and run.kind != "autoencoder"
        if all(getattr(recipe, name) == getattr(like, name) for name in COST_BY)
        if (seconds := core_seconds(run)) is not None
    ]
    return float(np.median(known)) if known else None


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
