"""How far a run is: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable

from tqdm import tqdm

STEPS_BETWEEN_SHOWS = 20  # reading the loss makes a GPU wait


class Progress:
    """A bar with the time left on a terminal, one plain line an epoch elsewhere."""

    def __init__(self, epochs: int, steps: int, epochs_done: int):
        self.epochs = epochs
        self.bar = tqdm(
            total=epochs * steps,
            initial=epochs_done * steps,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )
        self._name_epoch(epochs_done + 1)
        self.accuracy = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error) -> None:
        self.bar.close()

    def step(self, read_loss: Callable[[], float]) -> None:
        self.bar.update()
        if not self.bar.disable and self.bar.n % STEPS_BETWEEN_SHOWS == 0:
            self.bar.set_postfix_str(f"train loss {read_loss():.4f}{self.accuracy}")

    def end_epoch(self, row: dict) -> None:
        shown = [f"train loss {row['train_loss']:.4f}", f"valid loss {row['valid_loss']:.4f}"]
        if "valid_accuracy" in row:
            shown.append(f"valid accuracy {row['valid_accuracy']:.4f}")
            self.accuracy = f", valid accuracy {row['valid_accuracy']:.4f}"
        line = f"epoch {row['epoch']}/{self.epochs}: {', '.join(shown)}, {row['seconds']:.1f} s"
        self.bar.write(line) if not self.bar.disable else print(line, flush=True)
        self._name_epoch(row["epoch"] + 1)

    def _name_epoch(self, epoch: int) -> None:
        self.bar.set_description_str(f"epoch {min(epoch, self.epochs)}/{self.epochs}")
