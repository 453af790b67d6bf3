"""Batches, cut, augmented, normalised and corrupted on the device that holds the whole set."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from data import SIZE, ImageSet, generator
from harness.compute import Compute
from recipes import Recipe

EVALUATION_BATCH = 250  # images; a larger one leaves a CPU's cache

PATCH = 4  # pixels a side; the 7x7 grid of patches is the last stage's grid of features
ORIENTATIONS = 8  # of a gradient: upright, level, both diagonals, what lies between; a power of 2
AROUND = 5  # pixels a side of the neighbourhood that a histogram is of
FLAT = 0.1  # added to a patch's deviation, so that a flat patch's rounding errors do not count


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the training split's pixels, in units of 0..255."""

    mean: float
    std: float

    @classmethod
    def of(cls, images: Tensor) -> "Normalisation":
        """The constants of uint8 images (N, 28, 28)."""
        pixels = images.float()
        return cls(pixels.mean().item(), pixels.std().item())

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 (N, 28, 28) to float32 (N, 1, 28, 28) of mean 0 and deviation 1."""
        return ((pixels.float() - self.mean) / self.std).unsqueeze(1)

    def undo(self, images: Tensor) -> Tensor:
        """Normalised (N, 1, 28, 28) to pixels in [0, 1], (N, 28, 28)."""
        return (images.squeeze(1) * self.std + self.mean).div(255).clamp(0, 1)


class Batches:
    """Normalised images (N, 1, 28, 28) and int64 labels (N,) of one split, in batches.

    The split stays on the device as one uint8 tensor. Translation and mirroring only change
    which pixels are read, so a batch is cut and augmented in a single indexing operation.

    Args:
        images: uint8 (n, 28, 28) on the device.
        labels: int64 (n,) on the device.
        shift: largest translation in pixels; what comes in is background (0).
        flip: `none`; `random`, each image with probability 1/2; or `alternate`, every image
            mirrored in every other epoch, a random half starting first, so that two epochs
            show each image both ways (Keller Jordan 2024, arXiv:2404.00498).
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalise: Normalisation,
        *,
        batch_size: int,
        shift: int = 0,
        flip: str = "none",
        seed: int = 0,
    ):
        self.padded = F.pad(images, (shift, shift, shift, shift))
        self.labels = labels
        self.normalise = normalise
        self.batch_size = batch_size
        self.shift = shift
        self.flip = flip
        self.seed = seed

    def __len__(self) -> int:
        """Batches an epoch, of `batch_size` images or slightly fewer, but of two at least."""
        count = len(self.labels)
        return max(1, min(-(-count // self.batch_size), count // 2))

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, in an order and with augmentations that only seed and epoch decide."""
        count, device = len(self.labels), self.labels.device
        order = torch.randperm(count, generator=generator(self.seed, "order", epoch))
        offsets = torch.randint(
            2 * self.shift + 1, (2, count), generator=generator(self.seed, "shift", epoch)
        )
        mirrored = self._mirrored(epoch)
        order, offsets, mirrored = (t.to(device) for t in (order, offsets, mirrored))
        # Batches of (almost) one size: batch normalisation cannot train on a remainder of one.
        for index in order.tensor_split(len(self)):
            rows, columns = offsets[:, index]
            yield self._cut(index, rows, columns, mirrored[index]), self.labels[index]

    def in_order(self) -> Iterator[Tensor]:
        """All images once, as they are, without labels."""
        inside = slice(self.shift, self.shift + SIZE)
        for part in self.padded[:, inside, inside].split(self.batch_size):
            yield self.normalise(part)

    def _mirrored(self, epoch: int) -> Tensor:
        if self.flip == "none":
            return torch.zeros(len(self.labels), dtype=torch.bool)
        alternate = self.flip == "alternate"
        coins = generator(self.seed, "flip", 0 if alternate else epoch)
        mirrored = torch.randint(2, (len(self.labels),), generator=coins).bool()
        return mirrored ^ (alternate and epoch % 2 == 1)

    def _cut(self, index: Tensor, rows: Tensor, columns: Tensor, mirrored: Tensor) -> Tensor:
        pixel = torch.arange(SIZE, device=index.device)
        rows = rows[:, None] + pixel
        columns = columns[:, None] + torch.where(mirrored[:, None], SIZE - 1 - pixel, pixel)
        height, width = self.padded.shape[1:]
        # By its place in the whole tensor, a pixel is read twice as fast as by three indices.
        rows = (index * height)[:, None] + rows
        return self.normalise(self.padded.take((rows * width)[:, :, None] + columns[:, None]))


def training_batches(
    dataset: ImageSet, index: Tensor, normalise: Normalisation, recipe: Recipe, compute: Compute
) -> Batches:
    """The training images of these indices on the device, augmented as the recipe says."""
    return Batches(
        dataset.train_images[index].to(compute.device),
        dataset.train_labels[index].to(compute.device),
        normalise,
        batch_size=recipe.batch_size,
        shift=recipe.shift,
        flip=recipe.flip,
        seed=recipe.seed,
    )


def evaluation_batches(
    images: Tensor, labels: Tensor, normalise: Normalisation, compute: Compute
) -> Batches:
    """Batches of uint8 images (n, 28, 28) to be read in order."""
    images, labels = images.to(compute.device), labels.to(compute.device)
    return Batches(images, labels, normalise, batch_size=EVALUATION_BATCH)


def corrupt(
    images: Tensor, corruption: str, hidden_patches: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What the autoencoder sees, and which pixels its loss counts.

    Args:
        images: normalised (N, 1, 28, 28).
        corruption: `mask` hides some of the 49 4x4 patches behind the mean grey and counts only
            those; `none` changes nothing and counts every pixel.
        hidden_patches: how many `mask` hides, from 1 to 48.
        rng: a CPU generator, so that every device draws the same corruption.

    Returns:
        corrupted images and counted pixels (bool), both (N, 1, 28, 28).
    """
    if corruption == "none":
        return images, torch.ones_like(images, dtype=torch.bool)
    grid = SIZE // PATCH
    draws = torch.rand(len(images), grid * grid, generator=rng).to(images.device)
    drawn = draws.topk(hidden_patches, largest=False, sorted=False).indices
    hidden = torch.zeros_like(draws, dtype=torch.bool).scatter_(1, drawn, True)
    hidden = at_each_pixel(hidden.view(-1, 1, grid, grid))
    return torch.where(hidden, 0.0, images), hidden  # faster than `masked_fill`


def at_each_pixel(patches: Tensor) -> Tensor:
    """A value a patch, (N, 1, 7, 7), to one a pixel, (N, 1, 28, 28)."""
    return patches.repeat_interleave(PATCH, dim=2).repeat_interleave(PATCH, dim=3)


def patch_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and standard deviation + 0.1, of each 4x4 patch, at each of its pixels.

    Args:
        images: normalised (N, 1, 28, 28), as both results are.
    """
    mean = at_each_pixel(F.avg_pool2d(images, PATCH))
    variance = F.avg_pool2d((images - mean).square(), PATCH) * (PATCH**2 / (PATCH**2 - 1))
    return mean, at_each_pixel(variance.sqrt() + FLAT)


def oriented_gradients(images: Tensor) -> Tensor:
    """The histogram of the gradient's orientations around each pixel (Dalal and Triggs 2005).

    Each of the 5x5 pixels around votes for the two nearest of eight orientations, by the size of
    its gradient; the histogram has length 1, or less where the image is almost flat.

    Args:
        images: normalised (N, 1, 28, 28).

    Returns:
        (N, 8, 28, 28) in [0, 1].
    """
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    size = torch.hypot(across, down)
    angle = torch.atan2(down, across) * (ORIENTATIONS / torch.pi)  # opposite ones are the same
    lower = angle.floor()
    part, lower = angle - lower, lower.long()
    # A pixel's eight numbers lie side by side, where a CPU writes and filters them fastest.
    maps = images.new_zeros(*size.shape, ORIENTATIONS)
    for orientation, share in ((lower, 1 - part), (lower + 1, part)):
        place = orientation & (ORIENTATIONS - 1)  # a remainder takes long
        maps.scatter_(4, place.unsqueeze(4), (size * share).unsqueeze(4))
    maps = maps.squeeze(1).movedim(3, 1)
    # Two convolutions: several times as fast on a CPU as average pooling.
    row = images.new_full((ORIENTATIONS, 1, 1, AROUND), 1 / AROUND)
    maps = F.conv2d(maps, row, padding=(0, AROUND // 2), groups=ORIENTATIONS)
    maps = F.conv2d(maps, row.mT, padding=(AROUND // 2, 0), groups=ORIENTATIONS)
    maps = maps.contiguous()  # each in one piece, so that they add up faster
    return maps.mul_(maps.square().sum(1, keepdim=True).clamp(min=FLAT**2).rsqrt())
