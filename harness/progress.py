"""How far a run is: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from tqdm import tqdm

STEPS_BETWEEN_SHOWS = 20  # reading the loss makes a GPU wait
TIMED = (5, 25)  # steps between which the speed is measured; the first ones are slower


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Print nothing meanwhile, if `quiet`. An error passes through and is printed outside."""
    with open(os.devnull, "w") as nowhere:
        out, err = (nowhere, nowhere) if quiet else (sys.stdout, sys.stderr)
        with redirect_stdout(out), redirect_stderr(err):
            yield


def counted(count: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


class Progress:
    """A bar with speed and time left on a terminal; elsewhere one plain line an epoch, and one
    with the time left after the first steps.

    Args:
        images: in a step, on average.
    """

    def __init__(self, epochs: int, steps: int, epochs_done: int, images: float = 1.0):
        self.epochs = epochs
        self.steps_left = (epochs - epochs_done) * steps
        self.steps_done = 0
        self.bar = tqdm(
            total=epochs * steps,
            initial=epochs_done * steps,
            unit=" images",
            unit_scale=images,
            disable=None,  # where there is no terminal
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}, "
            "{rate_noinv_fmt}{postfix}",
        )
        self._name_epoch(epochs_done + 1)
        self.accuracy = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error) -> None:
        self.bar.close()

    def step(self, read_loss: Callable[[], float]) -> None:
        self.bar.update()
        self.steps_done += 1
        if self.bar.disable and self.steps_done in TIMED:
            read_loss()  # a GPU is then done with the steps
            self._expect(time.perf_counter())
        if not self.bar.disable and self.bar.n % STEPS_BETWEEN_SHOWS == 0:
            self.bar.set_postfix_str(f"train loss {read_loss():.4f}{self.accuracy}")

    def end_epoch(self, row: dict) -> None:
        shown = [f"train loss {row['train_loss']:.4f}", f"valid loss {row['valid_loss']:.4f}"]
        if "valid_accuracy" in row:
            shown.append(f"valid accuracy {row['valid_accuracy']:.4f}")
            self.accuracy = f", valid accuracy {row['valid_accuracy']:.4f}"
        line = f"epoch {row['epoch']}/{self.epochs}: {', '.join(shown)}, {row['seconds']:.1f} s"
        self.bar.write(line)
        sys.stdout.flush()
        self._name_epoch(row["epoch"] + 1)

    def _expect(self, now: float) -> None:
        """Say how long the training will take, once enough steps were timed."""
        first, last = TIMED
        if self.steps_done == first:
            self.timed_from = now
            return
        seconds = (now - self.timed_from) / (last - first) * (self.steps_left - last)
        if seconds > 60:
            print(f"about {seconds / 60:.0f} min of training to go", flush=True)

    def _name_epoch(self, epoch: int) -> None:
        self.bar.set_description_str(f"epoch {min(epoch, self.epochs)}/{self.epochs}")
