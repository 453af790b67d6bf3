"""A picture as Fashion-MNIST would show it: the item alone, light on black, grey, 28 x 28.

Follows the steps by which the data set was made (Xiao et al. 2017, arXiv:1708.07747, section 2):
trimmed to the item, longest edge to 28, the shorter one extended with the item in the middle,
negated where the ground is light, grey. Their pictures all had a white ground; here the item is
first told from whatever ground there is.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from data import SIZE
from pictures.reading import Unusable

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's mode L
CONTRAST = 0.02  # of the full range; the paper has 0.05, which takes faint edges away
NOISE = 4  # standard deviations of the ground's noise (1.4826 medians) that make no item
TOLERANCES = (0.12, 0.06, 0.03, 0.03)  # how far from the ground its pixels may lie, fit by fit
SPECK = 0.01  # a patch smaller than this share of the largest is dust; such a gap is a pattern
DUST = 5  # pixels; a smaller patch is noise
SMALLEST = 6  # pixels of the longest edge; less says nothing about a garment
BLACK = 0.1  # a darker ground is Fashion-MNIST's own: its pictures are not negated again
FAINT = 0.1  # mean brightness below which an item on black is not seen


def prepare(picture: Image.Image) -> np.ndarray:
    """What a model of Fashion-MNIST is shown of a picture, uint8 (28, 28), ground 0, brightest 255.

    Args:
        picture: of mode RGBA, any size, one item on an even ground or on a transparent one.

    Raises:
        Unusable: nothing stands out from the ground, or it is too small.
    """
    pixels = np.asarray(picture, dtype=np.float32) / 255
    colours, alpha = pixels[..., :3], pixels[..., 3]
    if alpha.max() == 0:
        raise Unusable("it is wholly transparent")
    if alpha.min() < 0.5:
        difference, least, light = alpha, alpha.max() / 2, True  # as if it lay on white paper
    else:
        ground, least = find_ground(colours)
        offset = colours - ground
        # JPEG keeps colours coarsely, so that they bleed into the ground: they count less.
        difference = np.maximum(np.abs(offset @ LUMA), np.abs(offset).max(axis=2) / 3)
        light = ground.mean() > BLACK
    item = find_item(difference > least)
    if not item.any():
        raise Unusable("nothing stands out from its ground")
    box = find_box(item, difference)
    if max(item[box].shape) < SMALLEST:
        raise Unusable(f"what stands out from its ground is less than {SMALLEST} pixels large")
    return fit_in(brightness(colours[box] @ LUMA, item[box], light))


def find_ground(colours: np.ndarray) -> tuple[np.ndarray, float]:
    """The ground's colour at each pixel, and how far from it the item begins.

    A plane for each colour, so that light from one side does no harm, through the commonest
    brightness along the border: an item may touch the border, but it varies more than a ground.

    Args:
        colours: float32 (height, width, 3) in [0, 1].

    Returns:
        float32 (height, width, 3), and a difference in [0, 1].
    """
    height, width, _ = colours.shape
    down, right = np.meshgrid(
        np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij", copy=False
    )
    position = np.stack([np.ones_like(down), down, right], axis=2).astype(np.float32)
    border = np.ones((height, width), dtype=bool)
    border[1:-1, 1:-1] = False
    places, values = position[border], colours[border]
    counts, edges = np.histogram(values @ LUMA, bins=32, range=(0, 1))
    commonest = edges[counts.argmax()] + 0.5 / 32
    distance = np.abs(values @ LUMA - commonest)
    for tolerance in TOLERANCES:
        near = distance <= max(tolerance, distance.min())
        plane = np.linalg.lstsq(places[near], values[near], rcond=None)[0]
        distance = np.abs(values - places @ plane).max(axis=1)
    near = distance[distance <= max(TOLERANCES[0], distance.min())]
    return position @ plane, max(CONTRAST, NOISE * 1.4826 * np.median(near))


def find_item(differs: np.ndarray) -> np.ndarray:
    """The item among the pixels that differ from the ground, without dust and with small gaps shut.

    Both are bool (height, width).
    """
    item = _without_specks(differs)
    return ~_without_specks(~item, compared_to=item.sum())


def _without_specks(mask: np.ndarray, compared_to: int | None = None) -> np.ndarray:
    """Without the patches that are too small, compared to so many pixels or to the largest one."""
    patches, _ = ndimage.label(mask)
    areas = np.bincount(patches.ravel())
    areas[0] = 0  # what is not in the mask
    least = SPECK * (areas.max() if compared_to is None else compared_to)
    return (areas >= max(least, DUST))[patches] & mask


def find_box(item: np.ndarray, difference: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of the item; a soft edge ends where it is half as strong as beside it.

    Args:
        item: bool (height, width), where the item is.
        difference: float32 (height, width), from the ground.
    """
    box = ndimage.find_objects(item.astype(np.uint8))[0]
    beside = ndimage.maximum_filter(difference[box], max(item[box].shape) // SIZE or 1)
    sharp = item[box] & (2 * difference[box] >= beside)
    inner = ndimage.find_objects(sharp.astype(np.uint8))[0]
    return tuple(
        slice(outer.start + edge.start, outer.start + edge.stop)
        for outer, edge in zip(box, inner, strict=True)
    )


def brightness(grey: np.ndarray, item: np.ndarray, light: bool) -> np.ndarray:
    """The item on black: negated if its ground is light, unless it would hardly be seen then.

    Args:
        grey: float32 (height, width) in [0, 1], and so is the result.
        item: bool (height, width), where the item is.
    """
    bright = 1 - grey if light else grey
    if bright[item].mean() < FAINT:  # a white shirt on white paper's place is dark in Fashion-MNIST
        bright = 1 - bright
    return np.where(item, bright, 0)


def fit_in(item: np.ndarray) -> np.ndarray:
    """Longest edge to 28, the shorter one extended on both sides; float (h, w) to uint8 (28, 28).

    The brightest pixel becomes 255, as it is in (almost) all images of Fashion-MNIST.
    """
    shape = [max(1, round(SIZE * edge / max(item.shape))) for edge in item.shape]
    scaled = np.asarray(Image.fromarray(item).resize(shape[::-1], Image.Resampling.BOX))
    square = np.zeros((SIZE, SIZE), dtype=np.float32)
    top, left = ((SIZE - edge + 1) // 2 for edge in shape)
    square[top : top + shape[0], left : left + shape[1]] = scaled
    return np.rint(square * (255 / square.max())).astype(np.uint8)
