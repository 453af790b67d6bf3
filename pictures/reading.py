"""From what the command line names to pictures, whatever the files hold."""

import glob
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from harness.errors import UserError
from harness.files import LARGEST, read_bytes, shown

STANDARD_INPUT = "-"
KEPT = 1024  # pixels of the longest edge; an item of a tenth of that still has 100
MOST_PIXELS = 50_000_000  # of a JPEG, which is decoded smaller; of other formats half
LONGEST_EDGE = 20_000  # pixels; and no edge may be 100 times the other
HEIC_STARTS = (b"ftyphei", b"ftyphev", b"ftypmif", b"ftypmsf")  # after four bytes
NO_HEIC = "a HEIC photo: save it as JPEG, or pip install pillow-heif"
HEIC = {".heic", ".heif", ".hif"}
NUMBERS = ("I", "F")  # modes of one number a pixel, of no fixed range; and I;16, I;16B, ...
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what is wrong, we say ourselves


class Unusable(Exception):
    """A picture that cannot be classified. The message says why, after "photo.jpg: "."""


def find_pictures(names: list[str]) -> list[str]:
    """The files that the names stand for, in the order given: files, folders, patterns, `-`.

    A folder stands for its image files, and a pattern for the files that it fits, in alphabetical
    order. A name that stands for nothing is kept: reading it says what is wrong.
    """
    found, kinds = [], _formats()
    endings = {end for end, kind in Image.registered_extensions().items() if kind in kinds}
    endings |= HEIC  # which may not be readable: that is then said
    for name in names:
        if os.path.isdir(name):
            # A pattern leaves hidden files out, such as the ._photo.jpg that another system left.
            paths = filter(os.path.isfile, glob.glob(os.path.join(glob.escape(name), "*")))
            images = [p for p in paths if os.path.splitext(p)[1].lower() in endings]
            found += sorted(images) or [name]
        elif name == STANDARD_INPUT or os.path.exists(name):
            found.append(name)
        else:
            matches = sorted(glob.glob(name, recursive=True))
            found += [path for path in matches if not os.path.isdir(path)] or [name]
    return found


def _formats() -> list[str]:
    """The formats that are read; HEIC, which phones write, where pillow-heif is installed."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.init()
    return [kind for kind in Image.OPEN if kind != "EPS"]  # a program, which Ghostscript would run


def read_picture(name: str) -> Image.Image:
    """The picture, upright, as RGBA, its longest edge at most 1024; the first one of several.

    Raises:
        Unusable: missing, no regular file, or not a picture that Pillow can read.
    """
    try:
        if os.path.isdir(name):
            raise Unusable("a folder without pictures that can be read")
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(LARGEST + 1)
            if len(data) > LARGEST:
                raise Unusable(f"more than {LARGEST:,} bytes")
            return decode(data)
        if not os.path.exists(name):
            raise Unusable("missing")
        return decode(read_bytes(name))
    except UserError as error:
        raise Unusable(str(error)) from error
    except OSError as error:
        raise Unusable(error.strerror or str(error)) from error


def decode(data: bytes) -> Image.Image:
    """As `read_picture`, from the file's content."""
    try:
        with without_messages(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow's own bound of 89 million pixels, at which it only warns.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                refuse_large(image)
                image.draft(None, (KEPT, KEPT))  # JPEG: decoded smaller, faster
                return _as_rgba(image)
    except Unusable:
        raise
    # The one door for files from strangers. What a damaged file raises in one of Pillow's forty
    # decoders is not documented: OSError, SyntaxError, ValueError, struct.error, MemoryError, ...
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no known format"
            if data[4:11] in HEIC_STARTS:
                raise Unusable(NO_HEIC) from error
        elif isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
            reason = f"more than {Image.MAX_IMAGE_PIXELS / 1e6:.0f} megapixels"
        raise Unusable(f"not a picture that can be read ({shown(reason)})") from error


def refuse_large(image: Image.Image) -> None:
    """Raise Unusable, before anything is decoded, where that would take long or much memory."""
    short, long = sorted(image.size)
    if long > LONGEST_EDGE or long > 100 * short:
        raise Unusable(f"{image.width} x {image.height} pixels: too long for a picture of one item")
    most = MOST_PIXELS if image.format == "JPEG" else MOST_PIXELS // 2
    if short * long > most:
        raise Unusable(f"more than {most / 1e6:.0f} megapixels: save it smaller")


@contextmanager
def without_messages() -> Iterator[None]:
    """Nothing on standard error: libtiff writes there itself, past Python."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _as_rgba(image: Image.Image) -> Image.Image:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if image.mode in NUMBERS or image.mode.startswith("I;16"):
        image = image.convert("F")
        image.thumbnail((KEPT, KEPT), reducing_gap=2.0)
        image = Image.fromarray(_by_range(np.asarray(image, dtype=np.float64)))
    elif image.mode == "LAB":  # which Pillow converts by colour profiles only; L is what we need
        image = image.getchannel("L")
    if image.mode not in ("P", "PA", "1") and "transparency" not in image.info:
        image.thumbnail((KEPT, KEPT), reducing_gap=2.0)  # before it takes more memory
    image = image.convert("RGBA")
    image.thumbnail((KEPT, KEPT), reducing_gap=2.0)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


def _by_range(values: np.ndarray) -> np.ndarray:
    """Numbers of any range as uint8, smallest to 0 and largest to 255; what is not finite to 0."""
    finite = np.isfinite(values)
    low, high = values[finite].min(initial=np.inf), values[finite].max(initial=-np.inf)
    if not low < high:
        return np.zeros(values.shape, dtype=np.uint8)
    share = np.where(finite, values - low, 0) / (high - low)
    return np.rint(255 * share).astype(np.uint8)
