"""The study: which runs it does, on what, and what README says of them."""

import json
import shutil

import pytest
from distributed import LocalCluster
from test_report import first_images_wrong, write_run

import arms
import train_baseline
import train_pretrained
from answers import answer, study_answers
from arms import PRETRAINED, PRETRAINED_SHORT, SCRATCH, SCRATCH_SHORT, STUDIES, Cell, Study, cells
from contrasts import Contrast, contrasts
from jobs import Estimate, Job, classifier_job, encoder_job, missing
from options import default_run_dir, percent
from plot import main as plot
from results import core_seconds, epochs_to, find_runs
from study import main as study
from study_report import epochs_table, ingredients_part, tried_table

SMALL = ("--dataset", "digits", "--width", "0.1", "--flip", "none")


def tiny_study(*blocks, options=SMALL) -> Study:
    return Study({0.1: 2, 1.0: 1}, 1, 1, options, blocks)


@pytest.fixture
def tiny(monkeypatch):
    """Two runs that need nothing and, after an encoder, one that does."""
    blocks = (cells((SCRATCH,), {0.1: 2}), (Cell(PRETRAINED, 0.1, 1),))
    monkeypatch.setitem(STUDIES, "digits", tiny_study(*blocks))


def missing_of(plan: Study, runs_dir, seeds: int):
    return missing(plan.blocks, plan, runs_dir, range(seeds), list(plan.epochs))


def finish(job: Job):
    job.folder.mkdir(parents=True)
    for name in ("metrics.json", job.result):
        (job.folder / name).write_text("{}")
    (job.folder / "history.csv").write_text("epoch,seconds\n1,30\n2,34\n")


def test_encoders_come_before_what_starts_from_them(tmp_path):
    block = cells((SCRATCH, PRETRAINED), {0.1: 3, 1.0: 1})
    encoders, classifiers = missing_of(tiny_study(block), tmp_path, 2)
    assert [job.condition for job in encoders] == [f"autoencoder/{arms.BEST}"] * 2
    assert encoders[0].options[-2:] == ("--epochs", "3")
    assert [job.seed for job in classifiers] == [0, 0, 0, 0, 1, 1]
    assert classifiers[2].options[-2:] == ("--encoder", str(encoders[0].folder / "encoder.pt"))


def test_only_what_is_missing_is_run(tmp_path):
    block = cells((SCRATCH, PRETRAINED), {0.1: 1})
    plan = tiny_study(block)
    encoders, classifiers = missing_of(plan, tmp_path, 1)
    for job in (*encoders, *classifiers):
        finish(job)
    assert missing_of(plan, tmp_path, 1) == []
    # Weights are not in git: an encoder is made again only for a classifier that needs it.
    (encoders[0].folder / "encoder.pt").unlink()
    assert missing_of(plan, tmp_path, 1) == []
    shutil.rmtree(classifiers[1].folder)
    assert missing_of(plan, tmp_path, 1) == [encoders, classifiers[1:]]


def test_an_encoder_is_made_once_for_all_blocks(tmp_path):
    blocks = (cells((PRETRAINED,), {0.1: 1}), cells((PRETRAINED,), {1.0: 1}))
    waves = missing_of(tiny_study(*blocks), tmp_path, 1)
    assert [len(wave) for wave in waves] == [1, 1, 1]


def test_some_label_fractions_only(tmp_path, fails):
    plan = tiny_study(cells((SCRATCH,), {0.1: 2, 1.0: 2}))
    (wave,) = missing(plan.blocks, plan, tmp_path, range(2), [1.0])
    assert [job.condition for job in wave] == ["baseline/labels100"] * 2
    assert "choose from" in fails(study, "--dataset", "digits", "--label-fractions", 0.2)


def test_the_time_left(tmp_path):
    plan = tiny_study(cells((SCRATCH,), {0.1: 3, 1.0: 1}))
    (wave,) = missing_of(plan, tmp_path, 3)
    assert "no estimate" in Estimate(plan, tmp_path).left(wave, 1)
    finish(wave[0])  # 64 s for 2 epochs of a tenth: 320 s a pass
    (wave,) = missing_of(plan, tmp_path, 3)
    estimate = Estimate(plan, tmp_path)
    assert [estimate.seconds(job) for job in wave] == [320, 64, 64]
    assert estimate.left(wave, 2) == "about 0 h 04 min left"  # 224 s


def test_scratch_with_the_pretrainings_epochs_sees_as_many_images():
    plan = tiny_study(cells((arms.EXTRA,), {0.1: 1}))
    assert plan.epochs_of(next(plan.cells())) == 2 + 3 * 10  # of a tenth of the images


def test_a_short_arm_has_a_tenth_of_the_epochs_rounded_up():
    plan = tiny_study(cells((arms.SCRATCH_SHORT,), {0.1: 1}))
    assert plan.epochs_of(next(plan.cells())) == 1
    assert STUDIES["fashion"].epochs_of(Cell(arms.PRETRAINED_SHORT, 0.01, 1)) == 10


@pytest.mark.parametrize("name", STUDIES)
def test_conditions_are_named_as_the_scripts_name_them(name, tmp_path):
    """Options of every cell are accepted, and lead to the same folder without --run-dir."""
    for cell in STUDIES[name].cells():
        if cell.arm.tried:
            continue
        job = classifier_job(STUDIES[name], cell, 3, tmp_path)
        script = train_pretrained if cell.arm.encoder else train_baseline
        args = script.parse_args([*job.options, "--seed", "3"])
        args.dataset = "fashion"  # which has no name in front
        # The scripts do not spell the number of epochs.
        word = "frozen" * args.freeze_encoder if cell.arm.takes_usual_epochs else cell.arm.variant
        parts = [cell.arm.encoder or "", word]
        labels = percent("labels", args.label_fraction)
        family = "pretrained" if cell.arm.encoder else "baseline"
        assert f"runs/{job.condition}/seed3" == default_run_dir(family, args, *parts, labels)


def test_the_study_runs_what_is_missing(tiny, tmp_path, capsys):
    options = ["--dataset", "digits", "--runs-dir", str(tmp_path)]
    study([*options, "--dry-run"])
    assert capsys.readouterr().out.count("train_baseline.py --dataset digits") == 2
    assert not list(tmp_path.iterdir())
    study([*options, "--jobs", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 runs are missing")
    assert f"[4/4] {PRETRAINED.condition(0.1)}/seed0: test accuracy" in lines[-1]
    encoder = find_runs(tmp_path)[f"autoencoder/{arms.BEST}"][0]
    (classifier,) = find_runs(tmp_path)[PRETRAINED.condition(0.1)]
    assert classifier.config["options"]["encoder"]["seed"] == encoder.seed
    assert classifier.history["epoch"] == [2]
    study(options)
    assert capsys.readouterr().out.startswith("0 runs are missing")


def test_the_study_on_a_dask_cluster(tiny, tmp_path, capsys):
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        options = ["--dataset", "digits", "--runs-dir", str(tmp_path), "--jobs", "2"]
        study([*options, "--backend", "dask", "--scheduler", cluster.scheduler_address])
    assert "[4/4]" in capsys.readouterr().out
    assert len(find_runs(tmp_path)["baseline/labels10"]) == 2


def test_dask_needs_an_address(fails, tmp_path, monkeypatch):
    monkeypatch.setattr("study.CONNECTION_TIMEOUT", 1)
    options = ["--dataset", "digits", "--runs-dir", tmp_path, "--backend", "dask"]
    line = fails(study, *options)
    assert "--scheduler" in line
    line = fails(study, *options, "--scheduler", "tcp://127.0.0.1:9")
    assert "no Dask cluster answers" in line


def test_a_run_that_fails_is_named(monkeypatch, tmp_path, fails):
    plan = tiny_study(cells((SCRATCH,), {0.1: 1}), options=(*SMALL, "--schedule", "never"))
    monkeypatch.setitem(STUDIES, "digits", plan)
    line = fails(study, "--dataset", "digits", "--runs-dir", tmp_path)
    assert "baseline/labels10/seed0" in line
    assert "--schedule" in line


def pairs(tmp_path, seeds, ours, fraction=0.1):
    for seed in range(seeds):
        wrong = 40 + seed % 3
        write_run(tmp_path, SCRATCH.condition(fraction), seed, first_images_wrong(wrong))
        write_run(tmp_path, PRETRAINED.condition(fraction), seed, first_images_wrong(ours(seed)))
    return Contrast.of(find_runs(tmp_path), PRETRAINED, SCRATCH, fraction)


def test_a_claim_needs_seeds_and_a_clear_difference(tmp_path):
    few = answer(pairs(tmp_path / "few", 5, lambda seed: 20))
    assert "no basis for a claim" in few
    clear = answer(pairs(tmp_path / "clear", 6, lambda seed: 20))
    assert "**pretraining helps** over 6 paired seeds: +10.50 points" in clear  # of 200 images
    assert "p = 0.031" in clear  # 2 / 2**6
    assert "after 1 of the 2 epochs **no difference was found** on validation: +0.00" in clear
    harm = answer(pairs(tmp_path / "harm", 6, lambda seed: 60))
    assert "**pretraining harms**" in harm
    none = answer(pairs(tmp_path / "none", 6, lambda seed: 40 + 5 * (-1) ** seed))
    assert "**no difference was found with pretraining** over" in none


def test_the_answer_in_short(tmp_path):
    for fraction, wrong in ((0.01, 20), (0.1, 40), (1.0, 40)):
        pairs(tmp_path, 6, lambda seed, wrong=wrong: wrong + 2 * (seed % 2), fraction)
    pairs(tmp_path, 5, lambda seed: 20, 0.3)  # too few seeds
    lines = study_answers(find_runs(tmp_path))
    assert lines[0] == (
        "In short, in points of test accuracy beside as many epochs from scratch: with the study's "
        "epochs, **pretraining helps** at 1% (+10.00) of the labels, and **no difference was "
        "found** at 10% (+0.00) and 100% (+0.00) of the labels."
    )


def test_a_short_arm_is_compared_with_short_scratch(tmp_path):
    for seed in range(6):
        write_run(tmp_path, SCRATCH.condition(0.1), seed)
        write_run(tmp_path, SCRATCH_SHORT.condition(0.1), seed, first_images_wrong(40 + seed))
        write_run(tmp_path, PRETRAINED_SHORT.condition(0.1), seed, first_images_wrong(20))
    text = answer(Contrast.of(find_runs(tmp_path), PRETRAINED_SHORT, SCRATCH_SHORT, 0.1))
    assert "With 10% of the labels and a tenth of the epochs (2) **pretraining helps**" in text
    assert "+11.25 points" in text  # 22.5 of 200 images
    assert "Learning speed" not in text


def test_an_ingredient_is_told_beside_an_arm_without_it(tmp_path):
    for seed in range(6):
        write_run(tmp_path, arms.EXTRA.condition(0.1), seed, first_images_wrong(30 + seed % 2))
        write_run(tmp_path, PRETRAINED.condition(0.1), seed, first_images_wrong(20))
    (contrast,) = contrasts(find_runs(tmp_path), STUDIES["fashion"], arms.INGREDIENTS)
    subject = "pretraining instead of as many steps more on the labelled images"
    assert f"**{subject} helps** over 6 paired seeds: +5.25 points" in answer(contrast)
    (row,) = ingredients_part([contrast])[4:5]
    name = "from scratch, with the pretraining's epochs"
    assert row.startswith(f"| pretrained | {name} | 10% | 6 | +5.25 |")


@pytest.mark.parametrize(
    ("goal", "epochs"),
    [(0.1, 0), (0.3, 0.5), (0.5, 1), (0.7, 1.5), (0.9, 2), (0.95, 2)],
)
def test_epochs_to_an_accuracy(tmp_path, goal, epochs):
    # 10 % by chance, 50 % after an epoch, 90 % after two: 30 % lies half way up to the first.
    write_run(tmp_path, SCRATCH.condition(1.0), 0)
    (run,) = find_runs(tmp_path)[SCRATCH.condition(1.0)]
    assert epochs_to(run, goal) == pytest.approx(epochs)


def test_readme_shows_the_study(tmp_path):
    pairs(tmp_path / "runs" / "study", 6, lambda seed: 20)
    pairs(tmp_path / "runs" / "study", 2, lambda seed: 20, fraction=1.0)
    readme = tmp_path / "README.md"
    folders = ["--runs-dir", str(tmp_path / "runs"), "--img-dir", str(tmp_path / "img")]
    plot([*folders, "--readme", str(readme), "--data-dir", str(tmp_path)])
    text = readme.read_text()
    assert "| from scratch | 79.50 ± 0.45 (6) | 79.75 ± 0.35 (2) |" in text
    assert "| pretrained | from scratch | 10% | 6 | +10.50 |" in text
    assert "| too few seeds | – |" in text
    assert "| all | 16 | 0.53 |" in text  # 16 runs of 60 s on 2 threads
    names = {path.name for path in (tmp_path / "img").iterdir()}
    pictures = ("label_efficiency", "paired_differences", "learning_speed", "class_differences")
    assert {f"{picture}.png" for picture in pictures} <= names
    # 4, 5 or 5 of its 20 images are wrong from scratch, and 2 pretrained.
    assert "| T-shirt/top | +13.33 (" in text
    assert "10%: points | p |" in text
    assert "| 10% | 6 | 2 | 2.0 | 2.0 | +0.0 |" in text  # epochs, and those to 99 % of the last
    assert "100%: points" not in text  # two pairs are no basis


def test_what_was_tried_is_told_by_validation(tmp_path):
    for seed in range(2):
        write_run(tmp_path, SCRATCH.condition(0.01), seed)
        for arm, accuracy in ((PRETRAINED, 0.92), (arms.SLOW_ENCODER, 0.93)):
            folder = write_run(tmp_path, arm.condition(0.01), seed)
            metrics = json.loads((folder / "metrics.json").read_text())
            metrics["valid"]["accuracy"] = accuracy
            metrics["test"] = None
            (folder / "metrics.json").write_text(json.dumps(metrics))
    rows = [line for line in tried_table(find_runs(tmp_path), STUDIES["fashion"]) if "|" in line]
    assert rows[2:] == [
        "| pretrained, the encoder at 0.3 of the rate | 2 | 91.00 | 93.00 | +2.00 | – |",
        "| pretrained | 2 | 91.00 | 92.00 | +1.00 | – |",
    ]


def test_other_numbers_of_epochs_are_told_over_the_same_seeds(tmp_path):
    for arm, seeds in ((arms.SCRATCH_HALF, 3), (SCRATCH, 4), (arms.SCRATCH_TWICE, 2)):
        for seed in range(seeds):
            folder = write_run(tmp_path, arm.condition(0.01), seed)
            metrics = json.loads((folder / "metrics.json").read_text())
            metrics["valid"]["accuracy"] = 0.8 + 0.1 * seed
            (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = epochs_table(find_runs(tmp_path), STUDIES["fashion"])
    assert "| 1% | 2 | 85.00 (2) | 85.00 (2) | 85.00 (2) |  |  |" in lines


def test_few_images_take_less_time(tmp_path):
    cell = Cell(arms.FEWER_IMAGES, 0.01, 1)
    job = encoder_job(STUDIES["fashion"], cell, 0, tmp_path)
    assert job.options[-4:] == ("--train-fraction", "0.1", "--epochs", "30")
    assert job.passes == pytest.approx(3)


def test_an_arm_that_is_tried_reads_no_test_set(tmp_path):
    job = classifier_job(STUDIES["fashion"], Cell(arms.SLOW_ENCODER, 0.01, 1), 0, tmp_path)
    assert "--skip-test" in job.options
    finish(job)
    assert job.finished


def test_core_seconds(tmp_path):
    folder = write_run(tmp_path, SCRATCH.condition(1.0), 0)
    (run,) = find_runs(tmp_path)[SCRATCH.condition(1.0)]
    assert json.loads((folder / "config.json").read_text())["environment"]["threads"] == 2
    assert core_seconds(run).tolist() == [60, 60]
