"""The study's grid: arms, label fractions and seeds, and the runs that fill it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from options import percent


@dataclass(frozen=True)
class Arm:
    """A recipe; all arms share the seed's split, batch order, augmentation and classifier start.

    `encoder` is the pretraining's condition, None for a random start; `variant` is the word for
    what sets the arm apart in a condition's name. It takes `length` times the study's epochs, and
    if `extra` those of the pretraining as well. `control` is the arm that it is compared with. One
    that is `tried` is judged on validation alone, to choose the recipe: its runs read no test set.
    """

    name: str
    encoder: str | None = None
    variant: str = ""
    options: tuple[str, ...] = ()
    length: float = 1.0
    extra: bool = False
    tried: bool = False
    control: "Arm | None" = None

    def condition(self, label_fraction: float) -> str:
        """`<arm>/<condition>` of the arm's runs, as the training scripts name them."""
        parts = [self.encoder, self.variant, percent("labels", label_fraction)]
        family = "pretrained" if self.encoder else "baseline"
        return f"{family}/{'-'.join(part for part in parts if part)}"

    @property
    def takes_usual_epochs(self) -> bool:
        return self.length == 1 and not self.extra


@dataclass(frozen=True)
class Pretraining:
    """What pretrain_autoencoder.py is told, and how many times the study's epochs it takes.

    Args:
        image_fraction: share of the training images, in (0, 1], that it sees.
    """

    options: tuple[str, ...] = ()
    length: int = 1
    image_fraction: float = 1.0


# By their conditions.
ENCODERS = {
    "mask-normalised-long": Pretraining(length=3),
    "mask-normalised-images10-long": Pretraining(length=3, image_fraction=0.1),
    "mask-normalised": Pretraining(),
    "mask": Pretraining(("--target", "pixels")),
    "none": Pretraining(("--corruption", "none")),
    "none-noskips": Pretraining(("--corruption", "none", "--no-skips")),
    "mask-noskips": Pretraining(("--target", "pixels", "--no-skips")),
    "noise": Pretraining(("--corruption", "noise")),
}
BEST = "mask-normalised-long"  # on validation
FROZEN = ("--freeze-encoder",)
SHORT, FOURFOLD = 0.1, 4.0

SCRATCH = Arm("from scratch")
PRETRAINED = Arm("pretrained", BEST, control=SCRATCH)
MASK = Arm("masked patches, pixels as they are, a third as long", "mask", control=SCRATCH)
PLAIN = Arm("plain autoencoder, the original's, a third as long", "none", control=SCRATCH)
PLAIN_NO_SKIPS = Arm(
    "plain autoencoder without skips, a third as long", "none-noskips", control=SCRATCH
)
MASK_NO_SKIPS = Arm(
    "masked patches without skips, a third as long", "mask-noskips", control=SCRATCH
)
NOISE = Arm("noise, a third as long", "noise", control=SCRATCH)
FEWER_IMAGES = Arm(
    "pretrained on 10 % of the images", "mask-normalised-images10-long", control=SCRATCH
)
FROZEN_RANDOM = Arm("frozen random encoder", None, "frozen", FROZEN, control=SCRATCH)
FROZEN_PRETRAINED = Arm("frozen pretrained encoder", BEST, "frozen", FROZEN, control=SCRATCH)
EXTRA = Arm(
    "from scratch, with the pretraining's epochs", None, "extra", extra=True, control=SCRATCH
)
SCRATCH_SHORT = Arm("from scratch, a tenth of the epochs", None, "short", length=SHORT)
PRETRAINED_SHORT = Arm(
    "pretrained, a tenth of the epochs", BEST, "short", length=SHORT, control=SCRATCH_SHORT
)
SCRATCH_FOURFOLD = Arm("from scratch, four times the epochs", None, "fourfold", length=FOURFOLD)
PRETRAINED_FOURFOLD = Arm(
    "pretrained, four times the epochs",
    BEST,
    "fourfold",
    length=FOURFOLD,
    control=SCRATCH_FOURFOLD,
)
SCRATCH_HALF = Arm(
    "from scratch, half the epochs", None, "half", length=0.5, tried=True, control=SCRATCH
)
SCRATCH_TWICE = Arm(
    "from scratch, twice the epochs", None, "twice", length=2.0, tried=True, control=SCRATCH
)
NORMALISED = Arm(
    "masked patches, normalised, a third as long", "mask-normalised", tried=True, control=SCRATCH
)
SLOW_ENCODER = Arm(
    "pretrained, the encoder at 0.3 of the rate",
    BEST,
    "rate0.3",
    ("--encoder-lr-scale", "0.3"),
    tried=True,
    control=SCRATCH,
)
SLOWER_ENCODER = Arm(
    "pretrained, the encoder at 0.1 of the rate",
    BEST,
    "rate0.1",
    ("--encoder-lr-scale", "0.1"),
    tried=True,
    control=SCRATCH,
)
ARMS = (
    SCRATCH,
    PRETRAINED,
    SCRATCH_SHORT,
    PRETRAINED_SHORT,
    SCRATCH_FOURFOLD,
    PRETRAINED_FOURFOLD,
    MASK,
    PLAIN,
    PLAIN_NO_SKIPS,
    MASK_NO_SKIPS,
    NOISE,
    FEWER_IMAGES,
    FROZEN_RANDOM,
    FROZEN_PRETRAINED,
    EXTRA,
    SCRATCH_HALF,
    SCRATCH_TWICE,
    NORMALISED,
    SLOW_ENCODER,
    SLOWER_ENCODER,
)
CONTROLLED = tuple((arm, arm.control) for arm in ARMS if arm.control and not arm.tried)
# What one ingredient brings: an arm that has it and one that has not.
INGREDIENTS = (
    (PRETRAINED, EXTRA),
    (PRETRAINED, FEWER_IMAGES),
    (PLAIN_NO_SKIPS, PLAIN),
    (MASK_NO_SKIPS, MASK),
    (MASK, PLAIN),
    (FROZEN_PRETRAINED, FROZEN_RANDOM),
)


@dataclass(frozen=True)
class Cell:
    """One arm at one label fraction, over the seeds 0 to `seeds` - 1."""

    arm: Arm
    label_fraction: float
    seeds: int


@dataclass(frozen=True)
class Study:
    """What is compared on one data set.

    Args:
        epochs: of classification, by label fraction; chosen for scratch on validation.
        pretraining_epochs: passes over the images without labels, for a `Pretraining` of length 1.
        measurements: how often a classification is validated.
        options: given to every run.
        blocks: the cells, in blocks in the order of what a claim needs.
    """

    epochs: dict[float, int]
    pretraining_epochs: int
    measurements: int
    options: tuple[str, ...]
    blocks: tuple[tuple[Cell, ...], ...]

    def cells(self) -> Iterator[Cell]:
        for block in self.blocks:
            yield from block

    def epochs_of(self, cell: Cell) -> int:
        epochs = self.epochs[cell.label_fraction]
        if cell.arm.extra:
            return epochs + round(self.pretraining_of(BEST) / cell.label_fraction)
        return math.ceil(cell.arm.length * epochs)

    def pretraining_of(self, encoder: str) -> int:
        """Epochs of a pretraining."""
        return ENCODERS[encoder].length * self.pretraining_epochs


def cells(arms: tuple[Arm, ...], seeds: dict[float, int]) -> tuple[Cell, ...]:
    """Each arm at each label fraction, with the seeds for that fraction."""
    return tuple(Cell(arm, fraction, n) for arm in arms for fraction, n in seeds.items())


FASHION = Study(
    epochs={0.01: 100, 0.05: 40, 0.1: 30, 0.3: 15, 1.0: 10},
    pretraining_epochs=10,
    measurements=5,
    options=("--width", "0.25"),  # twice the default's speed and more: seeds count for more here
    blocks=(
        cells((SCRATCH, PRETRAINED), {0.01: 10, 0.1: 10, 1.0: 6}),
        cells((SCRATCH_SHORT, PRETRAINED_SHORT), {0.01: 10, 0.1: 10, 1.0: 6}),
        cells((SCRATCH_FOURFOLD, PRETRAINED_FOURFOLD), {0.01: 6}),
        cells((PLAIN,), {0.01: 6, 0.1: 6, 1.0: 6}),
        cells((FROZEN_RANDOM, FROZEN_PRETRAINED), {0.01: 6, 0.1: 6}),
        cells((SCRATCH_HALF, SCRATCH_TWICE), {0.01: 3, 0.1: 3}),
        cells((MASK,), {0.01: 6, 0.1: 6}),
        cells((SLOW_ENCODER, SLOWER_ENCODER), {0.01: 6}),
        cells((NORMALISED,), {0.01: 3}),
        cells((EXTRA, FEWER_IMAGES, PLAIN_NO_SKIPS, MASK_NO_SKIPS, NOISE), {0.01: 6}),
        cells((SCRATCH, PRETRAINED), {0.05: 6, 0.3: 6}),
    ),
)
# A miniature of the whole, in minutes: digits are not mirrored, since they have a left and a right.
DIGITS = Study(
    epochs={0.1: 20, 1.0: 4},
    pretraining_epochs=4,
    measurements=4,
    options=("--dataset", "digits", "--width", "0.1", "--flip", "none", "--shift", "1"),
    blocks=(
        cells((SCRATCH, PRETRAINED), {0.1: 6, 1.0: 1}),
        cells(ARMS[2:], {0.1: 1}),
    ),
)
STUDIES = {"fashion": FASHION, "digits": DIGITS}
