# PYTHON_ARGCOMPLETE_OK
"""Compare the arms over label budgets and seeds: run by run, and only what is missing."""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from harness.errors import INTERRUPTED, UserError, exit_cleanly
from harness.options import Parser, about, add_options, take, within
from recipes import Files, Machine

EXAMPLES = """\
  python study.py --dry-run
  python study.py --blocks primary --label-fractions 0.001 0.01 --seeds 3
  python study.py --dataset digits"""
CONNECTION_TIMEOUT = 10  # seconds
BESIDE = ("classical", "probes")  # what is measured beside the runs, after them


class What(Struct, frozen=True, kw_only=True):
    """study"""

    dataset: Annotated[
        Literal["fashion", "digits"],
        about("images; digits are a miniature, kept in demo/runs", None),
    ] = "fashion"
    seeds: Annotated[
        int | None, about("only the first so many of each cell (default: all)", None, ge=1, le=1000)
    ] = None
    dry_run: Annotated[bool, about("list the missing runs and stop", None)] = False


class Workers(Struct, frozen=True, kw_only=True):
    """workers"""

    jobs: Annotated[
        int | None, about("runs at a time (default: one a core)", None, ge=1, le=1024)
    ] = None
    threads: Annotated[int, about("CPU threads of a run", None, ge=1, le=1024)] = 1
    backend: Annotated[
        Literal["loky", "dask", "sequential"],
        about(
            "where: processes here, a Dask cluster, or one after the other in this process", None
        ),
    ] = "loky"
    scheduler: Annotated[
        str | None, about("address of the Dask cluster, for --backend dask", None)
    ] = None


def parse_args(argv=None):
    from studies.grid import STUDIES

    parser = Parser(__doc__, EXAMPLES)
    add_options(parser, What)
    group = parser.add_argument_group("parts of the study")
    names = block_names(STUDIES["fashion"])
    blocks = group.add_argument(
        "--blocks",
        nargs="+",
        metavar="NAME",
        help=f"only these, or the first so many, of {', '.join(names)} (default: all)",
    )
    blocks.completer = lambda **_: names  # what argcomplete offers
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


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    from studies.grid import STUDIES

    study, what, workers = STUDIES[args.dataset], take(args, What), take(args, Workers)
    runs_dir = Path(args.runs_dir or study.runs_dir).absolute()
    names, budgets = chosen_blocks(args.blocks, study), chosen_budgets(args.label_fractions, study)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from joblib import cpu_count

    from harness.rundir import refuse_files
    from report.runs import find_runs
    from studies.jobs import Estimate, Place, dataset_of, missing
    from studies.search import search_block

    def waves() -> list[list]:
        """What is missing by now: the search continues from what has finished."""
        runs = find_runs(runs_dir)
        of_runs = [name for name in names if name not in BESIDE]
        blocks = [study.block(name) or search_block(study, runs) for name in of_runs]
        return missing(blocks, runs, runs_dir, what.seeds, budgets)

    refuse_files(runs_dir)
    workers_at_once = workers.jobs or max(1, cpu_count() // workers.threads)
    runs = find_runs(runs_dir)
    log = Log(runs, Estimate(runs), workers_at_once * workers.threads)
    todo = waves()
    log.plan(todo)
    if beside := [name for name in BESIDE if name in names]:
        log.say(f"not counted: {' and '.join(beside)}, measured after the runs where missing")
    if what.dry_run:
        return list_jobs(todo)
    machine = Machine(device=args.device, precision=args.precision, threads=workers.threads)
    own = os.getpid() if workers.backend == "loky" else None
    place = Place(str(Path(args.data_dir).absolute()), machine, own)
    dataset_of(args.dataset, place.data_dir)  # what is wrong with the images is said at once
    with backend(workers.backend, workers.scheduler):
        while todo:
            run_waves(todo, place, workers_at_once, log)
            todo = log.plan(waves())
    images = dataset_of(args.dataset, place.data_dir)
    measure_beside(names, study, images, place.machine, runs_dir, what.seeds, budgets)
    if log.failed:
        raise UserError(f"{len(log.failed)} runs failed; the first, {log.failed[0]}")


def measure_beside(names, study, images, machine, runs_dir, seeds, budgets) -> None:
    """Baselines without a network, and what the encoders know; only what is missing."""
    if "classical" in names:
        from studies.classical import run_classical

        run_classical(
            study, images, runs_dir, seeds=seeds, budgets=budgets, threads=machine.threads
        )
    if "probes" in names:
        from harness.compute import set_up_compute
        from studies.probes import BUDGETS, SEEDS, run_probes

        compute = set_up_compute(machine.device, machine.precision, threads=machine.threads)
        run_probes(
            study,
            images,
            runs_dir,
            compute,
            seeds=min(seeds or SEEDS, SEEDS),
            budgets=[budget for budget in BUDGETS if not budgets or budget in budgets],
            threads=machine.threads,
        )


def block_names(study) -> list[str]:
    """The parts of a study, in its order."""
    return ["search", *(block.name for block in study.blocks), *BESIDE]


def chosen_blocks(chosen: list[str] | None, study) -> list[str]:
    """The names of the blocks to run, in the study's order."""
    names = block_names(study)
    if chosen is None:
        return names
    if len(chosen) == 1 and chosen[0].isdecimal() and int(chosen[0]) > 0:
        return names[: int(chosen[0])]
    if unknown := [name for name in chosen if name not in names]:
        raise UserError(f"--blocks {unknown[0]}: choose from {', '.join(names)}, or give a number")
    return [name for name in names if name in chosen]


def chosen_budgets(chosen: list[float] | None, study) -> list[float] | None:
    known = sorted({cell.budget for block in study.blocks for cell in block.cells})
    if unknown := set(chosen or ()) - {*known, *study.search.budgets}:
        raise UserError(
            f"--label-fractions {unknown.pop():g}: choose from {', '.join(f'{b:g}' for b in known)}"
        )
    return chosen


def list_jobs(waves: list[list]) -> None:
    for wave in waves:
        for job in wave:
            print(job.name)


@contextmanager
def backend(name: str, scheduler: str | None):
    """While it lasts, joblib hands its tasks to `name`."""
    from joblib import parallel_config

    if name != "dask":
        with parallel_config(backend=name), ending_at_once(name == "loky"):
            yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError("--backend dask needs a package: pip install distributed") from error
    if not scheduler:
        raise UserError("--backend dask needs the cluster's address: give --scheduler")
    try:
        client = Client(scheduler, timeout=CONNECTION_TIMEOUT)
    except (OSError, ValueError) as error:
        raise UserError(f"no Dask cluster answers at --scheduler {scheduler}") from error
    with client, parallel_config(backend="dask", client=client):
        yield


@contextmanager
def ending_at_once(enabled: bool):
    """While it lasts, Ctrl-C ends this process on the spot, and so the workers, which watch it.

    An orderly end waits for the workers, and now and then it did so for ever.
    """

    def end(*_) -> None:
        os.write(2, f"study.py: {INTERRUPTED}\n".encode())
        os._exit(130)

    # What joblib's helpers then say of what was left, they clear up.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    before = signal.getsignal(signal.SIGINT)
    if enabled and before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_waves(waves: list[list], place, workers: int, log: "Log") -> None:
    """Do one wave after the other, a line a run."""
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed

    from studies.jobs import do

    for wave in waves:
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered")
        try:
            for outcome in parallel(delayed(do)(job, place) for job in wave):
                log.add(outcome)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was ended from outside, as for want of memory: the same command "
                "resumes, with fewer --jobs"
            ) from error


class Log:
    """What was planned, what came of it, and the time left; a line for each outcome."""

    def __init__(self, runs: dict, estimate, cores: int):
        self.estimate = estimate
        self.cores = cores
        self.left: list = []
        self.planned: set[str] = set()
        self.failed: list[str] = []
        self.stream = sys.stdout  # a run in this process has its own output kept back
        # The weights that finished classifiers have started from, by pretraining.
        sources = [run.setup.encoder for found in runs.values() for run in found]
        self.digests = {source.recipe: source.digest for source in sources if source}

    def plan(self, waves: list[list]) -> list[list]:
        """Of these waves, what was not planned before; says how much it is."""
        new = [[job for job in wave if job.name not in self.planned] for wave in waves]
        self.left = [job for wave in new for job in wave]
        if self.left or not self.planned:
            self.say(f"{len(self.left)} runs are missing; {self.time_left()}")
        self.planned |= {job.name for job in self.left}
        return [wave for wave in new if wave]

    def add(self, outcome) -> None:
        job = outcome.job
        self.left.remove(job)
        if outcome.status == "failed":
            self.failed.append(f"{job.name}: {outcome.line}")
        elif outcome.status == "done":
            self.estimate.add(job, outcome.seconds)
        done = len(self.planned) - len(self.left)
        self.say(
            f"[{done}/{len(self.planned)}] {job.name}: {outcome.line}, {outcome.seconds:.0f} core "
            f"seconds; {self.time_left()}"
        )
        self.compare_encoder(outcome)

    def compare_encoder(self, outcome) -> None:
        """Say where weights were made again and came out otherwise, once for each pretraining."""
        recipe = (outcome.job.encoder or outcome.job).setup.recipe
        known = self.digests.get(recipe)
        if outcome.digest and known and outcome.digest != known:
            self.say(
                f"note: the encoder of seed {recipe.seed} has other weights than earlier runs of "
                "its name started from, as on another machine; pairs stay pairs"
            )
        if outcome.digest:
            self.digests[recipe] = outcome.digest

    def time_left(self) -> str:
        return self.estimate.left(self.left, self.cores)

    def say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


if __name__ == "__main__":
    main()
