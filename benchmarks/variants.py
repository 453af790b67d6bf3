"""Ways to be faster to an accuracy that were tried: each beside the recipe, for about as long."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.accuracy import Entry, our_trial, with_trial
from benchmarks.measured import TimeToAccuracy
from classification import Classification
from data import load_dataset
from harness.compute import Compute

CYCLES = (2, 3, 4)  # epochs of the recipe itself: a variant is read between two of these
SMALL = 24  # pixels a side, which the pools halve to 12, 6 and 3
DECAY = 0.99  # of the running average, at each step


class HalvingStem(Classification):
    """The first convolution reads every other pixel, and the pool behind it is left out."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.model.encoder.stage1[0].stride = (2, 2)
        self.model.encoder.stage2[0] = nn.Identity()


class SmallFirst(Classification):
    """Smaller images in the first half of the epochs (Howard 2018, fast.ai's DAWNBench entry)."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.model.classifier[0].ceil_mode = True  # maps of 6 give 3, as maps of 7 do

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        small = 2 * (epoch + 1) <= self.recipe.epochs
        for images, labels in super().epoch(epoch):
            yield (shrink(images) if small else images), labels


def shrink(images: Tensor) -> Tensor:
    """(N, 1, 28, 28) to (N, 1, 24, 24)."""
    return F.interpolate(images, size=SMALL, mode="bilinear", antialias=True)


class Averaged(Classification):
    """Validation with a running average of the weights (Izmailov et al. 2018, arXiv:1803.05407)."""

    average: AveragedModel | None = None

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        if self.average is None:
            averaging = get_ema_multi_avg_fn(DECAY)
            self.average = AveragedModel(self.model, multi_avg_fn=averaging, use_buffers=True)
        for batch in super().epoch(epoch):
            yield batch
            # The next batch is asked for when the optimizer has made its step.
            self.average.update_parameters(self.model)

    def evaluate(self, forward: Callable[..., Tensor]) -> dict[str, float]:
        return super().evaluate(self.average.eval())


class Variant(NamedTuple):
    """What is trained in place of the recipe, for so many epochs."""

    epochs: int
    task: type[Classification] = Classification
    compiled: bool = False


VARIANTS = {  # by what the page calls them
    "first convolution with stride 2, no first pool": Variant(4, HalvingStem),
    "images of 24×24 pixels in the first half": Variant(3, SmallFirst),
    "validation with averaged weights": Variant(3, Averaged),
    "torch.compile": Variant(3, compiled=True),
}


def contenders() -> dict[str, tuple[int, ...]]:
    """The recipe and the variants, each with its cycles."""
    return {"ours": CYCLES} | {name: (variant.epochs,) for name, variant in VARIANTS.items()}


def race(
    part: TimeToAccuracy, plan: list[Entry], data_dir: str, compute: Compute
) -> Iterator[TimeToAccuracy]:
    """As `accuracy.race`."""
    dataset = load_dataset(part.recipe.dataset, data_dir)
    compiled = replace(compute, compile=True, graphs=False)
    for entry in plan:
        variant = VARIANTS.get(entry.contender, Variant(entry.cycle))
        form = compiled if variant.compiled else compute
        part = with_trial(part, our_trial(entry, part.recipe, dataset, form, variant.task))
        yield part
