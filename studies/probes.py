"""What encoders know: simple classifiers on the maps of each stage, which stay as they are.

A probe learns from its seed's label budget and chooses its one setting on its seed's validation
images, which its encoder has not learnt from either; the test set is read after that.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional as F

from data import ImageSet
from harness.compute import Compute
from harness.files import shown, write_arrays
from studies.encoders import NAMES, Encoders
from studies.extra import PROBES, STAGES, TSNE_FILE, Probe
from studies.grid import Study
from studies.probes_plots import TSNE_ENCODERS
from studies.scores import ScoreFile, labelled_and_valid

BUDGETS = (0.01, 1.0)
SEEDS = 3
PENALTIES = (0.001, 0.01, 0.1)  # C of logistic regression on standardised maps
STEPS = 200  # of its solver
NEIGHBOURS = (5, 10, 20, 50)
TEMPERATURE = 0.07  # of the neighbours' votes, as in DINO (Caron et al. 2021, arXiv:2104.14294)
CHUNK = 500  # images whose neighbours are looked for at a time
TSNE_IMAGES = 1_000


class Labelled(NamedTuple):
    """One stage's maps, float32 (n, features), and int64 labels (n,)."""

    maps: Tensor
    labels: Tensor


def linear_probe(train: Labelled, valid: Labelled, test: Labelled) -> float:
    """Test accuracy of logistic regression, with the penalty that is best on validation."""

    def fit(penalty: float):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=STEPS))
        return model.fit(train.maps.numpy(), train.labels.numpy())

    def score(model, of: Labelled) -> float:
        return float(model.score(of.maps.numpy(), of.labels.numpy()))

    best = max(map(fit, PENALTIES), key=lambda model: score(model, valid))
    return score(best, test)


def nearest_neighbours(train: Labelled, valid: Labelled, test: Labelled) -> float:
    """Test accuracy of a vote of the nearest by cosine, as many as are best on validation."""
    on_valid = vote(train, valid, NEIGHBOURS)
    best = max(on_valid, key=on_valid.__getitem__)
    return vote(train, test, (best,))[best]


def vote(train: Labelled, of: Labelled, counts: tuple[int, ...]) -> dict[int, float]:
    """Accuracy by how many neighbours vote, each with exp(cosine / TEMPERATURE)."""
    counts = tuple(min(count, len(train.labels)) for count in counts)
    keys, right = F.normalize(train.maps), dict.fromkeys(counts, 0)
    for maps, labels in zip(of.maps.split(CHUNK), of.labels.split(CHUNK), strict=True):
        cosines, nearest = (F.normalize(maps) @ keys.T).topk(max(counts))
        votes = F.one_hot(train.labels[nearest]) * (cosines / TEMPERATURE).exp().unsqueeze(2)
        for count in right:
            predicted = votes[:, :count].sum(dim=1).argmax(dim=1)
            right[count] += int((predicted == labels).sum())
    return {count: number / len(of.labels) for count, number in right.items()}


CLASSIFIERS = {"linear probe": linear_probe, "k-NN": nearest_neighbours}


def run_probes(
    study: Study,
    dataset: ImageSet,
    runs_dir: str | Path,
    compute: Compute,
    *,
    seeds: int = SEEDS,
    budgets: Sequence[float] = BUDGETS,
    threads: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """Measure what is missing of runs_dir/probes.json and the t-SNE; say which weights are missing.

    Args:
        seeds: the first so many of the study's.

    Raises:
        UserError: a kept file or weights are damaged.
    """
    encoders = Encoders(study, dataset, runs_dir, compute)
    kept = ScoreFile(Path(runs_dir) / PROBES, Probe, "test_accuracy")
    without_weights: dict[Path, list[int]] = {}
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for seed in study.seeds[:seeds]:
            for name in NAMES:
                wanted = all_facts(name, budgets)
                todo = [facts for facts in wanted if seed not in kept.scores(**facts)]
                if todo and not encoders.is_there(name, seed):
                    runs = encoders.path(name, seed).parent.parent
                    without_weights.setdefault(runs, []).append(seed)
                elif todo:
                    for facts, accuracy in measure(encoders, name, seed, todo):
                        kept.add(seed, accuracy, facts)
                        say(f"{', '.join(map(str, facts.values()))}, seed {seed}: {accuracy:.4f}")
        write_tsne(encoders, Path(runs_dir) / TSNE_FILE)
    for runs, found in without_weights.items():
        say(f"left out: no weights in '{shown(runs)}' for seed {', '.join(map(str, found))}")


def all_facts(encoder: str, budgets: Sequence[float]) -> list[dict]:
    """What is measured of one encoder, as fields of `Probe`."""
    return [
        {"encoder": encoder, "stage": stage, "probe": probe, "label_fraction": budget}
        for stage, probe, budget in product(STAGES, CLASSIFIERS, budgets)
    ]


def measure(
    encoders: Encoders, name: str, seed: int, todo: Iterable[dict]
) -> Iterator[tuple[dict, float]]:
    """Each of these probes of one encoder, with its test accuracy in [0, 1]."""
    dataset = encoders.dataset
    seen, unseen = encoders.maps(name, seed, dataset.train_images, dataset.test_images)
    for facts in todo:
        stage = STAGES.index(facts["stage"])
        indices = labelled_and_valid(dataset, seed, facts["label_fraction"])
        train, valid = (Labelled(seen[stage][i], dataset.train_labels[i]) for i in indices)
        test = Labelled(unseen[stage], dataset.test_labels)
        yield facts, CLASSIFIERS[facts["probe"]](train, valid, test)


def write_tsne(encoders: Encoders, path: Path) -> None:
    """Keep the t-SNE of the last maps of the first test images, if all weights are there.

    It is of the study's first seed.
    """
    seed = encoders.study.seeds[0]
    if path.exists() or not all(encoders.is_there(name, seed) for name in TSNE_ENCODERS.values()):
        return
    images = encoders.dataset.test_images[:TSNE_IMAGES]
    positions = {}
    for key, name in TSNE_ENCODERS.items():
        ((*_, maps),) = encoders.maps(name, seed, images)
        positions[key] = TSNE(random_state=0).fit_transform(maps.numpy()).astype(np.float32)
    labels = encoders.dataset.test_labels[: len(images)].numpy()
    write_arrays(path, **positions, label=labels.astype(np.uint8))
