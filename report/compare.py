"""Arms held against other arms: pairs of runs by seed, judged family by family."""

from collections.abc import Collection

import pandas as pd

from metrics import MIN_PAIRS, equivalence_p, holm, paired_difference, verdict
from report.study import TEST, Question, Study
from report.tables import Tables

BETWEEN_ARMS = {"helps": "better", "harms": "worse"}  # words for all but the primary question


def plan(tables: Tables, study: Study, question: Question) -> pd.DataFrame:
    """The question's cells and comparisons, one a row: columns as `report.tables.PLAN`."""
    if question.arms:
        return study.plan(question)
    return tables.finished[tables.finished["question"] == question.id]


def accuracies(tables: Tables, study: Study, question: Question) -> pd.DataFrame:
    """Mean, sd (NaN for one) and number n of runs of each arm at each label budget.

    Of an open question only the seeds count that all of its arms have at a label budget, so that
    the means can be compared; all of them where no seed is shared.
    """
    rows = plan(tables, study, question)
    found, shared = [], {}
    for cell in rows[rows["control"] == ""].itertuples(index=False):
        scores = scores_of(tables, cell.name, cell.seeds, cell.measure)
        if scores:
            found.append((cell.arm, cell.label_fraction, scores))
            others = shared.setdefault(cell.label_fraction, scores.keys())
            shared[cell.label_fraction] = others & scores.keys()
    table = []
    for arm, budget, scores in found:
        seeds = (question.arms and shared[budget]) or scores.keys()
        values = pd.Series([scores[seed] for seed in seeds])
        table.append((arm, budget, values.mean(), values.std(), len(values)))
    return pd.DataFrame(table, columns=["arm", "label_fraction", "mean", "sd", "n"])


def scores_of(
    tables: Tables, name: str, seeds: Collection[int], measure: str = TEST
) -> dict[int, float]:
    """A recipe's scores by seed; runs that were never measured so are left out."""
    scores = {run.seed: getattr(run, measure) for run in tables.runs(name, seeds)}
    return {seed: score for seed, score in scores.items() if pd.notna(score)}


def paired(
    tables: Tables, name: str, control: str, seeds: Collection[int], measure: str = TEST
) -> pd.DataFrame:
    """Two recipes' scores over the seeds that both have: columns arm and control, indexed by seed.

    `two_machines` says whether a pair's runs differ in machine or number format.
    """
    arm, other = (scores_of(tables, each, seeds, measure) for each in (name, control))
    both = sorted(arm.keys() & other.keys())
    machines = [
        {run.seed: (run.machine, run.precision) for run in tables.runs(each)}
        for each in (name, control)
    ]
    return pd.DataFrame(
        {
            "arm": [arm[seed] for seed in both],
            "control": [other[seed] for seed in both],
            "two_machines": [machines[0][seed] != machines[1][seed] for seed in both],
        },
        index=pd.Index(both, name="seed"),
    )


def difference(control: pd.Series, arm: pd.Series) -> pd.Series:
    """Difference, low, high (NaN for one pair), p and pairs of two scores with one index."""
    found = paired_difference(control, arm)
    values = {"difference": found.mean, "low": found.low, "high": found.high, "p": found.p}
    return pd.Series(values | {"pairs": found.n}, dtype=float)


def compare(tables: Tables, study: Study, question: Question) -> pd.DataFrame:
    """The question's comparisons that have a pair, one a row.

    A comparison is tested once all of its planned pairs are there, and six at least: so nobody can
    stop where it looks well. Until then it counts in Holm's correction as if it had p = 1.
    """
    rows = plan(tables, study, question)
    families = rows[rows["control"] != ""].groupby("family", sort=False)
    judged = [_judge(tables, family, question.id) for _, family in families]
    found = [table for table in judged if len(table)]
    return pd.concat(found, ignore_index=True) if found else rows.head(0)


def _judge(tables: Tables, family: pd.DataFrame, question: str) -> pd.DataFrame:
    found, size = [], 0
    for row in family.itertuples(index=False):
        pairs = paired(tables, row.name, row.control_name, row.seeds, row.measure)
        planned = len(row.seeds)
        size += planned >= MIN_PAIRS
        if len(pairs):
            tested = len(pairs) >= max(planned, MIN_PAIRS)
            found.append(_row(tables, row, pairs) | {"planned": planned, "tested": tested})
    table = pd.DataFrame(found)
    if not found:
        return table
    tested = table["tested"]
    missing = [1.0] * max(0, size - tested.sum())
    for raw in ("p", "equivalence_p"):
        corrected = holm([*table.loc[tested, raw], *missing])[: tested.sum()]
        table[f"corrected_{raw}"] = 1.0
        table.loc[tested, f"corrected_{raw}"] = corrected
    table["verdict"] = [
        verdict(row.pairs, row.low, row.high, row.corrected_p, row.corrected_equivalence_p)
        if row.tested
        else "undecided"
        for row in table.itertuples()
    ]
    if question != "primary":
        table["verdict"] = table["verdict"].replace(BETWEEN_ARMS)
    return table


def _row(tables: Tables, row, pairs: pd.DataFrame) -> dict[str, object]:
    arm, control = (tables.runs(name)[0] for name in (row.name, row.control_name))
    return row._asdict() | {
        "labels": control.train_images,
        "arm_epochs": arm.epochs,
        "control_epochs": control.epochs,
        **difference(pairs["control"], pairs["arm"]),
        "pairs": len(pairs),
        "seeds": tuple(pairs.index),
        "arm_mean": pairs["arm"].mean(),
        "arm_sd": pairs["arm"].std(),
        "control_mean": pairs["control"].mean(),
        "control_sd": pairs["control"].std(),
        "equivalence_p": equivalence_p(pairs["arm"] - pairs["control"]),
        "two_machines": int(pairs["two_machines"].sum()),
    }
