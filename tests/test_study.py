"""The study: what is missing for its questions, and how its runs are done."""

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import train_baseline
from harness.errors import UserError
from harness.rundir import LOCK
from models import AlexNet
from report.collect import collect
from report.compare import compare
from report.study import read_study
from report.tables import Tables
from study import Job, do, main

HERE = Path(__file__).parents[1]
# Two runs that need nothing and, after an encoder, one that does.
TINY = """
[shared]
dataset = "digits"
width = 0.1
validations = 1
[budgets.tiny]
"0.1" = { epochs = 2 }
[arms.scratch]
title = "from scratch"
recipe = "tiny"
[arms.pretrained]
title = "pretrained"
recipe = "tiny"
encoder = { epochs = 1 }
[[questions]]
id = "primary"
sentence = "Does it help?"
arms = ["scratch"]
budgets = [0.1]
seeds = [0, 1]
"""
QUESTION = """
[[questions]]
id = "added"
sentence = "And the encoder?"
arms = ["pretrained"]
budgets = [0.1]
seeds = [0]
compare = [["pretrained minus scratch"]]
"""
SCRATCH, PRETRAINED, ENCODER = (
    "baseline-digits-labels10-epochs2-width0.1",
    "pretrained-digits-labels10-epochs2-width0.1-from-epochs1",
    "autoencoder-digits-epochs1-width0.1",
)
PLACE = {"data_dir": "data", "device": "cpu", "precision": "fp32", "threads": 1}


@pytest.fixture
def toml(tmp_path, monkeypatch):
    """A study file in the place of digits.toml; what is written there counts."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY + QUESTION)
    monkeypatch.setattr("report.study.study_file", lambda dataset: path)
    monkeypatch.setattr("report.collect.study_file", lambda dataset: path)
    return path


@pytest.fixture
def planned(tmp_path, capsys):
    """What is still to be done below runs/."""

    def names(*options) -> list[str]:
        capsys.readouterr()
        main(["--dataset", "digits", "--runs-dir", str(tmp_path / "runs"), "--dry-run", *options])
        return capsys.readouterr().out.splitlines()[1:]

    return names


def test_a_question_in_the_file_alone_is_run_and_becomes_a_table(toml, planned, tmp_path):
    toml.write_text(TINY)
    assert planned() == [f"{SCRATCH}/seed0", f"{SCRATCH}/seed1"]
    toml.write_text(TINY + QUESTION)
    assert planned("--questions", "added") == [f"{ENCODER}/seed0", f"{PRETRAINED}/seed0"]
    assert planned("--questions", "primary", "--seeds", "1") == [f"{SCRATCH}/seed0"]
    assert len(planned("--label-fractions", "0.1")) == 4
    place = ["--dataset", "digits", "--runs-dir", str(tmp_path / "runs")]
    main([*place, "--jobs", "2", "--questions", "primary", "added"])
    assert planned("--questions", "primary", "added") == [""]

    collect(tmp_path / "runs", tmp_path / "results")
    study = read_study(toml)
    (row,) = compare(Tables(tmp_path / "results"), study, study.question("added")).itertuples()
    assert (row.arm, row.control, row.pairs, row.tested) == ("pretrained", "scratch", 1, False)
    # A run in a worker, after others there, is the script's, bit for bit.
    script = ["--dataset", "digits", "--width", "0.1", "--epochs", "2", "--seed", "1"]
    script += ["--label-fraction", "0.1", "--validations", "1", "--threads", "1"]
    train_baseline.main([*script, "--runs-dir", str(tmp_path / "script")])
    for file in ("metrics.json", "predictions.npz", "model.safetensors"):
        both = [tmp_path / where / SCRATCH / "seed1" / file for where in ("script", "runs")]
        assert both[0].read_bytes() == both[1].read_bytes()
    kept = Tables(tmp_path / "results").runs(SCRATCH)[0]
    assert kept.parameters == sum(weight.numel() for weight in AlexNet(0.1).parameters())
    assert 1 < kept.multiply_adds / kept.parameters < 100  # a convolution's weight counts often


@pytest.mark.parametrize(("options", "named"), [
    (("--questions", "nothing"), "nothing"), (("--label-fractions", "0.5"), "0.5"),
])  # fmt: skip
def test_a_part_that_is_not_there_is_named(toml, tmp_path, fails, options, named):
    line = fails(main, "--dataset", "digits", "--runs-dir", tmp_path / "runs", *options)
    assert named in line and "choose from" in line


@pytest.mark.parametrize(("before", "after", "named"), [
    ('arms = ["pretrained"]', 'arms = ["nobody"]', "nobody"),
    ("budgets = [0.1]", "budgets = [0.5]", "0.5"),
    ("seeds = [0]", "", "lacks"),
    ('id = "added"', 'id = "primary"', "twice"),
    ("epochs = 1 }", "epochs = 1", "tiny.toml"),
    ('title = "pretrained"', 'tittle = "pretrained"', "tittle"),
    ("seeds = [0]", 'seeds = [0]\nscreen = ["scratch minus pretrained"]', "compare"),
])  # fmt: skip
def test_a_mistake_in_the_file_is_one_line(toml, before, after, named):
    toml.write_text((TINY + QUESTION).replace(before, after))
    with pytest.raises(UserError, match=named):
        read_study(toml)


@pytest.mark.parametrize("name", ["study.toml", "digits.toml"])
def test_the_arms_of_the_projects_studies_have_titles_of_their_own(name):
    titles = [arm.title for arm in read_study(HERE / name).arms.values()]
    assert len(titles) == len(set(titles))


def test_controls_differ_from_their_arms_in_one_thing():
    study = read_study(HERE / "study.toml")
    arms = ("scratch", "scratch-longer", "unmasked", "pretrained")
    scratch, longer, unmasked, pretrained = (study.setup(arm, 0.01) for arm in arms)
    assert longer.recipe.epochs - scratch.recipe.epochs == 20 / 0.01  # passes over all images
    assert unmasked.recipe == pretrained.recipe
    (difference,) = unmasked.differences(pretrained)
    assert "corruption" in difference


def test_a_run_that_fails_is_named_and_the_others_go_on(toml, tmp_path, fails):
    bad = '[[questions]]\nid = "bad"\nsentence = "?"\narms = ["scratch"]\n'
    bad += "budgets = [0.001]\nseeds = [0]\n"
    text = TINY.replace("[budgets.tiny]\n", '[budgets.tiny]\n"0.001" = { epochs = 1 }\n')
    toml.write_text(text + bad)
    runs = tmp_path / "runs"
    line = fails(main, "--dataset", "digits", "--runs-dir", runs, "--jobs", "1")
    assert "1 runs failed; the first" in line and "without an image" in line
    assert len(list(runs.glob(f"{SCRATCH}/*/metrics.json"))) == 2


def test_a_folder_in_which_another_is_at_work(toml, tmp_path):
    job = Job(read_study(toml).setup("scratch", 0.1), tmp_path)
    folder = job.setup.folder(tmp_path)
    folder.mkdir(parents=True)
    with open(folder / LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # which holds against whoever opens the file anew
        assert do(job, PLACE, study=0).status == "skipped"
    assert not (folder / "config.json").exists()
    # The other has ended, and a run that fails frees the folder as well.
    assert do(job, PLACE | {"device": "nowhere"}, study=0).status == "failed"
    assert do(job, PLACE, study=0).status == "done"


# Two runs of so many epochs, so many at a time.
OWN_STUDY = """
import runpy, sys
from pathlib import Path
import report.study
toml, runs_dir, jobs = sys.argv[1:]
report.study.study_file = lambda dataset: Path(toml)
options = ["--dataset", "digits", "--questions", "primary", "--jobs", jobs]
sys.argv = ["study.py", *options, "--runs-dir", runs_dir]
runpy.run_path("study.py", run_name="__main__")
"""


def own_study(tmp_path, epochs: int, jobs: int) -> list[str]:
    toml = tmp_path / "own.toml"
    text = TINY.replace("epochs = 2", f"epochs = {epochs}")
    toml.write_text(text.replace("validations = 1", f"validations = {epochs}"))
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return [sys.executable, "-c", heard + OWN_STUDY, str(toml), str(tmp_path / "runs"), str(jobs)]


def test_one_run_at_a_time_is_done_by_the_study_itself(tmp_path):
    """It must not take itself for a worker whose study has gone."""
    done = subprocess.run(own_study(tmp_path, 3, 1), cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0
    assert "[2/2] baseline-digits" in done.stdout


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_study(tmp_path, sent):
    heard_of = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(own_study(tmp_path, 100_000, 2), cwd=HERE, **heard_of) as process:
        try:
            until = time.monotonic() + 120
            while len(list(tmp_path.glob("runs/*/*/history.csv"))) < 2:
                assert time.monotonic() < until
                time.sleep(0.1)
            workers = psutil.Process(process.pid).children()
            process.send_signal(sent)
            process.wait(timeout=60)
        finally:
            process.kill()
        lines = process.stderr.read().splitlines()  # until the last of its processes has ended
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[sent]
    assert sent == signal.SIGKILL or (lines and all("interrupted" in line for line in lines))
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=120)
    assert [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE] == []
