import numpy as np
import pytest
import torch

from batches import FLAT, Batches, Normalisation, corrupt, oriented_gradients, patch_statistics

IDENTITY = Normalisation(0.0, 1.0)
COUNT = 23


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (COUNT, 28, 28), generator=rng, dtype=torch.uint8)


def batches(images, normalise=IDENTITY, **options):
    return Batches(images, torch.arange(len(images)), normalise, batch_size=8, **options)


def whole_epoch(batches, epoch):
    parts = list(batches.epoch(epoch))
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def test_an_epoch_shows_each_image_once_in_an_order_that_seed_and_epoch_decide(images):
    source = batches(images, seed=5)
    shown, labels = whole_epoch(source, 1)
    assert sorted(labels.tolist()) == list(range(COUNT))
    assert torch.equal(shown[:, 0].to(torch.uint8), images[labels])
    torch.rand(7)
    whole_epoch(source, 0)
    assert torch.equal(whole_epoch(source, 1)[1], labels)
    assert not torch.equal(whole_epoch(source, 2)[1], labels)
    assert not torch.equal(whole_epoch(batches(images, seed=6), 1)[1], labels)


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [
    (23, 8, [8, 8, 7]), (17, 8, [6, 6, 5]), (23, 2, [3] + [2] * 10),
])  # fmt: skip
def test_batches_are_of_almost_one_size_and_never_of_one_image(images, count, batch_size, sizes):
    labels = torch.arange(count)
    source = Batches(images[:count], labels, IDENTITY, batch_size=batch_size)
    assert [len(y) for _, y in source.epoch(0)] == sizes
    assert len(source) == len(sizes)


def test_normalisation_is_that_of_numpy_and_can_be_undone(images):
    normalise = Normalisation.of(images)
    pixels = images.numpy().astype(float)
    assert normalise.mean == pytest.approx(pixels.mean(), rel=1e-5)
    assert normalise.std == pytest.approx(pixels.std(), rel=1e-4)
    shown = normalise(images)
    assert shown.shape == (COUNT, 1, 28, 28)
    assert np.allclose(normalise.undo(shown) * 255, images, atol=1e-3)


def test_in_order_gives_the_images_as_they_are(images):
    source = batches(images, shift=2, flip="random")
    shown = torch.cat([*source.in_order()])
    assert torch.equal(shown[:, 0].to(torch.uint8), images)


def test_shifts_move_the_image_over_a_background(images):
    shown, labels = whole_epoch(batches(images, shift=2), 0)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    offsets = set()
    for image, label in zip(shown[:, 0].to(torch.uint8), labels, strict=True):
        places = padded[label].unfold(0, 28, 1).unfold(1, 28, 1)  # (5, 5, 28, 28)
        (found,) = (places == image).all(dim=(2, 3)).nonzero().tolist()
        offsets.add(tuple(found))
    assert len(offsets) > 10


def mirrored(source, epoch, images):
    """For each image, whether this epoch shows it mirrored; it must be shown one way or other."""
    shown, labels = whole_epoch(source, epoch)
    result = torch.zeros(len(images), dtype=torch.bool)
    for image, label in zip(shown[:, 0].to(torch.uint8), labels, strict=True):
        result[label] = torch.equal(image, images[label].flip(-1))
        assert result[label] or torch.equal(image, images[label])
    return result


def test_flips_alternate_or_are_drawn_anew(images):
    source = batches(images, flip="alternate")
    first, second, third = (mirrored(source, epoch, images) for epoch in range(3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 0 < first.sum() < COUNT
    source = batches(images, flip="random")
    first, second = (mirrored(source, epoch, images) for epoch in range(2))
    assert 0 < (first ^ second).sum() < COUNT


def corrupted(images, corruption, seed=0, hidden=24):
    return corrupt(images, corruption, hidden, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("hidden", [1, 24, 48])
def test_mask_hides_whole_patches_and_none_nothing(hidden):
    images = torch.rand(6, 1, 28, 28) + 1
    seen, counted = corrupted(images, "mask", hidden=hidden)
    assert torch.equal(seen[~counted], images[~counted])
    assert (seen[counted] == 0).all()
    patches = counted.view(6, 7, 4, 7, 4).permute(0, 1, 3, 2, 4).flatten(3).float().mean(-1)
    assert set(patches.unique().tolist()) == {0.0, 1.0}
    assert patches.sum(dim=(1, 2)).tolist() == [hidden] * 6
    assert not torch.equal(patches[0], patches[1])
    assert torch.equal(corrupted(images, "mask", hidden=hidden)[1], counted)
    assert not torch.equal(corrupted(images, "mask", seed=1, hidden=hidden)[1], counted)
    seen, counted = corrupted(images, "none", hidden=hidden)
    assert torch.equal(seen, images) and counted.all()


def test_patch_statistics():
    rows = torch.arange(28.0).view(1, 1, 28, 1).expand(2, 1, 28, 28)
    mean, std = patch_statistics(rows)
    assert mean[0, 0, :8, 5].tolist() == [1.5] * 4 + [5.5] * 4
    # Each patch has 0, 1, 2, 3 and its own start, four times: the squares add up to 4 * 5.
    assert std.shape == rows.shape
    assert torch.allclose(std, torch.tensor((20 / 15) ** 0.5 + FLAT))
    assert patch_statistics(torch.ones(1, 1, 28, 28))[1].unique().tolist() == pytest.approx([FLAT])


def test_oriented_gradients():
    images = torch.zeros(4, 1, 28, 28)
    images[0, :, :, 14:] = 1  # upright
    images[1, :, 14:] = -2  # level, stronger and from light to dark
    images[2, 0] = torch.ones(28, 28).triu()  # diagonal
    images[3, :, :, 14:] = 1e-3  # hardly there
    found = oriented_gradients(images)
    assert found.shape == (4, 8, 28, 28)
    across, down, diagonal, faint = found[:, :, 14, 14]
    assert across.tolist() == pytest.approx([1, *7 * [0]])
    assert down.tolist() == pytest.approx([0, 0, 0, 0, 1, 0, 0, 0], abs=1e-6)
    assert diagonal.argmax() == 6  # 135 degrees: dark and below on the left
    assert faint.norm() < 0.01
    assert (found[:, :, :8, :8].norm(dim=1)[[0, 1, 3]] == 0).all()
    assert torch.allclose(oriented_gradients(-images), found, atol=1e-6)
