"""The first round: the runs from before the protocol, and what was compared with them."""

from studies.arms import EARLIER, FORMER, FREEZE, NO_TEST, SCRATCH, USUAL, more_passes
from studies.cells import Arm, Block, Round, steps

ROUND_1 = Round(
    {"validations": 5},
    steps(
        {b: (n, USUAL, USUAL) for b, n in {0.01: 100, 0.05: 40, 0.1: 30, 0.3: 15, 1.0: 10}.items()}
    ),
)
SHORT, THIRD = 0.1, {"epochs": 10}
NORMALISED_THIRD = FORMER | THIRD

SCRATCH_SHORT = Arm("from scratch, a tenth of the epochs", length=SHORT)
PRETRAINED_SHORT = Arm("pretrained, a tenth of the epochs", pretraining=FORMER, length=SHORT)
SCRATCH_FOURFOLD = Arm("from scratch, four times the epochs", length=4)
PRETRAINED_FOURFOLD = Arm("pretrained, four times the epochs", pretraining=FORMER, length=4)
PIXELS_1 = Arm("masked, pixels, a third as long", pretraining={"target": "pixels", **THIRD})
PLAIN_1 = Arm(
    "plain (the original's), a third as long",
    pretraining={"corruption": "none", **THIRD},
)
PLAIN_NO_SKIPS_1 = Arm(
    "plain, no skips, a third as long",
    pretraining={"corruption": "none", "skips": False, **THIRD},
)
PIXELS_NO_SKIPS_1 = Arm(
    "masked, pixels, no skips, a third as long",
    pretraining={"target": "pixels", "skips": False, **THIRD},
)
NOISE_1 = Arm("noise, a third as long", pretraining={"corruption": "noise", **THIRD})
FEWER_IMAGES_1 = Arm(
    "pretrained on 10 % of the images", pretraining=FORMER | {"image_fraction": 0.1}
)
FROZEN_RANDOM = Arm("random encoder, frozen", FREEZE)
FROZEN_1 = Arm("pretrained, encoder frozen", FREEZE, FORMER)
EXTRA = more_passes(30)
# Judged on validation alone, to choose the recipe.
SCRATCH_HALF = Arm("from scratch, half the epochs", NO_TEST, length=0.5)
SCRATCH_TWICE = Arm("from scratch, twice the epochs", NO_TEST, length=2)
THIRD_AS_LONG = Arm("masked, normalised, a third as long", NO_TEST, NORMALISED_THIRD)
SLOW_ENCODER = Arm(
    "pretrained, the encoder at 0.3 of the rate", {"encoder_lr_scale": 0.3, **NO_TEST}, FORMER
)
SLOWER_ENCODER = Arm(
    "pretrained, the encoder at 0.1 of the rate", {"encoder_lr_scale": 0.1, **NO_TEST}, FORMER
)
# The main job as it was then: twice as wide, and test-time augmentation over shifts.
FIRST_JOB = {"width": 0.5, "tta_shift": 1}
SHIFTED = f"test-time augmentation over {(2 * FIRST_JOB['tta_shift'] + 1) ** 2} shifts"
SCRATCH_FIRST = Arm(f"from scratch, width 0.5, {SHIFTED}", FIRST_JOB)
PRETRAINED_FIRST = Arm(
    f"pretrained a third as long, width 0.5, {SHIFTED}", FIRST_JOB, NORMALISED_THIRD
)

AGAINST_SCRATCH_1 = (
    (PRETRAINED_SHORT, SCRATCH_SHORT),
    (PRETRAINED_FOURFOLD, SCRATCH_FOURFOLD),
    *(
        (arm, SCRATCH)
        for arm in (
            *(PIXELS_1, PLAIN_1, PLAIN_NO_SKIPS_1, PIXELS_NO_SKIPS_1, NOISE_1, FEWER_IMAGES_1),
            *(FROZEN_RANDOM, FROZEN_1, EXTRA),
        )
    ),
)
BETWEEN_ARMS_1 = (
    (EARLIER, EXTRA),
    (EARLIER, FEWER_IMAGES_1),
    (PLAIN_NO_SKIPS_1, PLAIN_1),
    (PIXELS_NO_SKIPS_1, PIXELS_1),
    (PIXELS_1, PLAIN_1),
    (FROZEN_1, FROZEN_RANDOM),
)
ROUND_1_BLOCK = Block(
    "round1",
    "What did the first round say?",
    ROUND_1,
    (
        *ROUND_1.cells((SCRATCH, EARLIER), {0.01: 10, 0.05: 6, 0.1: 10, 0.3: 6, 1.0: 6}),
        *ROUND_1.cells((SCRATCH_SHORT, PRETRAINED_SHORT), {0.01: 10, 0.1: 10, 1.0: 6}),
        *ROUND_1.cells((SCRATCH_FOURFOLD, PRETRAINED_FOURFOLD), {0.01: 6}),
        *ROUND_1.cells((PIXELS_1,), {0.01: 6, 0.1: 6}),
        *ROUND_1.cells((PLAIN_1,), {0.01: 6, 0.1: 6, 1.0: 6}),
        *ROUND_1.cells((PLAIN_NO_SKIPS_1, PIXELS_NO_SKIPS_1, NOISE_1, FEWER_IMAGES_1), {0.01: 6}),
        *ROUND_1.cells((FROZEN_RANDOM, FROZEN_1), {0.01: 6, 0.1: 6}),
        *ROUND_1.cells((EXTRA,), {0.01: 6}),
        *ROUND_1.cells((SCRATCH_HALF, SCRATCH_TWICE), {0.01: 3, 0.1: 3}),
        *ROUND_1.cells((SLOW_ENCODER, SLOWER_ENCODER), {0.01: 6}),
        *ROUND_1.cells((THIRD_AS_LONG,), {0.01: 3}),
        *ROUND_1.cells((SCRATCH_FIRST, PRETRAINED_FIRST), {1.0: 1}),
    ),
    (((EARLIER, SCRATCH),), AGAINST_SCRATCH_1, BETWEEN_ARMS_1),
)

# What each part of the training recipe brings: a run each from scratch, with one change.
WHOLE_RECIPE = Arm("the recipe", NO_TEST)
ABLATION = (
    WHOLE_RECIPE,
    *(
        Arm(name, changes | NO_TEST)
        for name, changes in {
            "no horizontal flips, in validation neither": {"flip": "none"},
            "no shifts": {"shift": 0},
            "no label smoothing": {"label_smoothing": 0.0},
            "constant learning rate": {"schedule": "constant"},
            "width 1": {"width": 1.0},
        }.items()
    ),
)
ABLATION_BLOCK = Block(
    "ablation",
    "What does each part of the training recipe bring?",
    ROUND_1,
    ROUND_1.cells(ABLATION, {1.0: 1}),
)

# What is told on validation: the arms that differ in nothing but how many epochs they take,
BY_EPOCHS = {
    SCRATCH_HALF: "Half as many",
    SCRATCH: "The round's",
    SCRATCH_TWICE: "Twice",
    SCRATCH_FOURFOLD: "Four times",
    EXTRA: EXTRA.name.removeprefix("from scratch, "),
}
# and the arms that take as many epochs as scratch.
COMPARED_1 = (
    *(EARLIER, SLOW_ENCODER, SLOWER_ENCODER, THIRD_AS_LONG),
    *(PIXELS_1, PLAIN_1, PLAIN_NO_SKIPS_1, PIXELS_NO_SKIPS_1, NOISE_1),
    *(FEWER_IMAGES_1, FROZEN_RANDOM, FROZEN_1),
)
