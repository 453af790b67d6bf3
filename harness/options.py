"""From option classes to the command line and back. Imports nothing slow: `--help` is instant."""

import argparse
import os
from collections.abc import Callable
from functools import cache, partial
from inspect import get_annotations
from typing import Annotated, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import fields

T = TypeVar("T", bound=Struct)
VERSION = "1.0.0"  # CITATION.cff has it too


def about(meaning: str, word: str = "", **bounds: float) -> Meta:
    """An option's meaning and the range of its values.

    Args:
        word: in a run's name, `{}` standing for the value: `epochs{}`. An option without a word
            decides no result: it is neither in the name nor held against the options with which a
            run was started.
    """
    return Meta(description=meaning, extra={"word": word}, **bounds)


@cache
def options_of(struct: type[Struct]) -> dict[str, tuple[object, Meta]]:
    """Type and meaning of each option, a class's own before those of the class above it."""
    hints, own = get_type_hints(struct, include_extras=True), get_annotations(struct)
    names = sorted(defaults(struct), key=lambda name: name not in own)
    return {name: (hints[name].__origin__, *hints[name].__metadata__) for name in names}


@cache
def defaults(struct: type[Struct]) -> dict[str, object]:
    """The options' own defaults; None where another option decides."""
    return {field.name: field.default for field in fields(struct)}


def option_name(field: str) -> str:
    """A field's name as it is typed on the command line."""
    return f"--{field.replace('_', '-')}"


def typed(options: dict[str, object]) -> list[str]:
    """The words of a command line that gives the fields these values."""
    words = []
    for name, value in options.items():
        if isinstance(value, bool):
            words.append(option_name(name if value else f"no_{name}"))
        else:
            words += [option_name(name), str(value)]
    return words


class Parser(argparse.ArgumentParser):
    """ArgumentParser that reports an error in one line with exit code 2.

    Args:
        examples: command lines, shown at the end of the help.
        structs: whose options it has.
    """

    def __init__(self, description: str, examples: str, *structs: type[Struct]):
        super().__init__(
            usage="%(prog)s [options]",
            description=description,
            epilog=f"examples:\n{examples}\n\nexit codes: 0 done, 1 not all done or out of date, "
            "2 an error that you can fix,\n130 interrupted (the same command resumes)",
            formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=30),
            allow_abbrev=False,
        )
        self.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
        self.presets = {}
        for struct in structs:
            add_options(self, struct)

    def parse_args(self, args=None, namespace=None):
        if "_ARGCOMPLETE" in os.environ:  # a shell asks what could come next
            import argcomplete

            argcomplete.autocomplete(self)
        parsed = super().parse_args(args, namespace)
        if self.presets:  # what was given wins, before the preset and after it
            self.set_defaults(**self.presets[parsed.preset])
            parsed = super().parse_args(args, namespace)
        return parsed

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def add_options(parser: Parser, struct: type[Struct], *only: str) -> None:
    """An option for each field: name, type, default, range and meaning are the field's own.

    Each class's fields are a group, whose title is the class's docstring; where it has `presets`,
    there is `--preset`.

    Args:
        only: the fields' names; all where there are none.
    """
    if not only and hasattr(struct, "presets"):
        add_presets(parser, struct.presets)
    groups = {}
    for name in only or options_of(struct):
        kind, meta = options_of(struct)[name]
        owner = next(c for c in struct.__mro__ if name in get_annotations(c))
        if owner not in groups:
            groups[owner] = parser.add_argument_group(owner.__doc__)
        added, default, help_ = groups[owner], defaults(struct)[name], meta.description
        if kind is bool:
            action = "store_false" if default else "store_true"
            flag = option_name(f"no_{name}" if default else name)
            added.add_argument(flag, dest=name, action=action, help=help_)
            continue
        if default is not None:
            help_ += f" (default: {default})"
        choices = choices_of(kind)
        number = next((part for part in (kind, *get_args(kind)) if part in (int, float)), None)
        added.add_argument(
            option_name(name),
            default=default,
            choices=choices or None,
            type=within(number, meta) if number else None,
            metavar=range_of(number, meta) if number else None if choices else name.upper(),
            help=help_,
        )


def add_presets(parser: Parser, presets: dict[str, dict[str, object]]) -> None:
    """`--preset`: other defaults, under a name."""
    parser.presets = presets
    meanings = [f"{name}: {' '.join(typed(given))}" for name, given in presets.items() if given]
    parser.add_argument_group("preset").add_argument(
        "--preset",
        choices=tuple(presets),
        default="default",
        help=f"defaults for the options below; what is given beside it wins. {'; '.join(meanings)}",
    )


def choices_of(kind: object) -> tuple[str, ...]:
    """The values of a Literal, also where None may stand for it."""
    kinds = (kind, *get_args(kind))
    return next((get_args(part) for part in kinds if get_origin(part) is Literal), ())


def take(arguments: argparse.Namespace, struct: type[T]) -> T:
    """The struct whose fields' values were given on the command line."""
    return struct(**{k: value for k, value in vars(arguments).items() if k in defaults(struct)})


def within(number: type, meta: Meta) -> Callable[[str], float]:
    """A parser of numbers in the range that the meaning states."""

    def parse(text: str) -> float:
        try:
            return msgspec.convert(number(text), Annotated[number, meta])
        except (ValueError, OverflowError):  # msgspec's is a ValueError, too
            name = "a whole number" if number is int else "a number"
            raise argparse.ArgumentTypeError(
                f"'{text[:40]}' is not {name} in {range_of(number, meta)}"
            ) from None

    return parse


def range_of(number: type, meta: Meta) -> str:
    """The range of an option's values: `1..100`, or for numbers with a point `(0, 1]`."""
    if number is int:
        return f"{meta.ge}..{meta.le if meta.le is not None else meta.lt - 1}"
    low = f"[{meta.ge}" if meta.ge is not None else f"({meta.gt}"
    high = f"{meta.le}]" if meta.le is not None else f"{meta.lt})"
    return f"{low}, {high}"
