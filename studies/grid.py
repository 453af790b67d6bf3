"""The study's grid: the protocol's blocks, label budgets and seeds, and the two studies.

The arms are in arms.py, the first round in first_round.py, the search's trials in search.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from studies.arms import (
    AUXILIARY,
    AUXILIARY_SCRATCH,
    EARLIER,
    ERASED,
    ERASED_SCRATCH,
    FACTORIAL,
    FEWER_IMAGES,
    FROZEN,
    HIDDEN,
    LENGTHS,
    LONGER,
    LONGER_PRETRAINED,
    LONGEST,
    NO_SKIPS,
    NO_TEST,
    NORMALISED,
    PLAIN,
    PLAIN_NO_SKIPS,
    PRETRAINED,
    RECHOSEN,
    RECHOSEN_OTHER,
    RECHOSEN_SAME,
    RECHOSEN_SCRATCH,
    SAME_RECIPE,
    SCRATCH,
    UNMASKED,
    UNMASKED_NO_SKIPS,
    USUAL,
    WIDE_DECODER,
    WITH_LOSS,
    WITH_LOSS_SCRATCH,
    WITH_SKIPS,
    WITHOUT_SKIPS,
    wider,
)
from studies.cells import NEW, SEEDS, Arm, Block, Family, Round, Study, steps
from studies.first_round import ABLATION_BLOCK, ROUND_1_BLOCK

# ------------------------------------------------------------------ the protocol

SMALL = {"batch_size": 32, "learning_rate": 2e-3}
FAST, MIDDLE, SLOW = ({"batch_size": 16, "learning_rate": rate} for rate in (4e-3, 2e-3, 1e-3))
# Label budget: epochs, and how each arm takes its steps, from scratch and pretrained. Below 10 %
# they are the best of the search on validation.
PROTOCOL = {
    0.001: (500, FAST | {"epochs": 2000}, SLOW),
    0.003: (250, FAST, SLOW | {"epochs": 500}),
    0.01: (100, FAST | {"epochs": 400}, SLOW | {"epochs": 50}),
    0.03: (60, MIDDLE, SLOW),
    0.1: (30, USUAL, USUAL),
    0.3: (15, USUAL, USUAL),
    1.0: (10, USUAL, USUAL),
}
# From 10 % on, the best of the search, which came after the primary runs.
LATER = {
    0.1: (30, USUAL | {"batch_size": 32, "epochs": 120}, SLOW | {"batch_size": 32}),
    0.3: (15, USUAL | {"batch_size": 32, "epochs": 60}, USUAL),
}
# digits: a tenth is 138 images.
MINIATURE = {0.01: (60, SMALL, SMALL), 0.1: (20, SMALL, SMALL), 1.0: (10, USUAL, USUAL)}


@dataclass(frozen=True)
class Extent:
    """How much of the protocol is run on a data set.

    Args:
        first: the first seed of primary cells, and of those that are compared with them.
        seeds: of primary cells, of the factorial's, whose family is large, and of scratch with more
            passes, which the first screen tells.
        few: seeds of other exploratory cells.
        fewest: of those that cost most, which are shown, not tested.
        small: label budgets at which pretraining is looked into: the first and the last of them,
            and the frozen encoder at all.
        costly: label budgets at which scratch gets more passes over the images.
        widths: of other nets, each with its number of seeds.
    """

    first: int
    seeds: int
    few: int
    fewest: int
    small: tuple[float, ...]
    costly: tuple[float, ...]
    widths: dict[float, int]


def protocol_blocks(round_: Round, rechosen: Round, extent: Extent) -> tuple[Block, ...]:
    """The primary cells, then what is exploratory.

    Args:
        rechosen: with the recipes that the search chose too late for the protocol.
    """
    small = extent.small
    ends = dict.fromkeys((small[0], small[-1]))
    nets = [(wider(width), seeds) for width, seeds in extent.widths.items()]
    return (
        Block(
            "primary",
            "Does pretraining help?",
            round_,
            round_.cells(
                (SCRATCH, PRETRAINED), dict.fromkeys(round_.budgets, extent.seeds), extent.first
            ),
            (((PRETRAINED, SCRATCH),),),
        ),
        Block(
            "frozen",
            "Is the encoder good enough to stay as it is?",
            round_,
            round_.cells((FROZEN,), dict.fromkeys(small, extent.seeds), extent.first),
            (((FROZEN, SCRATCH), (FROZEN, PRETRAINED)),),
        ),
        Block(
            "former",
            "Is it better than the earlier pretraining?",
            round_,
            # Seeds from 0 on, which the block `again` shares: it is compared with that one's cells.
            round_.cells((EARLIER,), dict.fromkeys(small, extent.fewest)),
            (((PRETRAINED, EARLIER),),),
        ),
        *pretraining_blocks(round_, tuple(ends), extent),
        *control_blocks(round_, extent),
        rechosen_block(rechosen, extent),
        *auxiliary_blocks(round_, extent),
        Block(
            "wide",
            "Does it hold for wider nets?",
            round_,
            tuple(
                cell
                for pair, seeds in nets
                for cell in round_.cells(pair, {1.0: seeds}, extent.first)
            ),
            (tuple((pretrained, scratch) for (scratch, pretrained), _ in nets),),
        ),
    )


def pretraining_blocks(
    round_: Round, budgets: tuple[float, ...], extent: Extent
) -> tuple[Block, ...]:
    """What it is in the pretraining that helps, at these label budgets."""
    factors = (
        *zip(WITHOUT_SKIPS, WITH_SKIPS, strict=True),
        *((arm, control) for row in (WITH_SKIPS, WITHOUT_SKIPS) for control, arm in pairwise(row)),
    )
    # The protocol's own is compared with these in the primary family and in the block `recipe`.
    others = [arm for arm in FACTORIAL if arm is not PRETRAINED]
    unmasked = (
        ((UNMASKED, PLAIN), (PRETRAINED, UNMASKED)),
        ((UNMASKED_NO_SKIPS, PLAIN_NO_SKIPS), (NO_SKIPS, UNMASKED_NO_SKIPS)),
        *against((UNMASKED, UNMASKED_NO_SKIPS), SAME_RECIPE),
    )
    questions = {
        "factorial": (
            "Skips, masking, target: which of them matters?",
            FACTORIAL,
            extent.seeds,
            (factors, *against(others, SCRATCH, SAME_RECIPE)),
        ),
        "length": (
            "How long must pretraining be?",
            LENGTHS,
            extent.few,
            against(LENGTHS, PRETRAINED, SCRATCH),
        ),
        "longest": (
            "And if it is ten times as long?",
            (LONGEST,),
            extent.fewest,
            against((LONGEST,), PRETRAINED, SCRATCH),
        ),
        "images": ("Are fewer images enough, with as many steps?", (FEWER_IMAGES,), extent.few, ()),
        "hidden": ("Which mask ratio?", HIDDEN, extent.few, ()),
        "unmasked": (
            "Does HOG need the masking?",
            (UNMASKED, UNMASKED_NO_SKIPS),
            extent.few,
            unmasked,
        ),
    }
    return tuple(
        Block(
            name,
            question,
            round_,
            round_.cells(arms, dict.fromkeys(budgets, seeds), extent.first),
            families or against(arms, PRETRAINED),
        )
        for name, (question, arms, seeds, families) in questions.items()
    )


def against(arms: Sequence[Arm], *controls: Arm) -> tuple[Family, ...]:
    """A family for each control: all of the arms, minus it."""
    return tuple(tuple((arm, control) for arm in arms) for control in controls)


def control_blocks(round_: Round, extent: Extent) -> tuple[Block, ...]:
    """What the gain must be held against: another recipe, more epochs."""
    small, costly = extent.small, extent.costly
    return (
        Block(
            "recipe",
            "How much of the gain is the recipe's?",
            round_,
            round_.cells((SAME_RECIPE,), dict.fromkeys(small, extent.seeds), extent.first),
            (((SAME_RECIPE, SCRATCH), (PRETRAINED, SAME_RECIPE)),),
        ),
        Block(
            "compute",
            "And if training from scratch gets more epochs instead?",
            round_,
            round_.cells((LONGER,), dict.fromkeys(costly, extent.seeds), extent.first),
            (((LONGER, SCRATCH), (PRETRAINED, LONGER)),),
        ),
        Block(
            "longer",
            "And if both get more epochs?",
            round_,
            round_.cells((LONGER_PRETRAINED,), {costly[-1]: extent.few}, extent.first),
            (((LONGER_PRETRAINED, LONGER), (LONGER_PRETRAINED, PRETRAINED)),),
        ),
    )


def rechosen_block(round_: Round, extent: Extent) -> Block:
    """Each arm with its own recipe of this round, and with the other's."""
    arms = (RECHOSEN_SCRATCH, RECHOSEN, RECHOSEN_SAME, RECHOSEN_OTHER)
    return Block(
        "searched",
        "And where the search came late, with the recipes that it chose?",
        round_,
        round_.cells(arms, dict.fromkeys(round_.budgets, extent.seeds), extent.first),
        (
            (
                (RECHOSEN, RECHOSEN_SCRATCH),
                (RECHOSEN, RECHOSEN_SAME),
                (RECHOSEN_OTHER, RECHOSEN_SCRATCH),
            ),
        ),
    )


def auxiliary_blocks(round_: Round, extent: Extent) -> tuple[Block, ...]:
    """Reconstruction beside classification, with pretraining and instead of it."""
    questions = {
        "auxiliary": (
            "Does reconstruction as an auxiliary loss help fine-tuning?",
            ((WITH_LOSS, PRETRAINED), (WITH_LOSS, SCRATCH)),
        ),
        "auxiliary-scratch": (
            "And with the auxiliary loss, but without pretraining?",
            ((WITH_LOSS_SCRATCH, SCRATCH), (WITH_LOSS, WITH_LOSS_SCRATCH)),
        ),
    }
    seeds = dict.fromkeys(extent.small, extent.seeds)
    return tuple(
        Block(name, question, round_, round_.cells((family[0][0],), seeds, extent.first), (family,))
        for name, (question, family) in questions.items()
    )


# ------------------------------------------------------------------ the two studies

# Epochs to start from. A table of its own: what the protocol takes from the search must not change
# what was searched.
EPOCHS = {0.001: 500, 0.003: 250, 0.01: 100, 0.03: 60, 0.1: 30, 0.3: 15, 1.0: 10}
SEARCHED = {budget: (epochs, {}, {}) for budget, epochs in EPOCHS.items()}
SEARCH_SEEDS = (100, 101)
# Eight pairs can decide a family of six comparisons after Holm's correction, six pairs none of two.
FEW = 8
FEWEST = 3
SMALL_BUDGETS = (0.001, 0.003, 0.01)
FASHION_PROTOCOL = Round({"validations": 5}, steps(PROTOCOL))
FASHION_RECHOSEN = Round({"validations": 5}, steps(LATER))
AGAIN_BLOCK = Block(
    "again",
    "Does it repeat, with other seeds and on another machine?",
    FASHION_PROTOCOL,
    FASHION_PROTOCOL.cells(
        # Seed 0 with all labels: the main job, whose weights are published.
        (SCRATCH, PRETRAINED),
        dict.fromkeys(SMALL_BUDGETS, FEW) | {1.0: 1},
    ),
    (((PRETRAINED, SCRATCH),),),
)
# What else was tried, at the best of what was searched.
TRIED = (
    *(SCRATCH, ERASED_SCRATCH, *AUXILIARY_SCRATCH.values()),
    *(EARLIER, NORMALISED, PRETRAINED, WIDE_DECODER, ERASED, *AUXILIARY.values()),
)
FASHION_TRIED = Round({"validations": 1, **NO_TEST}, steps(PROTOCOL))
TRIED_BLOCK = Block(
    "tried",
    "What else was tried?",
    FASHION_TRIED,
    tuple(
        FASHION_TRIED.cell(arm, budget, SEARCH_SEEDS) for arm in TRIED for budget in SMALL_BUDGETS
    ),
)
FASHION = Study(
    runs_dir="runs",
    protocol=FASHION_PROTOCOL,
    rechosen=FASHION_RECHOSEN,
    search=Round({"validations": 1, **NO_TEST}, steps(SEARCHED)),
    search_seeds=SEARCH_SEEDS,
    searched_late=0.1,
    blocks=(
        *protocol_blocks(
            FASHION_PROTOCOL,
            FASHION_RECHOSEN,
            Extent(
                NEW, SEEDS, FEW, FEWEST, SMALL_BUDGETS, (0.01, 0.1, 1.0), {0.5: FEWEST, 1.0: FEWEST}
            ),
        ),
        AGAIN_BLOCK,
        TRIED_BLOCK,
        ROUND_1_BLOCK,
        ABLATION_BLOCK,
    ),
)
# A miniature of it all.
SMALL_DIGITS = {"dataset": "digits", "width": 0.1}
DIGITS_PROTOCOL = Round({"validations": 5, **SMALL_DIGITS}, steps(MINIATURE))
DIGITS_RECHOSEN = Round({"validations": 5, **SMALL_DIGITS}, steps({0.1: (40, SMALL, SMALL)}))
DIGITS = Study(
    runs_dir="demo/runs",
    protocol=DIGITS_PROTOCOL,
    rechosen=DIGITS_RECHOSEN,
    search=Round({"validations": 1, **SMALL_DIGITS, **NO_TEST}, steps({0.1: (20, {}, {})})),
    search_seeds=(100,),
    searched_late=0.1,
    blocks=protocol_blocks(
        DIGITS_PROTOCOL, DIGITS_RECHOSEN, Extent(0, 2, 1, 1, (0.1,), (1.0,), {0.2: 1})
    ),
)
STUDIES = {"fashion": FASHION, "digits": DIGITS}
