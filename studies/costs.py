"""What runs cost in core minutes, pretraining included."""

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from recipes import AutoencoderRecipe, ClassifierRecipe, Setup
from report.runs import FinishedRun, Runs, accuracy, core_minutes, core_seconds
from studies.cells import SCRATCH, Block, Cell
from studies.comparisons import runs_of
from studies.first_round import SCRATCH_FOURFOLD, SCRATCH_SHORT
from studies.grid import SAME_COMPUTE

BUDGETS = (0.01, 0.1, 1.0)  # at which cost is looked at
COST_BY = ("width", "batch_size", "freeze_encoder")  # what an image's cost depends on
USES = 10  # classifiers that might share one pretraining
# Arms that take more or fewer steps from a random start.
FROM_SCRATCH = (SCRATCH_SHORT, SCRATCH, SCRATCH_FOURFOLD, SAME_COMPUTE)


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
    there = on_one_processor(runs)
    return [cost for cell in cells if (cost := cost_of(runs, cell, there))]


def cost_of(runs: Runs, cell: Cell, there: list[FinishedRun]) -> Cost | None:
    """None where the cell has no runs, or where nothing like them was run on the processor.

    Args:
        there: what `on_one_processor` gives.
    """
    classifiers, pretraining = runs_of(runs, cell), cell.pretraining(0)
    an_image = image_seconds(there, cell.recipe)
    encoders = [run for run in there if pretraining and run.name == pretraining.name]
    encoding = core_minutes(encoders) if pretraining else 0.0
    if not classifiers or an_image is None or encoding is None:
        return None
    images = cell.recipe.epochs * classifiers[0].config.data.train_images
    accuracies = [accuracy(run) for run in classifiers]
    return Cost(cell, images * an_image / 60, encoding, accuracies)


def on_one_processor(runs: Runs) -> list[FinishedRun]:
    """The runs on one processor, so that costs can be compared: that which made most encoders."""
    made: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in chain.from_iterable(runs.values()):
        machine = run.config.environment
        if core_seconds(run) is not None:
            made.setdefault((machine.processor, machine.precision), []).append(run)
    usual = Setup(recipe=AutoencoderRecipe()).name

    def encoders(group: list[FinishedRun]) -> tuple[int, int]:
        return sum(run.name == usual for run in group), len(group)

    return max(made.values(), key=encoders, default=[])


def image_seconds(there: list[FinishedRun], like: ClassifierRecipe) -> float | None:
    """What a training image takes of one processor core, validation included.

    The median over all classifiers with as large batches of as wide a net, whatever they started
    from: so that runs on a graphics card have a cost, too. None where there are none.
    """
    known = [
        core_seconds(run) / (run.setup.recipe.epochs * run.config.data.train_images)
        for run in there
        if run.kind != "autoencoder"
        if all(getattr(run.setup.recipe, name) == getattr(like, name) for name in COST_BY)
    ]
    return float(np.median(known)) if known else None


def cost_rows(runs: Runs, block: Block) -> list[dict]:
    """By label budget, what both arms cost, and what scratch with as much compute reaches."""
    rows, there = [], on_one_processor(runs)
    (arms,) = block.families[0]
    for budget in BUDGETS:
        if budget not in block.round.budgets:
            continue
        pretrained, scratch = (cost_of(runs, block.cell(arm, budget), there) for arm in arms)
        if scratch and pretrained:
            more = cost_of(runs, block.cell(SAME_COMPUTE, budget), there)
            rows.append(
                {"budget": budget, "scratch": scratch, "pretrained": pretrained, "more": more}
            )
    return rows
