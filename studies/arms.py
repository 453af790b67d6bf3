"""The arms: ways to train the classifier, each by what it changes.

Those of the first round alone are in first_round.py.
"""

from dataclasses import replace

from studies.cells import Arm

# ------------------------------------------------------------------ what both rounds share

SCRATCH = Arm("from scratch")
PRETRAINED = Arm("pretrained", pretraining={})
# The pretraining of the first round, and of the search before the protocol.
FORMER = {"target": "normalised", "epochs": 30}
EARLIER = Arm("pretrained, 30 epochs, no HOG", pretraining=FORMER)
USUAL = {"batch_size": 128, "learning_rate": 4e-3}
FREEZE = {"freeze_encoder": True, "encoder_lr_scale": 1.0}  # a frozen encoder has no rate
NO_TEST = {"skip_test": True}  # judged on validation alone


def more_passes(passes: int, of: Arm = SCRATCH) -> Arm:
    """The same arm, with steps on top."""
    return replace(of, name=f"{of.name}, {passes} more passes over all images", passes=passes)


# ------------------------------------------------------------------ the protocol's arms

FROZEN = Arm("pretrained, encoder frozen", FREEZE, {})

# All combinations of skips and objective; the pretrained arm is one of them.
NORMALISED = Arm("masked, normalised", pretraining={"target": "normalised"})
PIXELS = Arm("masked, pixels", pretraining={"target": "pixels"})
PLAIN = Arm("plain", pretraining={"corruption": "none"})
NO_SKIPS = Arm("masked, normalised + HOG, no skips", pretraining={"skips": False})
# The target of the pretrained arm on images that are seen whole: is it HOG that helps, or masking?
UNMASKED = Arm(
    "unmasked, normalised + HOG", pretraining={"corruption": "none", "target": "gradients"}
)
NORMALISED_NO_SKIPS, PIXELS_NO_SKIPS, PLAIN_NO_SKIPS, UNMASKED_NO_SKIPS = (
    Arm(f"{arm.name}, no skips", pretraining=arm.pretraining | {"skips": False})
    for arm in (NORMALISED, PIXELS, PLAIN, UNMASKED)
)
WITH_SKIPS = (PLAIN, PIXELS, NORMALISED, PRETRAINED)
WITHOUT_SKIPS = (PLAIN_NO_SKIPS, PIXELS_NO_SKIPS, NORMALISED_NO_SKIPS, NO_SKIPS)
FACTORIAL = (*WITH_SKIPS, *WITHOUT_SKIPS)

*LENGTHS, LONGEST = (
    Arm(f"pretrained, {epochs} epochs", pretraining={"epochs": epochs}) for epochs in (3, 30, 100)
)
FEWER_IMAGES = Arm(
    "pretrained on 10 % of the images, as many steps",
    pretraining={"image_fraction": 0.1, "epochs": 100},
)
HIDDEN = tuple(
    Arm(f"pretrained, {hidden} of 49 patches hidden", pretraining={"hidden_patches": hidden})
    for hidden in (12, 36)
)
# 10 epochs of pretraining take about as long as 20 of classification: the decoder takes the rest.
LONGER, LONGER_PRETRAINED = more_passes(20), more_passes(20, PRETRAINED)
# Below 10 % the arms' recipes differ: what of the gain is the recipe's?
SAME_RECIPE = Arm("from scratch, recipe of pretrained", as_pretrained=True)

# With the recipes that the search chose too late for the protocol, which a round of their own has.
RECHOSEN_SCRATCH = Arm("from scratch, recipe searched later")
RECHOSEN = Arm("pretrained, recipe searched later", pretraining={})
RECHOSEN_SAME = Arm("from scratch, recipe searched later for pretrained", as_pretrained=True)
RECHOSEN_OTHER = Arm("pretrained, recipe searched later for scratch", {}, {}, as_pretrained=False)

# What was tried and not adopted.
WIDE_DECODER = Arm("pretrained, decoder as wide as the encoder", pretraining={"decoder_width": 1.0})
ERASING = {"random_erasing": 0.25}
ERASED = Arm("pretrained, random erasing", ERASING, {})
ERASED_SCRATCH = Arm("from scratch, random erasing", ERASING)
AUXILIARY_SCRATCH, AUXILIARY = (
    {
        weight: Arm(
            f"{start}, auxiliary loss with weight {weight:g}",
            {"auxiliary_loss": weight},
            pretraining,
        )
        for weight in (0.1, 1.0, 3.0, 10.0, 30.0)
    }
    for start, pretraining in (("from scratch", None), ("pretrained", {}))
)
# Each arm with the weight that was best there on validation, on average over the label budgets.
WITH_LOSS_SCRATCH, WITH_LOSS = AUXILIARY_SCRATCH[10.0], AUXILIARY[1.0]


def wider(width: float) -> tuple[Arm, Arm]:
    """Both arms with other nets."""
    changes = {"width": width}
    scratch = Arm(f"from scratch, width {width:g}", changes)
    return scratch, Arm(f"pretrained, width {width:g}", changes, {})
