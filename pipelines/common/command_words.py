"""Words of a command line: which belong to options of the command, which to options of Beam, and which to neither."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence

# An option, perhaps with a value. A negative number is no option.
_OPTION = re.compile(r"(--[A-Za-z][\w-]*|-[A-Za-z])(=?)(.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class CommandWords:
    """The words of a command line, divided.

    Attributes:
        arguments: words that are neither an option nor its value.
        options: options of the command, each with its value in one word, as "--size=7".
        for_beam: options of Beam and their values.
        unknown: options of neither. The word that follows one counts as an argument.
        given: `dest` of the options of the command.
    """

    arguments: tuple[str, ...]
    options: tuple[str, ...]
    for_beam: tuple[str, ...]
    unknown: tuple[str, ...]
    given: frozenset[str]

    def for_parser(self) -> list[str]:
        """Returns the words of the command itself. Arguments come first, because argparse would divide them otherwise."""
        if any(word.startswith("-") and word != "-" for word in self.arguments):
            return [*self.options, "--", *self.arguments]
        return [*self.arguments, *self.options]

    def with_names(self, names: Sequence[str]) -> CommandWords:
        """Returns the words with the first arguments as values of those options that are not given.

        Args:
            names: options that a command also takes by position, such as "input" and "output".
        """
        missing = [name for name in names if name not in self.given]
        count = min(len(missing), len(self.arguments))
        options = [f"--{name}={word}" for name, word in zip(missing[:count], self.arguments[:count], strict=True)]
        return dataclasses.replace(
            self,
            arguments=self.arguments[count:],
            options=(*self.options, *options),
            given=self.given | frozenset(missing[:count]),
        )


def divide(
    words: Sequence[str], own: Iterable[argparse.Action], of_beam: Iterable[argparse.Action] = ()
) -> CommandWords:
    """Divides a command line. Names of options may have hyphens instead of underscores.

    Args:
        words: words after the name of the command.
        own: options of the command.
        of_beam: options of Beam. An option that the command has, too, belongs to the command.
    """
    own_options, beam_options = _by_name(own), _by_name(of_beam)
    arguments: list[str] = []
    options: list[str] = []
    for_beam: list[str] = []
    unknown: list[str] = []
    given: set[str] = set()
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        if word == "--":
            arguments += reversed(rest)
            break
        match = _OPTION.fullmatch(word)
        if match is None or _is_text(match):
            arguments.append(word)
            continue
        name, equals, value = match.groups()
        if (action := _named(name, own_options)) is not None:
            value = value if equals or value else _next_value(action, rest)
            options.append(_spelling(action) if value is None else f"{_spelling(action)}={value}")
            given.add(action.dest)
        elif (action := _named(name, beam_options)) is not None:
            for_beam.append(_spelling(action, name) + equals + value)
            following = None if equals else _next_value(action, rest)
            for_beam += [] if following is None else [following]
        else:
            unknown.append(word)
    return CommandWords(tuple(arguments), tuple(options), tuple(for_beam), tuple(unknown), frozenset(given))


def with_underscores(name: str) -> str:
    """Returns the name of an option with underscores: `--dry-run` becomes `--dry_run`."""
    return f"--{name[2:].replace('-', '_')}" if name.startswith("--") else name


def _is_text(match: re.Match[str]) -> bool:
    """Returns whether a word is a text that begins like an option, such as a comment of SQL."""
    name, equals, rest = match.groups()
    return bool(name.startswith("--") and rest and not equals)


def _by_name(actions: Iterable[argparse.Action]) -> dict[str, argparse.Action]:
    return {name: action for action in actions for name in action.option_strings}


def _named(name: str, actions: Mapping[str, argparse.Action]) -> argparse.Action | None:
    return actions.get(name) or actions.get(with_underscores(name))


def _spelling(action: argparse.Action, name: str = "") -> str:
    """Returns the name of an option as its parser spells it: the given name, or else the long one."""
    return name if name in action.option_strings else action.option_strings[-1]


def _next_value(action: argparse.Action, rest: list[str]) -> str | None:
    """Takes the value of an option from the words after it; returns None if the option has none, or no value follows."""
    if action.nargs == 0 or not rest or rest[-1] == "--":
        return None
    match = _OPTION.fullmatch(rest[-1])
    return None if match and not _is_text(match) else rest.pop()


def expanded_pattern(word: str, words: Sequence[str]) -> str | None:
    """Returns the pattern that a shell seems to have replaced by the names of files; None if nothing looks like that.

    Args:
        word: word of the command line.
        words: all words of the command line.
    """
    folder = os.path.dirname(word)  # noqa: PTH120 -- Path would drop the "./" that the user wrote
    names = {name for name in words if os.path.lexists(name) and os.path.dirname(name) == folder}  # noqa: PTH120
    if word not in names or len(names) == 1:
        return None
    suffixes = {os.path.splitext(name)[1] for name in names}  # noqa: PTH122
    return os.path.join(folder, f"*{suffixes.pop() if len(suffixes) == 1 else ''}")  # noqa: PTH118
