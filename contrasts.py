"""The study's comparisons: an arm beside another at a label fraction, seed by seed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from arms import CONTROLLED, STUDIES, Arm, Study
from metrics import MIN_SEEDS, paired_difference
from results import Comparison, FinishedRun, accuracy

Runs = dict[str, list[FinishedRun]]


@dataclass(frozen=True)
class Contrast:
    """One arm beside another at one label fraction, over the seeds that both have."""

    arm: Arm
    control: Arm
    label_fraction: float
    pairs: tuple[tuple[FinishedRun, FinishedRun], ...]

    @classmethod
    def of(cls, runs: Runs, arm: Arm, control: Arm, label_fraction: float) -> "Contrast":
        theirs = {run.seed: run for run in runs.get(control.condition(label_fraction), [])}
        ours = runs.get(arm.condition(label_fraction), [])
        pairs = tuple((theirs[run.seed], run) for run in ours if run.seed in theirs)
        return cls(arm, control, label_fraction, pairs)

    @property
    def arms(self) -> tuple[Arm, Arm]:
        return self.arm, self.control

    @cached_property
    def difference(self) -> dict:
        """The arm less its control in test accuracy, as `metrics.paired_difference`."""
        return self.difference_in(accuracy)

    def difference_in(self, of: Callable[[FinishedRun], float]) -> dict:
        return paired_difference(*zip(*[map(of, pair) for pair in self.pairs], strict=True))

    @property
    def comparison(self) -> Comparison:
        """The same pairs, for what is told class by class."""
        return Comparison(*map(list, zip(*self.pairs, strict=True)))

    @property
    def is_basis(self) -> bool:
        """Whether there are seeds enough for a claim."""
        return len(self.pairs) >= MIN_SEEDS


def study_of(runs: Runs) -> Study:
    """The study whose data set these runs are on."""
    first = next((found[0] for found in runs.values()), None)
    return STUDIES["digits" if first and first.config["data"]["name"] == "digits" else "fashion"]


def contrasts(
    runs: Runs, study: Study, compared: Iterable[tuple[Arm, Arm]] = CONTROLLED
) -> list[Contrast]:
    """Each arm beside the other of its pair, at every label fraction where both have runs."""
    everything = [
        Contrast.of(runs, arm, control, fraction)
        for arm, control in compared
        for fraction in sorted(study.epochs)
    ]
    return [contrast for contrast in everything if contrast.pairs]
