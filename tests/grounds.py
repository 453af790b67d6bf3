"""How many garments predict.py recognises on which ground, and what it takes for no garment.

    PYTHONPATH=. python tests/grounds.py DATA_DIR MODEL SEED COUNT

Garments are drawn, or are enlarged test images of Fashion-MNIST; each is laid on every ground. Of
those recognised on white, a table says how many are recognised on the others; a second one, what is
told to be unlike the training images. Other seeds are for building; seed 1000 writes models.md.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from classification import TrainedModel
from data import load_dataset, split
from harness.compute import set_up_compute
from pictures.preparing import prepare
from pictures.reading import Unusable
from report.markdown import table as as_markdown

EDGE, ITEM = 480, 330  # pixels: of the picture, and of the item's longest edge
HALVES = {  # right halves of outlines, from the neck or waist down; 0.5 is the item's half width
    "T-shirt/top": [(0, 0.1), (0.14, 0.03), (0.33, 0.1), (0.5, 0.33), (0.4, 0.42), (0.29, 0.31),
                    (0.29, 0.98), (0, 0.98)],
    "Trouser": [(0, 0), (0.19, 0), (0.24, 0.3), (0.2, 1), (0.06, 1), (0.02, 0.36), (0, 0.34)],
    "Pullover": [(0, 0.07), (0.13, 0.03), (0.32, 0.11), (0.47, 0.8), (0.36, 0.84), (0.28, 0.4),
                 (0.28, 0.95), (0, 0.95)],
    "Dress": [(0, 0.12), (0.08, 0.0), (0.13, 0.0), (0.16, 0.2), (0.12, 0.42), (0.22, 1), (0, 1)],
    "Coat": [(0, 0.12), (0.1, 0.0), (0.3, 0.07), (0.4, 0.75), (0.31, 0.77), (0.26, 0.35),
             (0.28, 1), (0, 1)],
    "Shirt": [(0, 0.1), (0.1, 0.0), (0.28, 0.07), (0.44, 0.6), (0.34, 0.64), (0.26, 0.36),
              (0.26, 1), (0, 1)],
}  # fmt: skip
SIDES = {  # whole outlines, seen from the side, the toe to the left
    "Sneaker": [(0, 0.68), (0.03, 0.5), (0.3, 0.42), (0.52, 0.24), (0.66, 0.28), (0.9, 0.22),
                (0.98, 0.3), (1, 0.7), (0.9, 0.74), (0.05, 0.74)],
    "Ankle boot": [(0.02, 0.88), (0.04, 0.7), (0.4, 0.52), (0.48, 0.05), (0.92, 0.03), (0.95, 0.5),
                   (0.98, 0.96), (0.72, 0.97), (0.7, 0.88), (0.4, 0.93)],
    "Bag": [(0.02, 0.95), (0.06, 0.42), (0.94, 0.42), (0.98, 0.95)],
    "Sandal": [(0, 0.72), (0.35, 0.66), (0.7, 0.5), (0.98, 0.42), (1, 0.52), (0.97, 0.8),
               (0.91, 0.8), (0.88, 0.6), (0.65, 0.66), (0.4, 0.8), (0.02, 0.81)],
}  # fmt: skip


def smooth(rng: np.random.Generator, *sigmas: float) -> np.ndarray:
    """Noise of so many pixels' length down and across, float (EDGE, EDGE) of deviation 1."""
    noise = ndimage.gaussian_filter(rng.normal(size=(EDGE, EDGE)), sigmas, mode="wrap")
    return noise / noise.std()


def rgb(hsv: list[int]) -> np.ndarray:
    return np.array(Image.new("HSV", (1, 1), tuple(map(int, hsv))).convert("RGB")).ravel()


def drawn(kind: str, rng: np.random.Generator) -> Image.Image:
    """A garment in RGBA, ITEM pixels large, of any colour, with folds, some with stripes."""
    half = HALVES.get(kind)
    points = [(0.5 + x, y) for x, y in half] + [(0.5 - x, y) for x, y in half[::-1]] if half else []
    points = np.array(points or SIDES[kind]) * (rng.uniform(0.9, 1.1), rng.uniform(0.92, 1.08))
    jitter = rng.normal(0, 0.012, points.shape)
    points = 300 + 1200 * (points + (0 if half else 1) * jitter)
    mask, pen = Image.new("L", (2000, 2000)), {"fill": 255, "width": 45}
    draw = ImageDraw.Draw(mask)
    draw.polygon([tuple(p) for p in points], fill=255)
    if kind == "Bag":
        draw.arc((600, 350, 1200, 1300), 180, 360, **pen)
    if kind == "Sandal":
        for x, top in ((450, 780), (700, 700), (1300, 480)):
            draw.line([(x, 1200), (x + 180, top), (x + 400, 1100)], **pen)
    mask = mask.filter(ImageFilter.GaussianBlur(12)).point(lambda v: 255 * (v > 127))
    box = mask.getbbox()
    scale = ITEM / max(box[2] - box[0], box[3] - box[1])
    size = [round(scale * (box[k + 2] - box[k])) for k in (0, 1)]
    mask = mask.crop(box).resize(size, Image.Resampling.BOX)
    colour = rgb([rng.integers(256), rng.integers(30, 220), rng.integers(30, 190)])
    shade = 1 + 0.08 * smooth(rng, 12, 12)[: size[1], : size[0], None]
    if rng.random() < 0.25:
        shade[np.arange(size[1]) % 40 < 14] *= 0.7
    if kind in ("Coat", "Shirt"):
        shade[:, size[0] // 2 - 3 : size[0] // 2 + 3] *= 0.5
    if kind == "Sneaker":
        shade[int(0.8 * size[1]) :] *= 1.5
    image = Image.fromarray(np.clip(colour * shade, 0, 255).astype(np.uint8)).convert("RGBA")
    image.putalpha(mask)
    return image


def enlarged(pixels: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A test image, uint8 (28, 28), as a thing of ITEM pixels: RGBA, tinted, dark where bright."""
    large = Image.fromarray(pixels).resize((ITEM, ITEM), Image.Resampling.BICUBIC)
    mask = ndimage.binary_fill_holes(np.asarray(large) > 16)
    mask = ndimage.gaussian_filter(mask.astype(float), 3) > 0.5
    tint = rng.uniform(0.75, 1, 3) * rng.uniform(0.8, 1)
    grey = 1 - 0.9 * np.asarray(large, dtype=float)[..., None] / 255
    image = Image.fromarray((255 * grey * tint).astype(np.uint8)).convert("RGBA")
    image.putalpha(Image.fromarray(mask).convert("L").filter(ImageFilter.GaussianBlur(1)))
    return image.crop(image.getchannel("A").getbbox())


def ground(name: str, rng: np.random.Generator) -> np.ndarray:
    """A ground without its item, float (EDGE, EDGE, 3) in [0, 1]."""
    down, right = np.mgrid[-1 : 1 : EDGE * 1j, -1 : 1 : EDGE * 1j]
    base = np.full((EDGE, EDGE, 3), rng.uniform(0.8, 0.95)) * rng.uniform(0.95, 1, 3)
    angle = rng.uniform(0, 2 * np.pi)
    slope = (np.cos(angle) * down + np.sin(angle) * right)[..., None]
    if name == "plain colour":
        hue = [rng.integers(256), rng.integers(20, 160), rng.integers(90, 250)]
        return np.full_like(base, rgb(hue)) / 255
    if "gradient" in name:
        base = base * (0.85 + rng.uniform(0.08, 0.15) * slope)
    if "noise" in name:
        base = base + rng.normal(0, 0.03, base.shape)
    if name == "vignette":
        base = base * (1 - rng.uniform(0.2, 0.3) * (down**2 + right**2))[..., None]
    if name == "floor and wall":
        edge = rng.uniform(0.1, 0.7) + 0.05 * rng.normal() * right
        floor = rng.uniform(0.35, 0.75) * rng.uniform(0.8, 1, 3)
        base = np.where((down > edge)[..., None], floor, base) * (1 + 0.04 * slope)
    if name == "cloth":
        weave = np.sin(np.arange(EDGE) * np.pi / 2)
        folds = 0.05 * smooth(rng, 25, 12) + 0.02 * (weave[:, None] + weave)
        base = rng.uniform(0.5, 0.95) * rng.uniform(0.75, 1, 3) * (1 + folds)[..., None]
        base = base + rng.normal(0, 0.015, base.shape)
    if name == "wood":
        plank = np.arange(EDGE) * 5 // EDGE
        tone = 1 + 0.06 * rng.normal(size=5)[plank][:, None] + 0.07 * smooth(rng, 1.5, 50)
        tone = tone + 0.05 * smooth(rng, 5, 90)
        tone[np.diff(plank, append=4) > 0] *= 0.55
        base = np.array([0.72, 0.53, 0.35]) * rng.uniform(0.8, 1.2) * tone[..., None]
    return np.clip(base, 0, 1)


GROUNDS = ["white", "transparent", "plain colour", "light gradient", "gradient, noise",
           "soft shadow", "gradient, noise, shadow", "vignette", "floor and wall", "cloth",
           "wood"]  # fmt: skip


def laid_on(item: Image.Image, name: str, rng: np.random.Generator) -> Image.Image:
    """The item somewhere near the middle of that ground."""
    place = [int((EDGE - edge) / 2 + rng.uniform(-35, 35)) for edge in item.size]
    layer = Image.new("RGBA", (EDGE, EDGE))
    layer.paste(item, tuple(place))
    if name == "transparent":
        return layer
    below = np.ones((EDGE, EDGE, 3)) if name == "white" else ground(name, rng)
    if "shadow" in name:
        alpha = np.asarray(layer.getchannel("A"), dtype=float) / 255
        shadow = ndimage.gaussian_filter(ndimage.shift(alpha, rng.uniform(8, 22, 2)), 14)
        below = below * (1 - rng.uniform(0.3, 0.5) * shadow[..., None])
    picture = Image.fromarray((255 * below).astype(np.uint8)).convert("RGBA")
    picture.alpha_composite(layer)
    return picture


def seen(picture: Image.Image) -> np.ndarray:
    """What the model is shown, uint8 (28, 28); nothing where nothing was found."""
    try:
        return prepare(picture).pixels
    except Unusable:
        return np.zeros((28, 28), np.uint8)


def recognised(model: TrainedModel, garments: list, rng: np.random.Generator) -> list[str]:
    """By ground, how many of the (label, RGBA) that are recognised on white are so there, too."""
    labels, right = torch.tensor([label for label, _ in garments]), []
    for name in GROUNDS:
        shown = np.stack([seen(laid_on(item, name, rng)) for _, item in garments])
        right.append(model.predict(torch.from_numpy(shown)).argmax(dim=1) == labels)
    white = right[0]
    shares = [f"{100 * found[white].float().mean():.0f} %" for found in right[1:]]
    return [f"{int(white.sum())} of {len(white)}", *shares]


def shape(rng: np.random.Generator) -> Image.Image:
    """A polygon or a star, in RGBA."""
    image, corners = Image.new("RGBA", (ITEM, ITEM)), int(rng.integers(3, 12))
    angles = np.arange(2 * corners) * np.pi / corners + rng.uniform(0, 7)
    radii = 160 * np.where(np.arange(2 * corners) % 2, rng.uniform(0.4, 1), 1)
    points = 165 + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    colour = tuple(int(v) for v in rng.integers(20, 160, 3))
    ImageDraw.Draw(image).polygon([tuple(p) for p in points], fill=colour)
    return image


def unlike(model: TrainedModel, dataset, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Of images of each kind, the share that is marked, and each score's AUROC against the test."""
    shades = [127 + 60 * smooth(rng, s, s)[:28, :28] for s in rng.uniform(0.2, 4, count)]
    shapes = [seen(laid_on(shape(rng), "white", rng)) for _ in range(count)]
    kinds = {
        "digits": load_dataset("digits", "").train_images,
        "noise": torch.from_numpy(np.clip(shades, 0, 255).astype(np.uint8)),
        "drawn shapes": torch.from_numpy(np.stack(shapes)),
    }
    known = hidden(model, dataset.train_images[split(dataset, 0)[1]])
    test = scores(model, dataset.test_images, known)
    marked = {"test images of Fashion-MNIST": dataset.test_images, **kinds}
    table = pd.DataFrame({"images": [*marked]})
    shares = [1 - np.mean(model.is_like_training(images)) for images in marked.values()]
    table["marked"] = [f"{100 * share:.1f} %" for share in shares]
    others = [scores(model, images, known) for images in kinds.values()]
    for name, values in test.items():
        ends = [([0] * len(values) + [1] * len(o[name]), [*values, *o[name]]) for o in others]
        table[f"AUROC: {name}"] = ["", *(f"{roc_auc_score(*end):.3f}" for end in ends)]
    return table


@torch.inference_mode()
def hidden(model: TrainedModel, images: torch.Tensor) -> torch.Tensor:
    network, normalise = model.model, model.normalise
    return torch.cat([network.hidden(normalise(part)) for part in images.split(1000)])


@torch.inference_mode()
def scores(model: TrainedModel, images: torch.Tensor, known: torch.Tensor) -> dict:
    """Higher for stranger images; k-NN is the tenth neighbour's distance on the unit sphere."""
    features, unit = hidden(model, images), torch.nn.functional.normalize
    nearest = torch.cdist(unit(features), unit(known)).topk(10, largest=False).values[:, -1]
    energy = -model.model.classifier[-1](features).logsumexp(dim=1)
    return {"Mahalanobis": model.typical(features), "k-NN": nearest, "energy": energy}


def main(data_dir: str, path: str, seed: str, count: str) -> None:
    rng, count = np.random.default_rng(int(seed)), int(count)
    dataset = load_dataset("fashion", data_dir)
    model = TrainedModel(path, set_up_compute(device="cpu", precision="fp32"))
    chosen = rng.choice(len(dataset.test_labels), count, replace=False)
    names = dataset.classes
    sets = {
        "drawn": [(names.index(kind), drawn(kind, rng)) for kind in np.resize(names, count)],
        "test images": [
            (int(dataset.test_labels[k]), enlarged(dataset.test_images[k].numpy(), rng))
            for k in chosen
        ],
    }
    tables = {"unlike": unlike(model, dataset, count, rng)}
    grounds = {name: recognised(model, garments, rng) for name, garments in sets.items()}
    tables["grounds"] = pd.DataFrame({"ground": GROUNDS, **grounds})
    page = Path(__file__).parents[1] / "models.md"
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end, made = f"<!-- {name} -->\n", f"<!-- /{name} -->", as_markdown(table) + "\n"
        print(made)
        text = re.sub(f"{begin}.*?{end}", begin + made + end, text, flags=re.DOTALL)
    if seed == "1000":
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
