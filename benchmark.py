# PYTHON_ARGCOMPLETE_OK
"""How fast this project trains: images per second beside other loops, and time to accuracy."""

from pathlib import Path
from typing import Annotated

from msgspec import Struct, structs, to_builtins

from harness.errors import UserError, exit_cleanly
from harness.files import write_json
from harness.options import Parser, about, add_options, take, typed
from recipes import AutoencoderRecipe, ClassifierRecipe, Files, Machine, Recipe
from report.measured import FILE, TOO_SLOW, Measured, Part, read_measured

EXAMPLES = """\
  python benchmark.py                      images per second, of all training loops
  python benchmark.py --time-to-accuracy   seconds to 90, 91.2, 92, 93 and 94 %; resumes
  python benchmark.py --check --rounds 3   does our loop waste time? changes no file"""
NOT_MEASURED = ("data_dir", "results_dir", "overwrite")  # options that change no figure


class Measurement(Struct, frozen=True, kw_only=True):
    """measurement"""

    time_to_accuracy: Annotated[bool, about("measure this, not images per second")] = False
    check: Annotated[
        bool, about(f"measure only our loop; exit code {TOO_SLOW}: slower than it may be")
    ] = False
    rounds: Annotated[
        int, about("turns that each loop takes, after one to warm up", ge=1, le=1000)
    ] = 7
    steps: Annotated[int, about("training steps timed in a turn", ge=1, le=1000)] = 10
    seeds: Annotated[
        int, about("trainings to an accuracy of each kind, from --seed on", ge=1, le=100)
    ] = 5
    results_dir: Annotated[str, about(f"what is measured is kept there, in {FILE}")] = "results"
    overwrite: Annotated[bool, about("measure the time to accuracy afresh")] = False


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES, Measurement, Machine)
    add_options(parser, Recipe, "width", "batch_size", "dataset", "seed")
    add_options(parser, Files, "data_dir")
    args = parser.parse_args(argv)
    if args.time_to_accuracy and args.check:
        parser.error("--check and --time-to-accuracy are two measurements")
    return args


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from benchmarks.measurement import measure, slow_parts
    from harness.compute import set_up_compute

    compute = set_up_compute(**structs.asdict(take(args, Machine)))
    print(f"on {compute}", flush=True)
    fresh = Part(command=command(args), environment=compute.environment(), rows=[])
    kinds = {"classifier": ClassifierRecipe, "autoencoder": AutoencoderRecipe}
    given = {name: take(args, kind) for name, kind in kinds.items()}, args.data_dir
    if args.time_to_accuracy:
        measure_time_to_accuracy(args, compute, fresh)
    elif args.check:
        slow = slow_parts(*given, args.rounds, args.steps, compute)
        print("\n".join(slow))
        raise SystemExit(TOO_SLOW if slow else 0)
    else:
        facts, rows = measure(*given, args.rounds, args.steps, compute)
        keep(args, throughput=structs.replace(fresh, facts=facts, rows=rows))


def measure_time_to_accuracy(args, compute, fresh: Part) -> None:
    """Race the trainings that are not in the file yet; it is written after each.

    Raises:
        UserError: those in the file are of another recipe, data set or machine.
    """
    from benchmarks.measurement import CONTENDERS, GOALS, KEYS, MUON_RATES, race, trainings
    from data import load_dataset, split
    from harness.rundir import alike

    recipe = take(args, ClassifierRecipe)
    dataset = load_dataset(recipe.dataset, args.data_dir)
    facts = {"goals": GOALS, "recipe": to_builtins(recipe), "data": dataset.digest}
    facts["contenders"] = {name: options for name, (_, options, _) in CONTENDERS.items()}
    facts["muon_rates"] = MUON_RATES
    facts["valid_images"] = len(split(dataset, recipe.seed)[1])
    before = (read_measured(args.results_dir) or Measured()).time_to_accuracy
    rows = before.rows if before and not args.overwrite else []
    if rows and (before.facts != facts or not alike(before.environment, fresh.environment)):
        raise UserError(
            "what is there was measured with another recipe, data set or machine: use --overwrite "
            "to measure it anew"
        )
    done = {tuple(row[key] for key in KEYS) for row in rows}
    plan = [one for one in trainings(args.seed, args.seeds) if one not in done]
    print(f"{len(plan)} trainings; what is measured is kept after each", flush=True)
    for row in race(plan, recipe, dataset, args.data_dir, compute):
        rows = [*rows, row | {"commit": fresh.environment.commit}]
        keep(args, time_to_accuracy=structs.replace(fresh, facts=facts, rows=rows))


def keep(args, **parts: Part) -> None:
    """Write the parts, and leave the file's other parts as they are."""
    before = read_measured(args.results_dir) or Measured()
    write_json(Path(args.results_dir) / FILE, structs.replace(before, **parts))


def command(args) -> str:
    """What to type for the same measurement: the options that differ from their defaults."""
    usual = vars(parse_args([])) | {name: getattr(args, name) for name in NOT_MEASURED}
    given = {name: value for name, value in vars(args).items() if value != usual[name]}
    return " ".join(["python", Path(__file__).name, *typed(given)])


if __name__ == "__main__":
    main()
