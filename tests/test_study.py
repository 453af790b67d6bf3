"""The study: which runs it does, on what, and what its page says of them."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import LocalCluster
from filelock import FileLock
from made_up import DATA, ENVIRONMENT, first_images_wrong, write_run
from msgspec.structs import replace

import train_baseline
from data import load_dataset
from harness.files import read_json, write_json
from harness.rundir import LOCK, Config
from plot import main as plot
from recipes import ENCODER, ClassifierRecipe, Machine, Setup
from report.pairs import epochs_to
from report.runs import core_seconds, find_runs
from studies import arms, first_round, grid
from studies.answer import answer
from studies.arms import EARLIER, PRETRAINED, SCRATCH
from studies.cells import Arm, Block, Cell, Round, Study
from studies.comparisons import compare, compare_machines
from studies.costs import costs
from studies.extra import CLASSICAL, PROBES, RANDOM, REPEATED, TRAINED, repeated_of
from studies.first_round import (
    ABLATION_BLOCK,
    EXTRA,
    PRETRAINED_SHORT,
    ROUND_1,
    ROUND_1_BLOCK,
    SCRATCH_SHORT,
)
from studies.grid import FASHION, STUDIES, TRIED_BLOCK
from studies.jobs import Estimate, Job, Place, do, missing
from studies.page import study_page
from studies.plots import draw_study
from studies.search import best, choice_by_few, search_block, trials
from studies.sections import by_epochs, tried
from study import main as study

HERE = Path(__file__).parents[1]
PRIMARY = FASHION.blocks[0]
TINY = Round(
    {"dataset": "digits", "width": 0.1, "validations": 1},
    {0.1: ({"epochs": 2}, {"epochs": 2}), 1.0: ({"epochs": 1}, {"epochs": 1})},
)
FAST = Arm("pretrained", pretraining={"epochs": 1})


def block(*cells, name="primary", round_=TINY) -> Block:
    return Block(name, "?", round_, tuple(cells), (((FAST, SCRATCH),),))


def tiny_study(*blocks) -> Study:
    return Study("demo/runs", TINY, Round({}, {}), Round({}, {}), (), 1.0, tuple(blocks))


@pytest.fixture
def tiny(monkeypatch):
    """Two runs that need nothing and, after an encoder, one that does."""
    cells = (*TINY.cells((SCRATCH,), {0.1: 2}), TINY.cell(FAST, 0.1, (0,)))
    monkeypatch.setitem(STUDIES, "digits", tiny_study(block(*cells)))
    return {"scratch": cells[0], "pretrained": cells[1]}


def missing_of(blocks, runs_dir, *part):
    return missing(blocks, find_runs(runs_dir), runs_dir, *part)


def finish(job: Job, **seconds):
    write_run(job.runs_dir, job.setup, **seconds)
    if job.setup.kind == "autoencoder":
        (job.folder / ENCODER).write_bytes(b"")


def names(wave) -> list[str]:
    return [job.name for job in wave]


# ------------------------------------------------------------------ the grid


def test_every_run_is_in_the_grid():
    """Nothing that was run is left out of STUDY.md."""
    runs = find_runs(HERE / "runs")
    cells = [cell for each in FASHION.blocks for cell in each.cells]
    cells += [trial.cell for trial in trials(FASHION, runs)]
    known = {(cell.name, seed) for cell in cells for seed in cell.seeds}
    known |= {
        (setup.name, seed)
        for cell in cells
        for seed in cell.seeds
        if (setup := cell.pretraining(seed))
    }
    found = {(run.name, run.seed) for of_name in runs.values() for run in of_name}
    assert not found - known
    repeated = repeated_of(runs)
    told = compare_machines(runs, repeated, PRIMARY)
    assert sum(len(row.pairs) for row in told) == sum(map(len, repeated.values())) > 0


def test_the_first_round_is_finished():
    for each in ("round1", "ablation"):
        assert missing_of([FASHION.block(each)], HERE / "runs") == []


def test_the_primary_cells():
    names = {cell.name for cell in PRIMARY.cells}
    assert len(PRIMARY.cells) == len(names) == 14
    assert {"baseline", "pretrained", "baseline-labels10-epochs30"} <= names
    first_round = {seed for cell in ROUND_1_BLOCK.cells for seed in cell.seeds}
    (seeds,) = {cell.seeds for cell in PRIMARY.cells}
    assert len(seeds) == 10
    assert first_round.isdisjoint(seeds)
    for cell in PRIMARY.cells:
        assert cell.recipe.label_fraction in grid.PROTOCOL
        assert not cell.recipe.skip_test


def test_the_main_job_is_the_cell_with_all_labels():
    main_job = Setup(recipe=ClassifierRecipe(seed=3))
    assert PRIMARY.cell(SCRATCH, 1.0).setup(3).differences(main_job) == []


def test_scratch_with_the_pretrainings_epochs_sees_as_many_images():
    assert ROUND_1.cell(EXTRA, 0.01).recipe.epochs == 100 + 30 * 100  # of a hundredth of the images


def test_a_short_arm_has_a_tenth_of_the_epochs_rounded_up():
    assert ROUND_1.cell(SCRATCH_SHORT, 0.01).recipe.epochs == 10
    assert ROUND_1.cell(PRETRAINED_SHORT, 0.3).recipe.epochs == 2


def test_an_encoder_has_its_classifiers_width_and_data():
    cell = STUDIES["digits"].blocks[0].cell(PRETRAINED, 0.1)
    recipe = cell.pretraining(4).recipe
    assert (recipe.width, recipe.dataset, recipe.flip, recipe.seed) == (0.1, "digits", "none", 4)


def test_hog_without_masking_differs_from_the_pretrained_arm_in_masking_alone():
    asked = FASHION.block("unmasked")
    for arm, masked in ((arms.UNMASKED, arms.PRETRAINED), (arms.UNMASKED_NO_SKIPS, arms.NO_SKIPS)):
        seen_whole, hidden = (asked.cell(a, 0.001).pretraining(0).recipe for a in (arm, masked))
        assert (seen_whole.corruption, hidden.corruption) == ("none", "mask")
        assert replace(seen_whole, corruption="mask") == hidden
        assert arm in {cell.arm for cell in asked.cells}


def test_what_is_tried_reads_no_test_set():
    cells = [cell for block_ in (TRIED_BLOCK, ABLATION_BLOCK) for cell in block_.cells]
    cells += [trial.cell for trial in trials(FASHION, {})]
    assert all(cell.recipe.skip_test for cell in cells)


# ------------------------------------------------------------------ what is missing


def test_encoders_come_before_what_starts_from_them(tmp_path):
    cells = TINY.cells((SCRATCH, FAST), {0.1: 3, 1.0: 1})
    first, second = missing_of([block(*cells)], tmp_path, 2)
    assert names(first[:2]) == [f"autoencoder-digits-epochs1-width0.1/seed{k}" for k in (0, 1)]
    assert [job.setup.kind for job in first[2:]] == ["baseline"] * 3
    assert [job.setup.recipe.seed for job in second] == [0, 0, 1]
    assert second[0].encoder == first[0]


def test_only_what_is_missing_is_run(tmp_path):
    blocks = [block(*TINY.cells((SCRATCH, FAST), {0.1: 1}))]
    first, second = missing_of(blocks, tmp_path)
    for job in (*first, *second):
        finish(job)
    assert missing_of(blocks, tmp_path) == []
    # Weights are not in git: an encoder is made again only for a classifier that needs it.
    (first[0].folder / ENCODER).unlink()
    assert missing_of(blocks, tmp_path) == []
    shutil.rmtree(second[0].folder)
    assert missing_of(blocks, tmp_path) == [first[:1], second]


def test_an_encoder_is_made_once_for_all_blocks(tmp_path):
    blocks = [block(*TINY.cells((FAST,), {budget: 1})) for budget in (0.1, 1.0)]
    assert [len(wave) for wave in missing_of(blocks, tmp_path)] == [1, 1, 1]


def test_some_label_budgets_and_blocks_only(tmp_path, fails):
    blocks = [block(*TINY.cells((SCRATCH,), {0.1: 2, 1.0: 2}))]
    (wave,) = missing_of(blocks, tmp_path, None, [1.0])
    assert names(wave) == [f"baseline-digits-epochs1-width0.1/seed{seed}" for seed in (0, 1)]
    options = ("--dataset", "digits", "--runs-dir", tmp_path)
    assert "choose from 0.01, 0.1, 1" in fails(study, *options, "--label-fractions", 0.2)
    assert "choose from search, primary" in fails(study, *options, "--blocks", "nothing")


def test_blocks_by_number_are_the_first(tmp_path, capsys):
    # The search: 9 trials of each arm at 7 label budgets, and two encoders; then the primary block,
    # 14 cells and an encoder.
    for blocks, count in (("1", 128), ("2", 128 + 15)):
        study(["--runs-dir", str(tmp_path), "--dry-run", "--blocks", blocks, "--seeds", "1"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"{count} runs are missing")
        assert len(lines) == count + 1


def test_a_dry_run_says_what_it_does_not_count(fails, tmp_path, capsys):
    study(["--runs-dir", str(tmp_path), "--dry-run", "--blocks", "classical", "probes"])
    assert "not counted: classical and probes" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    for runs_dir in (tmp_path / "file", tmp_path / "file" / "mine"):
        assert "file' is a file, not a folder" in fails(study, "--dry-run", "--runs-dir", runs_dir)


def test_the_time_left(tmp_path):
    blocks = [block(*TINY.cells((SCRATCH,), {0.1: 3, 1.0: 1}))]
    (wave,) = missing_of(blocks, tmp_path)
    assert "no estimate" in Estimate(find_runs(tmp_path)).left(wave, 1)
    finish(wave[0])  # two rows of 30 s on 2 threads, for 2 epochs of a tenth: 600 s a pass
    (wave,) = missing_of(blocks, tmp_path)
    estimate = Estimate(find_runs(tmp_path))
    assert [estimate.seconds(job) for job in wave] == [600, 120, 120]
    assert estimate.left(wave, 2) == "about 14 core minutes left (0 h 07 min)"


def test_few_images_take_less_time():
    cell = ROUND_1.cell(first_round.FEWER_IMAGES_1, 0.01)
    assert Job(cell.pretraining(0), Path()).passes == pytest.approx(3)


# ------------------------------------------------------------------ runs


def test_the_study_runs_what_is_missing(tiny, tmp_path, capsys):
    options = ["--dataset", "digits", "--blocks", "primary", "--runs-dir", str(tmp_path)]
    study([*options, "--dry-run"])
    assert capsys.readouterr().out.count("\nbaseline-digits") == 2
    assert not list(tmp_path.iterdir())
    study([*options, "--jobs", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 runs are missing")
    name = tiny["pretrained"].name
    assert f"[4/4] {name}/seed0: test accuracy" in lines[-1]
    (classifier,) = find_runs(tmp_path)[name]
    assert classifier.setup.encoder.recipe.seed == 0
    assert classifier.history["epoch"] == [2]
    study(options)
    assert capsys.readouterr().out.startswith("0 runs are missing")
    # A run in a worker, after others there, is the script's, bit for bit.
    script = ["--dataset", "digits", "--width", "0.1", "--epochs", "2", "--seed", "1"]
    script += ["--label-fraction", "0.1", "--validations", "1", "--threads", "1"]
    train_baseline.main([*script, "--runs-dir", str(tmp_path / "script")])
    there = tiny["scratch"].setup(1)
    for file in ("metrics.json", "predictions.npz", "model.safetensors"):
        alone = (there.folder(tmp_path / "script") / file).read_bytes()
        assert (there.folder(tmp_path) / file).read_bytes() == alone


def test_the_study_on_a_dask_cluster(tiny, tmp_path, capsys):
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        options = [
            "--dataset",
            "digits",
            "--blocks",
            "primary",
            "--runs-dir",
            str(tmp_path),
            "--jobs",
            "2",
        ]
        study([*options, "--backend", "dask", "--scheduler", cluster.scheduler_address])
    assert "[4/4]" in capsys.readouterr().out
    assert len(find_runs(tmp_path)[tiny["scratch"].name]) == 2


def test_dask_needs_an_address(fails, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("study.CONNECTION_TIMEOUT", 1)
    options = [
        "--dataset",
        "digits",
        "--blocks",
        "primary",
        "--runs-dir",
        tmp_path,
        "--backend",
        "dask",
    ]
    line = fails(study, *options)
    assert "--scheduler" in line
    line = fails(study, *options, "--scheduler", "tcp://127.0.0.1:9")
    assert "no Dask cluster answers" in line


def test_a_run_that_fails_is_named_and_the_others_go_on(monkeypatch, tmp_path, fails):
    bad = TINY.cell(Arm("too few labels", {"label_fraction": 0.001}), 0.1, (0,))
    bad = replace_recipe(bad, label_fraction=0.001)
    good = TINY.cell(SCRATCH, 0.1, (0,))
    monkeypatch.setitem(STUDIES, "digits", tiny_study(block(bad, good)))
    options = [
        "--dataset",
        "digits",
        "--blocks",
        "primary",
        "--runs-dir",
        tmp_path,
        "--backend",
        "sequential",
    ]
    line = fails(study, *options)
    assert f"1 runs failed; the first, {bad.name}/seed0" in line
    assert "without an image" in line
    assert list(find_runs(tmp_path)) == [good.name]


def replace_recipe(cell: Cell, **changes) -> Cell:
    return Cell(cell.arm, replace(cell.recipe, **changes), cell.seeds)


def test_images_that_are_missing_are_said_once(monkeypatch, tmp_path, fails):
    monkeypatch.setattr("data.HTTPS_MIRRORS", {"fashion": []})
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", [])
    assert "FashionMNIST" in fails(study, "--runs-dir", tmp_path, "--data-dir", tmp_path)


def test_a_folder_in_which_another_is_at_work(tiny, tmp_path):
    job = Job(tiny["scratch"].setup(0), tmp_path)
    job.folder.mkdir(parents=True)
    code = f"import sys, filelock; lock = filelock.FileLock({str(job.folder / LOCK)!r}); "
    code += "lock.acquire(); print('mine', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as other:
        other.stdout.readline()
        outcome = do(job, Place("", Machine(threads=1)))
        other.stdin.close()
    assert outcome.status == "skipped"
    assert not (job.folder / "config.json").exists()
    assert do(job, Place("", Machine(threads=1))).status == "done"  # the other has ended


def test_a_failed_run_frees_its_folder(tmp_path, tiny):
    job = Job(replace_recipe(tiny["scratch"], label_fraction=0.001).setup(0), tmp_path)
    assert do(job, Place("", Machine(threads=1))).status == "failed"
    with FileLock(job.folder / LOCK, timeout=0):
        pass


def test_an_encoder_that_came_out_otherwise_is_noted(tiny, tmp_path, capsys):
    options = [
        "--dataset",
        "digits",
        "--blocks",
        "primary",
        "--runs-dir",
        str(tmp_path),
        "--backend",
        "sequential",
    ]
    cell = tiny["pretrained"]
    write_run(tmp_path, replace_recipe(cell, epochs=7).setup(0), data=digits_data())
    study(options)
    assert "note: the encoder of seed 0 has other weights" in capsys.readouterr().out


def digits_data():
    return replace(DATA, name="digits", digest=load_dataset("digits", "").digest)


# Two runs, of so many epochs, so many at a time.
OWN_STUDY = """
import sys
from studies import arms, cells, grid
from study import main
runs_dir, epochs, jobs = sys.argv[1:]
epochs = int(epochs)
options = {"dataset": "digits", "width": 0.1, "epochs": epochs, "validations": epochs}
round_ = cells.Round(options, {0.1: ({}, {})})
block = cells.Block("primary", "?", round_, round_.cells((arms.SCRATCH,), {0.1: 2}))
nothing = cells.Round({}, {})
grid.STUDIES["digits"] = cells.Study("demo/runs", round_, nothing, nothing, (), 1.0, (block,))
main(["--dataset", "digits", "--blocks", "primary", "--jobs", jobs, "--runs-dir", runs_dir])
"""


def test_one_run_at_a_time_is_done_by_the_study_itself(tmp_path):
    """It must not take itself for a worker whose study has gone."""
    command = [sys.executable, "-c", OWN_STUDY, str(tmp_path), "30", "1"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0
    assert "[2/2] baseline-digits" in done.stdout


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_study(tmp_path, sent):
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", heard + OWN_STUDY, str(tmp_path), "100000", "2"]
    heard_of = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=HERE, **heard_of) as process:
        try:
            wait_for(lambda: len(list(tmp_path.glob("*/*/history.csv"))) == 2)
            workers = children_of(process.pid)
            process.send_signal(sent)
            process.wait(timeout=60)
        finally:
            process.kill()
        lines = process.stderr.read().splitlines()  # until the last of its processes has ended
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[sent]
    assert sent == signal.SIGKILL or [line for line in lines if "interrupted" in line] == lines
    assert len(workers) >= 2
    wait_for(lambda: not any(map(is_running, workers)))


def wait_for(happened, seconds=120):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.1)


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ------------------------------------------------------------------ the search


def write_trials(runs_dir, of, accuracy):
    for trial in of:
        for seed in trial.cell.seeds:
            write_run(runs_dir, trial.cell.setup(seed), valid_accuracy=accuracy(trial))


def test_the_search_has_as_many_trials_for_both_arms(tmp_path):
    budget, favoured = FASHION.search.budgets[0], "batch 16, rate 0.001"
    for round_of_trials in (18, 18 + 8):
        found = [t for t in trials(FASHION, find_runs(tmp_path)) if t.cell.budget == budget]
        assert len(found) == round_of_trials
        by_arm = [[t for t in found if t.arm == arm] for arm in ("from scratch", "pretrained")]
        assert len(by_arm[0]) == len(by_arm[1])
        write_trials(tmp_path, found, lambda t: 0.8 if t.name == favoured else 0.7)
    last = [t for t in found if t.arm == "pretrained"][-1].cell.recipe
    assert (last.batch_size, last.learning_rate, last.freeze_encoder) == (16, 1e-3, True)
    assert best(by_arm[0], find_runs(tmp_path)).name == favoured
    assert {cell.seeds for cell in search_block(FASHION, {}).cells} == {(100, 101)}


def test_large_budgets_are_searched_with_the_protocols_pretraining():
    found = {t.cell.budget: t.cell for t in trials(FASHION, {}) if t.arm == "pretrained"}
    assert list(found) == list(FASHION.protocol.budgets)
    assert found[0.03].pretraining(100).name == "autoencoder-normalised-epochs30"
    assert found[0.1].pretraining(100).name == "autoencoder"


def test_recipes_are_those_that_the_search_chose():
    """Below 10 % the protocol's; from there on those of the block `searched`."""

    def chosen(recipe):
        told = ("epochs", "batch_size", "learning_rate", "label_smoothing", "freeze_encoder")
        return [getattr(recipe, name) for name in (*told, "encoder_lr_scale")]

    runs = find_runs(HERE / "runs")
    for budget in FASHION.search.budgets:
        late = budget >= FASHION.searched_late
        round_ = FASHION.rechosen if late else FASHION.protocol
        for name, arm in (("from scratch", SCRATCH), ("pretrained", PRETRAINED)):
            own = [t for t in trials(FASHION, runs) if (t.cell.budget, t.arm) == (budget, name)]
            if not late or budget in round_.budgets:
                assert all(trial.is_complete(runs) for trial in own)
                cell = round_.cell(arm, budget)
                assert chosen(best(own, runs).cell.recipe) == chosen(cell.recipe)


def test_each_arm_is_run_with_the_others_recipe():
    for budget in FASHION.rechosen.budgets:
        scratch, pretrained, same, other = (
            FASHION.rechosen.cell(arm, budget)
            for arm in (
                arms.RECHOSEN_SCRATCH,
                arms.RECHOSEN,
                arms.RECHOSEN_SAME,
                arms.RECHOSEN_OTHER,
            )
        )
        assert same.recipe == pretrained.recipe != scratch.recipe == other.recipe
        assert scratch.pretraining(10) is same.pretraining(10) is None
        assert other.pretraining(10).name == pretrained.pretraining(10).name == "autoencoder"


def test_few_validation_images_choose_worse(tmp_path):
    found = list(trials(FASHION, {}))[:9]
    write_trials(tmp_path, found, lambda t: 0.6 + 0.02 * found.index(t))
    runs = find_runs(tmp_path)
    few, more, whole = (choice_by_few(found, runs, images) for images in (2, 20, 50))
    assert 0.6 < few < more < whole == pytest.approx(0.76)  # 50 are all that there are


# ------------------------------------------------------------------ what is said


def write_pairs(runs_dir, seeds, wrong, budget=0.3, block_=ROUND_1_BLOCK):
    """Runs of both arms; of 200 images 40, 41 or 42 are wrong from scratch."""
    ((treated, control),) = block_.families[0]
    cells = [block_.cell(arm, budget) for arm in (control, treated)]
    for seed in cells[0].seeds[:seeds]:
        for cell, count in zip(cells, (40 + seed % 3, wrong(seed)), strict=True):
            write_run(runs_dir, cell.setup(seed), first_images_wrong(count))


def row_of(runs_dir):
    """The one comparison of a family of one."""
    alone = Block("alone", "?", ROUND_1, ROUND_1.cells((SCRATCH, EARLIER), {0.3: 6}))
    (row,) = compare(find_runs(runs_dir), alone, ((EARLIER, SCRATCH),))
    return row


def test_a_claim_needs_seeds_and_a_clear_difference(tmp_path):
    write_pairs(tmp_path / "few", 5, lambda seed: 20)
    few = row_of(tmp_path / "few")
    assert (few.judged.verdict, few.is_tested) == ("undecided", False)
    write_pairs(tmp_path / "clear", 6, lambda seed: 20)
    clear = row_of(tmp_path / "clear").judged
    assert clear.verdict == "helps"
    assert clear.difference.mean == pytest.approx(0.105)  # of 200 images
    assert clear.difference.p == clear.p == 2 / 2**6
    write_pairs(tmp_path / "harm", 6, lambda seed: 60)
    assert row_of(tmp_path / "harm").judged.verdict == "harms"
    write_pairs(tmp_path / "none", 6, lambda seed: 40 + 5 * (-1) ** seed)
    assert row_of(tmp_path / "none").judged.verdict == "undecided"
    write_pairs(tmp_path / "same", 6, lambda seed: 40 + seed % 3)
    assert row_of(tmp_path / "same").judged.verdict == "equivalent within the margin"


def test_verdicts_are_corrected_for_their_family(tmp_path):
    for budget, wrong in ((0.05, 20), (0.3, 40), (1.0, 40)):
        write_pairs(tmp_path, 6, lambda seed, wrong=wrong: wrong + 2 * (seed % 2), budget)
    rows = compare(find_runs(tmp_path), ROUND_1_BLOCK, ROUND_1_BLOCK.families[0])
    assert [row.budget for row in rows] == [0.05, 0.3, 1.0]
    assert rows[0].judged.difference.p == 2 / 2**6
    assert rows[0].judged.p == 5 * 2 / 2**6  # which are planned
    assert {row.judged.verdict for row in rows} == {"undecided"}


def test_an_incomplete_comparison_is_not_tested_and_keeps_its_place(tmp_path):
    write_pairs(tmp_path, 6, lambda seed: 20, 0.3)  # all that are planned
    write_pairs(tmp_path, 9, lambda seed: 20, 0.1)  # of ten
    rows = compare(find_runs(tmp_path), ROUND_1_BLOCK, ROUND_1_BLOCK.families[0])
    assert [(row.budget, row.is_tested, row.planned) for row in rows] == [
        (0.1, False, 10),
        (0.3, True, 6),
    ]
    assert rows[0].judged.verdict == "undecided"
    assert rows[1].judged.p == 5 * 2 / 2**6


def test_the_protocols_seeds_are_the_answer_as_soon_as_there_are_any(tmp_path):
    for arm in (SCRATCH, PRETRAINED):
        write_run(tmp_path, PRIMARY.cell(arm, 1.0).setup(4321))
    found = answer(find_runs(tmp_path))
    assert found.other_seeds
    assert [(row.budget, row.judged.verdict) for row in found.rows] == [(1.0, "undecided")]
    assert "other seeds" in study_page(find_runs(tmp_path), "img")
    write_pairs(tmp_path, 9, lambda seed: 20, 0.001, PRIMARY)
    write_pairs(tmp_path, 10, lambda seed: 20, 0.1, PRIMARY)
    found = answer(find_runs(tmp_path))
    assert not found.other_seeds
    incomplete, complete = found.rows
    assert (incomplete.budget, incomplete.judged.verdict) == (0.001, "undecided")
    # One of seven, of which the others count as p = 1.
    assert complete.judged.p == pytest.approx(7 * 2 / 2**10)
    assert complete.judged.verdict == "helps"
    page = study_page(find_runs(tmp_path), "img")
    assert "| 0.1 % | 2000 / 500 | 79.50 ± 0.43 | 90.00 ± 0.00 |" in page
    assert "| 9 | undecided (incomplete) |" in page
    assert "| 0.3 % | 250 / 500 | – | – |" in page


def test_there_is_no_answer_without_a_pair(tmp_path):
    assert answer({}) is None
    assert "No finished pair" in study_page({}, "img")
    write_run(tmp_path, PRIMARY.cell(SCRATCH, 1.0).setup(0))
    assert answer(find_runs(tmp_path)) is None


def test_a_short_arm_is_compared_with_short_scratch(tmp_path):
    for seed in range(6):
        write_run(tmp_path, ROUND_1.cell(SCRATCH, 0.1).setup(seed))
        for arm, wrong in ((SCRATCH_SHORT, 40 + seed), (PRETRAINED_SHORT, 20)):
            write_run(tmp_path, ROUND_1.cell(arm, 0.1).setup(seed), first_images_wrong(wrong))
    (row,) = compare(find_runs(tmp_path), ROUND_1_BLOCK, first_round.AGAINST_SCRATCH_1)
    assert (row.arm, row.control, row.epochs) == (PRETRAINED_SHORT, SCRATCH_SHORT, "3")
    assert row.judged.difference.mean == pytest.approx(0.1125)  # 22.5 of 200 images


def test_arms_are_told_beside_each_other(tmp_path):
    for seed in range(6):
        for arm, wrong in ((EXTRA, 30 + seed % 2), (EARLIER, 20)):
            write_run(tmp_path, ROUND_1.cell(arm, 0.1).setup(seed), first_images_wrong(wrong))
    page = study_page(find_runs(tmp_path), "img")
    arms = f"| {EARLIER.name} | {EXTRA.name} |"
    assert f"{arms} 10 % | 6 of 10 | +5.25 |" in page


@pytest.mark.parametrize(
    ("goal", "epochs"),
    [(0.1, 0), (0.3, 0.5), (0.5, 1), (0.7, 1.5), (0.9, 2), (0.95, 2)],
)
def test_epochs_to_an_accuracy(tmp_path, goal, epochs):
    # 10 % by chance, 50 % after an epoch, 90 % after two: 30 % lies half way up to the first.
    cell = ROUND_1.cell(SCRATCH, 1.0)
    write_run(tmp_path, cell.setup(0))
    (run,) = find_runs(tmp_path)[cell.name]
    assert epochs_to(run, goal) == pytest.approx(epochs)


def test_the_page_shows_both_rounds(tmp_path):
    runs_dir = tmp_path / "runs"
    for block_ in (ROUND_1_BLOCK, PRIMARY):
        write_pairs(runs_dir, 6, lambda seed: 20, 0.1, block_)
        write_pairs(runs_dir, 2, lambda seed: 20, 1.0, block_)
    for seed in range(6):
        write_run(runs_dir, PRIMARY.cell(PRETRAINED, 0.1).pretraining(seed))
    # Ten times as dear, as on a busy machine.
    dear = replace(ENVIRONMENT, threads=20)
    write_run(runs_dir, PRIMARY.cell(PRETRAINED, 0.1).pretraining(100), environment=dear)
    pages = {"--readme": "README.md", "--study-page": "STUDY.md", "--results": "results.csv"}
    options = [word for name, file in pages.items() for word in (name, str(tmp_path / file))]
    folders = ["--runs-dir", str(runs_dir), "--img-dir", str(tmp_path / "img")]
    plot([*folders, *options, "--data-dir", str(tmp_path)])
    text = (tmp_path / "STUDY.md").read_text()
    assert "| from scratch | 79.50 ± 0.45 (6) | 79.75 ± 0.35 (2) |" in text
    assert f"| {EARLIER.name} | from scratch | 10 % | 6 of 10 | +10.50 |" in text
    assert "| incomplete |" in text
    assert "39 finished runs together took 1.6 hours" in text  # of 60 s on 2 threads
    drawn = {path.name for path in (tmp_path / "img").iterdir()}
    pictures = ("label_efficiency", "gain", "learning_speed", "class_differences", "cost")
    assert {f"{picture}.png" for picture in pictures} <= drawn
    # 4, 5 or 5 of its 20 images are wrong from scratch, and 2 pretrained.
    assert "| T-shirt/top | +13.33 (" in text
    assert "| Class name | 10 % | Corrected p |\n" in text  # two pairs are no basis
    # Epochs, and those to 99 % of the last.
    assert "| 10 % | 6 | 30 | 2.0 | 2.0 | +0.0 | +0.0 to +0.0 | 1.000 | 0 / 0 |" in text
    assert "| 10 % | 2.0 | 2.0 | 2.0 | 2.0 | 1.1 |" in text  # core minutes


def test_what_was_tried_is_told_by_validation(tmp_path):
    for seed in range(2):
        cells = ((SCRATCH, 0.91), (EARLIER, 0.92), (first_round.SLOW_ENCODER, 0.93))
        for arm, accuracy in cells:
            setup = ROUND_1.cell(arm, 0.01).setup(seed)
            write_run(tmp_path, setup, valid_accuracy=accuracy)
    rows = tried(find_runs(tmp_path), ROUND_1_BLOCK)
    assert [row["arm"] for row in rows] == [first_round.SLOW_ENCODER.name, EARLIER.name]
    assert rows[0]["means"] == pytest.approx([0.91, 0.93])
    assert "0.3 of the rate | 2 | 91.00 | 93.00 | +2.00 |" in study_page(find_runs(tmp_path), "img")


def test_other_numbers_of_epochs_are_told_over_the_same_seeds(tmp_path):
    for arm, seeds in ((first_round.SCRATCH_HALF, 3), (SCRATCH, 4), (first_round.SCRATCH_TWICE, 2)):
        for seed in range(seeds):
            setup = ROUND_1.cell(arm, 0.01).setup(seed)
            write_run(tmp_path, setup, valid_accuracy=0.8 + 0.1 * seed)
    (row,) = by_epochs(find_runs(tmp_path), ROUND_1_BLOCK)
    assert row["seeds"] == 2
    assert row["columns"] == [
        (pytest.approx(0.85), 50),
        (pytest.approx(0.85), 100),
        (pytest.approx(0.85), 200),
        None,
        None,
    ]


@pytest.mark.parametrize("page", ["README.md", "STUDY.md", "BENCHMARK.md"])
def test_a_table_is_not_torn(page):
    """A heading row, the row of dashes and what follows stand line by line, or it is no table."""
    lines = ["", *(HERE / page).read_text(encoding="utf-8").splitlines()]
    dashes = [k for k, line in enumerate(lines) if re.fullmatch(r"\|( ?-+:? ?\|)+", line)]
    assert dashes
    for k in dashes:
        columns = lines[k].count("|")
        assert [lines[row].replace("\\|", "").count("|") for row in (k - 1, k + 1)] == [columns] * 2


def test_the_ablation_is_told_by_its_changes(tmp_path):
    for arm, accuracy in zip(first_round.ABLATION[:2], (0.92, 0.91), strict=True):
        write_run(tmp_path, ROUND_1.cell(arm, 1.0).setup(0), valid_accuracy=accuracy)
    page = study_page(find_runs(tmp_path), "img")
    assert "| the recipe | 92.00 |  | 12 |" in page  # 120 core seconds for 10 epochs
    assert "| no horizontal flips, in validation neither | 91.00 | −1.00 | 12 |" in page


def test_the_search_is_told_trial_by_trial(tmp_path):
    write_trials(tmp_path, trials(FASHION, {}), lambda t: 0.8 if "batch 32" in t.name else 0.7)
    page = study_page(find_runs(tmp_path), "img")
    assert "| batch 32, rate 0.001 | 80.00 | 80.00 | 80.00 | 80.00 |" in page
    assert page.count("| **best** | batch 32, rate 0.001 |") == 2


def test_baselines_without_a_network(tmp_path):
    write_pairs(tmp_path, 10, lambda seed: 20, 0.1, PRIMARY)
    seeds = PRIMARY.cells[0].seeds
    svm, pixels = (
        {"name": name, "label_fraction": 0.1, "core_seconds": 3}
        | {"test_accuracy": {str(seed): accuracy for seed in own}}
        for name, accuracy, own in (("HOG | SVM", 0.88, seeds[:6]), ("pixels", 0.89, seeds[:5]))
    )
    write_json(tmp_path / CLASSICAL, [svm | {"settings_of": 0.03}, pixels])
    page = study_page(find_runs(tmp_path), "img")
    assert "| HOG \\| SVM | 10 % | 88.00 ± 0.00 | 79.50 ± 0.45 | 6 | +2.00 |" in page
    assert "*HOG \\| SVM*: too slow to search its setting at 10 %; it has the one of 3 %" in page
    # The pixels' five pairs are too few for that.
    assert "above scratch at" not in page
    write_json(tmp_path / CLASSICAL, [svm])
    page = study_page(find_runs(tmp_path), "img")
    assert "by its mean, above scratch at 10 % (+8.50, +8.03 to +8.97)." in page
    told = page[: page.index("## The protocol")]
    assert "| pretrained | best without a network, not tested | 6 | +2.00 |" in told
    write_pairs(tmp_path, 10, lambda seed: 20, 1.0, PRIMARY)
    elsewhere = pixels | {"label_fraction": 1.0}  # where the other was not measured
    write_json(tmp_path / CLASSICAL, [svm, elsewhere])
    page = study_page(find_runs(tmp_path), "img")
    assert "above scratch at" not in page
    assert "Not measured: *HOG \\| SVM* at 0.1 %, 0.3 %, 1 %, 3 %, 30 %, 100 %; *pixels*" in page


def test_what_encoders_know(tmp_path):
    write_pairs(tmp_path, 6, lambda seed: 20, 0.1, PRIMARY)
    probes = [
        {"encoder": encoder, "stage": stage, "probe": probe, "label_fraction": 0.01}
        | {"test_accuracy": {"10": accuracy, "11": accuracy + 0.02}}
        for encoder, probe, stage, accuracy in (
            (TRAINED, "linear probe", "7x7", 0.8),
            (TRAINED, "k-NN", "7x7", 0.7),
            ("plain", "linear probe", "7x7", 0.55),
            (RANDOM, "linear probe", "7x7", 0.6),
            (RANDOM, "linear probe", "28x28", 0.5),
            ("plain", "linear probe", "28x28", 0.6),
        )
    ]
    probes[3]["test_accuracy"]["12"] = 0.99  # a seed that the others have not got
    write_json(tmp_path / PROBES, probes)
    page = study_page(find_runs(tmp_path), "img")
    assert (
        "the last stage's maps, in points and not tested: *plain* −5.00 (linear probe, 1 %)."
        in page
    )
    assert (
        """
| Label budget | Encoder | linear probe, 28x28 | linear probe, 7x7 | k-NN, 7x7 | Seeds |
| ---: | --- | ---: | ---: | ---: | ---: |
| 1 % | plain | 61.00 ± 1.41 | 56.00 ± 1.41 | – | 2 |
| 1 % | random | 51.00 ± 1.41 | 73.67 ± 21.96 | – | 3 |
| 1 % | trained on all labels | – | 81.00 ± 1.41 | 71.00 ± 1.41 | 2 |
"""
        in page
    )


def test_a_cost_is_of_one_pretraining(tmp_path):
    """The first round's short runs started from encoders that were pretrained otherwise."""
    seed = PRIMARY.cells[0].seeds[0]
    for cell in (ROUND_1.cell(PRETRAINED_SHORT, 0.1), PRIMARY.cell(PRETRAINED, 0.1)):
        for setup in (cell.setup(seed), cell.pretraining(seed)):
            write_run(tmp_path, setup)
    write_run(tmp_path, PRIMARY.cell(PRETRAINED, 0.1).setup(seed - 1))  # no seed of the cell
    (cost,) = costs(find_runs(tmp_path), PRIMARY)
    assert cost.cell.name == "pretrained-labels10-epochs30"
    assert len(cost.accuracies) == 1


def test_core_seconds(tmp_path):
    cell = ROUND_1.cell(SCRATCH, 1.0)
    folder = write_run(tmp_path, cell.setup(0))
    (run,) = find_runs(tmp_path)[cell.name]
    assert read_json(folder / "config.json", Config[Setup]).environment.threads == 2
    assert core_seconds(run) == 120


def test_what_a_graphics_card_took_is_no_cost(tmp_path):
    """A run there counts by what a run with such batches takes on a processor."""
    card = replace(ENVIRONMENT, device="cuda", accelerator="a card")
    cell = PRIMARY.cell(SCRATCH, 1.0)
    write_run(tmp_path, cell.setup(cell.seeds[0]), environment=card)
    assert costs(find_runs(tmp_path), PRIMARY) == []
    write_run(tmp_path, ROUND_1.cell(SCRATCH, 0.1).setup(0))  # 120 s for 30 epochs
    (cost,) = costs(find_runs(tmp_path), PRIMARY)
    assert cost.total == pytest.approx(120 / 30 * 10 / 60)
    page = study_page(find_runs(tmp_path), "img")
    assert "1 finished runs together took 0.0 hours of one processor core" in page
    assert "1 more\nwere made on a graphics card" in page


def test_the_answer_tells_what_longer_training_gives_wherever_it_ran(tmp_path):
    card = replace(ENVIRONMENT, device="cuda", accelerator="a card")
    table = "| pretrained | from scratch, 20 more passes over all images |"
    for seed in range(10, 20):
        for arm, wrong in ((SCRATCH, 40), (PRETRAINED, 30), (arms.LONGER, 20)):
            cell = PRIMARY.cell(arm, 1.0)
            write_run(tmp_path, cell.setup(seed), first_images_wrong(wrong), environment=card)
        if seed == 10:
            page = study_page(find_runs(tmp_path), "img")
            assert "| 1 of 10 | −5.00 | – | – | – | – | incomplete |" in page
            assert table not in page[: page.index("## The protocol")]
    ((longer, times),) = answer(find_runs(tmp_path)).longer
    assert times is None
    assert (longer.budget, longer.scratch[0], longer.pretrained[0]) == (1.0, 0.9, 0.85)
    page = study_page(find_runs(tmp_path), "img")
    assert f"{table} 10 | **−5.00** |\n" in page
    assert "more passes from scratch are estimated" not in page  # which a card's runs do not tell
    both = PRIMARY.cell(arms.LONGER_PRETRAINED, 1.0)
    for seed in range(10, 18):
        write_run(tmp_path, both.setup(seed), first_images_wrong(20), environment=card)
    page = study_page(find_runs(tmp_path), "img")
    assert "20 more passes over all images), it is +0.00 at 100 % (equivalent within" in page


def test_the_answer_tells_what_recipes_give_that_were_searched_later(tmp_path):
    block = FASHION.block("searched")
    for arm, wrong in ((arms.RECHOSEN_SCRATCH, 30), (arms.RECHOSEN, 20), (arms.RECHOSEN_OTHER, 40)):
        for seed in range(10, 20):
            correct = first_images_wrong(wrong + seed % 2)
            write_run(tmp_path, block.cell(arm, 0.1).setup(seed), correct)
    write_pairs(tmp_path, 10, lambda seed: 20, 0.1, PRIMARY)
    page = study_page(find_runs(tmp_path), "img")
    told = page[: page.index("## The protocol")]
    assert "for each arm, where none had before, the gain is +5.00 at 10 % (helps). Where" in told
    assert "passes over all images), it is −5.00 at 10 % (harms).\n" in told
    names = f"| {arms.RECHOSEN_OTHER.name} | {arms.RECHOSEN_SCRATCH.name} |"
    assert f"{names} 10 | **−5.00** |\n" in told


def test_the_answer_tells_what_the_auxiliary_loss_gives_without_pretraining(tmp_path):
    block = FASHION.block("auxiliary-scratch")
    wrong = {SCRATCH: 40, PRETRAINED: 35, arms.WITH_LOSS_SCRATCH: 30, arms.WITH_LOSS: 10}
    elsewhere = replace(ENVIRONMENT, processor="another")
    for seed in range(10, 20):
        told = answer(find_runs(tmp_path))
        assert not told or not told.beside
        for arm, images in wrong.items():
            cell = block.cell(arm, 0.01)
            there = ENVIRONMENT if arm is SCRATCH else elsewhere
            correct = first_images_wrong(images + seed % 2)
            write_run(tmp_path, cell.setup(seed), correct, environment=there)
    told = answer(find_runs(tmp_path))
    ((alone,), (both,)) = told.beside
    assert (alone.of_two_machines, both.of_two_machines) == (10, 0)
    assert (alone.judged.difference.mean, alone.judged.verdict) == (pytest.approx(0.05), "helps")
    assert (both.judged.difference.mean, both.judged.verdict) == (pytest.approx(0.1), "helps")


def test_the_answer_tells_what_hiding_patches_gives_with_hog_and_without(tmp_path):
    wrong = {SCRATCH: 40, arms.PLAIN: 40, arms.PIXELS: 30, arms.UNMASKED: 20, PRETRAINED: 15}
    for seed in range(10, 20):
        for arm, images in wrong.items():
            correct = first_images_wrong(images + seed % 2 * (arm is not arms.PLAIN))
            write_run(tmp_path, PRIMARY.cell(arm, 0.001).setup(seed), correct)
    page = study_page(find_runs(tmp_path), "img")
    told = page[: page.index("## The protocol")]
    assert "gives +0.25 at 0.1 % (undecided). Hiding patches adds +4.75 at 0.1 % (helps)" in told
    assert "to that, and where HOG are predicted, too, +2.50 at 0.1 % (helps).\n" in told


def test_what_is_decided_is_told_in_words(tmp_path):
    again = FASHION.block("again")
    write_pairs(tmp_path, 8, lambda seed: 20 + seed, 0.01, again)
    page = study_page(find_runs(tmp_path), "img")
    told = page[page.index(f"### {again.question}") :]
    assert "Decided, in points: *pretrained* is better than *from scratch* (+" in told
    assert "Undecided: all else." not in told


def test_a_factorials_means_are_over_the_same_seeds(tmp_path):
    """Its control is the primary cells', and has seeds that the others have not got yet."""
    factorial = FASHION.block("factorial")
    for arm, seeds in ((PRETRAINED, (10, 11)), (arms.NORMALISED, (11,))):
        for seed in seeds:
            wrong = first_images_wrong(20 + 20 * (seed == 11))
            write_run(tmp_path, factorial.cell(arm, 0.01).setup(seed), wrong)
    page = study_page(find_runs(tmp_path), "img")
    table = page[page.index(f"### {factorial.question}") :]
    assert "| masked, normalised | 80.00 (1) |\n| pretrained | 80.00 (1) |" in table
    write_run(tmp_path, factorial.cell(SCRATCH, 0.01).setup(11), first_images_wrong(60))
    draw_study(find_runs(tmp_path), tmp_path)
    assert (tmp_path / "factorial.png").exists()


def test_pairs_that_are_all_of_two_machines_are_said_to_be(tmp_path):
    """Arm and machine cannot be told apart there."""
    block = FASHION.block("auxiliary")
    cell = block.cells[0]
    elsewhere = replace(ENVIRONMENT, processor="another")
    for seed, there in ((10, elsewhere), (11, elsewhere)):
        write_run(tmp_path, cell.setup(seed), environment=there)
        write_run(tmp_path, block.cell(PRETRAINED, cell.budget).setup(seed))
    page = study_page(find_runs(tmp_path), "img")
    assert "In each pair the two runs are of different machines: a difference between" in page
    write_run(tmp_path, cell.setup(12))
    write_run(tmp_path, block.cell(PRETRAINED, cell.budget).setup(12))
    page = study_page(find_runs(tmp_path), "img")
    assert f"2 of 3 of *{cell.arm.name}* minus *pretrained*.\n" in page


def test_what_a_machine_changes_is_told_over_the_same_runs(tmp_path):
    """Neither a copy nor a run from other weights counts."""
    cells = FASHION.blocks[0].cells
    elsewhere = replace(ENVIRONMENT, processor="another | one")
    for seed in FASHION.seeds:
        write_run(tmp_path, cells[0].setup(seed), first_images_wrong(20))
        there = ENVIRONMENT if seed == 19 else elsewhere
        write_run(
            tmp_path / REPEATED, cells[0].setup(seed), first_images_wrong(24), environment=there
        )
    fine_tuned = FASHION.blocks[0].cell(PRETRAINED, 0.1).setup(10)
    write_run(tmp_path, fine_tuned)
    other = replace(fine_tuned, encoder=replace(fine_tuned.encoder, digest="1" * 64))
    write_run(tmp_path / REPEATED, other, environment=elsewhere)

    page = study_page(find_runs(tmp_path), "img")
    table = page.split("### Does the machine matter?")[1].split("##")[0]
    assert "on another \\| one with PyTorch 2" in table
    assert "| from scratch | 0.1 % | 9 of 10 | 90.00 ± 0.00 | 88.00 ± 0.00 | −2.00 |" in table
    assert "incomplete |" in table
    assert "| pretrained |" not in table
    write_run(
        tmp_path / REPEATED, cells[0].setup(19), first_images_wrong(24), environment=elsewhere
    )
    assert "| 0.002 | 0.002 | 1.000 | differs |" in study_page(find_runs(tmp_path), "img")


def test_what_else_was_tried_is_told_by_validation(tmp_path):
    block = FASHION.block("tried")
    searched = [cell for cell in block.cells if cell.arm in (SCRATCH, EARLIER)]
    for cell in searched:  # the search itself leaves these
        write_run(tmp_path, cell.setup(100), valid_accuracy=0.8)
    assert block.question not in study_page(find_runs(tmp_path), "img")
    other = block.cells[-1]
    for seed, accuracy in zip(other.seeds, (0.84, 0.86), strict=True):
        write_run(tmp_path, other.setup(seed), valid_accuracy=accuracy)
    page = study_page(find_runs(tmp_path), "img")
    assert f"### {block.question}" in page
    assert f"| {other.arm.name} |  |  | 85.00 ± 1.41 (2) |" in page
    assert "Not run yet: from scratch, random erasing; " in page
