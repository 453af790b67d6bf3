"""The study's runs: which are missing, what they will take, and doing one in a worker process.

A worker imports PyTorch and reads the images once, not once a run. A run's result is the training
script's, bit for bit, on the same machine and thread count.
"""

import io
import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from msgspec.structs import asdict

from harness.errors import UserError
from harness.processes import end_with
from harness.rundir import LOCK, Run, read_history
from metrics import Metrics
from recipes import ENCODER, AutoencoderRecipe, Machine, Setup
from report.runs import FinishedRun, Runs, core_seconds
from studies.cells import Block

# PyTorch's random numbers and number of threads are the process's: one run at a time in each.
ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Job:
    """One run to do; `setup` does not know yet which weights its encoder will have."""

    setup: Setup
    runs_dir: Path

    @property
    def folder(self) -> Path:
        return self.setup.folder(self.runs_dir)

    @property
    def name(self) -> str:
        return f"{self.setup.name}/seed{self.setup.recipe.seed}"

    @property
    def encoder(self) -> "Job | None":
        """The pretraining that it starts from."""
        source = self.setup.encoder
        return source and Job(Setup(recipe=source.recipe), self.runs_dir)

    @property
    def passes(self) -> float:
        """Its epochs, in passes over all training images."""
        recipe = self.setup.recipe
        pretrains = isinstance(recipe, AutoencoderRecipe)
        return recipe.epochs * (recipe.image_fraction if pretrains else recipe.label_fraction)

    def is_finished(self, runs: Runs) -> bool:
        """Whether its results are there, and the weights where others start from them."""
        there = any(run.seed == self.setup.recipe.seed for run in runs.get(self.setup.name, []))
        pretrains = isinstance(self.setup.recipe, AutoencoderRecipe)
        return there and (not pretrains or (self.folder / ENCODER).exists())


def missing(
    blocks: Iterable[Block],
    runs: Runs,
    runs_dir: Path,
    seeds: int | None = None,
    budgets: Iterable[float] | None = None,
) -> list[list[Job]]:
    """The runs to do, in waves whose runs do not need each other.

    A block gives two: what needs no encoder that is missing, and what does. Weights are not in
    git, so an encoder is made again where a missing classifier needs it, and only there.

    Args:
        seeds: only a cell's first so many; all where None.
        budgets: only these label budgets; all where None.
    """
    waves, planned = [], set()
    for block in blocks:
        todo = [
            job
            for seed in sorted({seed for cell in block.cells for seed in cell.seeds})
            for cell in block.cells
            if seed in cell.seeds[:seeds] and (budgets is None or cell.budget in budgets)
            if not (job := Job(cell.setup(seed), runs_dir)).is_finished(runs)
            if job.name not in planned
        ]
        encoders = {job.encoder.name: job.encoder for job in todo if job.encoder}
        encoders = {name: job for name, job in encoders.items() if not job.is_finished(runs)}
        now = [job for job in todo if not job.encoder or job.encoder.name not in encoders]
        later = [job for job in todo if job not in now]
        # Encoders take longest, so they come first and the short runs fill what is left.
        new = [job for name, job in encoders.items() if name not in planned]
        waves += [new + now, later]
        planned |= {job.name for job in new + todo}
    return [wave for wave in waves if wave]


# ------------------------------------------------------------------ what runs take


class Estimate:
    """How long runs take, from those that have finished."""

    def __init__(self, runs: Runs):
        self.by_name: dict[str, list[float]] = {}
        self.rates: dict[tuple, list[tuple[float, float]]] = {}  # passes, core seconds a pass
        for found in runs.values():
            for run in found:
                if seconds := core_seconds(run):
                    self.add(Job(run.setup, run.folder.parent.parent), seconds)

    def add(self, job: Job, seconds: float) -> None:
        self.by_name.setdefault(job.setup.name, []).append(seconds)
        self.rates.setdefault(self.sort_of(job), []).append((job.passes, seconds / job.passes))

    @staticmethod
    def sort_of(job: Job) -> tuple:
        """What a pass over the images costs by."""
        recipe = job.setup.recipe
        return job.setup.kind == "autoencoder", recipe.width, getattr(recipe, "freeze_encoder", 0)

    def seconds(self, job: Job) -> float | None:
        """Core seconds still to take; None where nothing like it has finished.

        As runs of the same name took, or else by those of its sort with nearly as many passes: a
        pass is dearer in a short run, which has its images validated as often as a long one.
        """
        alike = self.by_name.get(job.setup.name)
        if alike:
            whole = sum(alike) / len(alike)
        elif rates := self.rates.get(self.sort_of(job)):
            nearest = min(rates, key=lambda rate: abs(rate[0] / job.passes - 1))[0]
            known = [rate for passes, rate in rates if passes == nearest]
            whole = job.passes * sum(known) / len(known)
        else:
            return None
        return max(0.0, whole - seconds_so_far(job))

    def left(self, jobs: list[Job], cores: int) -> str:
        """In words, what jobs that have not finished will take on so many cores."""
        estimates = [self.seconds(job) for job in jobs]
        known = [seconds for seconds in estimates if seconds is not None]
        if jobs and not known:
            return "no estimate before a run of the kind has finished"
        minutes = round(sum(known) / 60)
        wall = round(sum(known) / cores / 60)
        more = len(jobs) - len(known)
        unknown = f", and {more} of a kind that has not finished yet" if more else ""
        return f"about {minutes} core minutes left ({wall // 60} h {wall % 60:02d} min){unknown}"


def seconds_so_far(job: Job) -> float:
    """What the epochs of a run that was cut have taken; one thread is supposed."""
    if (job.folder / "metrics.json").exists():  # it lacks weights only: it is done anew
        return 0.0
    try:
        return sum(read_history(job.folder / "history.csv")["seconds"])
    except (UserError, KeyError):
        return 0.0


# ------------------------------------------------------------------ in a worker


@dataclass(frozen=True)
class Place:
    """Where and how a worker does its runs.

    Args:
        study: the study's process, with which the worker ends; None if it is another's worker.
    """

    data_dir: str
    machine: Machine
    study: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended, in a line, and its core seconds; the digest of the encoder it is about."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    line: str
    seconds: float = 0.0
    digest: str = ""


def do(job: Job, place: Place) -> Outcome:
    """Do the run in this process; whatever happens to it is the outcome."""
    if place.study not in (None, os.getpid()):  # with one run at a time, it is the study's
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the study says so
        end_with(place.study)
    started = time.perf_counter()
    output = io.StringIO()
    with ONE_AT_A_TIME, redirect_stdout(output), redirect_stderr(output):
        try:
            status, line, digest = do_alone(job, place)
        # A run may fail in any way: it is named, and the others go on.
        except Exception as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            return Outcome(job, "failed", f"{kind}{error}")
    seconds = (time.perf_counter() - started) * (place.machine.threads or 1)
    return Outcome(job, status, line, seconds, digest)


def do_alone(job: Job, place: Place) -> tuple[str, str, str]:
    """Do the run while no other process is at work in its folder.

    Another study may be: an encoder is waited for, since others start from it; a classifier is
    left to that study.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    pretrains = isinstance(job.setup.recipe, AutoencoderRecipe)
    lock = FileLock(job.folder / LOCK, is_singleton=True)  # the one that the run takes, too
    try:
        lock.acquire(timeout=-1 if pretrains else 0)
    except Timeout:
        return "skipped", "another process is at work in its folder", ""
    try:
        return pretrain_one(job, place) if pretrains else classify_one(job, place)
    finally:
        lock.release(force=True)  # also where the run has failed and still holds it


def pretrain_one(job: Job, place: Place) -> tuple[str, str, str]:
    from autoencoding import pretrain, read_encoder

    run = Run.open(job.folder, job.setup, Metrics, weights=ENCODER)
    if not run.finished:
        pretrain(run, dataset_of(job.setup.recipe.dataset, place.data_dir), compute_of(place))
    loss = FinishedRun(job.folder, run.kept_config()).metrics.valid.loss
    _, source = read_encoder(str(job.folder / ENCODER))
    return "done", f"validation loss {loss:.4f}", source.digest


def classify_one(job: Job, place: Place) -> tuple[str, str, str]:
    from autoencoding import read_encoder
    from classification import train_classifier

    encoder, setup, digest = None, job.setup, ""
    if job.encoder:
        encoder, source = read_encoder(str(job.encoder.folder / ENCODER))
        setup, digest = Setup(recipe=setup.recipe, encoder=source), source.digest
        if setup.folder(job.runs_dir) != job.folder:
            raise UserError(f"'{job.encoder.folder / ENCODER}' is of another pretraining")
    run = Run.open(job.folder, setup, Metrics)
    if not run.finished:
        dataset = dataset_of(setup.recipe.dataset, place.data_dir)
        train_classifier(run, dataset, compute_of(place), encoder)
    metrics = FinishedRun(job.folder, run.kept_config()).metrics
    which, scores = ("test", metrics.test) if metrics.test else ("validation", metrics.valid)
    return "done", f"{which} accuracy {scores.accuracy:.4f}", digest


@lru_cache(maxsize=1)
def dataset_of(name: str, data_dir: str):
    """The images, read once a worker."""
    from data import load_dataset

    return load_dataset(name, data_dir)


@cache
def compute_of(place: Place):
    """Device, threads and precision, set once a worker."""
    from harness.compute import set_up_compute

    return set_up_compute(**asdict(place.machine))
