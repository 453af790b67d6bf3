"""Data sets, their splits, and the seeds of everything random."""

import gzip
import hashlib
import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.downloads import Expected, read_or_download
from harness.errors import UserError
from harness.files import shown

SIZE = 28  # pixels a side
VALID_SHARE = 1 / 12  # 5,000 of Fashion-MNIST's 60,000 training images
FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
# SHA-256 of the official Fashion-MNIST archives, equal to the pins that Keras publishes. The
# other data sets' archives are held against the MD5 sums that torchvision publishes.
FASHION_SHA256 = {
    FILES["train_images"]: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    FILES["train_labels"]: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    FILES["test_images"]: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    FILES["test_labels"]: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
ARCHIVE_BYTES = {  # sizes of the official archives, in the order of FILES
    "fashion": (26_421_880, 29_515, 4_422_102, 5_148),
    "mnist": (9_912_422, 28_881, 1_648_877, 4_542),
    "kmnist": (18_165_135, 29_497, 3_041_136, 5_120),
}
LARGEST_ARRAY = 64 * 2**20  # bytes: 60,000 images of 28 x 28 are 47 million
# Asked before torchvision's mirrors, since it speaks https.
HTTPS_MIRRORS = {"fashion": ["https://storage.googleapis.com/tensorflow/tf-keras-datasets/"]}


@dataclass(frozen=True)
class ImageSet:
    """A data set in memory: uint8 images (N, 28, 28), int64 labels (N,), class names, a digest."""

    name: str
    classes: list[str]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    digest: str


def load_dataset(name: str, data_dir: str | Path, download: bool = True) -> ImageSet:
    """Read a data set; `digits` comes with scikit-learn, the others from verified archives.

    The archives lie in `<data_dir>/<torchvision's folder>/raw` and are downloaded where missing.
    They are read as they are: nothing is extracted to disk, so nothing there can go stale.

    Raises:
        UserError: an archive is missing and cannot be fetched, or is not the official one.
    """
    if name == "digits":
        return _load_digits()
    from torchvision import datasets

    source = {"fashion": datasets.FashionMNIST, "mnist": datasets.MNIST, "kmnist": datasets.KMNIST}
    folder = Path(data_dir) / source[name].__name__ / "raw"
    digests = FASHION_SHA256 if name == "fashion" else dict(source[name].resources)
    mirrors = HTTPS_MIRRORS.get(name, []) + source[name].mirrors if download else []
    archives = {
        part: _read_archive(folder / file, Expected(digests[file], size), mirrors)
        for (part, file), size in zip(FILES.items(), ARCHIVE_BYTES[name], strict=True)
    }
    arrays = {part: torch.from_numpy(read_idx(data)) for part, data in archives.items()}
    return ImageSet(
        name=name,
        classes=list(source[name].classes),
        train_images=arrays["train_images"],
        train_labels=arrays["train_labels"].long(),
        test_images=arrays["test_images"],
        test_labels=arrays["test_labels"].long(),
        digest=_digest(*archives.values()),
    )


def _read_archive(path: Path, expected: Expected, mirrors: list[str]) -> bytes:
    try:
        return read_or_download(path, expected, mirrors)
    except UserError as error:
        raise UserError(
            f"{error}: put the four official .gz files into '{shown(path.parent)}' (--data-dir "
            "names the folder above; what you delete there is downloaded again), or use "
            "--dataset digits"
        ) from error


def read_idx(archive: bytes) -> np.ndarray:
    """The uint8 array in a gzipped IDX file (http://yann.lecun.com/exdb/mnist, section IDX).

    No more is unpacked than the header announces: 1 MB of gzip can hold 1 GB.

    Raises:
        UserError: not gzip, not IDX of unsigned bytes in up to three dimensions, not as long as
            its header says, or more than `LARGEST_ARRAY`.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(archive)) as file:
            start = file.read(4)
            if start[:3] != b"\x00\x00\x08" or start[3:] not in (b"\x01", b"\x02", b"\x03"):
                raise UserError("not an IDX file of unsigned bytes")
            shape = struct.unpack(f">{start[3]}I", file.read(4 * start[3]))
            size = math.prod(shape)
            if not 0 < size <= LARGEST_ARRAY:
                raise UserError(f"an IDX file with a header that says {shape}")
            pixels = file.read(size + 1)  # up to the end, where gzip holds its checksum
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"not a whole gzipped IDX file: {error}") from error
    if len(pixels) != size:
        raise UserError(f"an IDX file that is not as long as its header says, which is {shape}")
    return np.frombuffer(pixels, dtype=np.uint8).reshape(shape).copy()


def _load_digits() -> ImageSet:
    """scikit-learn's 1,797 handwritten digits, 8x8 at 0..16, brought to 28x28 at 0..255."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    small = torch.from_numpy(bunch.images)[:, None] * (255 / 16)
    large = torch.nn.functional.interpolate(small, size=(24, 24), mode="bilinear")
    images = torch.nn.functional.pad(large, (2, 2, 2, 2)).round().to(torch.uint8)[:, 0]
    labels = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(
        np.arange(len(labels)), test_size=297, stratify=labels, random_state=0
    )
    return ImageSet(
        name="digits",
        classes=[str(name) for name in bunch.target_names],
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        digest=_digest(images.numpy().tobytes(), labels.numpy().tobytes()),
    )


def _digest(*parts: bytes) -> str:
    """SHA-256 over the parts' own SHA-256 sums."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def split(dataset: ImageSet, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the training split and of a stratified validation split of one image in 12."""
    from sklearn.model_selection import train_test_split

    train, valid = train_test_split(
        np.arange(len(dataset.train_labels)),
        test_size=round(len(dataset.train_labels) * VALID_SHARE),
        stratify=dataset.train_labels,
        random_state=seed,
    )
    return torch.from_numpy(np.sort(train)), torch.from_numpy(np.sort(valid))


def stratified_subset(labels: Tensor, index: Tensor, fraction: float, seed: int) -> Tensor:
    """A `fraction` of `index` with each class's share; fractions of the same seed are nested.

    The images are queued so that each class is spread evenly over the queue, and the first are
    taken (the method of Webster and Sainte-Laguë: nested, and each class gets its exact share
    where that is a whole number). Between classes that stand level, the seed decides.

    Args:
        labels: int64 (N,), the labels of all training images.
        index: int64 (n,), the images to choose from.
        fraction: in (0, 1].

    Returns:
        int64 (round(fraction * n),), ascending.

    Raises:
        UserError: the fraction leaves a class without an image.
    """
    order = index[_shuffled(len(index), seed)]
    place = torch.empty(len(order), dtype=torch.float64)
    for label in labels[order].unique():
        members = labels[order] == label
        count = int(members.sum())
        place[members] = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    queue = order[place.argsort(stable=True)]
    kept = round(fraction * len(queue))
    needed = 1 + max(int((labels[queue] == label).nonzero()[0]) for label in labels[queue].unique())
    if kept < needed:
        raise UserError(
            f"--label-fraction {fraction:g} leaves class {labels[queue][needed - 1]} without an "
            f"image: use at least {needed / len(queue):.3g}"
        )
    return queue[:kept].sort().values


def random_subset(index: Tensor, fraction: float, seed: int) -> Tensor:
    """A random `fraction` of `index`, at least one, chosen without a look at the labels.

    Args:
        index: int64 (n,), the images to choose from.
        fraction: in (0, 1]; fractions of the same seed are nested.
    """
    return index[_shuffled(len(index), seed)[: max(1, round(fraction * len(index)))]].sort().values


def _shuffled(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "subset"))


STREAMS = ("subset", "model", "order", "shift", "flip", "corruption", "validation")


def derive_seed(seed: int, stream: str, epoch: int = 0) -> int:
    """An independent 63-bit seed for one use of randomness in one epoch.

    Randomness is a function of (seed, stream, epoch) and of nothing that ran before, so both
    arms see the same order and augmentation, and a resumed run needs no generator's state.
    """
    words = np.random.SeedSequence([seed, STREAMS.index(stream), epoch]).generate_state(2)
    return int(words[0]) << 31 | int(words[1]) >> 1


def generator(seed: int, stream: str, epoch: int = 0) -> torch.Generator:
    """A CPU generator for one use of randomness in one epoch."""
    return torch.Generator().manual_seed(derive_seed(seed, stream, epoch))
