"""Do runs that were trained anew equal the published ones, and if not, why?

    python -m report.reproduction --runs-dir runs --reproduced-dir reproduced

A row for each run of the main job that both folders hold, seed by seed.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from harness.errors import UserError, exit_cleanly
from harness.files import read_bytes, shown
from harness.options import Parser, about, add_options, take
from harness.rundir import ARTEFACTS
from harness.weights import digest_of_file
from recipes import ENCODER, MODEL
from report.markdown import percent
from report.runs import FinishedRun, accuracy, find_runs, main_job

TIMED = ("config.json", "history.csv")  # hold commit and seconds: equal runs have other bytes there
EXAMPLES = "  make reproduce\n  python -m report.reproduction --reproduced-dir mine"


class Folders(Struct, frozen=True, kw_only=True):
    """folders"""

    runs_dir: Annotated[str, about("the published runs", None)] = "runs"
    reproduced_dir: Annotated[str, about("the same runs, trained anew", None)] = "reproduced"


class Row(NamedTuple):
    """One run beside its reproduction.

    Args:
        published, reproduced: test accuracy in [0, 1]; None for an autoencoder.
        equal_predictions: share of the test images that got the same class; None likewise.
        different_files: names of the published files whose bytes the reproduction does not have.
        reasons: in words, each circumstance of the two runs that differs.
    """

    name: str
    published: float | None
    reproduced: float | None
    equal_predictions: float | None
    different_files: list[str]
    reasons: list[str]


def compare(published: FinishedRun, reproduced: FinishedRun) -> Row:
    """Two runs of one name and seed, file by file.

    Raises:
        UserError: a file is damaged, or the two are of different images.
    """
    if published.config.data != reproduced.config.data:
        raise UserError(f"'{shown(reproduced.folder)}' was trained on other images")
    tested = published.metrics.test and reproduced.metrics.test
    same = [run.predictions["predicted"] for run in (published, reproduced)] if tested else None
    return Row(
        name=f"{published.name} seed {published.seed}",
        published=accuracy(published) if tested else None,
        reproduced=accuracy(reproduced) if tested else None,
        equal_predictions=float(np.mean(same[0] == same[1])) if tested else None,
        different_files=different_files(published.folder, reproduced.folder),
        reasons=reasons(published, reproduced),
    )


def different_files(published: Path, reproduced: Path) -> list[str]:
    """Names of the published results, weights too where they are there, that the other lacks.

    Weights are compared number by number: the card beside them names options that came later, too.
    """
    names = [name for name in ARTEFACTS if name not in TIMED and (published / name).exists()]
    return [
        name
        for name in names
        if not (reproduced / name).exists()
        or content(published / name) != content(reproduced / name)
    ]


def content(path: Path) -> bytes | str:
    """A file's bytes; of weights, the digest of the numbers.

    Raises:
        UserError: the file is damaged.
    """
    return digest_of_file(path) if path.name in (MODEL, ENCODER) else read_bytes(path)


def reasons(published: FinishedRun, reproduced: FinishedRun) -> list[str]:
    """Each option and circumstance that differs: as published there, as reproduced here."""
    there, here = (asdict(run.config.environment) for run in (published, reproduced))
    return reproduced.setup.differences(published.setup) + [
        f"{name} is {shown(there[name]) or 'none'} there and {shown(here[name]) or 'none'} here"
        for name in there
        if there[name] != here[name]
    ]


def table(rows: list[Row]) -> str:
    """The rows as aligned text; what differs, and why it may, in a line below each."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}{'published':>11}{'reproduced':>12}{'equal predictions':>19}  bytes"]
    for row in rows:
        shares = (row.published, row.reproduced, row.equal_predictions)
        cells = ["–" if share is None else f"{percent(share)} %" for share in shares]
        verdict = "different" if row.different_files else "equal"
        lines.append(f"{row.name:{width}}{cells[0]:>11}{cells[1]:>12}{cells[2]:>19}  {verdict}")
        if row.different_files:
            why = "; ".join(row.reasons) or "nothing that config.json knows of"
            lines.append(f"  not equal: {', '.join(map(shown, row.different_files))}")
            lines.append(f"  what differs: {why}")
    return "\n".join(lines)


def rows_of(runs_dir: str, reproduced_dir: str) -> list[Row]:
    """A row for each run of the main job that both folders hold.

    Raises:
        UserError: there is none.
    """
    published, anew = (main_job(find_runs(folder)) for folder in (runs_dir, reproduced_dir))
    rows = [
        compare(run, again)
        for kind, runs in published.items()
        for run in runs
        for again in anew[kind]
        if (again.name, again.seed) == (run.name, run.seed)
    ]
    if not rows:
        raise UserError(
            f"'{shown(runs_dir)}' and '{shown(reproduced_dir)}' have no run of the original "
            "experiment in common: make reproduce trains seed 0 anew"
        )
    return rows


def parse_args(argv=None):
    parser = Parser(__doc__, EXAMPLES)
    add_options(parser, Folders)
    return parser.parse_args(argv)


@exit_cleanly
def main(argv=None) -> None:
    folders = take(parse_args(argv), Folders)
    print(table(rows_of(folders.runs_dir, folders.reproduced_dir)))
    print(f"{shown(folders.reproduced_dir)} is left alone from now on: delete it to train again")


if __name__ == "__main__":
    main()
