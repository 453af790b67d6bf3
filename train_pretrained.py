# PYTHON_ARGCOMPLETE_OK
"""Train the same AlexNet, started from an encoder that pretrain_autoencoder.py has made."""

import shlex
from functools import partial

from harness.errors import exit_cleanly
from harness.options import Parser, take, typed
from recipes import AutoencoderRecipe, ClassifierRecipe, Display, Files, Machine, Setup, pretraining
from train_baseline import train

EXAMPLES = """\
  python train_pretrained.py --seed 1
  python train_pretrained.py --label-fraction 0.01 --epochs 100 --freeze-encoder"""


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES, ClassifierRecipe, Files, Display, Machine)
    parser.add_argument_group("encoder").add_argument(
        "--encoder",
        help="file to start from (default: that of pretrain_autoencoder.py with the same seed, "
        "width, data set and preset)",
    )
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    from autoencoding import read_encoder  # only now: --help need not wait for PyTorch
    from training import train_or_resume

    recipe = take(args, ClassifierRecipe)
    place = [args.encoder] if args.encoder else default_encoder(recipe, args.runs_dir)
    encoder, source = read_encoder(*place)
    setup = Setup(recipe=recipe, encoder=source)
    train_or_resume(setup, args, partial(train, encoder=encoder))


def default_encoder(recipe: ClassifierRecipe, runs_dir: str) -> tuple[str, str]:
    """The file that these options' own pretraining leaves, and the command for it."""
    own = pretraining(recipe)
    usual = AutoencoderRecipe(**AutoencoderRecipe.presets[own.preset])
    options = {"preset": own.preset} if own.preset != "default" else {}
    shared = {name: getattr(own, name) for name in ("dataset", "seed", "width")}
    options |= {name: value for name, value in shared.items() if value != getattr(usual, name)}
    options |= {"runs_dir": runs_dir} if runs_dir != Files().runs_dir else {}
    file = Setup(recipe=own).encoder_file(runs_dir)
    return str(file), shlex.join(["pretrain_autoencoder.py", *typed(options)])


if __name__ == "__main__":
    main()
