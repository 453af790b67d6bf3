"""The pictures of single images: examples, the most confident errors, reconstructions."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from harness.errors import UserError
from harness.files import read_arrays
from report.plots import FULL, PURPLE, Shown, default_runs, original_runs, picture
from report.study import Study
from report.tables import Tables

SIZE = 28  # pixels
EXAMPLES, ERRORS = 28, 14  # images
COLUMNS = 7  # images in a row, where each has a title
TITLE = 10  # pixels above an image, of the images' own size
GAP = 4
MARGIN = 0.35  # inches for a picture's title


def draw_images(tables: Tables, study: Study, img_dir: Path, data_dir: str | Path) -> None:
    """Draw the pictures that show images; without the archives, those of test images stay."""
    if (kept := tables.folder / "reconstructions.npz").exists():
        draw_reconstructions(kept, img_dir / "reconstructions.png")
    runs = default_runs(tables, study)
    if not runs or len(runs.names) < 2:
        return
    try:
        images = test_images(tables, data_dir)
    except UserError as error:
        print(f"example_pretrained.png and confident_errors.png are left as they are: {error}")
        return
    original = original_runs(tables, study) or runs
    draw_examples(tables, img_dir / "example_pretrained.png", original, images)
    draw_confident_errors(tables, img_dir / "confident_errors.png", runs, images)


def test_images(tables: Tables, data_dir: str | Path) -> np.ndarray:
    """The images (N, 28, 28) in [0, 1] that the runs were tested on.

    Raises:
        UserError: they are not there, or are others.
    """
    from data import load_dataset  # with torch, which the other pictures do without

    dataset = load_dataset(tables.dataset, data_dir, download=False)
    if dataset.digest != tables.results["data_digest"].iloc[0]:
        raise UserError("the images are not those that the runs were trained on")
    return dataset.test_images.numpy() / 255


def predictions(tables: Tables, name: str, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A run's predicted classes (N,) and, where they are kept, these classes' probabilities.

    Calibrated ones, where the run was calibrated.
    """
    _, (predicted,), probability, calibrated = tables.predictions(name, [seed])
    if probability is None:
        return predicted, None
    return predicted, np.where(np.isnan(calibrated), probability, calibrated)[0]


def draw_examples(tables: Tables, path: Path, runs: Shown, images: np.ndarray) -> None:
    """The first test images with predicted class, probability and, where it errs, true class."""
    name, look, seed = runs.names[1], runs.looks[1], runs.seeds[0]
    predicted, certain = predictions(tables, name, seed)
    chosen = np.arange(min(EXAMPLES, len(images)))
    errors = int((predicted != tables.labels)[chosen].sum())
    with picture(path, height_of(len(chosen), COLUMNS, TITLE)) as ((axes,),):
        plot_predictions(axes, tables, images, chosen, predicted, certain)
        of = f"AlexNet {look['label']}, seed {seed}, on the first {len(chosen)} test images"
        axes.set_title(f"{of}: predicted class; ✗ marks an error ({errors} here)")


def draw_confident_errors(tables: Tables, path: Path, runs: Shown, images: np.ndarray) -> None:
    """The errors that the first run of each arm is most certain of, where that is kept."""
    seed = runs.seeds[0]
    both = [predictions(tables, name, seed) for name in runs.names]
    if any(certain is None for _, certain in both):
        return
    with picture(path, 2 * height_of(ERRORS, COLUMNS, TITLE), rows=2) as grid:
        for (axes,), look, (predicted, certain) in zip(grid, runs.looks, both, strict=True):
            wrong = np.flatnonzero(predicted != tables.labels)
            ranked = wrong[np.argsort(-certain[wrong], kind="stable")][:ERRORS]
            says = "is most certain of these errors" if len(ranked) else "makes no error"
            axes.set_title(f"AlexNet {look['label']}, seed {seed}, {says}")
            axes.set_axis_off()
            if len(ranked):
                plot_predictions(axes, tables, images, ranked, predicted, certain)


def plot_predictions(
    axes: Axes,
    tables: Tables,
    images: np.ndarray,
    chosen: np.ndarray,
    predicted: np.ndarray,
    certain: np.ndarray | None,
) -> None:
    """Test images of these indices, each with what the run says of it."""
    corners = show_images(axes, np.stack([images[chosen]] * 3, axis=-1), COLUMNS, TITLE)
    classes = tables.classes
    for k, (x, y) in zip(chosen, corners, strict=True):
        title, weight = classes[predicted[k]], "normal"
        if certain is not None:
            title = f"{title} {certain[k]:.0%}"
        if predicted[k] != tables.labels[k]:
            title, weight = f"✗ {title}\nis {classes[tables.labels[k]]}", "bold"
        look = {"ha": "center", "va": "bottom", "fontsize": 8.5, "weight": weight}
        axes.text(x + SIZE / 2, y - 1, title, **look)


def draw_reconstructions(kept: Path, path: Path) -> None:
    """Validation images, what the encoder saw of them, and what the autoencoder made of that.

    Where patches were hidden, the output is shown in these alone: its loss counts no others.
    """
    arrays = read_arrays(kept, ("original", "corrupted", "output", "label"))
    hidden = np.isnan(arrays["corrupted"])
    filled = np.where(hidden, arrays["output"], arrays["original"])
    rows = {
        "image": arrays["original"],
        "the encoder\nsaw": arrays["corrupted"],
        **({"filled in": filled} if hidden.any() else {"output": arrays["output"]}),
    }
    # A grey would pass for a pixel.
    colours = matplotlib.colormaps["gray"].with_extremes(bad=PURPLE)
    images = np.concatenate([colours(np.ma.masked_invalid(row)) for row in rows.values()])[..., :3]
    columns = len(hidden)
    with picture(path, height_of(len(images), columns, GAP)) as ((axes,),):
        corners = show_images(axes, images, columns, GAP)
        for label, (_, y) in zip(rows, corners[::columns], strict=True):
            axes.text(-GAP, y + SIZE / 2, label, ha="right", va="center")
        note = "; coloured: hidden patches, whose means and contrasts it is given"
        axes.figure.suptitle(f"Autoencoder on validation images{note if hidden.any() else ''}")


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
    axes.set_axis_off()
    return corners


def height_of(images: int, columns: int, room: int) -> float:
    """Inches for so many images over a page's width, with a title."""
    rows = -(-images // columns)
    return FULL * rows * (SIZE + room) / (columns * (SIZE + GAP)) + MARGIN
