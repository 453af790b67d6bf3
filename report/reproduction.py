"""Do runs that were trained anew equal the published ones, and if not, why?

    python -m report.reproduction --reproduced-dir reproduced

A line for each run that both tables hold, compared by its figures and its predicted classes.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Struct

from harness.errors import UserError, exit_cleanly
from harness.files import shown
from harness.options import Parser, about, add_options, take
from report.collect import collect
from report.tables import Tables

FIGURES = ("valid_loss", "valid_accuracy", "test_loss", "test_accuracy", "temperature")
CIRCUMSTANCES = ("machine", "device", "threads", "precision", "torch", "commit", "encoder_digest")
EXAMPLES = "  make reproduce\n  python -m report.reproduction --reproduced-dir mine"


class Folders(Struct, frozen=True, kw_only=True):
    """folders"""

    results_dir: Annotated[str, about("the published tables")] = "results"
    reproduced_dir: Annotated[str, about("the same runs, trained anew")] = "reproduced"


def differences(published, anew, names: tuple[str, ...]) -> list[str]:
    """In words, each of these columns in which two rows differ."""
    pairs = [(name, getattr(published, name, ""), getattr(anew, name, "")) for name in names]
    return [
        f"{name} is {shown(there)} there and {shown(here)} here"
        for name, there, here in pairs
        if there != here and not (there != there and here != here)  # both are missing
    ]


def told(published: Tables, anew: Tables, run, again) -> list[str]:
    """What there is to say of one run: a line, and where it differs two more."""
    line = f"{run.name} seed {run.seed}: "
    same = 1.0
    if again.test_accuracy == again.test_accuracy:
        both = [tables.predictions(run.name, [run.seed]).predicted for tables in (published, anew)]
        same = np.mean(both[0] == both[1])
        line += f"test accuracy {again.test_accuracy:.4f} ({run.test_accuracy:.4f} published), "
        line += f"{100 * same:.2f} % of the predictions equal, "
    figures = differences(run, again, FIGURES)
    if not figures and same == 1:
        return [line + "all figures equal"]
    why = differences(run, again, CIRCUMSTANCES) or ["nothing that the tables know of"]
    return [line + "not all equal", f"  {'; '.join(figures)}", f"  reasons: {'; '.join(why)}"]


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES)
    add_options(parser, Folders)
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    folders = take(parse_args(argv), Folders)
    anew_dir = Path(folders.reproduced_dir)
    collect(anew_dir, anew_dir / "results")
    published, anew = Tables(Path(folders.results_dir)), Tables(anew_dir / "results")
    pairs = [
        (run, again)
        for again in anew.results.itertuples()
        for run in published.runs(again.name, [again.seed])
    ]
    if not pairs:
        raise UserError(
            f"'{shown(anew_dir)}' has no run of the published tables: make reproduce trains seed 0"
        )
    for run, again in pairs:
        print(*told(published, anew, run, again), sep="\n")
    print(f"{shown(anew_dir)} is left alone from now on: delete it to train again")


if __name__ == "__main__":
    main()
