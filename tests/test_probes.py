"""Probes of encoders: their maps, their classifiers, and what is kept of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from msgspec.structs import replace as changed

from autoencoding import EncoderCard, new_autoencoder
from batches import Normalisation
from classification import ModelCard, new_alexnet
from data import load_dataset
from harness.compute import set_up_compute
from harness.errors import UserError
from harness.files import read_arrays
from harness.weights import save_weights
from models import Encoder
from studies.encoders import NAMES, Encoders, pooled_maps
from studies.extra import MASKED, PROBES, RANDOM, STAGES, TRAINED, TSNE_FILE, read_extra
from studies.grid import STUDIES
from studies.probes import (
    CLASSIFIERS,
    NEIGHBOURS,
    Labelled,
    linear_probe,
    nearest_neighbours,
    run_probes,
    vote,
)
from studies.probes_plots import TSNE_ENCODERS, draw_kept_tsne

STUDY = STUDIES["digits"]
COMPUTE = set_up_compute("cpu", "fp32", threads=1)
DIGITS = load_dataset("digits", "")
FEW = replace(
    DIGITS,
    train_images=DIGITS.train_images[:240],
    train_labels=DIGITS.train_labels[:240],
    test_images=DIGITS.test_images[:60],
    test_labels=DIGITS.test_labels[:60],
)
PER_ENCODER = len(STAGES) * len(CLASSIFIERS)


def encoders(runs_dir) -> Encoders:
    return Encoders(STUDY, FEW, runs_dir, COMPUTE)


def write_encoder(runs_dir, name=MASKED, seed=0, bias=0.0, **options):
    """Weights where the study looks for them; `bias` is added to what batch normalisation kept."""
    place = encoders(runs_dir)
    recipe = changed(place.setup(name, seed).recipe, **options)
    weights = new_autoencoder(recipe).encoder.state_dict()
    shifted = {n: t + bias if n.endswith("running_mean") else t for n, t in weights.items()}
    save_weights(place.path(name, seed), shifted, EncoderCard(recipe=recipe, mean=80, std=90))


def write_classifier(runs_dir, seed=0):
    place = encoders(runs_dir)
    recipe = place.setup(TRAINED, seed).recipe
    card = ModelCard(recipe=recipe, classes=FEW.classes, mean=80, std=90)
    save_weights(place.path(TRAINED, seed), new_alexnet(recipe, 10).state_dict(), card)


def run(runs_dir, seeds=1) -> list[str]:
    """The lines that it says."""
    lines: list[str] = []
    run_probes(STUDY, FEW, runs_dir, COMPUTE, seeds=seeds, budgets=(1.0,), say=lines.append)
    return lines


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with the weights of three encoders, probed; and what was said."""
    runs_dir = tmp_path_factory.mktemp("probes")
    write_encoder(runs_dir)
    write_classifier(runs_dir)
    return runs_dir, run(runs_dir)


def on_circle(degrees: list[float], length: float = 1.0) -> torch.Tensor:
    angles = torch.tensor(degrees) * math.pi / 180
    return length * torch.stack([angles.cos(), angles.sin()], dim=1)


def clouds(rng, count=200, classes=4) -> Labelled:
    """Points around one corner for each class."""
    labels = torch.arange(count) % classes
    corners = 5 * torch.eye(classes)[labels]
    return Labelled(corners + torch.randn(count, classes, generator=rng), labels)


def test_each_stage_gives_the_means_of_its_maps_on_a_grid():
    encoder, normalise = Encoder(0.1).eval(), Normalisation(80, 90)
    images = FEW.test_images[:7]
    pooled = pooled_maps(encoder, images, normalise, COMPUTE)
    with torch.no_grad():
        maps28, _, maps7 = encoder(normalise(images))
    c1, c2, *_, c5 = encoder.channels
    assert [tuple(each.shape) for each in pooled] == [(7, c1 * 49), (7, c2 * 16), (7, c5 * 9)]
    # Of 28x28 each of the 7x7 is the mean of 4x4; of 7x7 the first is that of the first 3x3.
    torch.testing.assert_close(pooled[0][:, 0], maps28[:, 0, :4, :4].mean(dim=(1, 2)))
    torch.testing.assert_close(pooled[2][:, 0], maps7[:, 0, :3, :3].mean(dim=(1, 2)))


def test_statistics_of_corrupted_images_are_not_used(tmp_path):
    write_encoder(tmp_path / "as it was")
    write_encoder(tmp_path / "corrupted", bias=3.0)
    one, other = (
        encoders(tmp_path / name).maps(MASKED, 0, FEW.test_images)[0]
        for name in ("as it was", "corrupted")
    )
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_the_random_encoder_is_the_seeds_own(tmp_path):
    first, again, other = (
        encoders(tmp_path).maps(RANDOM, seed, FEW.test_images[:5])[0][2] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_neighbours_are_near_in_angle_not_in_length():
    train = Labelled(torch.cat([on_circle([0], length=100), on_circle([60])]), torch.tensor([0, 1]))
    of = Labelled(on_circle([10]), torch.tensor([0]))
    assert vote(train, of, (1,)) == {1: 1.0}


def test_a_near_neighbour_outweighs_two_far_ones():
    train = Labelled(on_circle([0, 80, -80]), torch.tensor([0, 1, 1]))
    assert vote(train, Labelled(on_circle([1]), torch.tensor([0])), (3,)) == {3: 1.0}


def test_more_neighbours_than_images_are_all_images():
    train = Labelled(on_circle([0, 90]), torch.tensor([0, 1]))
    assert vote(train, Labelled(on_circle([10]), torch.tensor([0])), NEIGHBOURS) == {2: 1.0}


def test_validation_chooses_the_number_of_neighbours():
    """Five wrong labels lie in the midst of a class: few neighbours believe them, fifty do not."""
    near, far = [0.01 * k for k in range(5)], [1 + 0.1 * k for k in range(45)]
    train = Labelled(on_circle(near + far), torch.tensor([1] * 5 + [0] * 45))
    spot = on_circle([0.02])
    for truth, expected in ((0, 1.0), (1, 0.0)):
        valid = Labelled(spot, torch.tensor([truth]))
        assert nearest_neighbours(train, valid, Labelled(spot, torch.tensor([0]))) == expected


@pytest.mark.parametrize("classifier", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_what_is_apart_is_told_apart_and_what_means_nothing_is_not(classifier):
    rng = torch.Generator().manual_seed(0)
    train, valid, test = (clouds(rng) for _ in range(3))
    assert classifier(train, valid, test) > 0.95
    shuffled = train.labels[torch.randperm(len(train.labels), generator=rng)]
    assert classifier(Labelled(train.maps, shuffled), valid, test) < 0.5


def test_one_scale_of_the_maps_is_as_good_as_another():
    rng = torch.Generator().manual_seed(0)
    train, valid, test = (clouds(rng) for _ in range(3))
    scaled = (Labelled(each.maps * 1e-3, each.labels) for each in (train, valid, test))
    assert linear_probe(train, valid, test) == pytest.approx(linear_probe(*scaled), abs=0.02)


def test_each_probe_of_each_encoder_whose_weights_are_there_is_kept(measured):
    runs_dir, lines = measured
    probes = read_extra(runs_dir).probes
    assert len(probes) == 3 * PER_ENCODER
    assert {probe.encoder for probe in probes} == {RANDOM, MASKED, TRAINED}
    assert all(probe.test_accuracy[0] > 0.4 for probe in probes)  # chance is 0.1
    left_out = [line for line in lines if line.startswith("left out: no weights in ")]
    assert len(left_out) == len(NAMES) - 3
    plain = encoders(runs_dir).path("plain", 0).parents[1]
    assert left_out[0] == f"left out: no weights in '{plain}' for seed 0"


def test_what_has_no_weights_takes_a_line_for_all_seeds(tmp_path):
    left_out = [line for line in run(tmp_path, seeds=2) if line.startswith("left out")]
    assert len(left_out) == len(NAMES) - 1
    assert all(line.endswith("' for seed 0, 1") for line in left_out)


def test_nothing_is_measured_twice_and_new_weights_join(measured):
    runs_dir, first = measured
    before = (runs_dir / PROBES).stat().st_mtime_ns
    assert run(runs_dir) == [line for line in first if line.startswith("left out")]
    assert (runs_dir / PROBES).stat().st_mtime_ns == before
    kept = read_extra(runs_dir).probes
    write_encoder(runs_dir, "plain")
    run(runs_dir)
    assert read_extra(runs_dir).probes[: len(kept)] == kept
    assert len(read_extra(runs_dir).probes) == len(kept) + PER_ENCODER


@pytest.mark.parametrize(
    "options, word", [({"skips": False}, "--skips"), ({"hidden_patches": 12}, "--hidden-patches")]
)
def test_weights_of_another_run_are_refused(tmp_path, options, word):
    write_encoder(tmp_path, **options)
    with pytest.raises(UserError, match=word):
        encoders(tmp_path).maps(MASKED, 0, FEW.test_images)


def test_the_picture_shows_the_same_images_in_three_encoders(measured, tmp_path):
    runs_dir, _ = measured
    arrays = read_arrays(runs_dir / TSNE_FILE, (*TSNE_ENCODERS, "label"))
    assert np.array_equal(arrays["label"], FEW.test_labels.numpy())
    assert all(arrays[key].shape == (60, 2) for key in TSNE_ENCODERS)
    draw_kept_tsne(runs_dir, FEW.classes, tmp_path / "tsne.png")
    assert (tmp_path / "tsne.png").read_bytes().startswith(b"\x89PNG")


def test_without_positions_there_is_no_picture(tmp_path):
    draw_kept_tsne(tmp_path, FEW.classes, tmp_path / "tsne.png")
    assert not (tmp_path / "tsne.png").exists()
