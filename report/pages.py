"""The three pages, from the tables: written whole or not at all, or held against what is there."""

from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from harness.errors import UserError
from harness.files import read_bytes, shown
from metrics import MARGIN, MIN_PAIRS, SIGNIFICANCE, holm, mcnemar
from report import numbers, printed, sentences
from report.compare import accuracies, compare, paired
from report.markdown import budget, cell, listed, p, percent, render, table
from report.measured import read_measured
from report.speed import benchmark_page
from report.study import Question, Study, read_study, split, study_file
from report.tables import Tables

WIDTH = 0.25  # of the study's networks, as a multiple of AlexNet's
# What sentences are made of: question, arm, control.
SAME_RECIPE = ("recipe", "pretrained", "scratch-same-recipe")
COMPUTE = ("compute", "pretrained", "scratch-longer")
SEARCHED = ("searched", "pretrained-searched", "scratch-searched")
PLAIN = ("factorial", "plain", "scratch-same-recipe")
LONGER = (  # where both train for longer
    ("searched", "pretrained-searched-for-scratch", "scratch-searched"),
    ("longer", "pretrained-longer", "scratch-longer"),
)
AUXILIARY = (
    ("auxiliary-scratch", "scratch-auxiliary", "scratch"),
    ("auxiliary-scratch", "pretrained-auxiliary", "scratch-auxiliary"),
)
PICTURES = {"factorial": "![Test accuracy by objective, with and without skips](img/factorial.png)"}

EPOCHS = ["control_epochs", "arm_epochs"]
Compared = dict[str, pd.DataFrame]  # by question, as `report.compare.compare` gives them


def page_texts(results_dir: str | Path) -> dict[Path, str]:
    """Each page's path and text, from a folder of results. Needs neither torch nor matplotlib.

    Raises:
        UserError: a table is damaged, or there is nothing to tell.
    """
    results_dir = Path(results_dir)
    tables, measured, folder = Tables(results_dir), read_measured(results_dir), results_dir.parent
    if tables.results.empty and not measured:
        raise UserError(f"'{shown(results_dir)}' holds no finished run: train first (make report)")
    texts = {}
    if len(tables.results):
        study = read_study(study_file(tables.dataset))
        compared = {q.id: compare(tables, study, q) for q in (*study.questions, *study.finished)}
        answered = is_answered(study, compared)
        classical = numbers.classical(tables, compared["primary"])
        texts[folder / "README.md"] = (
            readme(tables, study, compared, classical) if answered else own_page(tables)
        )
        if any(map(len, compared.values())):
            texts[folder / "STUDY.md"] = study_page(tables, study, compared, classical, answered)
    if measured:
        texts[folder / "BENCHMARK.md"] = benchmark_page(measured)
    return texts


def is_answered(study: Study, compared: Compared) -> bool:
    """Whether the primary question is tested at every label budget, and held against all else."""
    primary = compared["primary"]
    tested = len(primary) == len(study.question("primary").budgets) and primary["tested"].all()
    held_against = controls(study, compared)
    return tested and len(held_against) > 0 and all(map(len, held_against))


def differs(path: Path, text: str) -> bool:
    """Whether the page is another text, whatever its line ends; prints the first such line."""
    there = read_bytes(path).decode(errors="replace") if path.exists() else ""
    lines = zip_longest(there.splitlines(), text.splitlines())
    first = next(((k, old) for k, (old, new) in enumerate(lines, 1) if old != new), None)
    if first is None:
        return False
    line = "a missing line" if first[1] is None else f"'{shown(first[1].strip()[:80])}'"
    print(f"{shown(path)} does not match the tables from line {first[0]} ({line}): run plot.py")
    return True


def chosen(compared: Compared, question: str, arm: str, control: str) -> pd.DataFrame:
    """The rows of one arm minus another; none where the question has no pair."""
    rows = compared[question]
    return rows[(rows["arm"] == arm) & (rows["control"] == control)]


def controls(study: Study, compared: Compared) -> list[pd.DataFrame]:
    """What the gain must be held against: the comparisons that the study names, in its order."""
    return [
        chosen(compared, question.id, *split(pair))
        for question in study.questions
        for pair in question.screen
    ]


def titled(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with their arms' titles in place of ids."""
    arms = [column for column in ("arm", "control") if column in rows]
    return rows.assign(**{column: rows[column].map(study.title) for column in arms})


# ------------------------------------------------------------------ README


def readme(tables: Tables, study: Study, compared: Compared, classical: pd.DataFrame) -> str:
    """The first page, of the answered study."""
    primary, plain = compared["primary"], compared["plain"]
    one_percent = [
        rows[rows["label_fraction"] == 0.01]
        for rows in (
            chosen(compared, "factorial", "plain", "scratch"),
            chosen(compared, "recipe", "scratch-same-recipe", "scratch"),
            chosen(compared, *PLAIN),
        )
    ]
    auxiliary = [chosen(compared, *each) for each in AUXILIARY]
    recipe = study.setup("original-scratch", 1.0).recipe
    return render(
        "readme.md.j2",
        answer=answer(compared),
        main=printed.main_table(primary, plain),
        recipe=sentences.same_recipe_note(*one_percent),
        controls=[
            sentences.longer_scratch(chosen(compared, *COMPUTE), numbers.costs(tables)),
            sentences.searched(chosen(compared, *SEARCHED)),
            sentences.auxiliary(*auxiliary),
            sentences.without_network(classical),
        ],
        width=WIDTH,
        seeds=primary["pairs"].iloc[0],
        margin=f"{100 * MARGIN:g}",
        comparisons=len(controls(study, compared)),
        sizes=network_sizes(tables),
        rate=recipe.learning_rate,
        **original(tables, study, compared),
    )


def answer(compared: Compared) -> list[str]:
    """The first page's three sentences."""
    primary = compared["primary"]
    longer = pd.concat([chosen(compared, *each) for each in LONGER])
    return [
        sentences.few_labels(primary),
        sentences.task(chosen(compared, *SAME_RECIPE), chosen(compared, *PLAIN)),
        sentences.many_labels(primary, longer),
    ]


def network_sizes(tables: Tables) -> list[str]:
    """Parameters, and multiply-adds an image, of each network."""
    words = {"baseline": "AlexNet", "autoencoder": "U-Net autoencoder"}
    runs = {word: tables.runs(name)[0] for name, word in words.items()}
    return [
        f"{word}, {run.parameters:,.0f} and {run.multiply_adds / 1e6:.1f} million"
        for word, run in runs.items()
    ]


def original(tables: Tables, study: Study, compared: Compared) -> dict[str, object]:
    """The original experiment's tables and conclusions; without a run, the conclusions wait."""
    rows, planned = compared["original"], len(study.question("original").seeds)
    own, epochs = beside_report(tables, rows), pd.DataFrame()
    if own:
        (row,) = rows.itertuples()
        means = class_means(tables, row)
        epochs = numbers.same_epoch(tables, row.control_name, row.name, row.seeds)
        own["classes"] = {arm: printed.class_table(each) for arm, each in means.items()}
        own["epochs"] = printed.printed(epochs.reset_index(names="epoch"), printed.SAME_EPOCH)
    return {
        "original": own,
        "original_wide": beside_report(tables, compared["original-wide"]),
        "conclusions": [sentences.slightly_better(rows), sentences.trains_faster(epochs, planned)],
    }


def beside_report(tables: Tables, rows: pd.DataFrame) -> dict[str, str] | None:
    """The original report's figures beside those of a comparison, the only row, if it is there."""
    if rows.empty:
        return None
    (row,) = rows.itertuples()
    return {
        "pairs": row.pairs,
        "told": sentences.class_accuracy(row),
        "report": printed.report_table(tables, both_names(row), row.seeds),
    }


def both_names(row: object) -> dict[str, str]:
    """The names of a comparison's runs, by arm."""
    return {"from scratch": row.control_name, "pretrained": row.name}


def class_means(tables: Tables, row: object) -> dict[str, pd.DataFrame]:
    """The class scores of a comparison's runs, by arm."""
    names = both_names(row)
    return {arm: numbers.class_means(tables, name, row.seeds) for arm, name in names.items()}


# ------------------------------------------------------------------ STUDY.md


def study_page(
    tables: Tables, study: Study, compared: Compared, classical: pd.DataFrame, answered: bool
) -> str:
    """The whole study; without an answer, what there is of its questions."""
    values = {"primary": None, "margin": 100 * MARGIN, "significance": SIGNIFICANCE}
    values |= {"fewest": MIN_PAIRS, "images": f"{len(tables.labels):,} test images."}
    if answered:
        values |= primary_values(tables, study, compared)
        values |= class_values(tables, compared["primary"])
        values |= beside_values(tables, compared, classical) | {"recipes": recipe_table(study)}
    sections = [
        section(tables, study, question, compared[question.id])
        for question in (*study.questions, *study.finished)
        if not (answered and question.id == "primary")
    ]
    return render(
        "study.md.j2", **values, sections=list(filter(None, sections)), places=places(tables)
    )


def section(tables: Tables, study: Study, question: Question, rows: pd.DataFrame) -> str:
    """A question: accuracies, comparisons, what they decide; nothing where it has no runs."""
    found = accuracies(tables, study, question)
    if rows.empty and not found["arm"].isin(question.arms or found["arm"]).any():
        return ""
    found, rows = titled(study, found), titled(study, rows)
    parts = [f"### {question.sentence}"]
    parts += [f"Planned: {question.planned}."] if question.planned else []
    parts += [question.note, printed.accuracy_table(found)]
    if len(tables.analysis(question.id, "few")):
        parts.append(search_choices(tables, question))
    columns = printed.MEANS | printed.COMPARISON if found.empty else printed.COMPARISON
    for _, family in rows.groupby("family", sort=False):
        parts.append(printed.printed(family, columns))
    return "\n\n".join(filter(None, [*parts, PICTURES.get(question.id)]))


def search_choices(tables: Tables, question: Question) -> str:
    """The best trial at each label budget, and what as few validation images as labels choose."""
    rows = tables.finished[tables.finished["question"] == question.id]
    lines, few = [], tables.analysis(question.id, "few", "labels")
    for where, own in rows.groupby("label_fraction"):
        trials = {row.arm: tables.runs(row.name, row.seeds) for row in own.itertuples()}
        means = pd.Series(
            {k: np.mean([run.valid_accuracy for run in runs]) for k, runs in trials.items()}
        )
        told = (
            f"{percent(few['few'][where])} ({few['labels'][where]:.0f})"
            if where in few.index
            else "–"
        )
        lines.append((budget(where), means.idxmax(), percent(means.max()), told))
    names = ["Label budget", "Best", "Its accuracy, %"]
    few_words = "Chosen with as few validation images as labels, %"
    return table(pd.DataFrame(lines, columns=[*names, few_words]))


def primary_values(tables: Tables, study: Study, compared: Compared) -> dict[str, object]:
    """The answer, the primary result and what else its runs say."""
    primary = compared["primary"]
    columns = ["test_loss", "ece", "ece_calibrated"]
    beside = primary.assign(**numbers.means_of(tables, primary, columns)).join(
        tables.analysis("over-images", "images_low", "images_high"), "label_fraction"
    )
    small = beside[(beside["difference"].abs() < MARGIN) & beside["images_low"].notna()]
    learning = primary[["label_fraction", "pairs", *EPOCHS]].merge(
        tables.analysis("learning", *printed.LEARNING_FIGURES), on="label_fraction"
    )
    groups = [titled(study, rows) for rows in controls(study, compared)]
    trends = tables.analysis("trend", "slope", "low", "high", "p", "n")
    return {
        "primary": printed.printed(primary, printed.PRIMARY),
        "answer": answer(compared),
        "small": [sentences.over_images(row) for row in small.itertuples()],
        "controls": printed.control_table(groups),
        "seeds": primary["seeds"].iloc[-1],
        "least_p": p(len(primary) * 2 / 2 ** primary["pairs"].iloc[-1]),
        "trend": [sentences.trend(row) for row in trends.itertuples()],
        "beside": printed.printed(beside, printed.BESIDE),
        "calibrated": calibrated(tables, beside.iloc[-1]),
        "learning": printed.printed(learning, printed.LEARNING),
    }


def class_values(tables: Tables, primary: pd.DataFrame) -> dict[str, object]:
    """Both arms class by class, with all labels and at each label budget."""
    *_, last = primary.itertuples()
    classes = {
        row.label_fraction: numbers.class_differences(tables, row.control_name, row.name, row.seeds)
        for row in primary.itertuples()
    }
    return {
        "own_classes": printed.both_classes(class_means(tables, last)),
        "classes": printed.class_by_class(classes),
        "least_of_all": p(min(holm(pd.concat(classes.values())["p"]))),
    }


def calibrated(tables: Tables, row: pd.Series) -> list[str]:
    """How good the probabilities are, before and after the temperature."""
    errors = {
        "from scratch": (row["control_ece"], row["control_ece_calibrated"]),
        "pretrained": (row["arm_ece"], row["arm_ece_calibrated"]),
    }
    name, seeds = row["control_name"], row["seeds"]
    probability = tables.predictions(name, seeds).probability
    surplus = probability.mean() - numbers.correct(tables, name, seeds).mean()
    bins = numbers.reliability(tables, name, seeds)
    return [sentences.calibrated(errors, surplus), sentences.reliable(bins)]


def recipe_table(study: Study) -> str:
    """Each label budget's recipe in both arms of the primary question."""
    rows = []
    for where in study.question("primary").budgets:
        both = [study.setup(arm, where).recipe for arm in ("scratch", "pretrained")]
        steps = [f"batch {each.batch_size}, rate {each.learning_rate:g}" for each in both]
        rows.append((budget(where), printed.epochs(*(each.epochs for each in both)), *steps))
    columns = ["Label budget", "Epochs", "From scratch", "Pretrained"]
    return table(pd.DataFrame(rows, columns=columns))


def beside_values(tables: Tables, compared: Compared, classical: pd.DataFrame) -> dict[str, object]:
    """What it costs, and what was measured beside the runs."""
    results, known = tables.results, tables.results["core_seconds"].dropna()
    processors = tables.analyses["machine"].dropna().unique()
    return {
        "costs": printed.printed(cost_rows(compared, numbers.costs(tables)), printed.COSTS),
        "runs": f"{len(known):,}",
        "hours": f"{known.sum() / 3600:.1f}",
        "elsewhere": f"{len(results) - len(known):,}",
        "processor": listed(map(cell, processors)),
        "classical": printed.printed(classical, printed.CLASSICAL),
        "best_classical": sentences.without_network(classical),
        "probes": printed.probe_table(numbers.probes(tables)) if len(tables.probes) else "",
    }


def cost_rows(compared: Compared, costs: pd.DataFrame) -> pd.DataFrame:
    """What both arms cost, held against each other, and the accuracies that it buys."""
    times = {
        name: (costs["fine_tuning"] + share * costs["pretraining"]) / costs["scratch"]
        for name, share in (("times", 1), ("times_shared", 0.1))
    }
    compute = compared["compute"].set_index("label_fraction")
    longer = compute[compute["arm"] == "scratch-longer"][["arm_mean", "arm_sd"]]
    pretrained = compute[compute["arm"] == "pretrained"][["arm_mean", "arm_sd"]]
    longer.columns = ["longer_mean", "longer_sd"]
    return costs.assign(**times).join([longer, pretrained]).reset_index(names="label_fraction")


def places(tables: Tables) -> list[str]:
    """Where the runs were made, and how many."""
    by = ["machine", "device", "precision", "threads", "torch"]
    found = tables.results.groupby(by).size().sort_values(ascending=False, kind="stable")
    return [
        f"{count} run{'s' if count > 1 else ''}: {cell(machine)}, {device} {precision}, "
        f"{threads} thread{'s' if threads > 1 else ''}, PyTorch {cell(torch)}"
        for (machine, device, precision, threads, torch), count in found.items()
    ]


# ------------------------------------------------------------------ a person's own runs


def own_page(tables: Tables) -> str:
    """README.md of runs that are no whole study: their pairs, classes and curves."""
    pairs = []
    for row in numbers.own_pairs(tables.results).itertuples():
        both = paired(tables, row.name, row.control_name, row.seeds)
        images = ""
        if len(both) == 1:
            names = both_names(row).values()
            right = (numbers.correct(tables, name, row.seeds)[0] for name in names)
            images = sentences.own_images(row.seeds[0], mcnemar(*right))
        pairs.append(
            {
                "told": sentences.own_pair(both["control"], both["arm"]),
                "images": images,
                "classes": printed.both_classes(class_means(tables, row)),
                "title": f"`{row.name}` beside `{row.control_name}`",
            }
        )
    return render(
        "own.md.j2",
        pairs=pairs,
        runs=printed.printed(run_rows(tables.results), printed.RUNS),
        dataset=tables.dataset,
        places=places(tables),
    )


def run_rows(results: pd.DataFrame) -> pd.DataFrame:
    """Every run, those of one name together: seeds, and accuracies over them."""
    by_name = results.groupby("name", sort=False)
    return by_name.agg(
        seeds=("seed", "size"),
        valid=("valid_accuracy", "mean"),
        valid_sd=("valid_accuracy", "std"),
        test=("test_accuracy", "mean"),
        test_sd=("test_accuracy", "std"),
    ).reset_index()
