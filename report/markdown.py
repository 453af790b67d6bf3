"""How figures are spelled, a table of a DataFrame, a page from its template."""

import math
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.files import shown

MINUS = "\u2212"
WIDTH = 120  # of a line of prose
NONE = "–"  # a figure that there is not
FIGURE = re.compile(r"[*≈ ]*[+−–<\d]|$")  # how a cell of figures begins
ITEM = re.compile(r"(-|\d+\.) ")  # how an item of a list begins
WHOLE_WORDS = {"break_long_words": False, "break_on_hyphens": False}
SPECIAL = re.compile(r"[\\`*_\[\]|~]")


def cell(text: object) -> str:
    """Text from a file as Markdown that shows just that text, on one line."""
    text = shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\g<0>", text)


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign; one that rounds to zero is +0. A dash for NaN."""
    if math.isnan(value):
        return NONE
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", MINUS)


def points(share: float, digits: int = 2) -> str:
    """A difference of shares in percentage points."""
    return signed(100 * share, digits)


def percent(share: float, digits: int = 2) -> str:
    """A share in percent, without the sign; a dash for NaN."""
    return NONE if math.isnan(share) else f"{100 * share:.{digits}f}"


def ends(low: float, high: float, scale: float = 100, digits: int = 2) -> str:
    """An interval in points. An end that rounds to zero keeps its sign: is 0 within or not?"""
    if math.isnan(low):
        return NONE
    return " to ".join(f"{scale * end:+.{digits}f}".replace("-", MINUS) for end in (low, high))


def p(value: float) -> str:
    if math.isnan(value):
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def mean_sd(mean: float, sd: float, digits: int = 2, scale: float = 100) -> str:
    """The mean over seeds ± the standard deviation, which one seed has not; a dash for NaN."""
    if math.isnan(mean):
        return NONE
    text = f"{scale * mean:.{digits}f}"
    return text if math.isnan(sd) else f"{text} ± {scale * sd:.{digits}f}"


def budget(fraction: float) -> str:
    """A label budget: 0.001 as `0.1 %`."""
    return f"{100 * fraction:.10g} %"


def listed(parts: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; an empty string of nothing."""
    *others, final = ["", *parts]
    return f"{', '.join(others[1:])} {last} {final}" if others[1:] else final


def table(columns: pd.DataFrame | dict[str, Iterable]) -> str:
    """Markdown of columns whose cells are text already; an empty string without rows.

    Words are aligned to the left, figures to the right.
    """
    found = {name: list(map(str, values)) for name, values in columns.items()}
    rows = list(zip(*found.values(), strict=True))
    if not rows:
        return ""
    dashes = ["---:" if all(map(FIGURE.match, cells)) else "---" for cells in found.values()]
    return "\n".join(f"| {' | '.join(row)} |" for row in (found, dashes, *rows))


def render(template: str, **values: object) -> str:
    """A whole page from its template, which lies beside this module."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["cell"] = cell
    return wrapped(made.get_template(template).render(values))


def wrapped(page: str) -> str:
    """The page with its paragraphs and list items filled; all else stays line by line."""
    lines, text, in_code = [], [], False
    for line in [*page.splitlines(), ""]:
        is_code = line.startswith("```")
        is_prose = line and not (in_code or is_code or line.startswith(("|", "!", "#")))
        if text and (not is_prose or ITEM.match(line)):
            indent = " " * len(found[0]) if (found := ITEM.match(text[0])) else ""
            lines += textwrap.wrap(" ".join(text), WIDTH, subsequent_indent=indent, **WHOLE_WORDS)
            text = []
        in_code ^= is_code
        if is_prose:
            text.append(line.strip())
        elif line or lines[-1:] != [""] or in_code:  # one empty line at most
            lines.append(line)
    return "\n".join(lines)
