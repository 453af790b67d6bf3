# PYTHON_ARGCOMPLETE_OK
"""Train AlexNet from a random start: the baseline that pretraining has to beat."""

from msgspec.structs import asdict

from harness.errors import exit_cleanly
from harness.options import Parser, add_options, take
from harness.progress import quietly
from recipes import ClassifierRecipe, Display, Files, Machine, Setup

EXAMPLES = """\
  python train_baseline.py --seed 1
  python train_baseline.py --label-fraction 0.01 --epochs 100"""


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES)
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
    setup = Setup(recipe=take(args, ClassifierRecipe))
    # Imported only now, so that --help and a mistyped option are answered at once.
    from harness.rundir import Run
    from metrics import Metrics

    folder = setup.folder(args.runs_dir)
    run = Run.open(folder, setup, Metrics, overwrite=args.overwrite)
    run.tensorboard = args.tensorboard
    if run.finished:
        return run.tidy_up()
    from classification import train_classifier
    from data import load_dataset
    from harness.compute import set_up_compute

    compute = set_up_compute(**asdict(take(args, Machine)))
    dataset = load_dataset(setup.recipe.dataset, args.data_dir)
    train_classifier(run, dataset, compute)


if __name__ == "__main__":
    main()
