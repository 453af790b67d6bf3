"""The pages' tables as Markdown: figures of `report.numbers` and `report.compare`, spelled."""

from collections.abc import Callable, Iterable

import pandas as pd

from metrics import MIN_PAIRS
from report import numbers
from report.markdown import budget, cell, ends, mean_sd, p, percent, points, signed, table
from report.sentences import standing
from report.tables import Tables

# The course report that this project began as: mean class accuracy and the class Shirt, from
# scratch and pretrained. One run an arm.
ORIGINAL = {"from scratch": (0.9122, 0.717), "pretrained": (0.9089, 0.767)}
MINUTES, WHOLE = "{:.1f}".format, "{:.0f}".format

Columns = dict[str, tuple[Callable[..., str] | str, ...]]  # heading: function, the columns it takes


def each(function: Callable[..., str], *columns: Iterable) -> list[str]:
    """A function of the columns' values, row by row."""
    return [function(*values) for values in zip(*columns, strict=True)]


def printed(rows: pd.DataFrame, columns: Columns) -> str:
    """The one generic table; an empty string without rows."""
    if rows.empty:
        return ""
    return table({k: each(spell, *(rows[c] for c in of)) for k, (spell, *of) in columns.items()})


def tested(spell: Callable[[float], str]) -> Callable[[float, bool], str]:
    """What is not tested has no p."""
    return lambda value, is_tested: spell(value) if is_tested else "–"


def epochs(control: int, arm: int) -> str:
    """Of both classifiers: one number where they have the same."""
    return " / ".join(dict.fromkeys((str(control), str(arm))))


def pairs(count: int, planned: int, two_machines: int) -> str:
    """How many there are, of how many where some are missing; † are of two machines."""
    found = f"{count} of {planned}" if count < planned else str(count)
    return f"{found} ({two_machines} †)" if two_machines else found


# ------------------------------------------------------------------ columns

BUDGET: Columns = {"Label budget": (budget, "label_fraction")}
INTERVAL: Columns = {
    "Difference, points": (points, "difference"),
    "95 % interval": (ends, "low", "high"),
}
TESTED: Columns = INTERVAL | {
    "p": (tested(p), "p", "tested"),
    "Corrected p": (tested(p), "corrected_p", "tested"),
    "Corrected equivalence p": (tested(p), "corrected_equivalence_p", "tested"),
}
VERDICT: Columns = {"Verdict": (standing, "verdict", "tested", "pairs", "planned")}
EPOCHS: Columns = {"Epochs": (epochs, "control_epochs", "arm_epochs")}
PRIMARY = {
    **BUDGET,
    **EPOCHS,
    "From scratch, %": (mean_sd, "control_mean", "control_sd"),
    "Pretrained, %": (mean_sd, "arm_mean", "arm_sd"),
    **TESTED,
    "Seeds": (str, "pairs"),
    **VERDICT,
}
MEANS = {
    "Arm, %": (mean_sd, "arm_mean", "arm_sd"),
    "Minus this, %": (mean_sd, "control_mean", "control_sd"),
}
COMPARISON = {
    "Arm": (str, "arm"),
    "Minus": (str, "control"),
    **BUDGET,
    "Pairs": (pairs, "pairs", "planned", "two_machines"),
    **TESTED,
    **VERDICT,
}
BESIDE = {
    **BUDGET,
    "Difference, points": (points, "difference"),
    "95 % interval, seeds and images": (ends, "images_low", "images_high"),
    "NLL from scratch": ("{:.3f}".format, "control_test_loss"),
    "NLL pretrained": ("{:.3f}".format, "arm_test_loss"),
    "ECE from scratch, %": (lambda value: percent(value, 1), "control_ece"),
    "ECE pretrained, %": (lambda value: percent(value, 1), "arm_ece"),
}
LEARNING_FIGURES = ["control", "arm", "difference", "low", "high", "corrected_p"]
LEARNING_FIGURES += ["early_control", "early_arm"]
LEARNING = {
    **BUDGET,
    "Pairs": (str, "pairs"),
    **EPOCHS,
    "From scratch": (MINUTES, "control"),
    "Pretrained": (MINUTES, "arm"),
    "Difference": (lambda value: signed(value, 1), "difference"),
    "95 % interval": (lambda *both: ends(*both, 1, 1), "low", "high"),
    "Corrected p": (p, "corrected_p"),
    "Reached before the first measurement": (
        "{:.0f} / {:.0f}".format,
        "early_control",
        "early_arm",
    ),
}
COSTS = {
    **BUDGET,
    "From scratch, core minutes": (MINUTES, "scratch"),
    "Fine-tuning, core minutes": (MINUTES, "fine_tuning"),
    "Pretraining, core minutes": (MINUTES, "pretraining"),
    "Pretrained in all, times as much as scratch": (MINUTES, "times"),
    "The same, pretraining shared by 10": (MINUTES, "times_shared"),
    "Scratch with more epochs, core minutes": (MINUTES, "longer"),
    "Its accuracy, %": (mean_sd, "longer_mean", "longer_sd"),
    "Pretrained, %": (mean_sd, "arm_mean", "arm_sd"),
}
CLASSICAL = {
    "Baseline": (cell, "name"),
    **BUDGET,
    "Test accuracy, %": (mean_sd, "mean", "sd"),
    "Network from scratch, %": (mean_sd, "scratch_mean", "scratch_sd"),
    "Pairs": (WHOLE, "pairs"),
    "Pretrained minus this, points": (points, "difference"),
    "95 % interval": (ends, "low", "high"),
    "Core seconds": (MINUTES, "core_seconds"),
}
RUNS = {
    "Run": ("`{}`".format, "name"),
    "Seeds": (str, "seeds"),
    "Valid accuracy, %": (mean_sd, "valid", "valid_sd"),
    "Test accuracy, %": (mean_sd, "test", "test_sd"),
}
SAME_EPOCH = {
    "Epoch": (WHOLE, "epoch"),
    "From scratch, %": (percent, "control_mean"),
    "Pretrained, %": (percent, "arm_mean"),
    **INTERVAL,
    "Corrected p": (p, "corrected_p"),
}


# ------------------------------------------------------------------ tables of another form


def main_table(primary: pd.DataFrame, plain: pd.DataFrame) -> str:
    """A row a label budget: from scratch, then both pretrained arms with what they bring."""

    def told(*row) -> str:
        mean, sd, difference, low, high, *verdict = row
        return (
            f"{mean_sd(mean, sd)}: {points(difference)} ({ends(low, high)}), {standing(*verdict)}"
        )

    of = ["arm_mean", "arm_sd", "difference", "low", "high"]
    of += ["verdict", "tested", "pairs", "planned"]
    wheres = zip(plain["label_fraction"], each(told, *(plain[c] for c in of)), strict=True)
    rows = primary.assign(plain=primary["label_fraction"].map(dict(wheres)).fillna("not run yet"))
    columns: Columns = {
        "Labels": (lambda where, n: f"{budget(where)} ({n:,})", "label_fraction", "labels"),
        "From scratch": (mean_sd, "control_mean", "control_sd"),
        "Plain autoencoder": (str, "plain"),
        "Masked + HOG": (told, *of),
    }
    return printed(rows, columns)


def report_table(tables: Tables, both: dict[str, str], seeds: tuple[int, ...]) -> str:
    """The original report's figures beside ours, and whether one more run of ours could be it.

    The latter is not said of a few runs: the interval of two can reach beyond 1.
    """
    rows = []
    for arm, name in both.items():
        own = numbers.class_scores(tables, name, seeds)["Accuracy"].unstack()
        figures = {"Mean class accuracy": own.mean(axis=1), "Shirt": own["Shirt"]}
        for (figure, values), there in zip(figures.items(), ORIGINAL[arm], strict=True):
            row = {"AlexNet": arm, "Accuracy of": figure, "Original report": f"{there:.4g}"}
            row["Here"] = mean_sd(values.mean(), values.std(), 4, 1)
            if len(values) >= MIN_PAIRS:
                low, high = numbers.prediction_interval(values)
                row["95 % of single runs"] = f"{low:.4f} to {high:.4f}"
                row["Within"] = "yes" if low <= there <= high else "no"
            rows.append(row)
    return table(pd.DataFrame(rows).fillna("–"))


def class_table(means: pd.DataFrame) -> str:
    """The original report's columns, as shares, of `numbers.class_means`."""
    columns = {"Class name": means.index}
    for score in means["mean"]:
        both = (means[of, score] for of in ("mean", "sd"))
        columns[score] = each(lambda *values: mean_sd(*values, 3, 1), *both)
    return table(columns)


def both_classes(means: dict[str, pd.DataFrame]) -> str:
    """Both arms' class scores in percent, beside each other; by arm, of `numbers.class_means`."""
    first, second = means.values()
    columns = {"Class name": first.index}
    for score in first["mean"]:
        for arm, own in means.items():
            both = (own[of, score] for of in ("mean", "sd"))
            columns[f"{score}, {arm}"] = each(lambda *values: mean_sd(*values, 1), *both)
        if score == "Accuracy":
            change = second["mean", score] - first["mean", score]
            columns["Difference, points"] = each(points, change)
    return table(columns)


def class_by_class(by_budget: dict[float, pd.DataFrame]) -> str:
    """Class accuracy, pretrained minus from scratch, and its corrected p at each label budget."""
    columns = {"Class name": next(iter(by_budget.values())).index}
    for where, rows in by_budget.items():
        both = (each(points, rows["difference"]), each(ends, rows["low"], rows["high"]))
        columns[budget(where)] = each("{} ({})".format, *both)
        columns[f"p at {budget(where)}"] = each(p, rows["corrected_p"])
    return table(columns)


def accuracy_table(found: pd.DataFrame) -> str:
    """Accuracies of `report.compare.accuracies`: a row an arm and a column a label budget."""
    cells = found.assign(cell=[f"{mean_sd(r.mean, r.sd)} ({r.n})" for r in found.itertuples()])
    wide = cells.pivot(index="arm", columns="label_fraction", values="cell").fillna("")
    wide = wide.loc[found["arm"].unique()].rename(columns=budget)
    return table(wide.reset_index(names="Arm"))


def control_table(groups: list[pd.DataFrame]) -> str:
    """A row an arm minus a control and a column a label budget, of what is tested.

    Bold is better or worse, ≈ equivalent.
    """
    rows = []
    for own in (group[group["tested"]] for group in groups):
        if len(own):
            mark = " †" if own["two_machines"].any() else ""
            first = own.iloc[0]
            row = {"Arm": first["arm"], "Minus": first["control"] + mark, "Seeds": first["pairs"]}
            for where, verdict, text in zip(
                own["label_fraction"], own["verdict"], each(points, own["difference"]), strict=True
            ):
                plain = {"undecided": text, "equivalent": f"≈ {text}"}
                row[budget(where)] = plain.get(verdict, f"**{text}**")
            rows.append(row)
    return table(pd.DataFrame(rows).fillna(""))


def probe_table(found: pd.DataFrame) -> str:
    """Of `numbers.probes`."""
    columns: Columns = BUDGET | {"Encoder": (cell, "encoder")}
    for of in found["mean"].columns:
        columns[", ".join(map(cell, of))] = (mean_sd, ("mean", *of), ("std", *of))
    rows = found.reset_index()
    rows["seeds", "", ""] = found["count"].max(axis=1).array
    return printed(rows, columns | {"Seeds": (str, "seeds")})
