"""Baselines without a network, measured on the networks' splits, label budgets and seeds.

At each budget one rule chooses what a baseline is told: of a small grid, the setting with the
highest mean accuracy on the validation images of the search's seeds. The test set is read after.
Where a baseline would take too long for that, it keeps the setting of a smaller budget.
"""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from time import process_time

from msgspec import Struct
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from data import ImageSet
from studies.baselines import BASELINES, Baseline, Features, Options
from studies.extra import CLASSICAL, Budget, BySeed, Classical, Name
from studies.grid import FEWEST, Study
from studies.scores import ScoreFile, labelled_and_valid

TRIALS = "classical_trials.json"


class Trial(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One setting of a baseline that was tried at one label budget, judged on validation images.

    Args:
        options: of scikit-learn's classifier.
        valid_accuracy: by seed, in [0, 1].
    """

    name: Name
    label_fraction: Budget
    options: Options
    valid_accuracy: BySeed


def run_classical(
    study: Study,
    dataset: ImageSet,
    runs_dir: str | Path,
    *,
    seeds: int | None = None,
    budgets: Iterable[float] | None = None,
    threads: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """Measure what is missing of runs_dir/classical.json, a line for each accuracy.

    Args:
        seeds: only the first so many; all of the study's where None.
        budgets: only these label budgets; all of the protocol's where None.

    Raises:
        UserError: a kept file is damaged, or a budget leaves a class without an image.
    """
    measured = Measurement(dataset, runs_dir, study)
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for budget in sorted(budgets or study.protocol.budgets):
            for baseline in BASELINES:
                for seed in measured.missing(baseline, budget, study.seeds[:seeds]):
                    accuracy = measured.test(baseline, budget, seed)
                    say(
                        f"{baseline.name}, {100 * budget:g} % of the labels, seed {seed}: test "
                        f"accuracy {accuracy:.4f}"
                    )


class Measurement:
    """The baselines on one data set, and the two files of what is known of them."""

    def __init__(self, dataset: ImageSet, runs_dir: str | Path, study: Study):
        self.dataset = dataset
        self.study = study
        self.train, self.test_set = Features(dataset.train_images), Features(dataset.test_images)
        self.results = ScoreFile(Path(runs_dir) / CLASSICAL, Classical, "test_accuracy")
        self.trials = ScoreFile(Path(runs_dir) / TRIALS, Trial, "valid_accuracy")

    def missing(self, baseline: Baseline, budget: float, seeds: tuple[int, ...]) -> list[int]:
        """The seeds that are still to be measured; only a few where a fit takes long."""
        known = self.results.scores(name=baseline.name, label_fraction=budget)
        if self.images(budget) > baseline.all_seeds:
            seeds = seeds[:FEWEST]
        return [seed for seed in seeds if seed not in known]

    def searched_at(self, baseline: Baseline, budget: float) -> float:
        """The label budget at which the setting is searched: the largest with few enough images.

        The budget itself where none has.
        """

        smaller = [each for each in self.study.protocol.budgets if each < budget]
        for each in sorted([*smaller, budget], reverse=True):
            if self.images(each) <= baseline.most_searched:
                return each
        return budget

    def images(self, budget: float) -> int:
        """How many images there are to learn from."""
        return len(labelled_and_valid(self.dataset, 0, budget)[0])

    def choose(self, baseline: Baseline, budget: float) -> Options:
        """The best setting on validation images, at a budget where settings are searched.

        What was not tried yet is tried.
        """

        def total(options: Options) -> float:
            facts = {"name": baseline.name, "label_fraction": budget, "options": options}
            for seed in self.study.search_seeds:
                if seed not in self.trials.scores(**facts):
                    self.trials.add(seed, self.valid(baseline, budget, seed, options), facts)
            return sum(self.trials.scores(**facts)[seed] for seed in self.study.search_seeds)

        return max(baseline.settings(), key=total)  # the first of equals

    def valid(self, baseline: Baseline, budget: float, seed: int, options: Options) -> float:
        """Accuracy on validation images, in [0, 1]."""
        labelled, valid = labelled_and_valid(self.dataset, seed, budget)
        model = self.fit(baseline, labelled, options)
        rows = self.train.rows(baseline.parts, valid)
        return float(model.score(rows, self.dataset.train_labels[valid].numpy()))

    def test(self, baseline: Baseline, budget: float, seed: int) -> float:
        """Accuracy on the test images, in [0, 1]; it is written with what it cost."""
        searched = self.searched_at(baseline, budget)
        options = self.choose(baseline, searched)
        labelled, _ = labelled_and_valid(self.dataset, seed, budget)
        self.train.rows(baseline.parts, labelled)  # computed by now, for all images
        rows = self.test_set.rows(baseline.parts, slice(None))
        start = process_time()
        model = self.fit(baseline, labelled, options)
        accuracy = float(model.score(rows, self.dataset.test_labels.numpy()))
        seconds = process_time() - start
        for name in baseline.parts:  # and the features of the images that were needed
            seconds += len(labelled) * self.train.seconds[name]
            seconds += len(rows) * self.test_set.seconds[name]
        facts = {"name": baseline.name, "label_fraction": budget}
        more = {
            "core_seconds": self.mean_cost(facts, seconds),
            "settings_of": searched if searched != budget else None,
        }
        self.results.add(seed, accuracy, facts, **more)
        return accuracy

    def mean_cost(self, facts: dict[str, object], seconds: float) -> float:
        """The mean over seeds, with one more."""
        known = self.results.find(**facts)
        count = len(known.test_accuracy) if known else 0
        return ((known.core_seconds if known else 0) * count + seconds) / (count + 1)

    def fit(self, baseline: Baseline, index: Tensor, options: Options) -> ClassifierMixin:
        """The baseline's classifier, having learnt from these training images."""
        labels = self.dataset.train_labels[index].numpy()
        return baseline.classifier(**options).fit(self.train.rows(baseline.parts, index), labels)
