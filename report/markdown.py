"""Markdown from templates: how figures are spelled, and the marked parts of a page."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.errors import UserError
from harness.files import shown
from metrics import summary

MINUS = "\u2212"
SPECIAL = re.compile(r"[\\`*_\[\]|~]")


def cell(text: object) -> str:
    """Text from a file as Markdown that shows just that text, on one line."""
    text = shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\g<0>", text)


def points(share: float | None, digits: int = 2) -> str:
    """A difference of shares in percentage points, with its sign."""
    if share is None:
        return "–"
    rounded = round(100 * share, digits) + 0.0  # which makes a zero of a minus zero
    return f"{rounded:+.{digits}f}".replace("-", MINUS)


def percent(share: float | None, digits: int = 2) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}"


def interval(difference: Any) -> str:
    """The 95 % interval of a `metrics.Difference` in points; a dash where one pair has none."""
    if difference.low is None:
        return "–"
    return ends((difference.low, difference.high))


def ends(both: Iterable[float]) -> str:
    """An interval's ends in points. One that rounds to zero keeps its sign: is 0 within or not?"""
    return " to ".join(f"{100 * end:+.2f}".replace("-", MINUS) for end in both)


def p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def mean_sd(values: list[float | None], digits: int = 4, scale: float = 1) -> str:
    """The mean over seeds ± the standard deviation; a dash where a value is undefined."""
    if not values or None in values:
        return "–"
    found = summary([scale * value for value in values])
    mean = f"{found.mean:.{digits}f}"
    return mean if found.std is None else f"{mean} ± {found.std:.{digits}f}"


def budget(fraction: float) -> str:
    """A label budget: 0.001 as `0.1 %`."""
    return f"{100 * fraction:.10g} %"


FILTERS = {f.__name__: f for f in (cell, points, percent, interval, ends, p, mean_sd, budget)}


def environment(folder: str | Path) -> Environment:
    """What renders the templates `*.md.j2` of a folder beside this one.

    A template may import those that lie here.
    """
    here = Path(__file__).resolve().parent
    made = Environment(
        loader=FileSystemLoader([here.parent / folder, here]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= FILTERS
    return made


def render(folder: str | Path, template: str, **values: Any) -> str:
    """A whole page from its template."""
    return environment(folder).get_template(template).render(values)


def render_blocks(folder: str | Path, template: str, **values: Any) -> dict[str, str]:
    """The text of each block of a template, by the block's name."""
    found = environment(folder).get_template(template)
    return {
        name: "".join(block(found.new_context(values))).strip("\n")
        for name, block in found.blocks.items()
    }


def insert(text: str, parts: dict[str, str], where: str | Path) -> str:
    """`text` with each part between its two markers, and everything else as it was.

    A part takes the line ends of its first marker's line.

    Raises:
        UserError: a part's markers are not there once each, in order.
    """
    for name, part in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        start, stop = text.find(begin) + len(begin), text.find(end)
        if text.count(begin) != 1 or text.count(end) != 1 or stop < start:
            raise UserError(f"'{shown(where)}' needs one line '{begin}' and, below it, '{end}'")
        newline = "\r\n" if text.startswith("\r\n", start) else "\n"
        lines = ["", *part.split("\n"), ""]
        text = text[:start] + newline.join(lines) + text[stop:]
    return text
