"""The study's runs as commands of the training scripts, and what they cost."""

import csv
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arms import ENCODERS, Cell, Study

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """One run: `condition` is `<arm>/<condition>`, `passes` counts epochs of all the images."""

    condition: str
    seed: int
    script: str
    options: tuple[str, ...]
    result: str
    passes: float
    runs_dir: Path

    @property
    def folder(self) -> Path:
        return self.runs_dir / self.condition / f"seed{self.seed}"

    @property
    def finished(self) -> bool:
        return (self.folder / self.result).exists() and (self.folder / "metrics.json").exists()

    def seconds(self) -> float:
        """What the run's epochs have taken so far, as its history says."""
        try:
            with open(self.folder / "history.csv", newline="") as file:
                return sum(float(row["seconds"]) for row in csv.DictReader(file))
        except FileNotFoundError:
            return 0.0


@dataclass(frozen=True)
class Outcome:
    """How a job's process ended: its exit code, its last line, and its wall time in seconds."""

    job: Job
    code: int
    last_line: str
    seconds: float


def run(job: Job, machine_options: tuple[str, ...]) -> Outcome:
    """Do the job in a process of its own; whatever happens to it is the outcome."""
    where = ("--seed", str(job.seed), "--run-dir", str(job.folder))
    command = [sys.executable, job.script, *job.options, *where, *machine_options]
    started = time.perf_counter()
    process = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    lines = (process.stderr if process.returncode else process.stdout).strip().splitlines()
    result = [line for line in lines if line.startswith("test accuracy")] or lines or [""]
    return Outcome(job, process.returncode, result[-1], time.perf_counter() - started)


def classifier_job(study: Study, cell: Cell, seed: int, runs_dir: Path) -> Job:
    epochs = study.epochs_of(cell)
    start = ()
    if cell.arm.encoder:
        start = ("--encoder", str(encoder_job(study, cell, seed, runs_dir).folder / "encoder.pt"))
    return Job(
        condition=cell.arm.condition(cell.label_fraction),
        seed=seed,
        script="train_pretrained.py" if cell.arm.encoder else "train_baseline.py",
        options=(
            *study.options,
            *("--label-fraction", f"{cell.label_fraction:g}"),
            *("--epochs", str(epochs)),
            *("--valid-every", str(-(-epochs // study.measurements))),
            # All the views of the test images would take longer than training on few labels.
            *("--average-shift", "0"),
            *(("--skip-test",) if cell.arm.tried else ()),
            *cell.arm.options,
            *start,
        ),
        result="metrics.json" if cell.arm.tried else "predictions.npz",
        passes=epochs * cell.label_fraction,
        runs_dir=runs_dir,
    )


def encoder_job(study: Study, cell: Cell, seed: int, runs_dir: Path) -> Job:
    pretraining = ENCODERS[cell.arm.encoder]
    fraction, epochs = pretraining.image_fraction, study.pretraining_of(cell.arm.encoder)
    return Job(
        condition=f"autoencoder/{cell.arm.encoder}",
        seed=seed,
        script="pretrain_autoencoder.py",
        options=(
            *study.options,
            *pretraining.options,
            *(("--train-fraction", f"{fraction:g}") if fraction < 1 else ()),
            *("--epochs", str(epochs)),
        ),
        result="encoder.pt",
        passes=epochs * fraction,
        runs_dir=runs_dir,
    )


def missing(
    blocks: Sequence[Sequence[Cell]],
    study: Study,
    runs_dir: Path,
    seeds: range,
    label_fractions: list[float],
) -> list[list[Job]]:
    """The runs to do in these cells of the study, in waves whose runs do not need each other.

    A block of the study gives two: the encoders that its missing classifiers start from (weights
    are not in git, so one may be needed again), and then these classifiers, seed by seed.
    """
    waves = []
    for block in blocks:
        todo = [
            (cell, seed)
            for seed in seeds
            for cell in block
            if seed < cell.seeds
            and cell.label_fraction in label_fractions
            and not classifier_job(study, cell, seed, runs_dir).finished
        ]
        encoders = dict.fromkeys(
            encoder_job(study, cell, seed, runs_dir) for cell, seed in todo if cell.arm.encoder
        )
        planned = {job for wave in waves for job in wave}
        waves += [
            [job for job in encoders if not job.finished and job not in planned],
            [classifier_job(study, cell, seed, runs_dir) for cell, seed in todo],
        ]
    return [wave for wave in waves if wave]


class Estimate:
    """How long runs take, from those that are finished."""

    def __init__(self, study: Study, runs_dir: Path):
        self.per_pass: dict[str, list[float]] = {}
        self.per_condition: dict[str, list[float]] = {}
        for cell in study.cells():
            for seed in range(cell.seeds):
                jobs = [classifier_job(study, cell, seed, runs_dir)]
                jobs += [encoder_job(study, cell, seed, runs_dir)] if cell.arm.encoder else []
                for job in jobs:
                    if job.finished:
                        self.add(job, job.seconds())

    def add(self, job: Job, seconds: float) -> None:
        self.per_condition.setdefault(job.condition, []).append(seconds)
        self.per_pass.setdefault(job.script, []).append(seconds / job.passes)

    def seconds(self, job: Job) -> float | None:
        """From runs of the same condition, else from the script's seconds a pass, else None."""
        for known, factor in (
            (self.per_condition.get(job.condition), 1),
            (self.per_pass.get(job.script), job.passes),
        ):
            if known:
                return max(0.0, factor * sum(known) / len(known) - job.seconds())
        return None

    def left(self, jobs: list[Job], workers: int) -> str:
        """In words, the time that jobs not yet finished will take on so many workers."""
        estimates = [self.seconds(job) for job in jobs]
        if None in estimates:
            return "no estimate before a run of each script has finished"
        minutes = round(sum(estimates) / workers / 60)
        return f"about {minutes // 60} h {minutes % 60:02d} min left"
