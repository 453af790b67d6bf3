"""What encoders know: simple classifiers on the maps of each stage, which stay as they are.

A probe learns from its seed's label budget and chooses its one setting on its seed's validation
images, which its encoder has not learnt from either; the test set is read after that.
"""

import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

from autoencoding import read_encoder
from baselines.rows import Rows
from batches import Batches, Normalisation, evaluation_batches
from classification import TrainedModel, new_alexnet, recompute_bn_stats
from data import ImageSet, split, stratified_subset
from harness.compute import Compute
from harness.errors import UserError
from harness.files import shown, write_arrays
from harness.weights import fill
from models import Encoder
from recipes import AutoencoderRecipe, Setup

# Each stage's maps, and the grid they are averaged on, so that each gives about as many numbers
# (Zhang et al. 2016, arXiv:1603.08511): 784, 768 and 576 at width 0.25.
STAGES = {"28x28": 7, "14x14": 4, "7x7": 3}
TSNE_IMAGES = 1_000
Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]  # maps (n, features), labels (n,)
# Of a seed: the run, and the file of the weights that it left; None stands for its random start.
Source = Callable[[int], tuple[Setup, Path | None]]


def votes(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Neighbours' weights by their cosine distances, as in DINO (Caron et al. 2021)."""
    return np.exp((1 - distances) / 0.07)


PROBES = {  # each in all of its settings
    "linear probe": [
        make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=200))
        for penalty in (0.001, 0.01, 0.1)
    ],
    "k-NN": [
        KNeighborsClassifier(count, metric="cosine", weights=votes) for count in (5, 10, 20, 50)
    ],
}


def accuracy_of(probe: str, train: Labelled, valid: Labelled, test: Labelled) -> float:
    """On test images, in [0, 1], in the setting that is best on validation images."""
    models = [clone(m) for m in PROBES[probe] if getattr(m, "n_neighbors", 1) <= len(train[1])]
    best = max((model.fit(*train) for model in models), key=lambda model: model.score(*valid))
    return best.score(*test)


def run_probes(
    encoders: dict[str, Source],
    dataset: ImageSet,
    table_path: Path,
    compute: Compute,
    seeds: list[int],
    budgets: list[float],
) -> None:
    """Add the test accuracies that the table has not got; a line says where weights are missing.

    Args:
        encoders: by the words that tables show.

    Raises:
        UserError: the table or weights are damaged, or weights are another run's.
    """
    keys = ("encoder", "stage", "probe", "label_fraction", "seed")
    rows = Rows(table_path, *keys, "test_accuracy")
    images = torch.cat([dataset.train_images, dataset.test_images])
    without_weights: dict[Path, list[int]] = {}
    with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for seed, (name, source) in product(seeds, encoders.items()):
            wanted = product([name], STAGES, PROBES, budgets, [seed])
            todo = [key for key in wanted if not rows.has(*key)]
            setup, weights = source(seed)
            if todo and weights and not weights.exists():
                without_weights.setdefault(weights.parent.parent, []).append(seed)
            elif todo:
                maps = maps_of(images, setup, weights, dataset, compute)
                for key in todo:
                    _, stage, probe, budget, _ = key
                    accuracy = accuracy_of(probe, *sets_of(dataset, maps[stage], budget, seed))
                    rows.add(*key, accuracy)
                    print(f"{', '.join(map(str, key))}: {accuracy:.4f}", flush=True)
    for runs, found in without_weights.items():
        print(f"left out: no weights in '{shown(runs)}' for seed {', '.join(map(str, found))}")


def sets_of(
    dataset: ImageSet, maps: NDArray[np.float32], budget: float, seed: int
) -> list[Labelled]:
    """Maps and labels to learn from, of validation and of test images.

    Args:
        maps: one stage's, of the training images and then the test images.
    """
    labels = torch.cat([dataset.train_labels, dataset.test_labels]).numpy()
    train, valid = split(dataset, seed)
    labelled = stratified_subset(dataset.train_labels, train, budget, seed)
    test = np.arange(len(dataset.train_labels), len(labels))
    return [(maps[index], labels[index]) for index in (labelled.numpy(), valid.numpy(), test)]


def write_tsne(
    path: Path, encoders: dict[str, Source], dataset: ImageSet, compute: Compute, seed: int
) -> None:
    """Write the t-SNE of the last maps of the first test images, unless it or weights are missing.

    The file has float32 positions (n, 2) by the encoders' keys, and uint8 `label` (n,).
    """
    sources = {key: source(seed) for key, source in encoders.items()}
    if path.exists() or not all(w is None or w.exists() for _, w in sources.values()):
        return
    images, labels = dataset.test_images[:TSNE_IMAGES], dataset.test_labels[:TSNE_IMAGES]
    positions = {}
    for key, source in sources.items():
        maps = maps_of(images, *source, dataset, compute)
        positions[key] = TSNE(random_state=0).fit_transform(maps["7x7"]).astype(np.float32)
    write_arrays(path, **positions, label=labels.numpy().astype(np.uint8))


def maps_of(
    images: Tensor, setup: Setup, weights: Path | None, dataset: ImageSet, compute: Compute
) -> dict[str, NDArray[np.float32]]:
    """By stage, the maps of uint8 images (n, 28, 28) on a grid: (n, channels * grid * grid).

    The statistics of batch normalisation are taken anew over the seed's training images: a random
    encoder has none, and a pretrained one has those of corrupted images.

    Raises:
        UserError: the weights are damaged, or are another run's.
    """
    encoder = compute.place(load_encoder(setup, weights, dataset, compute))
    train = dataset.train_images[split(dataset, setup.recipe.seed)[0]]
    normalise = Normalisation.of(train)
    batches, others = (
        evaluation_batches(each, torch.zeros(len(each), dtype=torch.int64), normalise, compute)
        for each in (train, images)
    )
    recompute_bn_stats(encoder, batches, compute)
    return pooled_maps(encoder.eval(), others, compute)


def load_encoder(
    setup: Setup, weights: Path | None, dataset: ImageSet, compute: Compute
) -> nn.Module:
    """The encoder that a run left or, without weights, started from."""
    if weights is None:
        return new_alexnet(setup.recipe, len(dataset.classes)).encoder
    if isinstance(setup.recipe, AutoencoderRecipe):
        tensors, source = read_encoder(str(weights))
        recipe, encoder = source.recipe, Encoder(source.recipe.width)
        fill(encoder, tensors, weights)
    else:
        trained = TrainedModel(str(weights), compute)
        recipe, encoder = trained.card.recipe, trained.predict.model.encoder
    if differences := setup.differences(Setup(recipe=recipe)):
        raise UserError(
            f"'{shown(weights)}' is not of the run whose folder it is in "
            f"({'; '.join(differences)}): move it, or make the run again with --overwrite"
        )
    return encoder


@torch.no_grad()
def pooled_maps(encoder: nn.Module, batches: Batches, compute: Compute) -> dict[str, NDArray]:
    """The batches' maps, as `maps_of` gives them."""
    kept: dict[str, list[Tensor]] = {stage: [] for stage in STAGES}
    for images, _ in batches.in_order():
        with compute.autocast():
            found = encoder(images)
        for (stage, grid), maps in zip(STAGES.items(), found, strict=True):
            kept[stage].append(F.adaptive_avg_pool2d(maps.float(), grid).flatten(1).cpu())
    return {stage: torch.cat(maps).numpy() for stage, maps in kept.items()}
