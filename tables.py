"""Figures as text, Markdown tables, and the marked part of a README."""

from collections.abc import Iterable

from errors import UserError
from metrics import SIGNIFICANCE, summary

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
NEW_README = f"# Results\n\n{BEGIN}\n{END}\n"


def defined(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def over_seeds(values: list[float | None], digits: int = 4) -> str:
    """A figure's mean over seeds, with its standard deviation where there are several."""
    if len(defined(values)) < len(values) or not values:
        return "–"
    figure = summary(values)
    text = f"{figure['mean']:.{digits}f}"
    return text if figure["std"] is None else f"{text} ± {figure['std']:.{digits}f}"


def points(share: float) -> str:
    rounded = round(100 * share, 2) + 0.0  # which makes a zero of a minus zero
    return f"{rounded:+.2f}".replace("-", "−")


def p_value(p: float, name: str = "p ") -> str:
    equals = "= " if name else ""
    return f"{name}< 0.001" if p < 0.001 else f"{name}{equals}{p:.3f}"


def verdict(
    difference: dict, higher: str, lower: str, neither: str = "no difference was found"
) -> str:
    """The claim that a paired difference (`metrics.paired_difference`) supports, in bold."""
    low, high = bounds(difference)
    clear = difference["p"] < SIGNIFICANCE and low * high > 0
    return f"**{(higher if difference['mean'] > 0 else lower) if clear else neither}**"


def evidence(difference: dict) -> str:
    """A paired difference's mean, interval and p, in words."""
    low, high = bounds(difference)
    return (
        f"{points(difference['mean'])} points (95 % interval {points(low)} to {points(high)}; "
        f"exact sign-flip test, {p_value(difference['p'])})"
    )


def bounds(difference: dict) -> list[float]:
    """The interval; where all pairs differ alike there is none but the mean."""
    return difference["interval"] or [difference["mean"]] * 2


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table; the first column is text, the others numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


def insert(readme: str, text: str, where: str) -> str:
    """`readme` with `text` between the markers, and everything else as it was.

    Raises:
        UserError: the markers are not there once each, in order.
    """
    begin, end = readme.find(BEGIN), readme.find(END)
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or end < begin:
        raise UserError(f"'{where}' needs one line '{BEGIN}' and, below it, one line '{END}'")
    return f"{readme[: begin + len(BEGIN)]}\n{text}\n{readme[end:]}"
