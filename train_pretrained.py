"""Train the same AlexNet from an encoder that pretrain_autoencoder.py has made."""

from errors import exit_cleanly
from options import (
    ENCODER,
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
    positive,
)


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_data_options(parser)
    add_classifier_options(parser)
    add_training_options(parser)
    add_width_option(parser)
    group = parser.add_argument_group("encoder")
    group.add_argument(
        "--encoder",
        help=f"to start from (default: runs/autoencoder/{ENCODER}/seed<seed>/encoder.pt)",
    )
    group.add_argument(
        "--encoder-lr-scale", type=positive, default=1.0, help="share of the learning rate"
    )
    add_machine_options(parser)
    add_run_options(parser, where="runs/pretrained/<encoder>-labels<percent>/seed<seed>")
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from classification import hand_over, new_alexnet, train_classifier
    from compute import choose_compute
    from data import load_dataset
    from rundir import Run, load_weights
    from training import Recipe

    source = args.encoder or f"{default_run_dir('autoencoder', args, ENCODER)}/encoder.pt"
    encoder = load_weights(source, "encoder")
    folder = args.run_dir or default_run_dir(
        "pretrained",
        args,
        encoder["condition"],
        "frozen" * args.freeze_encoder,
        percent("labels", args.label_fraction),
    )
    options = configuration(args) | {"encoder": encoder["provenance"]}
    run = Run.open(folder, "pretrained", options, overwrite=args.overwrite)
    if run.finished:
        return run.say_finished()
    compute = choose_compute(args.device, args.precision, args.compile, args.threads)
    dataset = load_dataset(args.dataset, args.data_dir)
    model = new_alexnet(args.width, len(dataset.classes), args.seed)
    hand_over(encoder["state"], model, source)
    train_classifier(
        run,
        model,
        dataset,
        pick(args, Recipe),
        compute,
        label_fraction=args.label_fraction,
        label_smoothing=args.label_smoothing,
        freeze_encoder=args.freeze_encoder,
        encoder_lr_scale=args.encoder_lr_scale,
        average_shift=args.average_shift,
        skip_test=args.skip_test,
    )


if __name__ == "__main__":
    main()
