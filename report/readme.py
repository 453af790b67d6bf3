"""README's generated parts: the answer, the original experiment, the networks' sizes."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np

from metrics import (
    MARGIN,
    MIN_PAIRS,
    SIGNIFICANCE,
    Difference,
    Judged,
    Verdict,
    calibration,
    mcnemar,
    verdicts,
)
from recipes import ClassifierRecipe
from report.markdown import render_blocks
from report.minutes import classifier_minutes, on_one_processor, pretraining_minutes
from report.networks import alexnet_size, autoencoder_size, channels, encoder_size
from report.pairs import Comparison, Pairs
from report.runs import (
    PROBABILITIES,
    FinishedRun,
    Runs,
    calibrated,
    class_accuracy,
    main_job,
)

# The course report that this project began as: mean class accuracy and the class Shirt, from
# scratch and pretrained. One run an arm.
ORIGINAL = {"mean": (0.9122, 0.9089), "Shirt": (0.717, 0.767)}
# The original's columns, and the mean over classes of each.
COLUMNS = {
    "accuracy": "mean_class_accuracy",
    "precision": "macro_precision",
    "recall": "macro_recall",
    "f1_score": "macro_f1",
}

T = TypeVar("T")


class Row(NamedTuple):
    """A class in the table: each column's values over seeds, from scratch and pretrained."""

    name: str
    columns: list[tuple[list[float | None], list[float | None]]]
    difference: Difference | None


@dataclass(frozen=True, eq=False)
class Answer:
    """What the study answers on the first screen.

    Args:
        rows: pretrained minus from scratch, one a label budget, corrected as one family.
        other_seeds: whether their seeds are not the protocol's.
        small: of `rows`, those too small to matter, with the interval over seeds and test images.
        least_p: what a corrected p of `rows` can be at least; None where none is told.
        plain: the encoder of a plain autoencoder minus from scratch.
        hiding: a plain autoencoder's encoder with hidden patches minus without.
        hiding_with_hog: the pretrained arm minus the same without hidden patches.
        rechosen: pretrained minus from scratch with recipes that were searched later.
        both_longer: pretrained minus from scratch with more epochs for both.
        beside: other comparisons of arms, each at the label budgets where it is tested.
        longer: pretrained minus from scratch with more epochs, and what that takes, over
            pretraining and fine-tuning; None: unknown.
        more_passes: how many more that is, in passes over all images.
        baselines: as `studies.baseline_rows.best_baselines` gives them.
    """

    rows: list[Comparison]
    other_seeds: bool = False
    small: Sequence[tuple[Comparison, tuple[float, float]]] = ()
    least_p: float | None = None
    plain: Sequence[Comparison] = ()
    hiding: Sequence[Comparison] = ()
    hiding_with_hog: Sequence[Comparison] = ()
    rechosen: Sequence[Comparison] = ()
    both_longer: Sequence[Comparison] = ()
    beside: Sequence[Sequence[Comparison]] = ()
    longer: Sequence[tuple[Comparison, float | None]] = ()
    more_passes: int = 0
    baselines: Sequence[dict[str, Any]] = ()

    @property
    def groups(self) -> dict[Verdict, list[Comparison]]:
        return by_verdict((row, row.judged) for row in self.rows)

    @property
    def untested(self) -> list[Comparison]:
        return [row for row in self.rows if not row.is_tested]

    @property
    def budgets(self) -> list[float]:
        """Of everything that is told beside each other."""
        told = {row.budget for row in chain(self.rows, *self.beside)}
        return sorted(told | {row["baseline"].label_fraction for row in self.baselines})

    @property
    def has_two_machines(self) -> bool:
        """Whether any pair that is told beside is of two machines."""
        return any(row.of_two_machines for row in chain.from_iterable(self.beside))

    @property
    def better_longer(self) -> list[Comparison]:
        """Where more epochs from scratch are better and take no more than pretraining."""
        return [
            row
            for row, times in self.longer
            if times and times <= 1 and row.judged.verdict == "harms"
        ]


def readme_parts(
    runs: Runs, seeds: Collection[int], answer: Answer | None, img_dir: str
) -> dict[str, str]:
    """Markdown for each pair of README's markers, by the markers' name.

    Args:
        seeds: the study's, which the main job's tables are of where it has any of them.
        answer: what `studies.answer` gives; None without a pair.
        img_dir: the pictures' folder, as seen from README.
    """
    job = main_job(runs, seeds)
    pairs = Pairs.of(job["baseline"], job["pretrained"])
    return render_blocks(
        "report",
        "readme.md.j2",
        answer=answer,
        fewest=MIN_PAIRS,
        margin=MARGIN,
        significance=SIGNIFICANCE,
        experiment=experiment(pairs, job["autoencoder"], on_one_processor(runs))
        if len(pairs)
        else None,
        networks=networks(pairs),
        img=img_dir,
    )


def experiment(pairs: Pairs, autoencoders: list[FinishedRun], there: Runs) -> dict[str, Any]:
    """What the original experiment's section says.

    Args:
        there: the runs that tell what one takes, as `on_one_processor` gives them.
    """
    first = pairs.control[0]
    recipe, encoder = first.setup.recipe, pairs.treated[0].setup.encoder
    autoencoders = [run for run in autoencoders if run.seed in pairs.seeds]
    few = len(pairs) < MIN_PAIRS  # for a claim over seeds
    judged = judged_classes(pairs)
    rows = class_rows(pairs, judged)
    return {
        "seeds": pairs.seeds,
        "epochs": recipe.epochs,
        "pretraining_epochs": encoder.recipe.epochs,
        "rows": rows,
        "mean": mean_row(pairs),
        "undefined": any(None in arm for row in rows for arms in row.columns for arm in arms),
        "by_verdict": by_verdict(judged.items()),
        "mcnemar": mcnemar(first.correct, pairs.treated[0].correct) if few else None,
        "original": original(pairs),
        "calibration": calibration_errors(pairs),
        "speed": [float(np.mean(arm)) for arm in pairs.epochs_to_goal()],
        "minutes": classifier_minutes(there, recipe, first.config.data.train_images),
        "pretraining_minutes": pretraining_minutes(there, encoder.recipe),
        "data": first.config.data,
        "places": places(pairs.control + pairs.treated + autoencoders),
    }


def judged_classes(pairs: Pairs) -> dict[str, Judged]:
    """Class accuracy, the classes with test images being one family."""
    values = {name: pairs.values(class_accuracy(k)) for k, name in enumerate(pairs.classes)}
    return verdicts({name: arms for name, arms in values.items() if None not in arms[0]})


def class_rows(pairs: Pairs, judged: dict[str, Judged]) -> list[Row]:
    return [
        Row(
            name,
            [pairs.values(class_score(k, column)) for column in COLUMNS],
            judged[name].difference if name in judged else None,
        )
        for k, name in enumerate(pairs.classes)
    ]


def class_score(k: int, column: str) -> Callable[[FinishedRun], float | None]:
    return lambda run: getattr(run.metrics.test.per_class[k], column)


def mean_row(pairs: Pairs) -> Row:
    """Means over the classes for which a score is defined."""
    scores = [
        mean_accuracy if column == "accuracy" else attrgetter(f"metrics.test.{mean}")
        for column, mean in COLUMNS.items()
    ]
    return Row("mean", [pairs.values(of) for of in scores], pairs.difference(mean_accuracy))


def mean_accuracy(run: FinishedRun) -> float:
    """Over the classes; where these are of one size, to the last bit the test accuracy."""
    test = run.metrics.test
    of_one_size = len({row.support for row in test.per_class}) == 1
    return test.accuracy if of_one_size else test.mean_class_accuracy


def by_verdict(judged: Iterable[tuple[T, Judged]]) -> dict[Verdict, list[T]]:
    """What was judged, grouped by the verdict, the verdicts in `metrics.Verdict`'s order."""
    found: dict[Verdict, list[T]] = {verdict: [] for verdict in get_args(Verdict)}
    for thing, result in judged:
        found[result.verdict].append(thing)
    return {verdict: things for verdict, things in found.items() if things}


def original(pairs: Pairs) -> list[dict[str, Any]] | None:
    """This project's figures beside the original report's, a row an arm."""
    if "Shirt" not in pairs.classes:
        return None
    means = pairs.values()
    shirts = pairs.values(class_accuracy(pairs.classes.index("Shirt")))
    return [
        {
            "arm": arm,
            "mean_there": ORIGINAL["mean"][k],
            "mean": means[k],
            "shirt_there": ORIGINAL["Shirt"][k],
            "shirt": shirts[k],
        }
        for k, arm in enumerate(("from scratch", "pretrained"))
    ]


def calibration_errors(pairs: Pairs) -> list[list[float]]:
    """Expected calibration error of each arm before and after its temperature, mean over seeds.

    Empty where an arm has no run with a temperature, which older runs have not.
    """
    arms = [calibrated(arm) for arm in (pairs.control, pairs.treated)]
    if not all(arms):
        return []
    return [
        [
            float(np.mean([calibration(run.predictions[name], run.correct).ece for run in arm]))
            for name in PROBABILITIES
        ]
        for arm in arms
    ]


def places(runs: list[FinishedRun]) -> list[str]:
    """On what the runs were trained."""
    environments = [run.config.environment for run in runs]
    return sorted({f"{e.machine}, {e.precision}, PyTorch {e.torch}" for e in environments})


def networks(pairs: Pairs) -> dict[str, Any]:
    """Each network's parameters and multiply-adds, at the main job's width."""
    recipe = pairs.control[0].setup.recipe if len(pairs) else ClassifierRecipe()
    classes = len(pairs.classes) if len(pairs) else 10
    return {
        "width": recipe.width,
        "channels": channels(recipe.width),
        "sizes": {
            "encoder": encoder_size(recipe.width),
            "AlexNet (encoder and classifier)": alexnet_size(recipe.width, classes),
            "U-Net autoencoder (encoder and decoder)": autoencoder_size(recipe.width),
        },
    }
