"""Train AlexNet from a random start: the arm that pretraining has to beat."""

from errors import exit_cleanly
from options import (
    Parser,
    add_classifier_options,
    add_data_options,
    add_machine_options,
    add_run_options,
    add_training_options,
    add_width_option,
    configuration,
    default_run_dir,
    percent,
    pick,
)


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_data_options(parser)
    add_classifier_options(parser)
    add_training_options(parser)
    add_width_option(parser)
    add_machine_options(parser)
    add_run_options(parser, where="runs/baseline/labels<percent>/seed<seed>")
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from classification import new_alexnet, train_classifier
    from compute import choose_compute
    from data import load_dataset
    from rundir import Run
    from training import Recipe

    parts = ["frozen" * args.freeze_encoder, percent("labels", args.label_fraction)]
    folder = args.run_dir or default_run_dir("baseline", args, *parts)
    run = Run.open(folder, "baseline", configuration(args), overwrite=args.overwrite)
    if run.finished:
        return run.say_finished()
    compute = choose_compute(args.device, args.precision, args.compile, args.threads)
    dataset = load_dataset(args.dataset, args.data_dir)
    model = new_alexnet(args.width, len(dataset.classes), args.seed)
    train_classifier(
        run,
        model,
        dataset,
        pick(args, Recipe),
        compute,
        label_fraction=args.label_fraction,
        label_smoothing=args.label_smoothing,
        freeze_encoder=args.freeze_encoder,
        average_shift=args.average_shift,
        skip_test=args.skip_test,
    )


if __name__ == "__main__":
    main()
