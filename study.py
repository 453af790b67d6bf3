# PYTHON_ARGCOMPLETE_OK
"""Train what the questions of study.toml still lack, several runs at a time; then add it up.

Each run is one call of a training script's own `main`, so it resumes and refuses as that does.
"""

import importlib
import io
import os
import signal
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct
from msgspec.structs import asdict

from harness.errors import INTERRUPTED, UserError, exit_cleanly
from harness.options import Parser, about, add_options, take, typed, within
from recipes import Files, Machine, Setup

EXAMPLES = """\
  python study.py --dry-run
  python study.py --questions primary --label-fractions 0.001 0.01 --seeds 3
  python study.py --dataset digits"""
SCRIPTS = {
    "baseline": "train_baseline",
    "autoencoder": "pretrain_autoencoder",
    "pretrained": "train_pretrained",
}


class What(Struct, frozen=True, kw_only=True):
    """study"""

    dataset: Annotated[
        Literal["fashion", "digits"], about("images; digits are a miniature, kept in demo")
    ] = "fashion"
    seeds: Annotated[
        int | None, about("only the first so many of each question (default: all)", ge=1, le=1000)
    ] = None
    dry_run: Annotated[bool, about("list the missing runs and stop")] = False


class Workers(Struct, frozen=True, kw_only=True):
    """workers"""

    jobs: Annotated[int | None, about("runs at a time (default: one a core)", ge=1, le=1024)] = None
    threads: Annotated[int, about("CPU threads of a run", ge=1, le=1024)] = 1


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES, What)
    group = parser.add_argument_group("parts of the study")
    questions = group.add_argument(
        "--questions",
        nargs="+",
        metavar="ID",
        help="only these of study.toml (default: all)",
    )
    questions.completer = known_ids  # what argcomplete offers
    group.add_argument(
        "--label-fractions",
        nargs="+",
        type=within(float, Meta(gt=0, le=1)),
        metavar="SHARE",
        help="only these label budgets (default: all)",
    )
    add_options(parser, Files, "data_dir", "runs_dir")
    parser.set_defaults(runs_dir=None)  # which depends on the data set
    add_options(parser, Workers)
    add_options(parser, Machine, "device", "precision")
    return parser.parse_args(argv)


def known_ids(parsed_args=None, **_) -> list[str]:
    """What --questions can name."""
    from report.study import read_study, study_file

    return [question.id for question in read_study(study_file(parsed_args.dataset)).questions]


class Job(NamedTuple):
    """One run to do; its setup does not know yet which weights its encoder will have."""

    setup: Setup
    runs_dir: Path

    @property
    def name(self) -> str:
        return f"{self.setup.name}/seed{self.setup.recipe.seed}"

    @property
    def encoder(self) -> "Job | None":
        source = self.setup.encoder
        return source and Job(Setup(recipe=source.recipe), self.runs_dir)

    @property
    def passes(self) -> float:
        """Its epochs, in passes over all training images."""
        options = asdict(self.setup.recipe)
        return options["epochs"] * options.get("label_fraction", options.get("image_fraction"))

    @property
    def sort(self) -> tuple[bool, float]:
        """What decides how long a pass takes: whether it is an autoencoder's, and the width."""
        return self.setup.kind == "autoencoder", self.setup.recipe.width


class Outcome(NamedTuple):
    """How a run ended, in a line."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    line: str
    seconds: float = 0.0  # of one core


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from joblib import cpu_count

    from harness.rundir import refuse_files
    from report.study import read_study, study_file
    from report.tables import Tables

    study = read_study(study_file(args.dataset))
    what, workers = take(args, What), take(args, Workers)
    runs_dir = Path(args.runs_dir or ("demo" if args.dataset == "digits" else Files().runs_dir))
    refuse_files(runs_dir.absolute())
    ids = chosen(args.questions, known_ids(args), "--questions")
    questions = [question for question in study.questions if question.id in ids]
    published = Tables(Path("results"))
    is_default = str(runs_dir) == Files().runs_dir  # results/ holds this folder's runs
    results = published.results if is_default else published.results.head(0)
    done = set(results["name"] + "/seed" + results["seed"].astype(str))
    waves = missing(study, questions, runs_dir, done, args.label_fractions, what.seeds)
    at_once = workers.jobs or max(1, cpu_count() // workers.threads)
    log = Log(published, [job for wave in waves for job in wave], at_once * workers.threads)
    if what.dry_run:
        print(*(job.name for wave in waves for job in wave), sep="\n")
        return
    place = {name: getattr(args, name) for name in ("data_dir", "device", "precision", "threads")}
    with ending_at_once():
        for wave in waves:
            run_wave(wave, place, at_once, log)
    if log.failed:
        raise UserError(f"{len(log.failed)} runs failed; the first, {log.failed[0]}")
    publish = " --results-dir results" if is_default else ""
    print(f"next: python plot.py --runs-dir {runs_dir}{publish}")


def chosen(wanted: list | None, known: list, option: str) -> list:
    """What is wanted of what is known, in its order; all of it where nothing is said."""
    if unknown := [each for each in wanted or () if each not in known]:
        raise UserError(f"{option} {unknown[0]}: choose from {', '.join(map(str, known))}")
    return [each for each in known if wanted is None or each in wanted]


def missing(study, questions, runs_dir: Path, done: set[str], budgets, seeds) -> list[list[Job]]:
    """The runs to do, in two waves: encoders and what needs none, then what starts from them.

    Args:
        done: names of runs that are not missing, wherever they are.
    """
    known = sorted({budget for question in study.questions for budget in question.budgets})
    budgets = chosen(budgets, known, "--label-fractions")
    jobs: dict[str, Job] = {}
    for question in questions:
        for seed in question.seeds[:seeds]:
            for arm in question.arms:
                for budget in (budget for budget in question.budgets if budget in budgets):
                    job = Job(study.setup(arm, budget, seed), runs_dir)
                    finished = (job.setup.folder(runs_dir) / "metrics.json").exists()
                    if not finished and job.name not in done:
                        jobs[job.name] = job
    sources = [job.encoder for job in jobs.values() if job.encoder]
    lacking = {e.name: e for e in sources if not e.setup.encoder_file(runs_dir).exists()}
    now = [job for job in jobs.values() if not job.encoder or job.encoder.name not in lacking]
    later = [job for job in jobs.values() if job not in now]
    # Encoders take longest, so they come first and the short runs fill what is left.
    return [wave for wave in ([*lacking.values(), *now], later) if wave]


# ------------------------------------------------------------------ doing them


def command(job: Job, place: dict[str, object]) -> list[str]:
    """The training script's options that make this run."""
    recipe, usual = job.setup.recipe, type(job.setup.recipe)()
    options = {**place, "runs_dir": str(job.runs_dir)}
    options |= {k: v for k, v in asdict(recipe).items() if v != getattr(usual, k)}
    if job.encoder:
        options["encoder"] = str(job.encoder.setup.encoder_file(job.runs_dir))
    return typed(options)


def run_wave(wave: list[Job], place: dict[str, object], workers: int, log: "Log") -> None:
    """Do runs that do not need each other, a line a run."""
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator_unordered")
    try:
        for outcome in parallel(delayed(do)(job, place, os.getpid()) for job in wave):
            log.add(outcome)
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was ended from outside, as for want of memory: the same command "
            "resumes, with fewer --jobs"
        ) from error


def do(job: Job, place: dict[str, object], study: int) -> Outcome:
    """Do the run in this process; whatever happens to it is the outcome."""
    from filelock import FileLock, Timeout

    from harness.processes import end_with
    from harness.rundir import LOCK

    if os.getppid() == study:  # a worker ends with the study, which alone answers Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_with(study)
    folder = job.setup.folder(job.runs_dir)
    folder.mkdir(parents=True, exist_ok=True)
    # Another process may be at work there: an encoder is waited for, others are left to it.
    lock = FileLock(folder / LOCK, is_singleton=True)  # the one that the run takes, too
    started, printed = time.perf_counter(), io.StringIO()
    try:
        lock.acquire(timeout=-1 if job.setup.kind == "autoencoder" else 0)
        with redirect_stdout(printed), redirect_stderr(io.StringIO()):
            script = importlib.import_module(SCRIPTS[job.setup.kind])
            script.main.__wrapped__(command(job, place))  # which raises instead of exiting
    except Timeout:
        return Outcome(job, "skipped", "another process is at work in its folder")
    # A run may fail in any way: it is named, and the others go on.
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        return Outcome(job, "failed", f"{kind}{error}")
    finally:
        lock.release(force=True)  # also where the run has failed and still holds it
    seconds = (time.perf_counter() - started) * int(place["threads"])
    lines = [
        line for line in printed.getvalue().splitlines() if "accuracy" in line or "loss" in line
    ]
    return Outcome(job, "done", lines[-1] if lines else "finished", seconds)


@contextmanager
def ending_at_once():
    """While it lasts, Ctrl-C ends this process on the spot, and so the workers, which watch it.

    An orderly end waits for the workers, and now and then it did so for ever.
    """

    def end(*_) -> None:
        os.write(2, f"study.py: {INTERRUPTED}\n".encode())
        os._exit(130)

    # What joblib's helpers then say of what was left, they clear up.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Log:
    """What was planned, what came of it, and the time left; a line for each outcome.

    Args:
        published: tables whose runs say how long such runs take.
    """

    def __init__(self, published, jobs: list[Job], cores: int):
        self.jobs, self.left, self.cores = jobs, list(jobs), cores
        self.failed: list[str] = []
        runs = published.results
        passes = runs["epochs"] * runs["label_fraction"].fillna(runs["image_fraction"])
        rates = runs["core_seconds"] / passes
        sorts = [runs["kind"] == "autoencoder", runs["width"]]  # as `Job.sort`
        self.rates = rates.groupby(sorts).median().dropna()
        print(f"{len(jobs)} runs are missing; {self.time_left()}", flush=True)

    def add(self, outcome: Outcome) -> None:
        job = outcome.job
        self.left.remove(job)
        if outcome.status == "failed":
            self.failed.append(f"{job.name}: {outcome.line}")
        done = len(self.jobs) - len(self.left)
        print(
            f"[{done}/{len(self.jobs)}] {job.name}: {outcome.line}, {outcome.seconds:.0f} core "
            f"seconds; {self.time_left()}",
            flush=True,
        )

    def time_left(self) -> str:
        """In words, what the runs that are left will take, as the median run of their sort did."""
        known = [job.passes * self.rates[job.sort] for job in self.left if job.sort in self.rates]
        if self.left and not known:
            return "no estimate before a run of the kind has finished"
        minutes, wall = round(sum(known) / 60), round(sum(known) / self.cores / 60)
        unknown = len(self.left) - len(known)
        more = f", and {unknown} of a kind that has not finished yet" if unknown else ""
        return f"about {minutes} core minutes left ({wall // 60} h {wall % 60:02d} min){more}"


if __name__ == "__main__":
    import study  # workers look this file's functions up by its name

    study.main()
