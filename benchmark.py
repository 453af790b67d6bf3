"""How fast this project trains and evaluates, against other loops and against the machine."""

from pathlib import Path

from errors import exit_cleanly
from options import (
    Parser,
    add_data_options,
    add_machine_options,
    add_width_option,
    batch_size,
    pick,
    positive_int,
)

NOT_MEASURED = ("data_dir", "json", "img_dir")  # options that change no figure


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_data_options(parser)
    add_width_option(parser)
    group = parser.add_argument_group("benchmark")
    group.add_argument("--batch-size", type=batch_size, default=128, help="images a step")
    group.add_argument("--rounds", type=positive_int, default=7, help="turns of each contender")
    group.add_argument("--steps", type=positive_int, default=10, help="timed in each turn")
    group.add_argument("--json", type=Path, default="runs/benchmark.json", help="for the figures")
    group.add_argument("--img-dir", type=Path, default="img", help="for the bar chart")
    add_machine_options(parser)
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    import json

    from compute import choose_compute
    from measuring import Setting, measure
    from peers import PEERS, installed_peers
    from rundir import write_atomically
    from speed import draw_speed, speed_table

    compute = choose_compute(args.device, args.precision, args.compile, args.threads)
    print(f"{args.rounds} rounds on {compute}, after one that warms up", flush=True)
    missing = [name for name in PEERS if name not in installed_peers()]
    if missing:
        print(f"not installed: {', '.join(missing)} (requirements-bench.txt)", flush=True)
    measured = {"command": command(args)} | measure(pick(args, Setting), compute)
    write_atomically(args.json, (json.dumps(measured, indent=2, allow_nan=False) + "\n").encode())
    draw_speed(measured, args.img_dir / "benchmark.png")
    print("", *speed_table(measured), sep="\n")


def command(args) -> str:
    """What to type for the same measurement: the options that differ from their defaults."""
    words = ["python", Path(__file__).name]
    defaults = vars(parse_args([]))
    for name, value in vars(args).items():
        if name not in NOT_MEASURED and value != defaults[name]:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return " ".join(words)


if __name__ == "__main__":
    main()
