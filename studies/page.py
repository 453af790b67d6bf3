"""STUDY.md: values computed from finished runs, which a template says."""

from collections import Counter
from itertools import chain, product
from typing import Any

import numpy as np

from metrics import (
    MARGIN,
    MIN_PAIRS,
    SIGNIFICANCE,
    calibration,
    holm,
    paired_difference,
    trend,
)
from report.markdown import render
from report.minutes import on_one_processor
from report.pairs import QUICK
from report.runs import FinishedRun, Runs, class_accuracy, core_seconds
from studies.answer import answer, least_p, seeds_and_images
from studies.arms import LONGER, PRETRAINED, SCRATCH
from studies.baseline_rows import (
    best_baselines,
    classical_rows,
    kept_settings,
    not_measured,
)
from studies.cells import Block
from studies.comparisons import Compared, Main, compare_machines, main_comparison, study_of
from studies.costs import USES, cost_rows
from studies.extra import RANDOM, REPEATED, STAGES, TRAINED, Probe, extra_of, repeated_of
from studies.search import unsettled
from studies.sections import ablation_rows, others_tried, round_1, search_tables, section


def study_page(runs: Runs, img_dir: str) -> str:
    """The whole of STUDY.md.

    Args:
        img_dir: the pictures' folder, as seen from the page.
    """
    study, main, extra = study_of(runs), main_comparison(runs), extra_of(runs)
    everything = list(chain.from_iterable(runs.values()))
    classical = classical_rows(main, extra)
    return render(
        "studies",
        "study.md.j2",
        img=img_dir,
        main=main,
        answer=answer(runs),
        primary=primary_rows(main, study.blocks[0]),
        beside=[beside(row) for row in main.rows],
        least_p=least_p(study),
        trend=trend_of(main),
        learning=learning_rows(main),
        quick=QUICK,
        costs=cost_rows(runs, main.block),
        processor=processor(runs),
        uses=USES,
        longer_passes=LONGER.passes,
        classical=classical,
        best_baselines=best_baselines(classical),
        kept_settings=kept_settings(classical),
        not_measured=not_measured(main, extra),
        probes=probe_table(extra.probes),
        probe_gains=probe_gains(extra.probes),
        has_tsne=extra.has_tsne,
        machines=compare_machines(runs, repeated_of(runs), study.blocks[0]),
        repeated=REPEATED,
        exploratory=[section(runs, block) for block in study.exploratory],
        round_1=round_1(runs, study.block("round1")),
        ablation=ablation_rows(runs, study.block("ablation")),
        search=search_tables(runs, study),
        searched=study.search,
        unsettled=unsettled(study, runs),
        searched_late=study.searched_late,
        rechosen=study.rechosen,
        others_tried=others_tried(runs, study.block("tried")),
        classes=class_table(main),
        has_first_round=study.block("round1") is not None,
        seeds=study.seeds,
        search_seeds=study.search_seeds,
        margin=MARGIN,
        significance=SIGNIFICANCE,
        fewest=MIN_PAIRS,
        total=total(everything),
        data=everything[0].config.data if everything else None,
        places=places(everything),
    )


def total(everything: list[FinishedRun]) -> dict[str, float]:
    """How many runs there are, and what those on a processor took."""
    known = [seconds for run in everything if (seconds := core_seconds(run)) is not None]
    return {
        "on_cpu": len(known),
        "elsewhere": len(everything) - len(known),
        "hours": sum(known) / 3600,
    }


def processor(runs: Runs) -> tuple[str, str] | None:
    """That of the core minutes, and its number format."""
    there = on_one_processor(runs)
    first = next((run.config.environment for found in there.values() for run in found), None)
    return first and (first.processor, first.precision)


# ------------------------------------------------------------------ the main comparison


def primary_rows(main: Main, primary: Block) -> list[dict[str, Any]]:
    """A row for each of the protocol's label budgets; `compared` is None before it has pairs."""
    by_budget = {} if main.other_seeds else {row.budget: row for row in main.rows}
    arms = (SCRATCH, PRETRAINED)
    return [
        {
            "budget": budget,
            "compared": by_budget.get(budget),
            "recipes": [primary.cell(arm, budget).recipe for arm in arms],
            "pretraining": primary.cell(PRETRAINED, budget).pretraining(0).recipe,
        }
        for budget in primary.round.budgets
    ]


def beside(row: Compared) -> dict[str, Any]:
    """The interval over other seeds and images, and calibration of both arms."""
    arms = (row.pairs.control, row.pairs.treated)
    return {
        "row": row,
        "interval": seeds_and_images(row),
        "loss": [float(np.mean([run.metrics.test.loss for run in runs])) for runs in arms],
        "ece": [float(np.mean([ece(run) for run in runs])) for runs in arms],
    }


def ece(run: FinishedRun) -> float:
    """Expected calibration error of the probabilities as the network gives them."""
    return calibration(run.predictions["probability"], run.correct).ece


def trend_of(main: Main):
    """The gain's slope per decade of labels, over the seeds that all label budgets have."""
    if len(main.rows) < 2:
        return None
    gains = [dict(zip(row.pairs.seeds, row.differences, strict=True)) for row in main.rows]
    seeds = sorted(set.intersection(*map(set, gains)))
    if not seeds:
        return None
    by_seed = [[gain[seed] for gain in gains] for seed in seeds]
    return trend([row.budget for row in main.rows], by_seed)


def learning_rows(main: Main) -> list[dict[str, Any]]:
    """Epochs to near scratch's last validation accuracy, by label budget.

    `is_seen` says whether most runs of both arms reached it where their accuracy was measured;
    without that a difference is not told, and counts in the correction as if it had p = 1.
    """
    rows = []
    for row in main.rows:
        scratch, pretrained = row.pairs.epochs_to_goal()
        arms = ((row.pairs.control, scratch), (row.pairs.treated, pretrained))
        early = [sum(map(reached_unseen, *arm)) for arm in arms]
        rows.append(
            {
                "row": row,
                "epochs": [scratch, pretrained],
                "difference": paired_difference(scratch, pretrained),
                "early": early,
                "is_seen": max(early) <= len(row.pairs) / 2,
            }
        )
    raw = [row["difference"].p if row["is_seen"] else 1.0 for row in rows]
    for row, p in zip(rows, holm(raw), strict=True):
        row["p"] = p
    return rows


def reached_unseen(run: FinishedRun, epochs: float) -> bool:
    """Whether so many epochs ended before the run's accuracy was measured at all."""
    return epochs < run.history["epoch"][0]


def probe_table(probes: tuple[Probe, ...]) -> dict[str, Any] | None:
    """Test accuracies by seed: a row an encoder at a label budget, a column a probe of a stage.

    The encoders come in the order of how well the last column knows the classes. None without any.
    """
    if not probes:
        return None
    kinds = list(dict.fromkeys(row.probe for row in probes))
    known = {(row.probe, row.stage) for row in probes}
    columns = [column for column in product(kinds, STAGES) if column in known]
    found: dict[tuple[float, str], dict[tuple[str, str], list[float]]] = {}
    for row in probes:
        values = list(row.test_accuracy.values())
        found.setdefault((row.label_fraction, row.encoder), {})[row.probe, row.stage] = values

    def order(of: tuple[float, str]) -> tuple[float, float]:
        last = found[of].get(columns[-1])
        return of[0], float(np.mean(last)) if last else 0.0

    return {
        "columns": columns,
        "rows": [(*of, [found[of].get(c, []) for c in columns]) for of in sorted(found, key=order)],
    }


def probe_gains(probes: tuple[Probe, ...]) -> list[tuple[str, list[tuple[str, float, float]]]]:
    """By pretrained encoder, how far its last stage's maps are above the random encoder's.

    Returns:
        for each encoder: probe, label budget, and the mean difference over the seeds of both.
    """
    last = {
        (row.encoder, row.probe, row.label_fraction): row.test_accuracy
        for row in probes
        if row.stage == STAGES[-1]
    }
    found: dict[str, list[tuple[str, float, float]]] = {}
    for (encoder, *where), scores in last.items():
        random = last.get((RANDOM, *where), {})
        gains = [scores[seed] - random[seed] for seed in scores.keys() & random.keys()]
        if encoder not in (RANDOM, TRAINED) and gains:
            found.setdefault(encoder, []).append((*where, float(np.mean(gains))))
    return list(found.items())


def class_table(main: Main) -> dict[str, Any] | None:
    """Class by class, pretrained minus from scratch, where there are pairs enough."""
    rows = [row for row in main.rows if len(row.pairs) >= MIN_PAIRS]
    if not rows:
        return None
    columns, raw = [], []
    for row in rows:
        found = [row.pairs.difference(class_accuracy(k)) for k in range(len(row.pairs.classes))]
        columns.append(list(zip(found, holm([d.p for d in found]), strict=True)))
        raw += [d.p for d in found]
    return {
        "least_of_all": min(holm(raw)),
        "budgets": [row.budget for row in rows],
        "rows": list(zip(rows[0].pairs.classes, zip(*columns, strict=True), strict=True)),
    }


def places(runs: list[FinishedRun]) -> list[tuple[str, int]]:
    """Machines and number formats, with the number of runs."""
    found = Counter(
        f"{e.machine}, {e.device} {e.precision}, {e.threads} "
        f"thread{'s' if e.threads > 1 else ''}, PyTorch {e.torch}"
        for e in (run.config.environment for run in runs)
    )
    return found.most_common()
