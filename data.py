"""Data sets, their splits, and the seeds of everything random."""

import gzip
import hashlib
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from errors import UserError
from rundir import write_atomically

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
# Asked before torchvision's mirrors, since these speak https.
HTTPS_MIRRORS = {
    "fashion": ["https://storage.googleapis.com/tensorflow/tf-keras-datasets/"],
    "mnist": [],
    "kmnist": [],
}
DOWNLOAD_TIMEOUT = 30  # seconds without an answer


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
    mirrors = HTTPS_MIRRORS[name] + source[name].mirrors
    archives = {
        part: _read_archive(folder / file, digests[file], mirrors if download else [])
        for part, file in FILES.items()
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


def _read_archive(path: Path, digest: str, mirrors: list[str]) -> bytes:
    """The verified bytes of the archive at `path`, fetched from the first mirror that has it."""
    if path.exists():
        data = path.read_bytes()
        if not _matches(data, digest):
            raise UserError(
                f"'{path}' is not the official archive ({len(data):,} bytes, other checksum): "
                "delete it, then it is downloaded again, or put the official file there"
            )
        return data
    tried = []
    for mirror in mirrors:
        url = mirror + path.name
        print(f"downloading {url}", flush=True)
        try:
            with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT) as response:
                data = response.read()
        # URLError and time-outs are OSErrors; a connection that is cut midway is the other.
        except (OSError, HTTPException) as error:
            tried.append(f"{url}: {getattr(error, 'reason', error)}")
            continue
        if _matches(data, digest):
            write_atomically(path, data)
            return data
        tried.append(f"{url}: other checksum")
    raise UserError(
        f"'{path}' is missing{' and could not be downloaded (' if tried else ''}"
        f"{'; '.join(tried)}{')' if tried else ''}: put the four official .gz files into "
        f"'{path.parent}' (--data-dir names the folder above), or use --dataset digits"
    )


def _matches(data: bytes, digest: str) -> bool:
    algorithm = "sha256" if len(digest) == 64 else "md5"
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest() == digest


def read_idx(archive: bytes) -> np.ndarray:
    """The uint8 array in a gzipped IDX file (http://yann.lecun.com/exdb/mnist, section IDX).

    Raises:
        UserError: not gzip, not IDX of unsigned bytes, or not as long as its header says.
    """
    try:
        data = gzip.decompress(archive)
    except (OSError, EOFError) as error:
        raise UserError(f"not a whole gzip archive: {error}") from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise UserError("not an IDX file of unsigned bytes")
    header = 4 + 4 * data[3]
    shape = np.frombuffer(data[4:header], dtype=">u4").astype(int)
    if len(shape) != data[3] or len(data) - header != shape.prod():
        raise UserError(f"an IDX file of {len(data):,} bytes, which is not what its header says")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape).copy()


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


def subset(labels: Tensor, index: Tensor, fraction: float, seed: int) -> Tensor:
    """A stratified `fraction` of `index`; fractions of the same seed are nested.

    Args:
        labels: int64 (N,), the labels of all training images.
        index: int64 (n,), the images to choose from.
        fraction: in (0, 1].

    Raises:
        UserError: the fraction leaves a class without an image.
    """
    order = torch.randperm(len(index), generator=generator(seed, "subset"))
    kept = []
    for label in labels[index].unique():
        members = index[order][labels[index[order]] == label]
        kept.append(members[: round(fraction * len(members))])
        if not len(kept[-1]):
            raise UserError(
                f"--label-fraction {fraction:g} leaves class {label} without an image: "
                f"use at least {1 / len(members):.2g}"
            )
    return torch.cat(kept).sort().values


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
