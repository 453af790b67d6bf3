# PYTHON_ARGCOMPLETE_OK
"""Train AlexNet from a random start: the baseline that pretraining has to beat."""

from harness.errors import exit_cleanly
from harness.options import Parser, take
from recipes import ClassifierRecipe, Display, Files, Machine, Setup

EXAMPLES = """\
  python train_baseline.py --seed 1
  python train_baseline.py --label-fraction 0.01 --epochs 100"""


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES, ClassifierRecipe, Files, Display, Machine)
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    args = parse_args(argv)
    from training import train_or_resume  # only now: --help need not wait for PyTorch

    train_or_resume(Setup(recipe=take(args, ClassifierRecipe)), args, train)


def new_task(recipe, dataset, compute, encoder=None):
    """What is trained: AlexNet and its batches, a `classification.Classification`.

    Args:
        dataset: a `data.ImageSet`, `compute` a `harness.compute.Compute`.
        encoder: a pretrained encoder's weights to start from; a random start where None.

    Raises:
        UserError: as `stratified_subset`, `new_alexnet` and `Classification`.
    """
    from batches import Normalisation, evaluation_batches, training_batches
    from classification import Classification, new_alexnet
    from data import split, stratified_subset

    images, labels = dataset.train_images, dataset.train_labels
    training, valid = split(dataset, recipe.seed)
    labelled = stratified_subset(labels, training, recipe.label_fraction, recipe.seed)
    normalise = Normalisation.of(images[training])
    batches = training_batches(dataset, labelled, normalise, recipe, compute)
    held_out = evaluation_batches(images[valid], labels[valid], normalise, compute)
    unlabelled = None
    if recipe.auxiliary_loss:
        unlabelled = training_batches(dataset, training, normalise, recipe, compute)
    model = new_alexnet(recipe, len(dataset.classes), encoder)
    return Classification(model, batches, held_out, recipe, compute, unlabelled)


def train(run, dataset, compute, encoder=None) -> None:
    """The experiment, from the images to the results of one run, a `harness.rundir.Run`.

    Raises:
        UserError: as `new_task`, `Run.start` and `fit`.
    """
    from classification import pictures, save, test
    from training import fit

    task = new_task(run.setup.recipe, dataset, compute, encoder)
    run.start(task.data(dataset), compute.environment())
    fit(run, task, lambda: pictures(task, dataset.classes))
    save(run, task, test(run, task, dataset))


if __name__ == "__main__":
    main()
