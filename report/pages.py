"""Pages on disk: UTF-8 text, written whole or not at all, with the line ends that it had."""

from itertools import zip_longest
from pathlib import Path

from harness.errors import UserError
from harness.files import read_bytes, shown, write_atomically


def read_page(path: str | Path) -> str:
    """The page's text with its line ends as they are.

    Raises:
        UserError: it is missing, or is not UTF-8.
    """
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"'{shown(path)}' is not UTF-8 text: save it as UTF-8") from error


def with_line_ends_of(path: str | Path, text: str) -> str:
    """A generated page with the line ends of the one that is there: a checkout may have CRLF."""
    if Path(path).exists() and "\r\n" in read_page(path):
        return text.replace("\n", "\r\n")
    return text


def write_page(path: str | Path, text: str) -> None:
    write_atomically(path, text.encode())
    print(f"written: {shown(path)}")


def check(path: str | Path, text: str) -> bool:
    """Whether the page is this text; prints the first line that differs."""
    there = read_page(path) if Path(path).exists() else ""
    if there == text:
        return True
    lines = zip_longest(there.splitlines(keepends=True), text.splitlines(keepends=True))
    number, line = next((k, old) for k, (old, new) in enumerate(lines, 1) if old != new)
    line = "a missing line" if line is None else f"'{shown(line.strip()[:80])}'"
    print(f"{shown(path)} does not match the runs from line {number} ({line}): run plot.py")
    return False
