"""What runs take, in minutes of one processor core, so that they can be compared.

Most processors did other work beside, and a run that had to share its core took longer: so the
quickest run of a kind is what counts.
"""

from itertools import chain

from msgspec.structs import replace

from recipes import AutoencoderRecipe, ClassifierRecipe, Setup
from report.runs import Runs, core_seconds

COST_BY = ("width", "batch_size", "freeze_encoder")  # what an image's cost depends on


def on_one_processor(runs: Runs) -> Runs:
    """The runs on one kind of processor: that which made most encoders."""
    made: dict[tuple[str, str], Runs] = {}
    for run in chain.from_iterable(runs.values()):
        machine = run.config.environment
        if core_seconds(run) is not None:
            there = made.setdefault((machine.processor, machine.precision), {})
            there.setdefault(run.name, []).append(run)
    usual = Setup(recipe=AutoencoderRecipe()).name

    def encoders(there: Runs) -> tuple[int, int]:
        return len(there.get(usual, [])), sum(map(len, there.values()))

    return max(made.values(), key=encoders, default={})


def classifier_minutes(there: Runs, recipe: ClassifierRecipe, images: int) -> float | None:
    """Of a classifier that learns from so many images, validation included.

    Its images, times what one took in the quickest run of its recipe, whatever that started from.
    Where none ran there, as for recipes that only a graphics card has done, it is the quickest
    run with as large batches of as wide a net. None where there is none either.
    """
    classifiers = [run for run in chain.from_iterable(there.values()) if run.kind != "autoencoder"]
    own = [run for run in classifiers if replace(run.setup.recipe, seed=recipe.seed) == recipe]
    alike = [
        run
        for run in classifiers
        if all(getattr(run.setup.recipe, name) == getattr(recipe, name) for name in COST_BY)
    ]
    an_image = [
        core_seconds(run) / (run.setup.recipe.epochs * run.config.data.train_images)
        for run in own or alike
    ]
    return min(an_image) * recipe.epochs * images / 60 if an_image else None


def pretraining_minutes(there: Runs, recipe: AutoencoderRecipe) -> float | None:
    """Of the quickest pretraining of this recipe, whatever its seed; None where there is none."""
    name = Setup(recipe=recipe).name
    return min((core_seconds(run) / 60 for run in there.get(name, [])), default=None)
