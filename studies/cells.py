"""What a study is made of: arms, cells, rounds and blocks.

A fact stands once: an arm says what it changes, a round says how the classifier is trained at each
label budget, and `recipes.Setup` makes the folder's name from both.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from msgspec import structs

from recipes import AutoencoderRecipe, ClassifierRecipe, EncoderSource, Setup

Options = dict[str, object]
UNKNOWN = "0" * 64  # the digest of weights that are not there yet
SEEDS = 10  # paired seeds of a primary cell
EVERY_SEED = range(2**32)
NEW = 10  # the first seed that no run of the first round has used


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to train the classifier.

    For one seed all arms share the split, the batch order, the augmentation and the classifier's
    start.

    Args:
        name: the words that tables and pictures show.
        changes: what differs from the round's recipe, as options of ClassifierRecipe.
        pretraining: what differs from the default AutoencoderRecipe; None is a random start.
        length: its epochs, as a multiple of the round's.
        passes: training steps on top, as many as so many passes over all the images take.
        as_pretrained: whether it has the round's recipe for pretrained arms; None: where it is one.
    """

    name: str
    changes: Options = field(default_factory=dict)
    pretraining: Options | None = None
    length: float = 1.0
    passes: int = 0
    as_pretrained: bool | None = None

    @property
    def has_pretrained_recipe(self) -> bool:
        own = self.pretraining is not None
        return own if self.as_pretrained is None else self.as_pretrained


@dataclass(frozen=True, eq=False)
class Cell:
    """One arm at one label budget, over seeds.

    Args:
        recipe: the classifier's, of seed 0.
    """

    arm: Arm
    recipe: ClassifierRecipe
    seeds: Sequence[int] = ()

    @property
    def budget(self) -> float:
        return self.recipe.label_fraction

    @cached_property
    def name(self) -> str:
        """The name of its runs, without the seed."""
        return self.setup(0).name

    def setup(self, seed: int) -> Setup:
        """What decides a run's result; the encoder's weights are still unknown."""
        pretraining = self.pretraining(seed)
        encoder = pretraining and EncoderSource(recipe=pretraining.recipe, digest=UNKNOWN)
        return Setup(recipe=structs.replace(self.recipe, seed=seed), encoder=encoder)

    def pretraining(self, seed: int) -> Setup | None:
        """The pretraining that a run starts from, if any."""
        if self.arm.pretraining is None:
            return None
        shared = {"dataset": self.recipe.dataset, "width": self.recipe.width, "seed": seed}
        return Setup(recipe=AutoencoderRecipe(**shared, **self.arm.pretraining))


@dataclass(frozen=True, eq=False)
class Round:
    """How the classifier is trained at each label budget, where an arm changes nothing.

    Args:
        shared: options of every run.
        recipes: for each label budget, the options from scratch and those with pretraining.
    """

    shared: Options
    recipes: dict[float, tuple[Options, Options]]

    @property
    def budgets(self) -> list[float]:
        return sorted(self.recipes)

    def cell(self, arm: Arm, budget: float, seeds: Iterable[int] = ()) -> Cell:
        own = self.recipes[budget][arm.has_pretrained_recipe]
        options = {**self.shared, **own, **arm.changes, "label_fraction": budget}
        epochs = math.ceil(arm.length * options["epochs"]) + round(arm.passes / budget)
        return Cell(arm, ClassifierRecipe(**options | {"epochs": epochs}), tuple(seeds))

    def cells(
        self, arms: Iterable[Arm], seeds: dict[float, int], first: int = 0
    ) -> tuple[Cell, ...]:
        """Each arm at each label budget, over as many seeds as it says there, from `first` on."""
        return tuple(
            self.cell(arm, budget, range(first, first + count))
            for arm in arms
            for budget, count in seeds.items()
        )


# A family: comparisons that are corrected together, each an arm and the arm it is held against.
Family = tuple[tuple[Arm, Arm], ...]


@dataclass(frozen=True, eq=False)
class Block:
    """Cells that answer one question together, and what is compared to answer it."""

    name: str
    question: str
    round: Round
    cells: tuple[Cell, ...]
    families: tuple[Family, ...] = ()

    @property
    def budgets(self) -> list[float]:
        return sorted({cell.budget for cell in self.cells})

    def cell(self, arm: Arm, budget: float) -> Cell:
        """The block's own, or another's of the same round, over all seeds that it may have."""
        own = (cell for cell in self.cells if cell.arm is arm and cell.budget == budget)
        return next(own, None) or self.round.cell(arm, budget, range(NEW + SEEDS))


@dataclass(frozen=True, eq=False)
class Study:
    """All that is run on one data set, in the order of what a claim needs.

    Args:
        rechosen: the protocol with the recipes that the search chose too late for it.
        search: the epochs at which each arm's recipe is looked for, and at which label budgets.
        search_seeds: seeds that no run uses which reads the test set.
        searched_late: label budgets from here on were searched after the protocol, with its
            pretraining; the smaller ones before, with the earlier one.
    """

    runs_dir: str
    protocol: Round
    rechosen: Round
    search: Round
    search_seeds: tuple[int, ...]
    searched_late: float
    blocks: tuple[Block, ...]

    @property
    def exploratory(self) -> list[Block]:
        """The blocks whose arms are compared on the test set beside the primary ones."""
        rounds = (self.protocol, self.rechosen)
        return [block for block in self.blocks[1:] if block.round in rounds]

    def block(self, name: str) -> Block | None:
        return next((block for block in self.blocks if block.name == name), None)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The paired seeds of a complete primary cell."""
        return self.blocks[0].cells[0].seeds


def steps(table: dict[float, tuple[int, Options, Options]]) -> dict[float, tuple[Options, Options]]:
    """A round's recipes; an arm's own epochs, where it names some, stand before the budget's."""
    return {
        budget: ({"epochs": epochs} | scratch, {"epochs": epochs} | pretrained)
        for budget, (epochs, scratch, pretrained) in table.items()
    }
