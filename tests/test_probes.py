"""Probes of encoders: their maps, their classifiers, and what is kept of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from msgspec.structs import replace

from autoencoding import EncoderCard, new_autoencoder
from baselines.probes import (
    PROBES,
    STAGES,
    accuracy_of,
    maps_of,
    pooled_maps,
    run_probes,
    write_tsne,
)
from batches import Normalisation, evaluation_batches
from classification import ModelCard, new_alexnet
from data import FILES, load_dataset
from harness.compute import set_up_compute
from harness.errors import UserError
from harness.files import read_arrays
from harness.weights import save_weights
from models import Encoder
from recipes import ENCODER, MODEL, AutoencoderRecipe, ClassifierRecipe, Setup

COMPUTE = set_up_compute("cpu", "fp32", threads=1)
DIGITS = load_dataset("digits", "")
FEW = dataclasses.replace(DIGITS, **{part: getattr(DIGITS, part)[:240] for part in FILES})
KINDS = {  # recipe, and the file of the weights
    "random": (ClassifierRecipe, None),
    "pretrained": (AutoencoderRecipe, ENCODER),
    "trained": (ClassifierRecipe, MODEL),
}


def source(runs_dir, kind, seed) -> tuple[Setup, Path | None]:
    recipe, file = KINDS[kind]
    setup = Setup(recipe=recipe(dataset="digits", width=0.1, seed=seed))
    return setup, file and setup.folder(runs_dir) / file


def sources(runs_dir, *kinds) -> dict:
    return {kind: lambda seed, kind=kind: source(runs_dir, kind, seed) for kind in kinds}


def write_weights(runs_dir, kind, bias=0.0, **options):
    """Of seed 0, untrained; `bias` is added to what batch normalisation kept."""
    setup, path = source(runs_dir, kind, 0)
    recipe = replace(setup.recipe, **options)
    facts = {"recipe": recipe, "mean": 80, "std": 90}
    if kind == "trained":
        model, card = new_alexnet(recipe, 10), ModelCard(classes=FEW.classes, **facts)
    else:
        model, card = new_autoencoder(recipe).encoder, EncoderCard(**facts)
    weights = model.state_dict()
    for name in [name for name in weights if name.endswith("running_mean")]:
        weights[name] = weights[name] + bias
    save_weights(path, weights, card)


def maps(runs_dir, kind="pretrained", seed=0):
    return maps_of(FEW.test_images[:50], *source(runs_dir, kind, seed), FEW, COMPUTE)


def run(runs_dir, seeds=(0,)) -> pd.DataFrame:
    table = runs_dir / "probes.csv"
    run_probes(sources(runs_dir, *KINDS), FEW, table, COMPUTE, seeds, [1.0])
    return pd.read_csv(table)


def on_circle(degrees: list[float], labels: list[int]):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), np.array(labels)


def clouds(rng, count=200, classes=4):
    """Points around one corner for each class."""
    labels = np.arange(count) % classes
    return 5 * np.eye(classes)[labels] + rng.standard_normal((count, classes)), labels


def test_each_stage_gives_the_means_of_its_maps_on_a_grid():
    encoder, normalise = Encoder(0.1).eval(), Normalisation(80, 90)
    images, labels = FEW.test_images[:7], FEW.test_labels[:7]
    found = pooled_maps(encoder, evaluation_batches(images, labels, normalise, COMPUTE), COMPUTE)
    with torch.no_grad():
        maps28, _, maps7 = encoder(normalise(images))
    c1, c2, *_, c5 = encoder.channels
    sizes = {"28x28": (7, c1 * 49), "14x14": (7, c2 * 16), "7x7": (7, c5 * 9)}
    assert {stage: rows.shape for stage, rows in found.items()} == sizes
    # Of 28x28 each of the 7x7 is the mean of 4x4; of 7x7 the first is that of the first 3x3.
    for stage, corner in (("28x28", maps28[:, 0, :4, :4]), ("7x7", maps7[:, 0, :3, :3])):
        mean = corner.mean(dim=(1, 2)).numpy()
        np.testing.assert_allclose(found[stage][:, 0], mean, rtol=1e-4, atol=1e-6)


def test_statistics_of_corrupted_images_are_not_used(tmp_path):
    found = []
    for bias in (0.0, 3.0):
        write_weights(tmp_path, "pretrained", bias)
        found.append(maps(tmp_path))
    for stage in STAGES:
        np.testing.assert_allclose(found[0][stage], found[1][stage], rtol=1e-4, atol=1e-5)


def test_the_random_encoder_is_the_seeds_own(tmp_path):
    first, again, other = (maps(tmp_path, "random", seed)["7x7"] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.allclose(first, other)


@pytest.mark.parametrize(
    "degrees, labels, length, at, expected",
    [
        ([0, 60] * 5, [0, 1] * 5, 100, 10, 0),  # near in angle, not in length
        ([0, 80, -80, 85, -85], [0, 1, 1, 1, 1], 1, 1, 0),  # one near outweighs four far
        ([0, 1, 2, 50, 51, 52], [0, 0, 0, 1, 1, 1], 1, 51, 1),  # fewer images than neighbours
    ],
)
def test_neighbours_vote_by_angle(degrees, labels, length, at, expected):
    rows, labels = on_circle(degrees, labels)
    spot = on_circle([at], [expected])
    assert accuracy_of("k-NN", (rows * np.where(labels, 1, length)[:, None], labels), spot, spot)


@pytest.mark.parametrize("truth, expected", [(0, 1.0), (1, 0.0)])
def test_validation_chooses_the_number_of_neighbours(truth, expected):
    """Five wrong labels lie in the midst of a class: few neighbours believe them, fifty do not."""
    degrees = [0.01 * k for k in range(5)] + [1 + 0.1 * k for k in range(45)]
    train = on_circle(degrees, [1] * 5 + [0] * 45)
    valid, test = on_circle([0.02], [truth]), on_circle([0.02], [0])
    assert accuracy_of("k-NN", train, valid, test) == expected


@pytest.mark.parametrize("probe", PROBES)
def test_what_is_apart_is_told_apart_and_what_means_nothing_is_not(probe):
    rng = np.random.default_rng(0)
    (rows, labels), valid, test = (clouds(rng) for _ in range(3))
    assert accuracy_of(probe, (rows, labels), valid, test) > 0.95
    scaled = [(1e-3 * each, own) for each, own in ((rows, labels), valid, test)]
    assert accuracy_of(probe, *scaled) > 0.95
    assert accuracy_of(probe, (rows, rng.permutation(labels)), valid, test) < 0.5


def test_what_has_weights_is_measured_once_and_new_weights_join(tmp_path, capsys):
    write_weights(tmp_path, "pretrained")
    table, each = run(tmp_path, seeds=(0, 1)), len(STAGES) * len(PROBES)
    sizes = table.groupby(["seed", "encoder"]).size().to_dict()
    assert sizes == {(0, "random"): each, (0, "pretrained"): each, (1, "random"): each}
    assert (table.test_accuracy > 0.4).all()  # chance is 0.1
    left_out = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert left_out == [
        f"left out: no weights in '{source(tmp_path, kind, 0)[1].parents[1]}' for seed {seeds}"
        for kind, seeds in (("trained", "0, 1"), ("pretrained", "1"))
    ]
    before = (tmp_path / "probes.csv").read_bytes()
    run(tmp_path)
    assert (tmp_path / "probes.csv").read_bytes() == before
    write_weights(tmp_path, "trained")
    joined = run(tmp_path)
    pd.testing.assert_frame_equal(joined[: len(table)], table)
    assert list(joined.encoder[len(table) :]) == ["trained"] * each


@pytest.mark.parametrize(
    "kind, options, word",
    [
        ("pretrained", {"skips": False}, "--skips"),
        ("pretrained", {"width": 0.2}, "--width"),
        ("trained", {"epochs": 3}, "--epochs"),
    ],
)
def test_weights_of_another_run_are_refused(tmp_path, kind, options, word):
    write_weights(tmp_path, kind, **options)
    with pytest.raises(UserError, match=word):
        maps(tmp_path, kind)


def test_tsne_has_the_same_images_in_each_encoder_once_all_weights_are_there(tmp_path):
    encoders, path = sources(tmp_path, "random", "pretrained"), tmp_path / "tsne.npz"
    write_tsne(path, encoders, FEW, COMPUTE, seed=0)
    assert not path.exists()
    write_weights(tmp_path, "pretrained")
    write_tsne(path, encoders, FEW, COMPUTE, seed=0)
    arrays = read_arrays(path, (*encoders, "label"))
    assert np.array_equal(arrays["label"], FEW.test_labels.numpy())
    assert all(arrays[key].shape == (240, 2) for key in encoders)
