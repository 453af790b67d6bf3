"""What each ingredient of the recipe brings on validation: README's table, from finished runs."""

import numpy as np

from results import ABLATION, BASELINE, FinishedRun, core_seconds
from tables import points, table

AVERAGING = "average_shift"


def ablation_table(runs: dict[str, list[FinishedRun]]) -> list[str]:
    """What each ingredient brings on validation: a row a variant, each with one change."""
    variants = {
        name.removeprefix(ABLATION): found[0]
        for name, found in runs.items()
        if name.startswith(ABLATION)
    }
    full = variants.pop("full", None)
    if full is None:
        return []
    there = full.config["options"]
    reference = full.metrics["valid"]["accuracy"]
    rows = [["all as described", f"{reference:.4f}", "", seconds_an_epoch(full)]]
    # The baseline is the same recipe at the default width, and averages its predictions at last.
    compared = [(run, run.config["options"], last_accuracy(run)) for run in variants.values()]
    for run in runs.get(BASELINE, [])[:1]:
        options = run.config["options"] | {"skip_test": there["skip_test"]}
        compared.append((run, options | {AVERAGING: there[AVERAGING]}, last_accuracy(run)))
        compared.append((run, options, run.metrics["valid"]["accuracy"]))
    for run, here, valid in compared:
        changes = [
            f"{name.replace('_', ' ')} {here[name]} (not {there[name]})"
            for name in here
            if here[name] != there[name]
        ]
        change = points(valid - reference)
        rows.append(["; ".join(changes), f"{valid:.4f}", change, seconds_an_epoch(run)])
    images = full.config["data"]["valid_images"]
    deviation = np.sqrt(reference * (1 - reference) / images)
    return [
        "### Ingredients",
        "",
        f"What each choice brings, from scratch: one run each, seed 0, {there['epochs']} epochs, "
        f"width {there['width']} to save time. «{AVERAGING.replace('_', ' ')}»: final predictions "
        f"averaged over the image moved by up to so many pixels. {images:,} validation images give "
        f"each figure a standard error of {100 * deviation:.1f} points: small changes say little.",
        "",
        *table(["Recipe", "Validation accuracy", "Change, points", "Core seconds an epoch"], rows),
        "",
    ]


def last_accuracy(run: FinishedRun) -> float:
    """Validation accuracy after the last epoch, as all epochs were measured."""
    return run.history["valid_accuracy"][-1]


def seconds_an_epoch(run: FinishedRun) -> str:
    return f"{core_seconds(run).mean():.0f}"
