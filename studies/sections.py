"""STUDY.md's tables beside the main comparison: blocks, first round, ablation, search."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from report.pairs import Pairs
from report.runs import FinishedRun, Runs, accuracy, core_seconds, valid_accuracy
from studies.arms import EARLIER, SCRATCH
from studies.cells import Arm, Block, Cell, Study
from studies.comparisons import Compared, compare, runs_of, shared_runs, shared_seeds
from studies.first_round import BY_EPOCHS, COMPARED_1, ROUND_1_BLOCK, SCRATCH_FIRST, SHIFTED
from studies.search import ARMS, Trial, best, choice_by_few, trials


def section(runs: Runs, block: Block, shared: bool = True) -> dict[str, Any]:
    """A block's test accuracies, as `accuracies` takes them, and comparisons.

    Args:
        shared: accuracies of the seeds that all arms of a label budget have, the arms that they
            are compared with, too.
    """
    found = accuracies(runs, block.cells, tested_accuracy)
    if shared and found["rows"]:
        cells = with_others(block, found["budgets"])
        found = accuracies(runs, cells, tested_accuracy, shared=True)
    families = [told(rows) for family in block.families if (rows := compare(runs, block, family))]
    return {
        "block": block,
        "accuracies": found,
        "families": families,
        "not_run": not_run(runs, block),
    }


def not_run(runs: Runs, block: Block) -> dict[str, list[float]]:
    """Arms and the label budgets at which they have no run yet."""
    found: dict[str, list[float]] = {}
    for cell in block.cells:
        if not runs_of(runs, cell):
            found.setdefault(cell.arm.name, []).append(cell.budget)
    return found


def told(rows: list[Compared]) -> dict[str, Any]:
    """A family's rows, and what is said below their table."""
    return {
        "rows": rows,
        "decided": decided(rows),
        "undecided": any(row.is_tested and row.judged.verdict == "undecided" for row in rows),
        "machines": machines(rows),
        "all_of_two_machines": all(row.of_two_machines == len(row.pairs) for row in rows),
    }


def machines(rows: Iterable[Compared]) -> list[tuple[Arm, Arm, int, int]]:
    """Arm, control, how many pairs are of two machines, of how many; none where none is."""
    found: dict[tuple[Arm, Arm], list[tuple[int, int]]] = {}
    for row in rows:
        of_row = row.of_two_machines, len(row.pairs)
        found.setdefault((row.arm, row.control), []).append(of_row)
    sums = [(*arms, *map(sum, zip(*of_arms, strict=True))) for arms, of_arms in found.items()]
    return [each for each in sums if each[2]]


def with_others(block: Block, budgets: list[float]) -> tuple[Cell, ...]:
    """The block's cells, after those of other blocks that it compares with them there."""
    own = {cell.arm for cell in block.cells}
    arms = dict.fromkeys(arm for family in block.families for pair in family for arm in pair)
    others = [block.cell(arm, b) for arm in arms if arm not in own for b in budgets]
    return (*others, *block.cells)


def decided(rows: Iterable[Compared]) -> list[tuple[Arm, Arm, str, list[Compared]]]:
    """Arm, control, verdict and the label budgets' rows that have it; none for *undecided*."""
    found: dict[tuple[Arm, Arm, str], list[Compared]] = {}
    for row in rows:
        if row.judged.verdict != "undecided":
            found.setdefault((row.arm, row.control, row.judged.verdict), []).append(row)
    return [(*key, of_key) for key, of_key in found.items()]


def accuracies(
    runs: Runs,
    cells: Iterable[Cell],
    of: Callable[[FinishedRun], float | None],
    shared: bool = False,
) -> dict[str, Any]:
    """Accuracies by arm, a list for each label budget at which the cells have runs.

    Args:
        shared: only of the seeds that all arms of a label budget have, if there are any.
    """
    of_cells = {cell: runs_of(runs, cell) for cell in cells}
    if shared:
        for budget in {cell.budget for cell in of_cells}:
            here = [cell for cell in of_cells if cell.budget == budget]
            of_cells |= dict(zip(here, shared_runs(runs, here), strict=True))
    found: dict[Arm, dict[float, list[float]]] = {}
    for cell, of_cell in of_cells.items():
        values = [value for run in of_cell if (value := of(run)) is not None]
        if values:
            found.setdefault(cell.arm, {})[cell.budget] = values
    budgets = sorted({budget for by_budget in found.values() for budget in by_budget})
    rows = [
        (arm.name, [by_budget.get(budget, []) for budget in budgets])
        for arm, by_budget in found.items()
    ]
    return {"budgets": budgets, "rows": rows}


def tested_accuracy(run: FinishedRun) -> float | None:
    """On the test set; None where the run never read it."""
    return accuracy(run) if run.metrics.test else None


def others_tried(runs: Runs, block: Block | None) -> dict[str, Any] | None:
    """What was tried beside the search, on validation; None before anything was."""
    of_search = (SCRATCH, EARLIER)  # whose best trials are cells of the block
    if block is None or not any(
        runs_of(runs, cell) for cell in block.cells if cell.arm not in of_search
    ):
        return None
    found = accuracies(runs, block.cells, valid_accuracy)
    there = {name for name, _ in found["rows"]}
    arms = dict.fromkeys(cell.arm.name for cell in block.cells)
    return {
        "block": block,
        "accuracies": found,
        "missing": [name for name in arms if name not in there],
    }


def round_1(runs: Runs, block: Block | None) -> dict[str, Any] | None:
    """What the first round showed; None where it has no runs."""
    if block is None or not any(runs_of(runs, cell) for cell in block.cells):
        return None
    return {
        **section(runs, block, shared=False),
        "by_epochs": by_epochs(runs, block),
        "epochs_columns": list(BY_EPOCHS.values()),
        "tried": tried(runs, block),
    }


def by_epochs(runs: Runs, block: Block) -> list[dict[str, Any]]:
    """Scratch's validation accuracy by the number of epochs, over the seeds that all have."""
    rows = []
    for budget in block.round.budgets:
        found = [runs_of(runs, block.cell(arm, budget)) for arm in BY_EPOCHS]
        shared = shared_seeds(found)
        if shared and sum(map(bool, found)) > 1:
            cells = [[run for run in arm if run.seed in shared] for arm in found]
            columns = [
                (float(np.mean(list(map(valid_accuracy, arm)))), arm[0].setup.recipe.epochs)
                if arm
                else None
                for arm in cells
            ]
            rows.append({"budget": budget, "seeds": len(shared), "columns": columns})
    return rows


def tried(runs: Runs, block: Block) -> list[dict[str, Any]]:
    """Arms beside scratch by validation accuracy, at the fewest labels, the best first."""
    fewest = block.round.budgets[0]
    scratch = runs_of(runs, block.cell(SCRATCH, fewest))
    rows = []
    for arm in COMPARED_1:
        pairs = Pairs.of(scratch, runs_of(runs, block.cell(arm, fewest)))
        if len(pairs):
            means = [float(np.mean(values)) for values in pairs.values(valid_accuracy)]
            difference = pairs.difference(valid_accuracy)
            rows.append({"arm": arm.name, "means": means, "difference": difference})
    return sorted(rows, key=lambda row: -row["difference"].mean)


def ablation_rows(runs: Runs, block: Block | None) -> list[dict[str, Any]]:
    """Validation accuracy of one run each, beside the whole recipe's."""
    if block is None:
        return []
    found = [(cell.arm.name, runs_of(runs, cell), valid_accuracy) for cell in block.cells]
    first_job = runs_of(runs, ROUND_1_BLOCK.cell(SCRATCH_FIRST, 1.0))
    found += [
        ("width 0.5", first_job, last_accuracy),
        (f"width 0.5, {SHIFTED}", first_job, valid_accuracy),
    ]
    whole = found[0][1]
    if not whole:
        return []
    return [row(name, each[0], of, whole[0]) for name, each, of in found if each]


def row(name: str, run: FinishedRun, of: Callable, whole: FinishedRun) -> dict[str, Any]:
    reference = valid_accuracy(whole)
    return {
        "name": name,
        "accuracy": of(run),
        "change": None if run is whole else of(run) - reference,
        "seconds": seconds / run.setup.recipe.epochs if (seconds := core_seconds(run)) else None,
        "error": (reference * (1 - reference) / whole.config.data.valid_images) ** 0.5,
    }


def last_accuracy(run: FinishedRun) -> float:
    """On validation after the last epoch, each image seen once and mirrored."""
    return run.history["valid_accuracy"][-1]


def search_tables(runs: Runs, study: Study) -> list[dict[str, Any]]:
    """For each arm, its trials as rows and the label budgets as columns."""
    tables = []
    for arm in ARMS:
        of_arm = [trial for trial in trials(study, runs) if trial.arm == arm]
        found = [trial for trial in of_arm if trial.accuracies(runs)]
        budgets = sorted({trial.cell.budget for trial in found})
        by_cell = {(trial.name, trial.cell.budget): trial.mean(runs) for trial in found}
        columns = [[trial for trial in found if trial.cell.budget == b] for b in budgets]
        names = dict.fromkeys(trial.name for trial in of_arm)
        tables.append(
            {
                "arm": arm,
                "budgets": budgets,
                "rows": [(n, [by_cell.get((n, b)) for b in budgets]) for n in names],
                "choices": [choices(column, runs) for column in columns],
            }
        )
    return [table for table in tables if table["budgets"]]


def choices(of: list[Trial], runs: Runs) -> dict[str, Any] | None:
    """What all validation images choose, and how good a choice as few as the labels make.

    None before a trial is complete; `by_few` is None where there are more labels than these images.
    """
    complete = [trial for trial in of if trial.is_complete(runs)]
    chosen = best(complete, runs)
    if chosen is None:
        return None
    data = runs_of(runs, chosen.cell)[0].config.data
    few = data.train_images < data.valid_images
    return {
        "name": chosen.name,
        "accuracy": chosen.mean(runs),
        "images": data.train_images,
        "by_few": choice_by_few(complete, runs, data.train_images) if few else None,
    }
