"""A picture as Fashion-MNIST would show it: the item alone, light on black, grey, 28 x 28.

Follows the steps by which the data set was made (Xiao et al. 2017, arXiv:1708.07747, section 2):
trimmed to the item, longest edge to 28, the shorter one extended with the item in the middle,
negated where the ground is light, grey. Their pictures all had a white ground; here the item is
first told from whatever ground there is.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.filters import threshold_otsu
from skimage.graph import MCP_Geometric

from data import SIZE
from pictures.reading import Unusable

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's mode L
EDGE = 224  # pixels of the longest edge, eight for each that the models see
EVEN = 12  # of CIELAB's 100; a picture whose corners differ less has one ground
RUN = 0.4  # of the border; an item that touches less than half of that is no ground
SOFT = 2  # times the median gradient; a softer change is light, a shadow's edge or noise
SOFTEST = 1.5  # of CIELAB's 100, a pixel; as SOFT, where the ground has no gradient at all
CLEAN = 0.5  # of CIELAB's 100, a pixel; a ground with less has no edges of its own
STABLE = 0.85  # of an item's area at a laxer threshold, which a stricter one must leave
FAINTEST = 4  # of CIELAB's 100; what differs less from its ground is not seen
AROUND = 20  # pixels over which the ground's colour is averaged
THIN = 0.08  # of the longest edge; an item without a thicker part is an outline
SPECK = 0.01  # a patch smaller than this share of the largest is dust; such a gap is a pattern
DUST = 5  # pixels; a smaller patch is noise
SMALLEST = 6  # pixels of the longest edge; less says nothing about a garment
BLACK = 0.1  # a darker ground is Fashion-MNIST's own: its pictures are not negated again
FAINT = 0.1  # mean brightness below which an item on black is not seen


class Prepared(NamedTuple):
    """What the models are shown, uint8 (28, 28), ground 0, brightest 255; and whether to trust it.

    `distinct` is False where the item's area depends on the threshold that cuts it out.
    """

    pixels: np.ndarray
    distinct: bool


def prepare(picture: Image.Image) -> Prepared:
    """The item of a picture of mode RGBA, of any size; a small item is looked at more closely.

    Raises:
        Unusable: nothing stands out from the ground, or it is too small.
    """
    scale = EDGE / max(picture.size)
    size = [max(1, round(scale * edge)) for edge in picture.size]
    pixels = np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float32) / 255
    grey, alpha = pixels[..., :3] @ LUMA, pixels[..., 3]
    if alpha.max() == 0:
        raise Unusable("it is wholly transparent")
    if alpha.min() < 0.5:  # as if it lay on white paper
        item, light, distinct = without_dust(alpha > alpha.max() / 2), True, True
    else:
        item, distinct = find_item(rgb2lab(pixels[..., :3]))
        light = item.all() or np.median(grey[~item]) > BLACK
    if not item.any():
        raise Unusable("nothing stands out from its ground")
    box = ndimage.find_objects(item.astype(np.uint8))[0]
    longest = max(item[box].shape)
    if longest / scale < SMALLEST:
        raise Unusable(f"what stands out from its ground is less than {SMALLEST} pixels large")
    if longest < EDGE / 2 and scale < 1:
        rows, columns = ((s.start - longest / 3, s.stop + longest / 3) for s in box)
        corners = np.array([columns[0], rows[0], columns[1], rows[1]]) / scale
        return prepare(picture.crop(tuple(np.clip(corners, 0, [*picture.size, *picture.size]))))
    bright = 1 - grey if light else grey
    if bright[item].mean() < FAINT:  # or a white shirt on white paper would come out black
        bright = 1 - bright
    return Prepared(fit_in(fill_outline(np.where(item, bright, 0)[box])), distinct)


def find_item(lab: np.ndarray) -> tuple[np.ndarray, bool]:
    """The item: what only paths over a strong edge reach from the border (geodesic distance).

    As Wei et al. 2012 (Geodesic saliency using background priors), on pixels. Light that falls
    off, soft shadows and grain cost such a path little, and it can begin on floor and wall.

    Args:
        lab: CIELAB float (height, width, 3).

    Returns:
        bool (height, width), and whether its area is much the same at other thresholds.
    """
    gradient = np.sqrt(
        sum(ndimage.gaussian_gradient_magnitude(lab[..., k], 1) ** 2 for k in range(3))
    )
    usual = np.median(gradient)
    cost = np.maximum(gradient - max(SOFT * usual, SOFTEST), 0) + 1e-4
    start, even = ground_at_the_border(lab)
    distance = np.sqrt(MCP_Geometric(cost).find_costs(start)[0])
    least = 1 if even and usual < CLEAN else max(1, threshold_otsu(distance))
    inside = distance > least
    core = ndimage.binary_opening(inside)
    if core.any():  # without the tail that an edge behind the item makes
        inside &= ndimage.binary_dilation(core, iterations=2)
    strict, lax = (np.count_nonzero(distance > factor * least) for factor in (1.4, 1 / 1.4))
    return without_dust(refine(inside, lab)), strict >= STABLE * lax


def ground_at_the_border(lab: np.ndarray) -> tuple[np.ndarray, bool]:
    """Where the border is ground, for an item may touch it; and whether the corners are alike.

    Where the corners are of one colour, ground is what is near it. Otherwise, on a floor and a
    wall for example, it is what lasts along the border. Rows and columns are int (n, 2).
    """
    grid, edge = np.indices(lab.shape[:2]), 1 + min(lab.shape[:2]) // 20
    sides = grid[:, 0], grid[:, :, -1], grid[:, -1, ::-1], grid[:, ::-1, 0]
    places = np.concatenate(sides, axis=1).T  # once around
    values = lab[tuple(places.T)]
    ends = slice(edge), slice(-edge, None)
    corners = np.stack([np.median(lab[y, x], axis=(0, 1)) for y, x in product(ends, ends)])
    expected = corners.mean(axis=0)
    even = np.linalg.norm(corners - expected, axis=1).max() <= EVEN
    if not even:
        expected = ndimage.median_filter(values, (int(RUN * len(values)) | 1, 1), mode="wrap")
    off = np.linalg.norm(values - expected, axis=1)
    return places[off <= max(EVEN, 2 * np.median(off), off.min())], even


def refine(item: np.ndarray, lab: np.ndarray) -> np.ndarray:
    """Without the rim that is more like the ground, and without gaps through which it is seen."""
    outside, core = (ndimage.binary_erosion(mask, iterations=2) for mask in (~item, item))
    if not outside.any() or not core.any():
        return item
    from_ground = np.linalg.norm(lab - mean_nearby(lab, outside), axis=2)
    rim = item & ndimage.binary_dilation(~item, iterations=2)
    outer = rim & (from_ground < np.linalg.norm(lab - mean_nearby(lab, core), axis=2))
    even = ndimage.gaussian_filter(from_ground, 1)
    like = item & (even < max(2 * np.median(even[outside]), FAINTEST))
    gaps = without_specks(ndimage.binary_opening(like, iterations=2), compared_to=item.sum())
    return item & ~outer & ~gaps


def mean_nearby(lab: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """At each pixel the mean colour of the mask's pixels around it, (height, width, 3)."""
    sums = ndimage.gaussian_filter(np.where(mask[..., None], lab, 0), (AROUND, AROUND, 0))
    return sums / (ndimage.gaussian_filter(mask.astype(float), AROUND)[..., None] + 1e-9)


def without_dust(item: np.ndarray) -> np.ndarray:
    """The item without small patches around it, and with small gaps shut; both bool (h, w)."""
    item = without_specks(item)
    return ~without_specks(~item, compared_to=item.sum())


def without_specks(mask: np.ndarray, compared_to: int | None = None) -> np.ndarray:
    """Without the patches that are too small, compared to so many pixels or to the largest one."""
    patches, _ = ndimage.label(mask)
    areas = np.bincount(patches.ravel())
    areas[0] = 0  # what is not in the mask
    least = SPECK * (areas.max() if compared_to is None else compared_to)
    return (areas >= max(least, DUST))[patches]


def fill_outline(item: np.ndarray) -> np.ndarray:
    """Where there is only a closed line, what it encloses becomes a plain thing; float (h, w)."""
    line = item > 0
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(line, 3), iterations=2))
    filled = filled[3:-3, 3:-3]
    thickest = 2 * ndimage.distance_transform_edt(np.pad(line, 1)).max()
    if filled.sum() < 2 * line.sum() or thickest > THIN * max(item.shape):
        return item
    return np.where(filled & ~line, item[line].mean() / 2, item)


def fit_in(item: np.ndarray) -> np.ndarray:
    """Longest edge to 28, the shorter one extended on both sides; float (h, w) to uint8 (28, 28).

    The brightest pixel becomes 255, as it is in (almost) all images of Fashion-MNIST.
    """
    shape = [max(1, round(SIZE * edge / max(item.shape))) for edge in item.shape]
    image = Image.fromarray(item.astype(np.float32))
    scaled = np.asarray(image.resize(shape[::-1], Image.Resampling.BOX))
    square = np.zeros((SIZE, SIZE), dtype=np.float32)
    top, left = ((SIZE - edge + 1) // 2 for edge in shape)
    square[top : top + shape[0], left : left + shape[1]] = scaled
    return np.rint(square * (255 / square.max())).astype(np.uint8)
