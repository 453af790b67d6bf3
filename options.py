"""The command-line options that the scripts share. Imports nothing slow: `--help` is instant."""

import argparse
import math

DATASETS = ("fashion", "mnist", "kmnist", "digits")
# What the autoencoder's output is held against, by corruption, if --target does not say.
TARGETS = {"mask": "normalised", "noise": "pixels", "none": "pixels"}
ENCODER = "mask-normalised"  # the condition of the default pretraining
FLIPS = ("alternate", "random", "none")
SCHEDULES = ("one-cycle", "constant")

# Where and how a run is kept, and on how many cores it is done (which its environment tells, and
# only the last digits depend on): no part of its configuration.
NOT_CONFIGURATION = ("data_dir", "run_dir", "overwrite", "threads")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action):
        says_nothing = action.default is None or action.default is False
        return action.help if says_nothing else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """ArgumentParser that shows defaults and reports an error in one line with exit code 2."""

    def __init__(self, **kwargs):
        super().__init__(
            usage="%(prog)s [options]", formatter_class=HelpFormatter, allow_abbrev=False, **kwargs
        )

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def positive_int(text: str) -> int:
    """`text` as an integer of at least 1."""
    return _number(text, int, lambda n: n >= 1, "a whole number of at least 1")


def batch_size(text: str) -> int:
    """`text` as an integer of at least 2, since batch normalisation needs two images."""
    return _number(text, int, lambda n: n >= 2, "a whole number of at least 2")


def natural(text: str) -> int:
    """`text` as an integer of at least 0."""
    return _number(text, int, lambda n: n >= 0, "a whole number of at least 0")


def seed(text: str) -> int:
    """`text` as an integer that NumPy takes for a seed."""
    return _number(text, int, lambda n: 0 <= n < 2**32, "a whole number from 0 to 4294967295")


def positive(text: str) -> float:
    """`text` as a finite number above 0."""
    return _number(text, float, lambda x: 0 < x < math.inf, "a number above 0")


def fraction(text: str) -> float:
    """`text` as a number in (0, 1]."""
    return _number(text, float, lambda x: 0 < x <= 1, "a fraction above 0 and up to 1")


def probability(text: str) -> float:
    """`text` as a number in [0, 1)."""
    return _number(text, float, lambda x: 0 <= x < 1, "a number from 0 up to, not including, 1")


def _number(text, kind, accepted, description):
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not accepted(number):
        raise argparse.ArgumentTypeError(f"'{text}' is not {description}")
    return number


def add_data_options(parser: Parser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument("--dataset", choices=DATASETS, default="fashion", help="digits: no download")
    group.add_argument("--data-dir", default="data", help="holds FashionMNIST/raw/*.gz")
    group.add_argument("--seed", type=seed, default=0, help="split, order, start and noise")


def add_training_options(parser: Parser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=positive_int, default=10, help="passes over the images")
    group.add_argument("--valid-every", type=positive_int, default=1, help="epochs a measurement")
    group.add_argument("--batch-size", type=batch_size, default=128, help="images a step")
    group.add_argument("--learning-rate", type=positive, default=4e-3, help="Adam's peak")
    group.add_argument("--schedule", choices=SCHEDULES, default="one-cycle", help="learning rate")
    group.add_argument("--flip", choices=FLIPS, default="alternate", help="left-right mirroring")
    group.add_argument("--shift", type=natural, default=2, help="random translation, pixels")


def add_classifier_options(parser: Parser) -> None:
    group = parser.add_argument_group("classifier")
    group.add_argument("--label-fraction", type=fraction, default=1.0, help="labels used, (0, 1]")
    group.add_argument("--label-smoothing", type=probability, default=0.1, help="in the train loss")
    group.add_argument(
        "--average-shift", type=natural, default=1, help="pixels; final predictions' views"
    )
    group.add_argument("--freeze-encoder", action="store_true", help="train the head alone")
    group.add_argument("--skip-test", action="store_true", help="for tuning: leave the test set be")


def add_width_option(parser: Parser) -> None:
    parser.add_argument("--width", type=positive, default=0.5, help="times AlexNet's channels")


def add_machine_options(parser: Parser) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where"
    )
    group.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="arithmetic"
    )
    group.add_argument("--compile", action="store_true", help="torch.compile the model")
    group.add_argument("--threads", type=positive_int, help="CPU threads (default: all cores)")


def add_run_options(parser: Parser, where: str) -> None:
    group = parser.add_argument_group("run")
    group.add_argument("--run-dir", help=f"where the run is kept (default: {where})")
    group.add_argument("--overwrite", action="store_true", help="start afresh")


def configuration(args: argparse.Namespace) -> dict:
    """The options that decide a run's results, as kept in its config.json."""
    return {name: value for name, value in vars(args).items() if name not in NOT_CONFIGURATION}


def pick(args: argparse.Namespace, dataclass: type):
    """An instance of `dataclass` from the options of its fields' names."""
    return dataclass(**{name: getattr(args, name) for name in dataclass.__dataclass_fields__})


def default_run_dir(arm: str, args: argparse.Namespace, *parts: str) -> str:
    """runs/<arm>/<condition>/seed<seed>; the condition spells what the experiment varies."""
    parts = [args.dataset if args.dataset != "fashion" else "", *parts]
    condition = "-".join(part for part in parts if part)
    return f"runs/{arm}/{condition}/seed{args.seed}"


def percent(name: str, share: float) -> str:
    """A share as part of a condition's name: labels100, images10."""
    return f"{name}{100 * share:g}"
