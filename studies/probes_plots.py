"""The picture of what encoders know: the same test images in three of them, laid out by t-SNE."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from harness.files import read_arrays, shown
from report.plots import picture
from studies.extra import MASKED, RANDOM, TRAINED, TSNE_FILE

TSNE_ENCODERS = {  # array: encoder
    "random": RANDOM,
    "pretrained": MASKED,
    "trained": TRAINED,
}


def draw_kept_tsne(runs_dir: str | Path, classes: list[str], path: Path) -> None:
    """Draw runs_dir/tsne.npz, if it is there.

    Raises:
        UserError: the file is not what it should be.
    """
    kept = Path(runs_dir) / TSNE_FILE
    if kept.exists():
        arrays = read_arrays(kept, (*TSNE_ENCODERS, "label"))
        maps = {name: arrays[key] for key, name in TSNE_ENCODERS.items()}
        draw_tsne(maps, arrays["label"], classes, path)


def draw_tsne(maps: dict[str, NDArray], labels: NDArray, classes: list[str], path: Path) -> None:
    """One panel an encoder, a dot an image; a class's number stands at the median of its dots.

    Args:
        maps: positions (n, 2) by the encoder's name.
        labels: (n,), indices into `classes`.
    """
    colours = colormaps["tab10"].colors
    with picture(path, 3.6, columns=len(maps)) as (panels,):
        for axes, (name, positions) in zip(panels, maps.items(), strict=True):
            for k, class_name in enumerate(classes):
                own = positions[labels == k]
                style = {"color": colours[k % len(colours)], "label": f"{k} {shown(class_name)}"}
                axes.plot(*own.T, linestyle="", marker=".", markersize=3, **style)
                if len(own):
                    axes.text(*np.median(own, axis=0), str(k), weight="bold", ha="center")
            axes.set_title(shown(name))
            axes.set_xticks([])
            axes.set_yticks([])
        panels[0].figure.suptitle(f"the same {len(labels):,} test images in each")
        handles, names = panels[0].get_legend_handles_labels()
        panels[0].figure.legend(
            handles, names, loc="outside lower center", ncols=5, markerscale=3, frameon=False
        )
