"""The conclusion over label fractions and seeds, in sentences that the tests support."""

from arms import (
    BEST,
    EXTRA,
    FOURFOLD,
    FROZEN_PRETRAINED,
    PLAIN,
    PLAIN_NO_SKIPS,
    PRETRAINED,
    PRETRAINED_FOURFOLD,
    PRETRAINED_SHORT,
    SCRATCH,
    SCRATCH_FOURFOLD,
    SCRATCH_SHORT,
    SHORT,
)
from contrasts import Contrast, Runs, contrasts, study_of
from metrics import MIN_SEEDS
from results import FinishedRun
from tables import evidence, points, verdict

ANSWER = (PRETRAINED, SCRATCH)
# What the conclusion compares, and what it says of the first that helps or harms.
SUBJECTS = {
    ANSWER: "pretraining",
    (PRETRAINED_SHORT, SCRATCH_SHORT): "pretraining",
    (PRETRAINED_FOURFOLD, SCRATCH_FOURFOLD): "pretraining",
    (PRETRAINED, EXTRA): "pretraining instead of as many steps more on the labelled images",
    (PLAIN, SCRATCH): "the original's plain autoencoder",
    (PLAIN_NO_SKIPS, SCRATCH): "the plain autoencoder without its skips",
    (PLAIN_NO_SKIPS, PLAIN): "leaving the plain autoencoder's skips out",
    (FROZEN_PRETRAINED, SCRATCH): "a pretrained encoder that stays frozen",
}
LENGTHS = {SHORT: "a tenth of the epochs", FOURFOLD: "four times the epochs"}


def study_answers(runs: Runs) -> list[str]:
    """The conclusion's sentences over seeds and label fractions; empty without a pair."""
    study = study_of(runs)
    found = contrasts(runs, study, SUBJECTS)
    if not found:
        return []
    width = found[0].pairs[0][0].config["options"]["width"]
    epochs = study.pretraining_of(BEST)
    return [
        *in_short(found),
        f"Over label fractions and paired seeds (`study.py`; width {width}; pretraining is "
        f"{epochs} epochs of filling in hidden patches, the original's plain autoencoder has "
        f"{study.pretraining_of('none')}; a seed has its own split, encoder and classifier start, "
        "which all arms share). Each p is one comparison's own; the tables below correct them for "
        "their number:",
        "",
        *(f"- {answer(contrast)}" for contrast in found),
        "",
    ]


def in_short(found: list[Contrast]) -> list[str]:
    """A sentence on the study's epochs, fewer and more; empty without seeds enough."""
    sentences = []
    for arm in (PRETRAINED, PRETRAINED_SHORT, PRETRAINED_FOURFOLD):
        shares: dict[str, list[str]] = {}
        for contrast in found:
            if contrast.arms == (arm, arm.control) and contrast.is_basis:
                claim = verdict(contrast.difference, "pretraining helps", "pretraining harms")
                share = f"{contrast.label_fraction:.0%} ({points(contrast.difference['mean'])})"
                shares.setdefault(claim, []).append(share)
        clauses = [f"{claim} at {listed(where)} of the labels" for claim, where in shares.items()]
        if clauses:
            epochs = LENGTHS.get(arm.length, "the study's epochs")
            sentences.append(f"with {epochs}, {', and '.join(clauses)}")
    if not sentences:
        return []
    beside = "In short, in points of test accuracy beside as many epochs from scratch"
    return [f"{beside}: {'; '.join(sentences)}.", ""]


def listed(words: list[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def answer(contrast: Contrast) -> str:
    """What the pairs show at the end of training and, with all the epochs, early in it."""
    share = f"{contrast.label_fraction:.0%} of the labels"
    figures, n = contrast.difference, len(contrast.pairs)
    epochs = contrast.pairs[0][1].history["epoch"]
    if contrast.arm.length in LENGTHS:
        share += f" and {LENGTHS[contrast.arm.length]} ({epochs[-1]:.0f})"
    subject = SUBJECTS[contrast.arms]
    if not contrast.is_basis:
        gap = f"{points(figures['mean'])} points over {n} paired seed(s) with {subject}"
        return f"With {share}: {gap}, no basis for a claim (fewer than {MIN_SEEDS})."
    claim = verdict(
        figures,
        f"{subject} helps",
        f"{subject} harms",
        f"no difference was found with {subject}",
    )
    text = f"With {share} {claim} over {n} paired seeds: {evidence(figures)}."
    if contrast.arms != ANSWER:
        return text
    early = contrast.difference_in(first_accuracy)
    return (
        f"{text} Learning speed: after {epochs[0]:.0f} of the {epochs[-1]:.0f} epochs "
        f"{verdict(early, 'it is ahead', 'it is behind')} on validation: {evidence(early)}."
    )


def first_accuracy(run: FinishedRun) -> float:
    """Validation accuracy when it was first measured."""
    return run.history["valid_accuracy"][0]
