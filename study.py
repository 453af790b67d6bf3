"""Compare the arms over label fractions and seeds: run by run, and only what is missing."""

from contextlib import contextmanager
from pathlib import Path

from arms import STUDIES
from errors import UserError, exit_cleanly
from options import Parser, fraction, positive_int

BACKENDS = ("threading", "loky", "dask")
CONNECTION_TIMEOUT = 10  # seconds


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    group = parser.add_argument_group("study")
    group.add_argument("--dataset", choices=STUDIES, default="fashion", help="digits: a miniature")
    group.add_argument("--data-dir", default="data", help="holds FashionMNIST/raw/*.gz")
    group.add_argument("--runs-dir", type=Path, default="runs/study", help="for the runs")
    group.add_argument("--seeds", type=positive_int, default=10, help="only the first so many")
    group.add_argument("--blocks", type=positive_int, help="only the first, most needed cells")
    group.add_argument(
        "--label-fractions", nargs="+", type=fraction, help="only these (default: all)"
    )
    group.add_argument("--dry-run", action="store_true", help="list the missing runs and stop")
    group = parser.add_argument_group("machine")
    group.add_argument("--jobs", type=positive_int, help="runs at a time (default: one a core)")
    group.add_argument("--threads", type=positive_int, default=1, help="CPU threads a run")
    group.add_argument("--backend", choices=BACKENDS, default="threading", help="joblib's")
    group.add_argument("--scheduler", help="a Dask cluster's address, for --backend dask")
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from joblib import cpu_count

    from jobs import Estimate, missing

    study, runs_dir = STUDIES[args.dataset], args.runs_dir.absolute()
    label_fractions = args.label_fractions or list(study.epochs)
    if unknown := set(label_fractions) - set(study.epochs):
        raise UserError(f"--label-fractions {unknown.pop():g}: choose from {list(study.epochs)}")
    waves = missing(
        study.blocks[: args.blocks], study, runs_dir, range(args.seeds), label_fractions
    )
    estimate = Estimate(study, runs_dir)
    workers = args.jobs or max(1, cpu_count() // args.threads)
    jobs = [job for wave in waves for job in wave]
    print(f"{len(jobs)} runs are missing; {estimate.left(jobs, workers)}", flush=True)
    if args.dry_run:
        return list_jobs(jobs, runs_dir)
    options = ("--data-dir", str(Path(args.data_dir).absolute()), "--threads", str(args.threads))
    with backend(args.backend, args.scheduler):
        failed = run_waves(waves, options, workers, estimate)
    if failed:
        raise UserError(f"{len(failed)} runs failed; the first, {failed[0]}")


def list_jobs(jobs: list, runs_dir: Path) -> None:
    for job in jobs:
        print(f"{job.folder.relative_to(runs_dir)}: {job.script} {' '.join(job.options)}")


@contextmanager
def backend(name: str, scheduler: str | None):
    """While it lasts, joblib hands its tasks to `name`."""
    from joblib import parallel_config

    if name != "dask":
        with parallel_config(backend=name):
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


def run_waves(waves: list[list], options: tuple[str, ...], workers: int, estimate) -> list[str]:
    """Run one wave after the other, a line a run; what failed, in words."""
    from joblib import Parallel, delayed

    from jobs import run

    left, failed = [job for wave in waves for job in wave], []
    total = len(left)
    for wave in waves:
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered")
        for outcome in parallel(delayed(run)(job, options) for job in wave):
            left.remove(outcome.job)
            name = f"{outcome.job.condition}/seed{outcome.job.seed}"
            if outcome.code:
                failed.append(f"{name}: {outcome.last_line}")
            else:
                estimate.add(outcome.job, outcome.seconds)
            print(
                f"[{total - len(left)}/{total}] {name}: {outcome.last_line}, "
                f"{outcome.seconds:.0f} s; {estimate.left(left, workers)}",
                flush=True,
            )
    return failed


if __name__ == "__main__":
    main()
