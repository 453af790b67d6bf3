"""What benchmark.py has measured, as ratios, as README's tables and as a picture."""

from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from figures import BLUE, GREY, VERMILION, save
from tables import table

# The loops that train, in the order in which they are shown.
LOOPS = {
    "ours": "this project",
    "bare": "bare step on one batch, the limit",
    "usual_0": "usual script, num_workers=0",
    "usual_2": "usual script, num_workers=2",
    "lightning": "Lightning",
    "fastai": "fastai",
    "keras": "Keras",
}
# Ratios that say how good this project's loops are: text, digits shown, what is aimed at.
FIGURES = {
    "usual": ("Training: times as fast as the usual script", 2, "at least 3"),
    "bare": ("Training: share of the bare step's speed", 3, "at least 0.93"),
    "matrix": ("Training: share of a matrix product's peak", 3, ""),
    "data": ("Data path alone: share of the training time", 3, "at most 0.05"),
    "evaluation": ("Evaluation of {:,} images ÷ its forward passes alone", 2, "at most 1.2"),
}


def ratio(seconds: list[float], reference: list[float]) -> dict[str, float]:
    """Median, least and most of the ratios of two timings, round by round."""
    ratios = [a / b for a, b in zip(seconds, reference, strict=True)]
    return {"median": median(ratios), "min": min(ratios), "max": max(ratios)}


def summarise(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Each time over our training loop's, and our evaluation's over the bare forward passes'.

    Args:
        seconds: for an image, round by round: of the training loops in `LOOPS`; of `data`, our
            data path alone; of `matrix`, the arithmetic alone at a matrix product's rate; and,
            where the model has one, of its `evaluation` and the `forward` passes in that.

    Returns:
        for each name its ratio over the rounds; `usual` is the faster variant's.
    """
    whole = ("ours", "evaluation", "forward")
    ratios = {
        name: ratio(values, seconds["ours"])
        for name, values in seconds.items()
        if name not in whole
    }
    usual = [name for name in seconds if name.startswith("usual")]
    ratios["usual"] = ratios[min(usual, key=lambda name: median(seconds[name]))]
    if "evaluation" in seconds:
        ratios["evaluation"] = ratio(seconds["evaluation"], seconds["forward"])
    return ratios


def speed_table(measured: dict) -> list[str]:
    """README's lines on speed: how it was measured, the loops, and the figures with a target.

    Args:
        measured: the content of benchmark.py's JSON file.
    """
    return [
        *loops_table(measured),
        "",
        *targets_table(measured),
        "",
        conditions(measured),
    ]


def loops_table(measured: dict) -> list[str]:
    """A row a training loop: images per second, and its time as a multiple of ours."""
    models = measured["models"]
    header = ["Training loop"]
    for name in models:
        header += [f"{name.capitalize()}, images/s", "its time ÷ ours"]
    rows = []
    for loop in measured_loops(measured):
        row = [f"**{LOOPS[loop]}**" if loop == "ours" else LOOPS[loop]]
        for model in models.values():
            over_ours = "1" if loop == "ours" else spread(model["ratios"][loop], 2)
            row += [f"{images_per_second(model, loop):,.0f}", over_ours]
        rows.append(row)
    return table(header, rows)


def targets_table(measured: dict) -> list[str]:
    """A row a figure that tells how far this project is from what the machine can do."""
    models, images = measured["models"], measured["data"]
    rows = [
        [
            text.format(images["evaluated_images"]),
            *(spread(model["ratios"].get(name), digits) for model in models.values()),
            target,
        ]
        for name, (text, digits, target) in FIGURES.items()
    ]
    peaks = [
        model["flops_per_image"] / median(model["seconds_per_image"]["matrix"]) / 1e9
        for model in models.values()
    ]
    epochs = [
        images["train_images"] / images_per_second(model, "ours") for model in models.values()
    ]
    rows.append(["Matrix product's peak, GFLOP/s", *(f"{peak:,.0f}" for peak in peaks), ""])
    name = f"Training epoch of {images['train_images']:,} images, s"
    rows.append([name, *(f"{seconds:.1f}" for seconds in epochs), ""])
    return table(["Figure", *(name.capitalize() for name in models), "Target"], rows)


def conditions(measured: dict) -> str:
    """On what, how often and by which command it was measured."""
    options, environment = measured["options"], measured["environment"]
    return (
        f"Median of {options['rounds']} rounds (least–most), in which all take turns for "
        f"{options['steps']} steps of {options['batch_size']} images; width {options['width']:g}; "
        f"ours in {environment['precision']}, other scripts in fp32 and a process of their own; "
        f"{environment['device']}, "
        f"{environment['processor']}, {environment['threads']} threads, "
        f"PyTorch {environment['torch']}. Measured by `{measured['command']}`."
    )


def measured_loops(measured: dict) -> list[str]:
    """The loops that ran, in the order of `LOOPS`."""
    seconds = next(iter(measured["models"].values()))["seconds_per_image"]
    return [loop for loop in LOOPS if loop in seconds]


def images_per_second(model: dict, loop: str) -> float:
    """Median over the rounds."""
    return 1 / median(model["seconds_per_image"][loop])


def spread(figure: dict[str, float] | None, digits: int) -> str:
    """A ratio with its least and most over the rounds."""
    if figure is None:
        return "–"
    middle, least, most = (f"{figure[name]:.{digits}f}" for name in ("median", "min", "max"))
    return f"{middle} ({least}–{most})"


def draw_speed(measured: dict, path: Path) -> None:
    """A bar a training loop, its length the images per second; one panel a model."""
    models, loops = measured["models"], measured_loops(measured)
    size = (9, 1.1 + 0.38 * len(loops))
    figure, row = plt.subplots(1, len(models), figsize=size, sharey=True)
    for axes, (name, model) in zip(row, models.items(), strict=True):
        draw_loops(axes, {loop: images_per_second(model, loop) for loop in loops})
        axes.set_title(f"training the {name}", fontsize=10)
    row[0].set_yticks(range(len(loops)), [LOOPS[loop] for loop in loops])
    row[0].invert_yaxis()
    save(figure, path)


def draw_loops(axes: Axes, rates: dict[str, float]) -> None:
    """The bars of one panel, each with its value."""
    colours = [{"ours": VERMILION, "bare": GREY}.get(loop, BLUE) for loop in rates]
    bars = axes.barh(range(len(rates)), rates.values(), color=colours, height=0.65)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set_xlim(right=1.2 * max(rates.values()))
    axes.set_xlabel("images per second")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
