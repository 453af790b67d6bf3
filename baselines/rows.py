"""A table that grows by one measurement at a time."""

import io
from pathlib import Path

import pandas as pd

from harness.errors import UserError
from harness.files import read_bytes, shown, write_atomically


class Rows:
    """The rows of a CSV file, which is written whole after each measurement.

    Raises:
        UserError: the file is there, but is damaged or has not got these columns.
    """

    def __init__(self, path: Path, *columns: str):
        self.path = path
        self.table = pd.DataFrame(columns=columns)
        if path.exists():
            try:
                self.table = pd.read_csv(io.BytesIO(read_bytes(path)))[list(columns)]
            except (ValueError, KeyError) as error:
                raise UserError(
                    f"'{shown(path)}' is not a table of {', '.join(columns)}: restore or delete it"
                ) from error

    def has(self, *first: str | float) -> bool:
        """Whether there is a row with these values in the first columns."""
        return any(row[: len(first)] == first for row in self.table.itertuples(index=False))

    def add(self, *row: str | float) -> None:
        """Write one more row, a value for each column."""
        self.table.loc[len(self.table)] = row
        write_atomically(self.path, self.table.to_csv(index=False).encode())
