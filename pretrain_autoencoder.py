"""Pretrain AlexNet's encoder as the encoder of a U-Net autoencoder, on images without labels."""

from errors import exit_cleanly
from options import (
    TARGETS,
    Parser,
    add_data_options,
    add_machine_options,
    add_run_options,
    add_training_options,
    add_width_option,
    configuration,
    default_run_dir,
    fraction,
    percent,
    pick,
)


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_data_options(parser)
    group = parser.add_argument_group("pretraining")
    group.add_argument(
        "--corruption", choices=TARGETS, default="mask", help="what the encoder sees"
    )
    group.add_argument(
        "--target",
        choices=sorted(set(TARGETS.values())),
        help="each 4x4 patch normalised (default with --corruption mask) or as it is (otherwise)",
    )
    group.add_argument("--no-skips", action="store_true", help="decoder without skip connections")
    group.add_argument("--train-fraction", type=fraction, default=1.0, help="images used, (0, 1]")
    add_training_options(parser)
    add_width_option(parser)
    add_machine_options(parser)
    add_run_options(parser, where="runs/autoencoder/<condition>/seed<seed>")
    args = parser.parse_args(argv)
    args.target = args.target or TARGETS[args.corruption]
    return args


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from autoencoding import new_autoencoder, pretrain
    from compute import choose_compute
    from data import load_dataset
    from rundir import Run
    from training import Recipe

    parts = [
        args.corruption,
        "normalised" * (args.target == "normalised"),
        "noskips" * args.no_skips,
        percent("images", args.train_fraction) * (args.train_fraction < 1),
    ]
    run = Run.open(
        args.run_dir or default_run_dir("autoencoder", args, *parts),
        "autoencoder",
        configuration(args),
        results=("encoder.pt", "metrics.json"),
        overwrite=args.overwrite,
    )
    if run.finished:
        return run.say_finished()
    compute = choose_compute(args.device, args.precision, args.compile, args.threads)
    dataset = load_dataset(args.dataset, args.data_dir)
    model = new_autoencoder(args.width, not args.no_skips, args.seed)
    pretrain(
        run,
        model,
        dataset,
        pick(args, Recipe),
        compute,
        corruption=args.corruption,
        target=args.target,
        train_fraction=args.train_fraction,
        condition="-".join(part for part in parts if part),
    )


if __name__ == "__main__":
    main()
