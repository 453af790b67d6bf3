"""README's pictures of single images: examples, the most confident errors, reconstructions."""

from collections.abc import Collection
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from data import SIZE, ImageSet, load_dataset
from harness.errors import UserError
from harness.files import read_arrays, shown
from report.pairs import Pairs
from report.plots import FULL, PURPLE, arms, picture
from report.runs import RECONSTRUCTIONS, FinishedRun, Runs, main_job

COLUMNS = 7  # images in a row, where each has a title
TITLE = 10  # pixels above an image, of the images' own size
GAP = 4
MARGIN = 0.35  # inches for a picture's title


def draw_images(runs: Runs, seeds: Collection[int], img_dir: Path, data_dir: str | Path) -> None:
    """Draw README's pictures of single images of the main job.

    Args:
        seeds: as `main_job` takes them.
    """
    job = main_job(runs, seeds)
    pairs = Pairs.of(job["baseline"], job["pretrained"])
    if len(pairs):
        draw_galleries(pairs, img_dir, data_dir)
    if job["autoencoder"]:
        draw_reconstructions(job["autoencoder"][0], img_dir / "reconstructions.png")


def draw_galleries(pairs: Pairs, img_dir: Path, data_dir: str | Path) -> None:
    """Draw the pictures that show test images, or say why they cannot be drawn."""
    data = pairs.control[0].config.data
    try:
        dataset = load_dataset(data.name, data_dir, download=False)
        if dataset.digest != data.digest:
            raise UserError("the images are not those that the runs were trained on")
    except UserError as error:
        print(f"example_pretrained.png and confident_errors.png are left as they are: {error}")
        return
    draw_examples(pairs.treated[0], dataset, img_dir / "example_pretrained.png")
    draw_confident_errors(pairs, dataset, img_dir / "confident_errors.png")


def draw_examples(run: FinishedRun, dataset: ImageSet, path: Path, most: int = 28) -> None:
    """The first test images with predicted class, probability and, where it errs, true class."""
    images = np.arange(min(most, len(run.correct)))
    errors = int((~run.correct[images]).sum())
    with picture(path, height_of(len(images), COLUMNS, TITLE)) as ((axes,),):
        plot_predictions(axes, run, dataset, images)
        axes.set_title(
            f"AlexNet pretrained (seed {run.seed}) on the first {len(images)} test images: "
            f"predicted class and probability; ✗ marks an error ({errors} here)"
        )


def draw_confident_errors(pairs: Pairs, dataset: ImageSet, path: Path, most: int = 14) -> None:
    """The errors that the first run of each arm is most certain of."""
    height = 2 * height_of(most, COLUMNS, TITLE)
    with picture(path, height, rows=2) as grid:
        for (axes,), (runs, style) in zip(grid, arms(pairs), strict=True):
            run = runs[0]
            wrong = np.flatnonzero(~run.correct)
            ranked = wrong[np.argsort(-confidence(run)[wrong], kind="stable")]
            if len(ranked):
                plot_predictions(axes, run, dataset, ranked[:most])
            else:  # all images are right
                axes.set_axis_off()
            name = f"AlexNet {style['label']}"
            title = f"The errors that {name} is most certain of"
            if not len(ranked):
                title = f"{name} makes no error"
            axes.set_title(f"{title} (seed {run.seed})")


def plot_predictions(axes: Axes, run: FinishedRun, dataset: ImageSet, images: np.ndarray) -> None:
    """Test images of these indices, each with what the run says of it."""
    pixels = dataset.test_images[images].numpy() / 255
    corners = show_images(axes, np.stack([pixels] * 3, axis=-1), COLUMNS, TITLE)
    classes = [shown(name) for name in dataset.classes]
    for k, (x, y) in zip(images, corners, strict=True):
        label, predicted = (run.predictions[name][k] for name in ("label", "predicted"))
        title, weight = f"{classes[predicted]} {confidence(run)[k]:.0%}", "normal"
        if predicted != label:
            title, weight = f"✗ {title}\nis {classes[label]}", "bold"
        look = {"ha": "center", "va": "bottom", "fontsize": 8.5, "weight": weight}
        axes.text(x + SIZE / 2, y - 1, title, **look)


def confidence(run: FinishedRun) -> np.ndarray:
    """The probability of each predicted class (N,), calibrated where the run has that."""
    return run.predictions.get("calibrated", run.predictions["probability"])


def draw_reconstructions(run: FinishedRun, path: Path) -> None:
    """Validation images, what the encoder saw of them, and what the autoencoder made of that.

    Where patches were hidden, the output is shown in these alone: its loss counts no others.
    """
    arrays = read_arrays(run.folder / "reconstructions.npz", RECONSTRUCTIONS)
    hidden = np.isnan(arrays["corrupted"])
    output = np.where(hidden, arrays["output"], arrays["original"])
    rows = {
        "image": arrays["original"],
        "the encoder\nsaw": arrays["corrupted"],
        "filled in" if hidden.any() else "output": output if hidden.any() else arrays["output"],
    }
    note = "; coloured: hidden patches, which it fills in" if hidden.any() else ""
    if run.setup.recipe.target != "pixels":
        note += " (their means and contrasts are given)"
    # A grey would pass for a pixel.
    colours = matplotlib.colormaps["gray"].with_extremes(bad=PURPLE)
    images = np.concatenate([colours(np.ma.masked_invalid(row)) for row in rows.values()])[..., :3]
    columns = len(hidden)
    with picture(path, height_of(len(images), columns, GAP)) as ((axes,),):
        corners = show_images(axes, images, columns, GAP)
        for label, (_, y) in zip(rows, corners[::columns], strict=True):
            axes.text(-GAP, y + SIZE / 2, label, ha="right", va="center")
        text = f"Autoencoder (seed {run.setup.recipe.seed}) on validation images{note}"
        axes.figure.suptitle(text, fontsize=10)


def show_images(axes: Axes, images: np.ndarray, columns: int, room: int) -> list[tuple[int, int]]:
    """Show RGB images (n, 28, 28, 3) row by row; the x and y of each one's upper left corner.

    All are one picture, which is many times as fast as axes for each.

    Args:
        room: pixels above each image.
    """
    corners = [
        (k % columns * (SIZE + GAP), k // columns * (SIZE + room) + room)
        for k in range(len(images))
    ]
    rows = -(-len(images) // columns)
    canvas = np.ones((rows * (SIZE + room), columns * (SIZE + GAP) - GAP, 3))
    for (x, y), image in zip(corners, images, strict=True):
        canvas[y : y + SIZE, x : x + SIZE] = image
    axes.imshow(canvas, interpolation="nearest")
    axes.axis("off")
    return corners


def height_of(images: int, columns: int, room: int) -> float:
    """Inches for so many images over a page's width, with a title."""
    rows = -(-images // columns)
    return FULL * rows * (SIZE + room) / (columns * (SIZE + GAP)) + MARGIN
