"""The encoders that are probed: random, pretrained, and a trained classifier's."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoencoding import read_encoder
from batches import Normalisation
from classification import TrainedModel, new_alexnet, recompute_bn_stats
from data import ImageSet, split
from harness.compute import Compute
from harness.errors import UserError
from harness.files import shown
from harness.weights import fill
from models import Encoder
from recipes import ENCODER, MODEL, AutoencoderRecipe, ClassifierRecipe, Setup
from studies.arms import (
    NO_SKIPS,
    NORMALISED,
    PIXELS,
    PLAIN,
    PLAIN_NO_SKIPS,
    PRETRAINED,
    SCRATCH,
    UNMASKED,
)
from studies.extra import MASKED, RANDOM, STAGES, TRAINED
from studies.grid import Study
from training import evaluation_batches

PRETRAININGS = {
    arm.name: arm for arm in (PLAIN, PLAIN_NO_SKIPS, PIXELS, NORMALISED, NO_SKIPS, UNMASKED)
} | {MASKED: PRETRAINED}
NAMES = (RANDOM, *PRETRAININGS, TRAINED)
# Each stage's maps, and the grid they are averaged on, so that each gives about as many numbers
# (Zhang et al. 2016, arXiv:1603.08511): 784, 768 and 576 at width 0.25.
GRIDS = dict(zip(STAGES, (7, 4, 3), strict=True))


class Encoders:
    """The study's encoders on one data set, from the weights in a folder of runs."""

    def __init__(self, study: Study, dataset: ImageSet, runs_dir: str | Path, compute: Compute):
        self.study = study
        self.dataset = dataset
        self.runs_dir = Path(runs_dir)
        self.compute = compute

    def setup(self, name: str, seed: int) -> Setup:
        """The run that leaves these weights, or whose start is the random encoder."""
        protocol = self.study.protocol
        if name in PRETRAININGS:
            return protocol.cell(PRETRAININGS[name], 1.0).pretraining(seed)
        return protocol.cell(SCRATCH, 1.0).setup(seed)

    def path(self, name: str, seed: int) -> Path:
        """Where the weights are, or would be."""
        file = ENCODER if name in PRETRAININGS else MODEL
        return self.setup(name, seed).folder(self.runs_dir) / file

    def is_there(self, name: str, seed: int) -> bool:
        return name == RANDOM or self.path(name, seed).exists()

    def maps(self, name: str, seed: int, *images: Tensor) -> list[list[Tensor]]:
        """Each stage's maps of each set of uint8 images (n, 28, 28): (n, channels * grid * grid).

        The statistics of batch normalisation are taken anew over the seed's training images:
        a random encoder has none, and a pretrained one has those of corrupted images.

        Raises:
            UserError: the weights are damaged, or are another run's.
        """
        encoder = self.compute.place(self._load(name, seed))
        train = self.dataset.train_images[split(self.dataset, seed)[0]]
        normalise = Normalisation.of(train)
        batches = evaluation_batches(
            train, torch.zeros(len(train), dtype=torch.int64), normalise, self.compute
        )
        recompute_bn_stats(encoder, batches, self.compute)
        return [pooled_maps(encoder.eval(), each, normalise, self.compute) for each in images]

    def _load(self, name: str, seed: int) -> nn.Module:
        setup, path = self.setup(name, seed), self.path(name, seed)
        if name == RANDOM:
            return new_alexnet(setup.recipe, len(self.dataset.classes)).encoder
        if name == TRAINED:
            trained = TrainedModel(str(path), self.compute)
            refuse_other(trained.card.recipe, setup, path)
            return trained.predict.model.encoder
        tensors, source = read_encoder(str(path))
        refuse_other(source.recipe, setup, path)
        encoder = Encoder(setup.recipe.width)
        fill(encoder, tensors, path)
        return encoder


def refuse_other(recipe: ClassifierRecipe | AutoencoderRecipe, setup: Setup, path: Path) -> None:
    if differences := setup.differences(Setup(recipe=recipe)):
        raise UserError(
            f"'{shown(path)}' is not of the run whose folder it is in ({'; '.join(differences)}): "
            "move it, or make the run again with --overwrite"
        )


@torch.no_grad()
def pooled_maps(
    encoder: nn.Module, images: Tensor, normalise: Normalisation, compute: Compute
) -> list[Tensor]:
    """Each stage's maps, averaged over its grid: float32 (n, channels * grid * grid) on the CPU."""
    stages: list[list[Tensor]] = [[] for _ in STAGES]
    batches = evaluation_batches(
        images, torch.zeros(len(images), dtype=torch.int64), normalise, compute
    )
    for batch, _ in batches.in_order():
        with compute.autocast():
            found = encoder(batch)
        for kept, maps, grid in zip(stages, found, GRIDS.values(), strict=True):
            kept.append(F.adaptive_avg_pool2d(maps.float(), grid).flatten(1).cpu())
    return [torch.cat(kept) for kept in stages]
