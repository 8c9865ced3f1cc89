"""Parsers of command lines: `--help`, frozen dataclasses of options, and options that are passed on to Beam."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions, TestOptions

from model.bundle import bundled_names
from pipelines.common.argument_types import Range, positive_int
from pipelines.common.errors import UsageError
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
    """An argument parser that accepts no abbreviations and raises `UsageError` for a wrong command line."""

    def __init__(self, job: str, description: str) -> None:
        super().__init__(
            prog=f"audiosieve {job}",
            description=description,
            allow_abbrev=False,
            exit_on_error=False,
            formatter_class=_Help,
        )

    def error(self, message: str) -> NoReturn:
        """Raises `UsageError` instead of ending the process; `errors.command` reports it."""
        raise UsageError(message)


def add_batch_options(parser: Parser, unit: str) -> None:
    """Adds the options `--batch_size` and `--batch_frames`.

    Args:
        parser: parser of the command.
        unit: noun in the plural for the items of a batch, for the help.
    """
    limits = BatchLimits()
    add = parser.add_argument
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
    namespace, unknown = _parse_known(parser, argv)
    if unknown:
        raise _unknown(unknown, parser)
    return _fill(options, namespace)


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
    namespace, for_beam = _parse_known(parser, argv)
    beam_parser = new_beam_parser()
    _, unknown = _parse_known(beam_parser, for_beam)
    if unknown:
        for name in job_server_options(for_beam):
            # Beam may have the option too.
            with contextlib.suppress(argparse.ArgumentError):
                beam_parser.add_argument(f"--{name}", nargs="?")
        _, unknown = _parse_known(beam_parser, for_beam)
    if unknown:
        raise _unknown(unknown, parser, beam_parser)
    return _fill(options, namespace), tuple(for_beam)


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


def _parse_known(parser: Parser, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    try:
        return parser.parse_known_args(_join_negative_values(words))
    except argparse.ArgumentError as error:
        # Only the messages of `argument_types` continue the name of the option.
        separator = " " if isinstance(error.__context__, argparse.ArgumentTypeError) else ": "
        name = f"{error.argument_name.rpartition('/')[2]}{separator}" if error.argument_name else ""
        raise UsageError(f"{name}{error.message}") from error


def _join_negative_values(words: Sequence[str]) -> list[str]:
    """Joins `--snr -10:30` to `--snr=-10:30`, because argparse would read two options."""
    joined: list[str] = []
    for word in words:
        if re.match(r"-\d", word) and joined and re.fullmatch(r"--\w+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _unknown(words: Sequence[str], *parsers: Parser) -> UsageError:
    option = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
    if option is None:
        return UsageError(f"unexpected argument {words[0]!r}; see --help")
    known = [name for parser in parsers for action in parser._actions for name in action.option_strings]
    if hint := option_hint(option):
        return UsageError(f"unknown option {option}; {hint}")
    close = difflib.get_close_matches(option, known, n=1)
    return UsageError(
        f"unknown option {option} (did you mean {close[0]}?)" if close else f"unknown option {option}; see --help"
    )
