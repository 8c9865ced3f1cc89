"""Types of command-line options.

A type parses the text of one option. It raises ArgumentTypeError for an invalid value, with a message that continues the name
of the option: `--threads` and `is 0; must be at least 1`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Collection
from pathlib import Path, PurePath
from typing import NamedTuple

from transforms.elements import AUTO, EACH, FIRST, MIX


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Limits of a number; None for no limit.

    Attributes:
        at_least: smallest number allowed.
        over: largest number that is too small.
        at_most: largest number allowed.
        under: smallest number that is too large.
    """

    at_least: float | None = None
    over: float | None = None
    at_most: float | None = None
    under: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.over is None or number > self.over)
            and (self.at_most is None or number <= self.at_most)
            and (self.under is None or number < self.under)
        )

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least:g} to {self.at_most:g}"
        limits = {"at least": self.at_least, "over": self.over, "at most": self.at_most, "under": self.under}
        return " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if limit is not None)


class Range(NamedTuple):
    """A range of numbers, written LOW:HIGH or, if both ends are equal, as one number.

    Attributes:
        low: lower end.
        high: upper end, at least `low`.
    """

    low: float
    high: float

    def __str__(self) -> str:
        low, high = (str(int(end)) if float(end).is_integer() else repr(end) for end in self)
        return low if low == high else f"{low}:{high}"


def whole_number(at_least: int | None = None, at_most: int | None = None) -> Callable[[str], int]:
    """Returns a type for whole numbers.

    Args:
        at_least: smallest number allowed; None for no limit.
        at_most: largest number allowed; None for no limit.
    """
    bounds = Bounds(at_least=at_least, at_most=at_most)

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"is {text!r}; must be a whole number, {bounds}".rstrip(", ")) from None
        if number not in bounds:
            raise ArgumentTypeError(f"is {text}; must be {bounds}")
        return number

    return read


def number(
    *,
    at_least: float | None = None,
    over: float | None = None,
    at_most: float | None = None,
    under: float | None = None,
    infinite: bool = False,
) -> Callable[[str], float]:
    """Returns a type for numbers within limits.

    Args:
        at_least: smallest number allowed; None for no limit.
        over: largest number that is too small; None for no limit.
        at_most: largest number allowed; None for no limit.
        under: smallest number that is too large; None for no limit.
        infinite: whether infinity is allowed.
    """
    bounds = Bounds(at_least, over, at_most, under)

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ArgumentTypeError(f"is {text!r}; must be a number, {bounds}".rstrip(", ")) from None
        if math.isnan(value) or (math.isinf(value) and not infinite):
            raise ArgumentTypeError(f"is {text}; must be a finite number, {bounds}".rstrip(", "))
        if value not in bounds:
            raise ArgumentTypeError(f"is {text}; must be {bounds}")
        return value

    return read


positive_int = whole_number(at_least=1)
seed = whole_number(at_least=0)
fraction = number(at_least=0, at_most=1)


def number_range(
    *, at_least: float | None = None, at_most: float | None = None, whole: bool = False, because: str = ""
) -> Callable[[str], Range]:
    """Returns a type for ranges, "5" or "-10:30".

    Args:
        at_least: smallest lower end.
        at_most: largest upper end.
        whole: whether both ends must be whole numbers.
        because: reason for the limits, for the error message.
    """
    bounds = Bounds(at_least=at_least, at_most=at_most)

    def read(text: str) -> Range:
        low, _, high = text.partition(":")
        try:
            ends = Range(float(low), float(high or low))
        except ValueError:
            raise ArgumentTypeError(f"is {text!r}; must be a number or LOW:HIGH") from None
        if not all(map(math.isfinite, ends)):
            raise ArgumentTypeError(f"is {text!r}; both ends must be finite")
        if ends.low > ends.high:
            raise ArgumentTypeError(f"is {text!r}; the lower end must come first")
        if ends.low not in bounds or ends.high not in bounds:
            raise ArgumentTypeError(f"is {text!r}; must be {bounds}{because and f', because {because}'}")
        if whole and not (ends.low.is_integer() and ends.high.is_integer()):
            raise ArgumentTypeError(f"is {text!r}; both ends must be whole numbers")
        return Range(int(ends.low), int(ends.high)) if whole else ends

    return read


def ranges(text: str) -> tuple[Range, ...]:
    """Parses numbers and ranges, separated by commas: "-5,0:20".

    Raises:
        ArgumentTypeError: a part is neither a finite number nor LOW:HIGH.
    """
    read = number_range()
    return tuple(read(part) for part in text.split(","))


def names_of(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Returns a type for names, separated by commas, all of which must be known."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in known:
                raise ArgumentTypeError(f"is {text!r}; {name!r} is unknown, choose from {', '.join(known)}")
        return names

    return read


def host_names(text: str) -> tuple[str, ...]:
    """Returns the names of hosts, separated by commas, in lower case.

    Raises:
        ArgumentTypeError: a name is not the name of a host, for example because it has a scheme or a port.
    """
    names = tuple(name for name in text.lower().split(",") if name)
    for name in names:
        if not re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", name):
            raise ArgumentTypeError(f"is {text!r}; {name!r} is not a host name, without scheme and port")
    return names


def channels(each: bool = False, advice: str = "") -> Callable[[str], str]:
    """Returns a type for the channels to score: auto, mix, first, or the number of a channel from 0.

    Args:
        each: whether "each" is allowed too.
        advice: advice for the error message if "each" is given but not allowed.
    """
    words = (AUTO, MIX, FIRST, EACH) if each else (AUTO, MIX, FIRST)

    def read(text: str) -> str:
        if text not in words and not text.isdecimal():
            hint = f"; {advice}" if text == EACH and advice else ""
            raise ArgumentTypeError(f"is {text!r}; must be {', '.join(words)} or the number of a channel from 0{hint}")
        return text

    return read


def existing_file(text: str) -> str:
    """Returns the path of a file unchanged.

    Raises:
        ArgumentTypeError: there is no file at the path.
    """
    if Path(text).is_dir():
        raise ArgumentTypeError(f"{text}: is a folder; name files")
    if not Path(text).is_file():
        raise ArgumentTypeError(f"{text}: there is no such file")
    return text


def path_ending_in(*suffixes: str) -> Callable[[str], str]:
    """Returns a type for paths with one of the suffixes, in upper or lower case."""

    def read(text: str) -> str:
        if PurePath(text).suffix.lower() not in suffixes:
            raise ArgumentTypeError(f"is {text!r}; its name must end in {' or '.join(suffixes)}")
        return text

    return read
