"""What benchmark.py has measured: the schema of results/benchmark.json."""

from pathlib import Path
from typing import Any

from msgspec import Struct

from harness.files import read_json
from harness.rundir import Environment

FILE = "benchmark.json"  # in the folder of the results
LEAST_OF_BARE_STEP = 0.9  # of its speed, for our training loop
MOST_FOR_DATA = 0.05  # of the training time, for our batches
TOO_SLOW = 3  # the check's exit code then; a crash has 1


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one command measured: a row a measurement, with what was varied and what came out.

    Args:
        environment: of all rows; those of several commits name theirs in `commit`.
        facts: what all rows share.
    """

    command: str
    environment: Environment
    facts: dict[str, Any] = {}
    rows: list[dict[str, str | bool | int | float | list[float] | None]]

    @property
    def commits(self) -> list[str]:
        """Those that the rows were measured at, in the rows' order."""
        return list(dict.fromkeys(row.get("commit", self.environment.commit) for row in self.rows))


class Table(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured once. Its rows are shown as they are, of a list the median and both ends.

    Args:
        digits: behind the point, of each column of numbers; `+` before them: with a sign.
        note: what a reader could misread, as Markdown.
    """

    title: str
    digits: dict[str, str]
    note: str


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of results/benchmark.json; a part that was not measured is None.

    Args:
        throughput: `model`, `loop`, `tuned`, and `seconds` an image, one a round. Loops beside
            those that train: `data`, our batches alone; `matrix`, a step's multiplications at a
            large product's rate; `evaluation`, ours, and `forward`, the forward passes in it.
        time_to_accuracy: `contender`, `seed`, `cycle` (the epochs that its schedule was made for),
            and after each epoch `seconds` of training and `accuracy` on validation images. The
            others are compared with the first contender.
    """

    throughput: Part | None = None
    time_to_accuracy: Part | None = None
    tables: list[Table] = []


def read_measured(results_dir: str | Path) -> Measured | None:
    """What the folder's file holds; None where there is no file.

    Raises:
        UserError: it is damaged.
    """
    path = Path(results_dir) / FILE
    return read_json(path, Measured) if path.exists() else None
