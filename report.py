"""README's results: tables and a conclusion, computed from the finished runs alone."""

from ablation import ablation_table
from answers import study_answers
from class_tables import class_tables
from metrics import MIN_SEEDS, SIGNIFICANCE, mcnemar, summary
from results import (
    AUTOENCODER,
    BASELINE,
    HARDEST,
    PRETRAINED,
    QUICK,
    Comparison,
    FinishedRun,
    accuracy,
    class_accuracy,
    hardest_mean,
)
from speed import speed_table
from study_report import study_section
from tables import evidence, over_seeds, p_value, points, table, verdict

# The course report that this project began as: mean class accuracy and the class Shirt. One run
# an arm. The Trouser row of its second table has shifted columns, so that row is not compared.
ORIGINAL = {"mean": (0.9122, 0.9089), "Shirt": (0.717, 0.767)}


def results_section(
    runs: dict[str, list[FinishedRun]],
    study_runs: dict[str, list[FinishedRun]],
    measured: dict | None,
    img_dir: str,
) -> str:
    """README's generated part.

    Args:
        runs, study_runs: of the main job and of the study, as `find_runs` gives them.
        measured: what benchmark.py has written, if it has.
        img_dir: the pictures' folder, as seen from the README.
    """
    comparison = Comparison.of(runs)
    answers, study = study_answers(study_runs), study_section(study_runs, img_dir)
    if not comparison.pairs:
        nothing = "No finished pair of runs yet: `make report` makes them."
        sections = [*answers, nothing, "", *study]
    else:
        sections = [
            "### Conclusion",
            "",
            *answers,
            *conclusion(comparison),
            *study,
            *overall_table(comparison),
            *pictures(img_dir),
            *class_tables(comparison),
            *original_table(comparison),
        ]
    sections += [*ablation_table(runs), *speed_section(measured, img_dir), *provenance(runs)]
    return "\n".join(sections).strip("\n")


def conclusion(comparison: Comparison) -> list[str]:
    """What the main job's runs show, and what they do not, in plain sentences."""
    means = [
        summary([accuracy(run) for run in runs])["mean"]
        for runs in zip(*comparison.pairs, strict=True)
    ]
    difference = comparison.difference(accuracy)
    width = comparison.pairs[0][0].config["options"]["width"]
    figures = (
        f"At width {width} and with all labels the test accuracy is {means[0]:.4f} from scratch "
        f"and {means[1]:.4f} from the pretrained encoder, a difference of "
    )
    if difference["n"] >= MIN_SEEDS:
        words = ("Pretraining helps", "Pretraining harms", "No difference was found")
        text = (
            f"{verdict(difference, *words)} over {difference['n']} paired seeds. "
            f"{figures}{evidence(difference)}."
        )
    else:
        text = (
            f"{figures}{points(difference['mean'])} points. {per_run_test(comparison)} "
            f"{too_few(difference['n'])}"
        )
    return [text, "", learning_speed(comparison), ""]


def per_run_test(comparison: Comparison) -> str:
    """McNemar's test for each pair, in words."""
    sentences = []
    for a, b in comparison.pairs:
        test = mcnemar(a.correct(), b.correct())
        more = "more" if test["p"] < SIGNIFICANCE else "not more"
        sentences.append(
            f"Of the test images, {test['only_a']} are right only from scratch and "
            f"{test['only_b']} only with pretraining (seed {a.seed}); that is {more} than chance "
            f"would give for two equally good models (McNemar's exact test, {p_value(test['p'])})."
        )
    return " ".join(sentences)


def too_few(n: int) -> str:
    runs = "One run" if n == 1 else f"{n} runs"
    return (
        f"**{runs} an arm is no basis for a claim** that pretraining helps or harms: another seed "
        f"could turn it, and fewer than {MIN_SEEDS} paired seeds cannot reach p < {SIGNIFICANCE}."
    )


def learning_speed(comparison: Comparison) -> str:
    """Which arm gets near the baseline's last validation accuracy first."""
    epochs = []
    for pair in comparison.pairs:
        goal = QUICK * pair[0].history["valid_accuracy"][-1]
        for run in pair:
            measured = zip(run.history["epoch"], run.history["valid_accuracy"], strict=True)
            epochs.append(next((epoch for epoch, reached in measured if reached >= goal), None))
    words = [f"{epoch:.0f}" if epoch else "never" for epoch in epochs]
    scratch, pretrained = (" / ".join(arm) for arm in (words[::2], words[1::2]))
    return (
        f"Learning speed: {QUICK:.0%} of the last validation accuracy from scratch is reached "
        f"after epoch {scratch} from scratch and after epoch {pretrained} with pretraining."
    )


def overall_table(comparison: Comparison) -> list[str]:
    """A row an arm."""
    fashion = set(HARDEST) <= set(comparison.classes)
    columns = {
        "Test accuracy": accuracy,
        "Macro precision": lambda run: run.metrics["test"]["macro_precision"],
        "Macro recall": lambda run: run.metrics["test"]["macro_recall"],
        "Macro F1_score": lambda run: run.metrics["test"]["macro_f1"],
        "Validation accuracy": lambda run: run.metrics["valid"]["accuracy"],
    }
    if fashion:
        columns["Mean of " + ", ".join(HARDEST)] = hardest_mean
    rows = [
        [
            arm,
            str(len(runs)),
            *(over_seeds([of(run) for run in runs]) for of in columns.values()),
            over_seeds([sum(run.history["seconds"]) / 60 for run in runs], digits=1),
        ]
        for arm, runs in comparison.arms
    ]
    header = ["AlexNet", "Runs", *columns, "Minutes of training"]
    return ["### Overall", "", *table(header, rows), ""]


def original_table(comparison: Comparison) -> list[str]:
    """This project's figures beside the original report's."""
    if "Shirt" not in comparison.classes:
        return []
    shirt = class_accuracy(comparison.classes.index("Shirt"))
    rows = []
    for k, (arm, runs) in enumerate(comparison.arms):
        means = [over_seeds([of(run) for run in runs]) for of in (accuracy, shirt)]
        theirs = [f"{ORIGINAL[row][k]:.4f}" for row in ("mean", "Shirt")]
        rows.append([arm, theirs[0], means[0], theirs[1], means[1]])
    header = ["AlexNet", "Mean class accuracy there", "Here", "Shirt there", "Here"]
    return [
        "### Against the original report",
        "",
        "The original report trained each arm once. Its conclusion, «slightly better» with "
        "pretraining, is not what its means say, and the Trouser row of its second table has "
        "shifted columns.",
        "",
        *table(header, rows),
        "",
    ]


def speed_section(measured: dict | None, img_dir: str) -> list[str]:
    """How fast it trains, from benchmark.py's figures."""
    if not measured:
        return []
    picture = f"![Images per second of each training loop]({img_dir}/benchmark.png)"
    return ["### How fast", "", picture, "", *speed_table(measured), ""]


def provenance(runs: dict[str, list[FinishedRun]]) -> list[str]:
    """Which runs the results come from, and where they ran."""
    shown = [run for name in (BASELINE, PRETRAINED, AUTOENCODER) for run in runs.get(name, [])]
    if not shown:
        return []
    places = sorted(
        {
            f"{e.get('accelerator') or e['processor']}, {e['threads']} thread(s), {e['device']} "
            f"{e['precision']}, PyTorch {e['torch']}"
            for e in (run.config["environment"] for run in shown)
        }
    )
    data = shown[0].config["data"]
    folders = ", ".join(
        f"`{name}` (seed {', '.join(str(run.seed) for run in runs[name])})"
        for name in (BASELINE, AUTOENCODER, PRETRAINED)
        if name in runs
    )
    return [
        "### Where the numbers come from",
        "",
        f"Runs {folders}; {data['train_images']:,} training, {data['valid_images']:,} validation "
        f"and {data['test_images']:,} test images of `{data['name']}`. Trained on: "
        f"{'; '.join(places)}.",
    ]


PICTURES = {
    "train_losses.png": "Train loss from scratch, by epoch",
    "train_losses_pretrained.png": "Train loss with the pretrained encoder, by epoch",
    "valid_losses.png": "Validation loss from scratch, by epoch",
    "valid_losses_pretrained.png": "Validation loss with the pretrained encoder, by epoch",
    "valid_acc.png": "Validation accuracy from scratch, by epoch",
    "valid_acc_pretrained.png": "Validation accuracy with the pretrained encoder, by epoch",
    "per_class_difference.png": "Class accuracy, pretrained less from scratch, in points",
    "confusion.png": "Confusion matrices of both arms, in percent of the true class",
    "example_pretrained.png": "Test images with predicted and true class",
    "reconstructions.png": "Input, what the encoder saw, and the autoencoder's output",
}
HALF_WIDTH = 6  # the first pictures stand two in a row


def pictures(img_dir: str) -> list[str]:
    """The pictures: the original report's six curves in pairs, the others one by one."""
    images = [f"![{text}]({img_dir}/{name})" for name, text in PICTURES.items()]
    pairs = [images[k : k + 2] for k in range(0, HALF_WIDTH, 2)]
    lines = ["### Plots", "", *table(["From scratch", "Pretrained"], pairs), ""]
    for image in images[HALF_WIDTH:]:
        lines += [image, ""]
    return lines
