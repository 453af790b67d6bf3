# PYTHON_ARGCOMPLETE_OK
"""Pretrain AlexNet's encoder as the encoder of a U-Net autoencoder, on images without labels."""

from harness.errors import exit_cleanly
from harness.options import Parser, take
from recipes import AutoencoderRecipe, Display, Files, Machine, Setup

EXAMPLES = """\
  python pretrain_autoencoder.py --seed 1
  python pretrain_autoencoder.py --corruption none --epochs 10"""


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES, AutoencoderRecipe, Files, Display, Machine)
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    from training import train_or_resume  # only now: --help need not wait for PyTorch

    train_or_resume(Setup(recipe=take(args, AutoencoderRecipe)), args, pretrain)


def new_task(recipe, dataset, compute):
    """The U-Net autoencoder and its batches, an `autoencoding.Reconstruction`."""
    from autoencoding import Reconstruction, new_autoencoder
    from batches import Normalisation, evaluation_batches, training_batches
    from data import random_subset, split

    images, labels = dataset.train_images, dataset.train_labels
    training, valid = split(dataset, recipe.seed)
    used = random_subset(training, recipe.image_fraction, recipe.seed)
    normalise = Normalisation.of(images[training])
    batches = training_batches(dataset, used, normalise, recipe, compute)
    held_out = evaluation_batches(images[valid], labels[valid], normalise, compute)
    return Reconstruction(new_autoencoder(recipe), batches, held_out, recipe, compute)


def pretrain(run, dataset, compute) -> None:
    """The pretraining, from the images to the encoder. Arguments and errors: as the baseline's."""
    from autoencoding import pictures, save
    from training import fit

    task = new_task(run.setup.recipe, dataset, compute)
    run.start(task.data(dataset), compute.environment())
    history = fit(run, task, lambda: pictures(task))
    save(run, task, dataset, history)


if __name__ == "__main__":
    main()
