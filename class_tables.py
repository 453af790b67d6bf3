"""README's tables with a row a class, from finished runs."""

import numpy as np

from metrics import MIN_SEEDS, holm, mcnemar
from results import Comparison, class_accuracy
from tables import defined, over_seeds, p_value, points, table


def class_tables(comparison: Comparison) -> list[str]:
    """The original report's two tables, and their difference."""
    lines = []
    for arm, runs in comparison.arms:
        columns = ["accuracy", "precision", "recall", "f1_score"]
        values = [
            [[run.metrics["test"]["per_class"][k][column] for run in runs] for column in columns]
            for k in range(len(comparison.classes))
        ]
        rows = [
            [name, *(over_seeds(cell) for cell in row)]
            for name, row in zip(comparison.classes, values, strict=True)
        ]
        means = [
            [np.mean(defined([row[c][i] for row in values])) for i in range(len(runs))]
            for c in range(len(columns))
        ]
        rows.append(["**mean**", *(over_seeds(cell) for cell in means)])
        header = ["Class name", "Accuracy", "Precision", "Recall", "F1_score"]
        lines += [f"### Per class, {arm}", "", *table(header, rows), ""]
        if any(cell == "–" for row in rows for cell in row):
            lines += ["–: undefined, since the class was never predicted.", ""]
    return lines + difference_table(comparison)


def difference_table(comparison: Comparison) -> list[str]:
    """Pretrained less from scratch, class by class, with tests corrected for their number."""
    per_seed = len(comparison.pairs) >= MIN_SEEDS
    a, b = comparison.pairs[0]
    if not per_seed:  # one pair's counts go with one pair's difference
        comparison = Comparison([a], [b])
    rows, p_values = [], []
    for k, name in enumerate(comparison.classes):
        difference = comparison.difference(class_accuracy(k))
        row = [name, points(difference["mean"])]
        if per_seed:
            row.append(interval_text(difference))
            p_values.append(difference["p"])
        else:
            of_class = a.arrays("predictions.npz")["label"] == k
            test = mcnemar(a.correct()[of_class], b.correct()[of_class])
            row += [str(test["only_a"]), str(test["only_b"])]
            p_values.append(test["p"])
        rows.append(row)
    for row, p in zip(rows, holm(p_values), strict=True):
        row.append(p_value(p, name=""))
    middle = ["95 % interval"] if per_seed else ["Right only from scratch", "Only pretrained"]
    test = "exact sign-flip test" if per_seed else "McNemar's exact test"
    whose = "" if per_seed else f" (seed {a.seed} alone)"
    return [
        "### Per class, difference",
        "",
        f"Class accuracy, pretrained less from scratch{whose}. p: {test}, Holm-corrected for the "
        f"{len(rows)} classes.",
        "",
        *table(["Class name", "Difference, points", *middle, "p"], rows),
        "",
    ]


def study_class_table(comparisons: dict[float, Comparison]) -> list[str]:
    """Pretrained less from scratch over seeds, class by class: two columns a label fraction."""
    header, columns = ["Class name"], []
    for fraction, comparison in sorted(comparisons.items()):
        classes = comparison.classes
        differences = [comparison.difference(class_accuracy(k)) for k in range(len(classes))]
        header += [f"{fraction:.0%}: points", "p"]
        columns.append([with_interval(difference) for difference in differences])
        corrected = holm([difference["p"] for difference in differences])
        columns.append([p_value(p, name="") for p in corrected])
    rows = [list(row) for row in zip(classes, *columns, strict=True)]
    return [
        "Class accuracy, pretrained less from scratch, by share of the labels: mean and 95 % "
        f"interval over seeds; exact sign-flip test, Holm-corrected for the {len(rows)} classes.",
        "",
        *table(header, rows),
        "",
    ]


def with_interval(difference: dict) -> str:
    """A paired difference's mean and, in brackets, its interval."""
    return f"{points(difference['mean'])} ({interval_text(difference)})"


def interval_text(difference: dict) -> str:
    """A paired difference's interval; a dash where there is none."""
    return " to ".join(map(points, difference["interval"])) if difference["interval"] else "–"
