"""README's answer over label fractions and seeds: tables and sentences, from finished runs."""

import numpy as np

from arms import (
    ARMS,
    EXTRA,
    INGREDIENTS,
    PRETRAINED,
    SCRATCH,
    SCRATCH_FOURFOLD,
    SCRATCH_HALF,
    SCRATCH_TWICE,
    Study,
)
from class_tables import interval_text, study_class_table
from contrasts import Contrast, Runs, contrasts, study_of
from metrics import MIN_SEEDS, SIGNIFICANCE, holm, paired_difference, summary
from results import QUICK, Comparison, FinishedRun, accuracy, core_seconds, epochs_to
from tables import p_value, points, table

# The arms that differ in nothing but how many epochs they take.
BY_EPOCHS = {
    SCRATCH_HALF: "Half as many epochs",
    SCRATCH: "The study's",
    SCRATCH_TWICE: "Twice",
    SCRATCH_FOURFOLD: "Four times",
    EXTRA: "With the pretraining's",
}


def study_section(runs: Runs, img_dir: str) -> list[str]:
    """README's part on seeds and label fractions; empty without a pair."""
    study = study_of(runs)
    found = contrasts(runs, study)
    if not found:
        return []
    return [
        "### Over seeds and label fractions",
        "",
        f"![Test accuracy against the share of labels]({img_dir}/label_efficiency.png)",
        "",
        f"![Paired differences, seed by seed]({img_dir}/paired_differences.png)",
        "",
        *accuracy_table(runs, study),
        *epochs_table(runs, study),
        *contrast_part(found),
        *ingredients_part(contrasts(runs, study, INGREDIENTS)),
        *epochs_to_goal_table([c for c in found if c.arm == PRETRAINED], img_dir),
        *class_part(found, img_dir),
        *tried_table(runs, study),
        *cost_table(runs, study),
    ]


def valid_accuracy(run: FinishedRun) -> float:
    """Of the finished model."""
    return run.metrics["valid"]["accuracy"]


def accuracy_table(runs: Runs, study: Study) -> list[str]:
    """Test accuracy, an arm a row and a label fraction a column."""
    fractions = sorted(study.epochs)
    rows = []
    for arm in ARMS:
        if arm.tried:
            continue
        found = [runs.get(arm.condition(fraction), []) for fraction in fractions]
        if any(found):
            rows.append([arm.name, *map(accuracy_cell, found)])
    used = [k for k in range(len(fractions)) if any(row[k + 1] for row in rows)]
    header = ["Arm", *(f"{fractions[k]:.0%} of the labels" for k in used)]
    epochs = ", ".join(f"{study.epochs[fractions[k]]} at {fractions[k]:.0%}" for k in used)
    return [
        "Test accuracy in percent, mean ± standard deviation over seeds, with the number of seeds. "
        f"Every encoder was pretrained on images without labels; epochs of classification: {epochs}"
        ", the same for every arm but where it says otherwise.",
        "",
        *table(header, [[row[0], *(row[k + 1] for k in used)] for row in rows]),
        "",
    ]


def accuracy_cell(found: list[FinishedRun]) -> str:
    if not found:
        return ""
    figures = summary([100 * accuracy(run) for run in found])
    spread = "" if figures["std"] is None else f" ± {figures['std']:.2f}"
    return f"{figures['mean']:.2f}{spread} ({figures['n']})"


def epochs_table(runs: Runs, study: Study) -> list[str]:
    """Scratch by the number of epochs; empty before any other number was tried."""
    rows = []
    for fraction in sorted(study.epochs):
        found = [runs.get(arm.condition(fraction), []) for arm in BY_EPOCHS]
        seeds = [{run.seed for run in arm} for arm in found if arm]
        shared = set.intersection(*seeds) if len(seeds) > 1 else set()
        if shared:
            of_shared = [[run for run in arm if run.seed in shared] for arm in found]
            rows.append([f"{fraction:.0%}", str(len(shared)), *map(epochs_cell, of_shared)])
    if not rows:
        return []
    return [
        "From scratch by the number of epochs: **validation** accuracy in percent (epochs), mean "
        "over the same seeds:",
        "",
        *table(["Labels", "Seeds", *BY_EPOCHS.values()], rows),
        "",
    ]


def epochs_cell(found: list[FinishedRun]) -> str:
    if not found:
        return ""
    epochs = found[0].history["epoch"][-1]
    return f"{100 * np.mean([valid_accuracy(run) for run in found]):.2f} ({epochs:.0f})"


def contrast_part(found: list[Contrast]) -> list[str]:
    """Each arm less its control."""
    return [
        "Paired differences in test accuracy: BCa bootstrap interval, exact sign-flip test, and "
        "the same after Holm's correction over all rows of the table that can bear a claim. Fewer "
        f"than {MIN_SEEDS} pairs are shown and are no basis for one. n pairs cannot give a p "
        f"below 2/2ⁿ, {2 / 2**MIN_SEEDS:.3f} for {MIN_SEEDS}: one that survives the correction "
        "takes more of them. A bootstrap over so few pairs gives intervals that are somewhat too "
        "short (Hesterberg 2015, arXiv:1411.5279), so a claim needs p below "
        f"{SIGNIFICANCE} as well.",
        "",
        *contrast_table(found),
        "",
    ]


def ingredients_part(found: list[Contrast]) -> list[str]:
    """What one ingredient brings; empty without a pair of such arms."""
    if not found:
        return []
    return [
        "The same between arms that differ in one ingredient:",
        "",
        *contrast_table(found),
        "",
    ]


def contrast_table(found: list[Contrast]) -> list[str]:
    """One arm less another, with interval, p and Holm's correction over the claims."""
    claims = [contrast for contrast in found if contrast.is_basis]
    corrected = dict(
        zip(claims, holm([c.difference["p"] for c in claims]) if claims else [], strict=True)
    )
    rows = []
    for contrast in found:
        difference = contrast.difference
        rows.append(
            [
                contrast.arm.name,
                contrast.control.name,
                f"{contrast.label_fraction:.0%}",
                str(difference["n"]),
                points(difference["mean"]),
                interval_text(difference) if contrast.is_basis else "–",
                p_value(difference["p"], name="") if contrast.is_basis else "too few seeds",
                p_value(corrected[contrast], name="") if contrast.is_basis else "–",
            ]
        )
    header = ["Arm", "Less", "Labels", "Pairs", "Points", "95 % interval", "p"]
    return table([*header, "p, Holm"], rows)


def epochs_to_goal_table(found: list[Contrast], img_dir: str) -> list[str]:
    """How many epochs each arm takes to get near scratch's last validation accuracy."""
    rows = []
    for contrast in found:
        scratch, ours = zip(*map(epochs_to_goal, contrast.pairs), strict=True)
        difference = paired_difference(scratch, ours)
        interval = difference["interval"] if contrast.is_basis else None
        rows.append(
            [
                f"{contrast.label_fraction:.0%}",
                str(difference["n"]),
                f"{contrast.pairs[0][0].history['epoch'][-1]:.0f}",
                f"{np.mean(scratch):.1f}",
                f"{np.mean(ours):.1f}",
                signed(difference["mean"]),
                " to ".join(map(signed, interval)) if interval else "–",
                p_value(difference["p"], name="") if contrast.is_basis else "too few seeds",
            ]
        )
    if not rows:
        return []
    header = ["Labels", "Pairs", "Epochs", "From scratch", "Pretrained", "Difference"]
    return [
        f"Learning speed: epochs until {QUICK:.0%} of the last validation accuracy from scratch "
        "(mean over seeds, interpolated between measurements; all epochs where it is not reached):",
        "",
        *table([*header, "95 % interval", "p"], rows),
        "",
        f"![Validation accuracy against the epochs trained]({img_dir}/learning_speed.png)",
        "",
    ]


def class_part(found: list[Contrast], img_dir: str) -> list[str]:
    """Where the difference lies, class by class, at the label fractions with seeds enough."""
    comparisons = class_comparisons(found)
    if not comparisons:
        return []
    picture = f"![Class accuracy, pretrained less from scratch]({img_dir}/class_differences.png)"
    return [*study_class_table(comparisons), picture, ""]


def class_comparisons(found: list[Contrast]) -> dict[float, Comparison]:
    """The default pretraining's pairs by label fraction, where they are a basis for a claim."""
    return {c.label_fraction: c.comparison for c in found if c.arm == PRETRAINED and c.is_basis}


def epochs_to_goal(pair: tuple[FinishedRun, FinishedRun]) -> list[float]:
    """Epochs that both runs of a pair take to the first one's last accuracy, or nearly."""
    goal = QUICK * pair[0].history["valid_accuracy"][-1]
    return [epochs_to(run, goal) for run in pair]


def signed(epochs: float) -> str:
    return f"{epochs:+.1f}".replace("-", "−")


def tried_table(runs: Runs, study: Study) -> list[str]:
    """What the recipe was chosen from: all arms with their control's epochs, on validation."""
    fewest = min(study.epochs)
    tried = [
        Contrast.of(runs, arm, SCRATCH, fewest)
        for arm in ARMS
        if arm.control == SCRATCH and arm.takes_usual_epochs
    ]
    figures = [(c, c.difference_in(valid_accuracy)) for c in tried if c.pairs]
    rows = []
    for contrast, difference in sorted(figures, key=lambda pair: -pair[1]["mean"]):
        pairs = [list(map(valid_accuracy, pair)) for pair in contrast.pairs]
        scratch, this = 100 * np.mean(pairs, axis=0)
        rows.append(
            [
                contrast.arm.name,
                str(difference["n"]),
                f"{scratch:.2f}",
                f"{this:.2f}",
                points(difference["mean"]),
                interval_text(difference) if contrast.is_basis else "–",
            ]
        )
    header = ["Tried", "Pairs", "From scratch, %", "This, %", "Difference, points"]
    return [
        f"What was tried at {fewest:.0%} of the labels, by **validation** accuracy, by which "
        "the recipe of pretraining is chosen; each beside scratch on the same seeds:",
        "",
        *table([*header, "95 % interval"], rows),
        "",
    ]


def cost_table(runs: Runs, study: Study) -> list[str]:
    """Processor hours of the study's runs, by condition."""
    wanted = {f"autoencoder/{cell.arm.encoder}" for cell in study.cells() if cell.arm.encoder}
    wanted |= {cell.arm.condition(cell.label_fraction) for cell in study.cells()}
    hours = {
        name: sum(core_seconds(run).sum() for run in runs[name]) / 3600
        for name in runs
        if name in wanted
    }
    rows = [[f"`{name}`", str(len(runs[name])), f"{hours[name]:.2f}"] for name in hours]
    rows.append(["all", str(sum(len(runs[name]) for name in hours)), f"{sum(hours.values()):.2f}"])
    return [
        "What it took, training and validation, in hours of one processor core:",
        "",
        *table(["Runs", "Number", "Core hours"], rows),
        "",
    ]
