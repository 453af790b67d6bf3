"""Runs paired by seed: what a comparison of two recipes is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from harness.errors import UserError
from harness.files import shown
from metrics import Difference, Judged, paired_difference
from report.runs import FinishedRun, accuracy

QUICK = 0.99  # how fast an arm learns: epochs to this share of the control's last accuracy

Score = Callable[[FinishedRun], float]


class Named(Protocol):
    @property
    def name(self) -> str: ...


class Comparison(Protocol):
    """Two arms at one label budget, as the pages tell them."""

    @property
    def arm(self) -> Named: ...
    @property
    def control(self) -> Named: ...  # what the arm is held against
    @property
    def budget(self) -> float: ...  # a share of the labels
    @property
    def epochs(self) -> str: ...  # of the classifiers
    @property
    def scratch(self) -> list[float]: ...  # the control's test accuracies, by paired seed
    @property
    def pretrained(self) -> list[float]: ...  # the arm's
    @property
    def judged(self) -> Judged: ...  # corrected for its family
    @property
    def is_tested(self) -> bool: ...  # whether it has pairs enough
    @property
    def labels(self) -> int: ...  # the images that a network learns from
    @property
    def of_two_machines(self) -> int: ...  # how many pairs are


@dataclass(frozen=True)
class Pairs:
    """Runs of two recipes that share their seeds; a difference is treated less control.

    A seed decides split, batch order, augmentation and start, so both runs of a pair see the same.
    """

    control: list[FinishedRun]
    treated: list[FinishedRun]

    @classmethod
    def of(cls, control: list[FinishedRun], treated: list[FinishedRun]) -> "Pairs":
        """The runs of both lists whose seed is in the other one too, in order of seed.

        Raises:
            UserError: the two were trained on different images.
        """
        by_seed = {run.seed: run for run in treated}
        both = [(run, by_seed[run.seed]) for run in control if run.seed in by_seed]
        for a, b in both:
            if a.config.data.digest != b.config.data.digest:
                raise UserError(
                    f"'{shown(a.folder)}' and '{shown(b.folder)}' were trained on different "
                    "images: keep them in two folders of runs"
                )
        return cls([a for a, _ in both], [b for _, b in both])

    def __len__(self) -> int:
        return len(self.control)

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.control]

    @property
    def classes(self) -> list[str]:
        return self.control[0].metrics.classes

    def values(self, of: Score = accuracy) -> tuple[list[float], list[float]]:
        """A score of each run, of control and treated, in order of seed."""
        return [of(run) for run in self.control], [of(run) for run in self.treated]

    def difference(self, of: Score = accuracy) -> Difference:
        return paired_difference(*self.values(of))

    def epochs_to_goal(self) -> tuple[list[float], list[float]]:
        """Learning speed: epochs to 99 % of the control's last validation accuracy, by seed."""
        goals = [QUICK * run.history["valid_accuracy"][-1] for run in self.control]
        arms = (self.control, self.treated)
        return tuple([epochs_to(*pair) for pair in zip(arm, goals, strict=True)] for arm in arms)


def epochs_to(run: FinishedRun, goal: float) -> float:
    """Epochs until the validation accuracy first reaches `goal`, all of them where it never does.

    Between two measurements, and between chance before the first epoch and the first, it is taken
    to rise evenly.
    """
    epochs = [0.0, *run.history["epoch"]]
    accuracies = [1 / len(run.metrics.classes), *run.history["valid_accuracy"]]
    for k in range(1, len(epochs)):
        if accuracies[k] >= goal:
            return float(np.interp(goal, accuracies[k - 1 : k + 1], epochs[k - 1 : k + 1]))
    return epochs[-1]
