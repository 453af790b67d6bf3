"""results.csv: a row a run and a column a fact, for pandas, R or a spreadsheet."""

import csv
import io

from msgspec.structs import asdict

from harness.files import shown
from report.runs import FinishedRun, Runs, core_seconds


def results_csv(runs: Runs) -> str:
    """The table as text; an empty cell is a fact that a run does not have.

    An encoder's options are `encoder_*`, a class's accuracy is `test_accuracy_<class>`.
    """
    rows = [facts(run) for _, found in sorted(runs.items()) for run in found]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def facts(run: FinishedRun) -> dict[str, object]:
    """One run's row: what it was told, on what and where, and what came out."""
    setup, metrics = run.setup, run.metrics
    row: dict[str, object] = {"name": run.name, "kind": run.kind, **asdict(setup.recipe)}
    if setup.encoder:
        options = asdict(setup.encoder.recipe) | {"digest": setup.encoder.digest}
        row |= {f"encoder_{name}": value for name, value in options.items()}
    row |= {f"data_{name}": value for name, value in asdict(run.config.data).items()}
    row |= {name: one_line(value) for name, value in asdict(run.config.environment).items()}
    seconds = core_seconds(run)
    row["core_seconds"] = None if seconds is None else round(seconds, 1)
    row |= {"valid_loss": metrics.valid.loss, "valid_accuracy": metrics.valid.accuracy}
    if test := metrics.test:
        row |= {"test_loss": test.loss, "test_accuracy": test.accuracy}
        row |= {f"test_accuracy_{one_line(k.class_name)}": k.accuracy for k in test.per_class}
    return row


def one_line(value: object) -> object:
    """Text from a file without what would break a line or be obeyed by a terminal."""
    return shown(value) if isinstance(value, str) and not value.isprintable() else value
