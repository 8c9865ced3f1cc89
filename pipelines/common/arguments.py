"""Parsers of command lines: `--help`, frozen dataclasses of options, and options that are passed on to Beam."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions, TestOptions

from model.bundle import bundled_names
from pipelines.common.argument_types import Range, positive_int
from pipelines.common.command_words import CommandWords, divide, expanded_pattern, with_underscores
from pipelines.common.errors import UsageError
from pipelines.common.examples import EXAMPLES
from pipelines.common.other_commands import option_hint
from pipelines.common.runners import job_server_options
from transforms.scoring.batching import BatchLimits

Options = TypeVar("Options")

MODEL_HELP = f"bundled model ({', '.join(bundled_names())}) or folder of a bundle, local or in a bucket"


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to the help of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        no_default = action.default is False or action.default in (None, "", [], ())
        return action.help if no_default else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser that accepts no abbreviations and raises `UsageError` for a wrong command line.

    `--help` says what the command is for, shows its examples, and lists the essential options before the others.

    Args:
        job: name of the command.
        description: purpose of the command.
        by_position: options that may also be given without their names, in this order.

    Attributes:
        by_position: as above.
        further: group of the options that few users need.
    """

    def __init__(self, job: str, description: str, by_position: Sequence[str] = ()) -> None:
        super().__init__(
            prog=f"audiosieve {job}",
            description=description,
            allow_abbrev=False,
            exit_on_error=False,
            formatter_class=_Help,
        )
        self.by_position = tuple(by_position)
        self.further = self.add_argument_group("further options")
        self._examples = EXAMPLES.get(job, ())

    def error(self, message: str) -> NoReturn:
        """Raises `UsageError` instead of ending the process; `errors.command` reports it."""
        raise UsageError(message)

    def format_usage(self) -> str:
        """Returns the usage in one line: arguments and required options."""
        parts = [self.prog]
        for name in self.by_position:
            parts.append(str(self._option_string_actions[f"--{name}"].metavar))
        for action in self._actions:
            if not action.option_strings:
                parts.append(_argument_usage(action))
            elif action.required and action.dest not in self.by_position:
                parts.append(f"{action.option_strings[-1]} {action.metavar or action.dest.upper()}")
        return f"usage: {' '.join(parts)} [options]\n"

    def format_help(self) -> str:
        """Returns the purpose, the examples, the usage, and the options."""
        formatter = self._get_formatter()
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        width = formatter._width
        examples = [
            f"  audiosieve {example.command}\n{textwrap.indent(textwrap.fill(example.purpose, width - 6), ' ' * 6)}\n"
            for example in self._examples
        ]
        parts = [
            f"{textwrap.fill(self.description or '', width)}\n",
            "".join(["examples:\n", *examples]) if examples else "",
            self.format_usage(),
            formatter.format_help(),
        ]
        return "\n".join(part for part in parts if part)


def _argument_usage(action: argparse.Action) -> str:
    """Returns an argument as the usage shows it: `FILE`, `[SQL]`, `FILE ...` or `OUT OUT`."""
    name = str(action.metavar or action.dest)
    if isinstance(action.nargs, int):
        return " ".join([name] * action.nargs)
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ..."}.get(action.nargs or "", name)


def add_batch_options(parser: Parser, unit: str) -> None:
    """Adds the options `--batch_size` and `--batch_frames`.

    Args:
        parser: parser of the command.
        unit: noun in the plural for the items of a batch, for the help.
    """
    limits = BatchLimits()
    add = parser.further.add_argument
    add("--batch_size", type=positive_int, default=limits.batch_size, help=f"largest number of {unit} in a batch")
    add(
        "--batch_frames",
        type=positive_int,
        default=limits.batch_frames,
        help="largest number of padded frames in a batch",
    )


def parse_options(parser: Parser, argv: Sequence[str], options: type[Options]) -> Options:
    """Parses the command line of a command without Beam options.

    Args:
        parser: parser of the command.
        argv: arguments after the name of the command.
        options: dataclass with one attribute for each option of the parser.

    Raises:
        UsageError: an option is unknown or missing, or has an impossible value.
    """
    return _fill(options, _parse(parser, argv, divide(argv, parser._actions)))


def parse_with_beam(parser: Parser, argv: Sequence[str], options: type[Options]) -> tuple[Options, tuple[str, ...]]:
    """Parses the command line of a command with Beam options.

    Args:
        parser: parser of the command.
        argv: arguments after the name of the command.
        options: dataclass with one attribute for each option of the parser.

    Returns:
        The options of the command, and the arguments for Beam.

    Raises:
        UsageError: an option is missing, has an impossible value, or is unknown to the command, Beam and the job server.
    """
    beam_parser = new_beam_parser()
    words = divide(argv, parser._actions, beam_parser._actions)
    if words.unknown:
        for name in job_server_options(words.for_beam):
            # Beam may have the option too.
            with contextlib.suppress(argparse.ArgumentError):
                beam_parser.add_argument(f"--{name}", nargs="?")
        words = divide(argv, parser._actions, beam_parser._actions)
    namespace = _parse(parser, argv, words, beam_parser)
    _parse_known(beam_parser, words.for_beam)
    return _fill(options, namespace), words.for_beam


class Dependent(NamedTuple):
    """Options that have an effect only together with another one.

    Attributes:
        names: the options, without dashes.
        has_effect: whether the other option is given.
        needed: the other option, as in "--export DIR".
    """

    names: tuple[str, ...]
    has_effect: bool
    needed: str


def check_effects(parser: Parser, argv: Sequence[str], options: Any, *dependents: Dependent) -> None:
    """Checks that each option on the command line has an effect.

    An option with its default value changes nothing in any case. The record of a run has such options.

    Args:
        parser: parser of the command.
        argv: arguments after the name of the command.
        options: the parsed options.
        dependents: options that need another one.

    Raises:
        UsageError: an option would be ignored.
    """
    given = divide(argv, parser._actions).given
    defaults = {action.dest: _typed_default(parser, action) for action in parser._actions}
    for names, has_effect, needed in dependents:
        for name in names:
            if name in given and not has_effect and getattr(options, name) != defaults[name]:
                raise UsageError(f"--{name} has no effect without {needed}")


def _typed_default(parser: Parser, action: argparse.Action) -> Any:
    """Returns the value of an option that is not given, as `_fill` returns it."""
    value = parser._get_value(action, action.default) if isinstance(action.default, str) else action.default
    return tuple(value) if isinstance(value, list) else value


def new_beam_parser() -> Parser:
    """Returns a parser that knows Beam's options and those of its runners.

    The options for Beam's own tests are left out: its `--dry_run` would be accepted, and the pipeline would run all the same.
    """
    parser = Parser("", "")
    for group in PipelineOptions.__subclasses__():
        if group is not TestOptions:
            group._add_argparse_args(parser)
    return parser


def recorded(options: Any) -> dict[str, Any]:
    """Returns options as JSON values for the record of a run; ranges have the form of the command line."""
    return {field.name: _as_json(getattr(options, field.name)) for field in dataclasses.fields(options)}


def _as_json(value: Any) -> Any:
    if isinstance(value, Range):
        return str(value)
    if isinstance(value, tuple) and value and all(isinstance(item, Range) for item in value):
        return ",".join(map(str, value))
    return value


def _fill(options: type[Options], namespace: argparse.Namespace) -> Options:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(namespace).items()}
    return options(**values)


def _parse(parser: Parser, argv: Sequence[str], words: CommandWords, *other_parsers: Parser) -> argparse.Namespace:
    """Parses the options and arguments of a command.

    Args:
        parser: parser of the command.
        argv: arguments after the name of the command, for the messages.
        words: the same, divided.
        other_parsers: parsers of further options that the command accepts, for the messages.

    Raises:
        UsageError: an option is unknown or missing, or has an impossible value; or there are too many arguments.
    """
    if words.unknown:
        raise _unknown(words.unknown[0], parser, *other_parsers)
    namespace, extra = _parse_known(parser, words.with_names(parser.by_position).for_parser())
    if not extra:
        return namespace
    patterns = (expanded_pattern(word, argv) for word in words.arguments)
    pattern = next(filter(None, patterns), None)
    advice = (
        "see --help"
        if pattern is None
        else f"if the shell replaced a pattern by the names of files, quote it: '{pattern}'"
    )
    raise UsageError(f"unexpected argument {extra[0]!r}; {advice}")


def _parse_known(parser: Parser, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    try:
        return parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        # Only the messages of `argument_types` continue the name of the option.
        separator = " " if isinstance(error.__context__, argparse.ArgumentTypeError) else ": "
        name = f"{error.argument_name.rpartition('/')[2]}{separator}" if error.argument_name else ""
        raise UsageError(f"{name}{error.message}") from error


def _unknown(word: str, *parsers: Parser) -> UsageError:
    option = with_underscores(word.partition("=")[0])
    known = [name for parser in parsers for action in parser._actions for name in action.option_strings]
    if hint := option_hint(option):
        return UsageError(f"unknown option {option}; {hint}")
    close = difflib.get_close_matches(option, known, n=1)
    return UsageError(
        f"unknown option {option} (did you mean {close[0]}?)" if close else f"unknown option {option}; see --help"
    )
