# PYTHON_ARGCOMPLETE_OK
"""Train the same AlexNet, started from an encoder that pretrain_autoencoder.py has made."""

import shlex

from msgspec.structs import asdict

from harness.errors import exit_cleanly
from harness.options import Parser, add_options, option_name, take
from harness.progress import quietly
from recipes import (
    AutoencoderRecipe,
    ClassifierRecipe,
    Display,
    Files,
    Machine,
    Setup,
    pretraining,
)

EXAMPLES = """\
  python train_pretrained.py --seed 1
  python train_pretrained.py --label-fraction 0.01 --epochs 100 --freeze-encoder"""


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES)
    group = parser.add_argument_group("encoder")
    group.add_argument(
        "--encoder",
        help="file to start from (default: that of pretrain_autoencoder.py with the same seed, "
        "width and data set)",
    )
    for options in (ClassifierRecipe, Files, Display, Machine):
        add_options(parser, options)
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    with quietly(args.quiet):
        train(args)


def train(args) -> None:
    """Train what the options ask for, or go on with it, or say that it is finished."""
    recipe = take(args, ClassifierRecipe)
    # Imported only now, so that --help and a mistyped option are answered at once.
    from autoencoding import read_encoder
    from classification import train_classifier
    from data import load_dataset
    from harness.compute import set_up_compute
    from harness.rundir import Run
    from metrics import Metrics

    if args.encoder:
        encoder, source = read_encoder(args.encoder)
    else:
        encoder, source = read_encoder(*default_encoder(recipe, args.runs_dir))
    setup = Setup(recipe=recipe, encoder=source)
    folder = setup.folder(args.runs_dir)
    run = Run.open(folder, setup, Metrics, overwrite=args.overwrite)
    run.tensorboard = args.tensorboard
    if run.finished:
        return run.tidy_up()
    compute = set_up_compute(**asdict(take(args, Machine)))
    dataset = load_dataset(recipe.dataset, args.data_dir)
    train_classifier(run, dataset, compute, encoder)


def default_encoder(recipe: ClassifierRecipe, runs_dir: str) -> tuple[str, str]:
    """The file that these options' own pretraining leaves, and the command for it."""
    own = pretraining(recipe)
    options = AutoencoderRecipe.presets[own.preset]
    usual = AutoencoderRecipe(**options)
    words = [f"--preset {own.preset}"] if options else []
    words += [
        f"{option_name(name)} {getattr(own, name)}"
        for name in ("dataset", "seed", "width")
        if getattr(own, name) != getattr(usual, name)
    ]
    if runs_dir != Files().runs_dir:
        words.append(f"--runs-dir {shlex.quote(runs_dir)}")
    file = Setup(recipe=own).encoder_file(runs_dir)
    return str(file), " ".join(["pretrain_autoencoder.py", *words])


if __name__ == "__main__":
    main()
