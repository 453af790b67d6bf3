"""What the benchmark trains: the experiment's own models, batches and losses, for any loop."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from autoencoding import Reconstruction, new_autoencoder
from batches import Batches, Normalisation
from classification import Classification, new_alexnet
from data import ImageSet, random_subset, split
from harness.compute import Compute
from recipes import AutoencoderRecipe, Recipe
from training import Task, evaluation_batches, training_batches


@dataclass(frozen=True)
class Workload:
    """A model with its images: what any loop needs in order to train it.

    Args:
        images: uint8 (N, 28, 28), the training split on the CPU.
        labels: int64 (N,)
        batches: the same split as this project's batches.
        valid_batches: the validation split's.
        new_model: a model that depends on the recipe's seed alone.
    """

    recipe: Recipe
    images: Tensor
    labels: Tensor
    batches: Batches
    valid_batches: Batches
    compute: Compute
    new_model: Callable[[], nn.Module]

    def new_task(self, kind: type[Task] | None = None) -> Task:
        """The experiment's own task, on a model that is not placed on the device yet.

        Args:
            kind: another task in its place, which takes what that one takes.
        """
        if kind is None:
            autoencoder = isinstance(self.recipe, AutoencoderRecipe)
            kind = Reconstruction if autoencoder else Classification
        return kind(self.new_model(), self.batches, self.valid_batches, self.recipe, self.compute)


def make_workload(
    recipe: Recipe, dataset: ImageSet, compute: Compute, share: float = 1.0
) -> Workload:
    """The data set, split, cut and augmented as the training scripts do it.

    Args:
        share: of the training images, in (0, 1].
    """
    train, valid = split(dataset, recipe.seed)
    train = random_subset(train, share, recipe.seed)
    images, labels = dataset.train_images[train], dataset.train_labels[train]
    normalise = Normalisation.of(images)
    valid_images, valid_labels = dataset.train_images[valid], dataset.train_labels[valid]

    def new_model() -> nn.Module:
        if isinstance(recipe, AutoencoderRecipe):
            return new_autoencoder(recipe)
        return new_alexnet(recipe, len(dataset.classes))

    return Workload(
        recipe=recipe,
        images=images,
        labels=labels,
        batches=training_batches(dataset, train, normalise, recipe, compute),
        valid_batches=evaluation_batches(valid_images, valid_labels, normalise, compute),
        compute=compute,
        new_model=new_model,
    )


class Collate:
    """A list of (image, label) to the task's batch, as `DataLoader` asks for it."""

    def __init__(self, task: Task):
        self.corrupt = task.corrupt if isinstance(task, Reconstruction) else None

    def __call__(self, examples: list[tuple[Tensor, int]]) -> tuple[Tensor, ...]:
        images, labels = default_collate(examples)
        if self.corrupt is None:
            return images, labels
        return self.corrupt(images, torch.default_generator)
