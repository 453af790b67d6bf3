# PYTHON_ARGCOMPLETE_OK
"""How fast this project trains: images per second beside other loops, and time to accuracy."""

from pathlib import Path

from msgspec import structs

from benchmarks.measured import (
    FILE,
    TOO_SLOW,
    Card,
    Growth,
    Measured,
    Race,
    Throughput,
    TimeToAccuracy,
    Turns,
    read_measured,
)
from harness.errors import exit_cleanly
from harness.files import write_json
from harness.options import Parser, add_options, option_name, take
from recipes import AutoencoderRecipe, ClassifierRecipe, Files, Machine, Recipe

EXAMPLES = """\
  python benchmark.py                      images per second, of all training loops
  python benchmark.py --time-to-accuracy   seconds to 90, 91.2, 92 and 93 %; resumes
  python benchmark.py --variants           other ways to train, tried for speed; resumes
  python benchmark.py --growth --rounds 3  seconds and memory against width, batch size, threads
  python benchmark.py --check --rounds 3   does our loop waste time? changes no file"""
NOT_MEASURED = ("data_dir", "runs_dir", "overwrite")  # options that change no figure


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--time-to-accuracy", action="store_true", help="measure this, not images per second"
    )
    what.add_argument(
        "--variants",
        action="store_true",
        help="measure accuracy and seconds of ways to be faster that were tried",
    )
    what.add_argument(
        "--growth",
        action="store_true",
        help="measure how seconds and memory grow with width, batch size, images, threads, runs",
    )
    what.add_argument(
        "--graphics-card",
        action="store_true",
        help="measure epochs on a graphics card, alone and several at a time; do bits repeat?",
    )
    what.add_argument(
        "--check",
        action="store_true",
        help=f"measure only our loop and its parts; exit code {TOO_SLOW}: slower than it may be",
    )
    add_options(parser, Turns)
    add_options(parser, Race)
    add_options(parser, Recipe, "width", "batch_size", "dataset", "seed")
    add_options(parser, Files, "data_dir", "runs_dir", "overwrite")
    add_options(parser, Machine)
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from harness.compute import set_up_compute

    compute = set_up_compute(**structs.asdict(take(args, Machine)))
    if args.check:
        check(args, compute)
    elif args.time_to_accuracy:
        measure_time_to_accuracy(args, compute)
    elif args.variants:
        measure_variants(args, compute)
    elif args.growth:
        measure_growth(args, compute)
    elif args.graphics_card:
        measure_card(args, compute)
    else:
        measure_throughput(args, compute)


def measure_throughput(args, compute) -> None:
    from benchmarks.measurement import measure
    from benchmarks.peers import LIBRARIES, installed_libraries

    print(f"{args.rounds} rounds on {compute}, after one that warms up", flush=True)
    absent = [name for name in LIBRARIES if name not in installed_libraries()]
    if absent:
        print(f"not installed: {', '.join(absent)} (requirements-bench.txt)", flush=True)
    throughput = measure(recipes(args), args.data_dir, take(args, Turns), compute, command(args))
    show(keep(args, throughput=throughput), "loops", "parts")


def measure_time_to_accuracy(args, compute) -> None:
    from benchmarks.accuracy import race, racers

    measure_trainings(args, compute, "time_to_accuracy", racers(compute), race)


def measure_variants(args, compute) -> None:
    from benchmarks.variants import contenders, race

    measure_trainings(args, compute, "variants", contenders(), race)


def measure_trainings(args, compute, name: str, contenders: dict, race) -> None:
    """Keep and show what `race` finds of the contenders, as the file's part of that name."""
    from benchmarks import accuracy
    from data import load_dataset

    recipe = take(args, ClassifierRecipe)
    dataset = load_dataset(recipe.dataset, args.data_dir)
    part = accuracy.start(recipe, dataset, compute, command(args))
    before = read_measured(file_of(args))
    if before and not args.overwrite:
        part = accuracy.resume(getattr(before, name), part)
    plan = accuracy.missing(part, accuracy.entries(args.seed, args.seeds, contenders))
    print(f"{len(plan)} trainings on {compute}; what is measured is kept after each", flush=True)
    for grown in race(part, plan, args.data_dir, compute):
        keep(args, **{name: grown})
    show(read_measured(file_of(args)), name)


def measure_growth(args, compute) -> None:
    from benchmarks.growth import measure_growth

    measure_part(args, compute, "growth", measure_growth)


def measure_card(args, compute) -> None:
    from benchmarks.card import measure_card

    measure_part(args, compute, "card", measure_card)


def measure_part(args, compute, part: str, measure) -> None:
    """Keep and show what `measure` finds, as the file's part and the page's block of that name."""
    machine, turns = take(args, Machine), take(args, Turns)
    found = measure(recipes(args), machine, turns, args.data_dir, compute, command(args))
    show(keep(args, **{part: found}), part)


def check(args, compute) -> None:
    """Exit with TOO_SLOW where our loop is slower than it may be."""
    from benchmarks.measurement import slow_parts

    slow = slow_parts(recipes(args), args.data_dir, take(args, Turns), compute)
    for line in slow:
        print(line)
    if slow:
        raise SystemExit(TOO_SLOW)


def recipes(args) -> dict[str, Recipe]:
    """The two models that are trained, at their defaults but for what the user chose."""
    return {
        "classifier": take(args, ClassifierRecipe),
        "autoencoder": take(args, AutoencoderRecipe),
    }


def file_of(args) -> Path:
    return Path(args.runs_dir) / FILE


def keep(args, **parts: Throughput | TimeToAccuracy | Growth | Card) -> Measured:
    """Write the parts, and leave the file's other parts as they are."""
    measured = structs.replace(read_measured(file_of(args)) or Measured(), **parts)
    write_json(file_of(args), measured)
    return measured


def show(measured: Measured, *blocks: str) -> None:
    """Print parts of the page, which `plot.py` writes whole."""
    from benchmarks.page import page_blocks

    found = page_blocks(measured)
    print(*(f"\n{found[name]}" for name in blocks), sep="\n")


def command(args) -> str:
    """What to type for the same measurement: the options that differ from their defaults."""
    words = ["python", Path(__file__).name]
    defaults = vars(parse_args([]))
    for name, value in vars(args).items():
        if name not in NOT_MEASURED and value != defaults[name]:
            words += [option_name(name), *([] if value is True else [str(value)])]
    return " ".join(words)


if __name__ == "__main__":
    main()
