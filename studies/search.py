"""The search for each arm's recipe at each label budget: as many trials for both, on validation.

A trial reads no test set, and its seeds are those of no run that does. First come batch size and
learning rate; then, at the best of these, what else an arm could want.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from report.runs import Runs, valid_accuracy
from studies.arms import FORMER
from studies.cells import Arm, Block, Cell, Options, Study

BATCHES = (16, 32, 128)
RATES = (1e-3, 2e-3, 4e-3)
ARMS = ("from scratch", "pretrained")
# At the best batch size and rate: what else is tried, and by how much the epochs change.
MORE = {
    "from scratch": (
        ("half the epochs", {}, 0.5),
        ("twice the epochs", {}, 2),
        ("four times the epochs", {}, 4),
        ("no label smoothing", {"label_smoothing": 0.0}, 1),
    ),
    "pretrained": (
        ("half the epochs", {}, 0.5),
        ("twice the epochs", {}, 2),
        ("encoder at 0.3 of the rate", {"encoder_lr_scale": 0.3}, 1),
        ("encoder frozen", {"freeze_encoder": True}, 1),
    ),
}
DRAWS = 4_000


@dataclass(frozen=True)
class Trial:
    """One recipe that was tried at one label budget for one arm."""

    arm: str
    name: str
    cell: Cell

    def accuracies(self, runs: Runs) -> list[float]:
        """Validation accuracy of each seed that has finished, in [0, 1]."""
        found = runs.get(self.cell.name, [])
        return [valid_accuracy(run) for run in found if run.seed in self.cell.seeds]

    def is_complete(self, runs: Runs) -> bool:
        return len(self.accuracies(runs)) == len(self.cell.seeds)

    def mean(self, runs: Runs) -> float:
        return float(np.mean(self.accuracies(runs)))


def trials(study: Study, runs: Runs) -> list[Trial]:
    """All trials of which it is known by now what they are."""
    found = []
    for budget, arm in product(study.search.budgets, ARMS):
        first = list(first_trials(study, budget, arm))
        found += first
        if all(trial.is_complete(runs) for trial in first):
            found += more_trials(study, best(first, runs))
    return found


def first_trials(study: Study, budget: float, arm: str) -> Iterator[Trial]:
    """Each batch size with each rate, at the epochs that the search starts from."""
    for batch, rate in product(BATCHES, RATES):
        name = f"batch {batch}, rate {rate:g}"
        yield trial(study, budget, arm, name, {"batch_size": batch, "learning_rate": rate})


def more_trials(study: Study, of: Trial) -> Iterator[Trial]:
    """At the best batch size and rate, what else the arm could want."""
    recipe = of.cell.recipe
    steps = {"batch_size": recipe.batch_size, "learning_rate": recipe.learning_rate}
    for name, changes, length in MORE[of.arm]:
        yield trial(study, recipe.label_fraction, of.arm, name, steps | changes, length)


def trial(
    study: Study, budget: float, arm: str, name: str, changes: Options, length: float = 1
) -> Trial:
    start = None if arm == "from scratch" else FORMER if budget < study.searched_late else {}
    whole = Arm(f"{arm}: {name}", changes, start, length)
    return Trial(arm, name, study.search.cell(whole, budget, study.search_seeds))


def best(of: list[Trial], runs: Runs) -> Trial | None:
    """The trial with the highest mean validation accuracy, of those with all seeds."""
    complete = [trial for trial in of if trial.is_complete(runs)]
    return max(complete, key=lambda trial: trial.mean(runs), default=None)


def unsettled(study: Study, runs: Runs) -> dict[str, list[float]]:
    """The label budgets at which the search has not finished, `before` the protocol and `late`."""
    known = trials(study, runs)
    budgets = sorted({trial.cell.budget for trial in known if not trial.is_complete(runs)})
    return {
        "before": [budget for budget in budgets if budget < study.searched_late],
        "late": [budget for budget in budgets if budget >= study.searched_late],
    }


def search_block(study: Study, runs: Runs) -> Block:
    """The search's cells, as far as they are known by what has finished."""
    cells = tuple(trial.cell for trial in trials(study, runs))
    return Block("search", "Which recipe suits each arm?", study.search, cells)


def choice_by_few(of: list[Trial], runs: Runs, images: int) -> float:
    """Mean accuracy of the trials that so few validation images choose (arXiv:1804.09170).

    Runs keep how many of their validation images are right, not which. So for each draw a
    trial's few images are drawn from its own, independently of the other trials'; to look at the
    same images in all trials, as one would, makes the choice somewhat better than this.

    Args:
        of: trials of one arm at one budget, all finished.
        images: in the small validation set.
    """
    accuracies = np.array([trial.accuracies(runs) for trial in of]).T  # (seeds, trials)
    size = runs[of[0].cell.name][0].config.data.valid_images
    right = np.rint(accuracies * size).astype(int)
    rng = np.random.default_rng(0)
    shape = (DRAWS, *right.shape)
    drawn = rng.hypergeometric(right, size - right, min(images, size), size=shape)
    chosen = (drawn + rng.random(shape)).argmax(axis=2)  # a draw is decided by lot
    return float(accuracies.mean(axis=0)[chosen].mean())
