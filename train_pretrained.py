# PYTHON_ARGCOMPLETE_OK
"""Train the same AlexNet, started from an encoder that pretrain_autoencoder.py has made."""

import shlex

from msgspec.structs import asdict

from harness.errors import exit_cleanly
from harness.options import Parser, add_options, take
from harness.progress import quietly
from recipes import ENCODER, AutoencoderRecipe, ClassifierRecipe, Display, Files, Machine, Setup

EXAMPLES = """\
  python train_pretrained.py --seed 1
  python train_pretrained.py --label-fraction 0.01 --epochs 100 --freeze-encoder"""
USUAL = AutoencoderRecipe()


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
    """The file that the default pretraining leaves for these options, and the command for it."""
    shared = {name: getattr(recipe, name) for name in ("dataset", "seed", "width")}
    own = {name: value for name, value in shared.items() if value != getattr(USUAL, name)}
    if runs_dir != Files().runs_dir:
        own["runs_dir"] = shlex.quote(runs_dir)
    options = [f"--{name.replace('_', '-')} {value}" for name, value in own.items()]
    folder = Setup(recipe=AutoencoderRecipe(**shared)).folder(runs_dir)
    return str(folder / ENCODER), " ".join(["pretrain_autoencoder.py", *options])


if __name__ == "__main__":
    main()
