"""Commands in `wav.scp` that only decode a file: the file is read without a shell, and the command is not run."""

from __future__ import annotations

import getopt
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

_QUIET = re.compile(r"\s2>\s*/dev/null(?=\s|$)")
_EXPANDED = re.compile(r"[$`]")
_PATTERN = re.compile(r"[*?\[~{]")
_ADVICE = "commands are not run; write the output to a file (with Kaldi's wav-copy), and list that file"


class CommandError(ValueError):
    """A command does more than decoding a file."""


class Decoded(NamedTuple):
    """The file that a command decodes.

    Attributes:
        path: path of the file.
        channel: channel that the command selects, from 0; None for all channels.
    """

    path: str
    channel: int | None = None


def parse_command(command: str) -> Decoded:
    """Returns the file that a command decodes to its standard output.

    Known are `flac -d -c FILE`, `sph2pipe FILE`, `sox FILE -t wav -` and `cat FILE` with those options that leave the samples
    as they are or select one channel.

    Args:
        command: the command, without the pipe at its end.

    Raises:
        CommandError: the program or an option is not known, or changes the audio.
    """
    words = _words(_without_quiet(command))
    name = posixpath.basename(words[0]) if words else ""
    parse = _PROGRAMS.get(name)
    if parse is None:
        raise CommandError(f"the recording is the output of a command ({command.strip()[:120]} |), and {_ADVICE}")
    try:
        return parse(words[1:])
    except (CommandError, getopt.GetoptError) as error:
        raise CommandError(f"the command {command[:120]!r} does more than decode a file: {error}; {_ADVICE}") from error


def relocated(text: str, path: str) -> str:
    """Returns the path or the command of a recording with another path.

    Args:
        text: path of the file, or a known command, with or without the pipe at its end.
        path: absolute path of the same file.
    """
    command = text.strip().removesuffix("|")
    try:
        old = parse_command(command).path
    except CommandError:
        return path
    if old == path:
        return text
    words = (path if word == old else word for word in _words(_without_quiet(command)))
    return " ".join(map(shlex.quote, words)) + (" |" if text.rstrip().endswith("|") else "")


def _without_quiet(command: str) -> str:
    return _QUIET.sub(" ", f" {command.strip()} ").strip()


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError as error:
        raise CommandError(f"the command {command[:120]!r} cannot be read ({error}); {_ADVICE}") from error
    is_quoted = any(quote in command for quote in "'\"\\")
    if (
        _EXPANDED.search(command)
        or any(word and not word.strip("();<>|&") for word in words)
        or (not is_quoted and _PATTERN.search(command))
    ):
        raise CommandError(f"the command {command[:120]!r} needs a shell; {_ADVICE}")
    return words


def _flac(arguments: Sequence[str]) -> Decoded:
    options, files = getopt.gnu_getopt(
        list(arguments),
        "dcsfF",
        ["decode", "stdout", "silent", "totally-silent", "force", "ogg", "decode-through-errors"],
    )
    names = {name for name, _ in options}
    if not names & {"-d", "--decode"}:
        raise CommandError("it has no -d, so that it encodes")
    if not names & {"-c", "--stdout"}:
        raise CommandError("it has no -c, so that it writes a file")
    return Decoded(_only(files))


def _sph2pipe(arguments: Sequence[str]) -> Decoded:
    options, files = getopt.getopt(list(arguments), "f:pc:")
    channel = None
    for name, value in options:
        if name == "-f" and value not in ("wav", "rif", "aif", "au", "sph"):
            raise CommandError(f"its format is {value!r}")
        if name == "-c":
            if value not in ("1", "2"):
                raise CommandError(f"its channel is {value!r}; must be 1 or 2")
            channel = int(value) - 1
    return Decoded(_only(files), channel)


def _cat(arguments: Sequence[str]) -> Decoded:
    if any(word.startswith("-") for word in arguments):
        raise CommandError("it has options")
    return Decoded(_only(arguments))


def _only(files: Sequence[str]) -> str:
    if len(files) != 1 or files[0] in ("", "-"):
        raise CommandError(f"it has {len(files)} files" if len(files) != 1 else "it reads its standard input")
    return files[0]


# Options of sox that say nothing about the samples.
_SOX_SILENT = re.compile(
    r"-q|-S|-V[0-6]?|--no-show-progress|--show-progress|-D|--no-dither|-R|--single-threaded|--multi-threaded"
)
# Containers that have a header, so that the name of the format says nothing new about the samples.
_SOX_INPUTS = (
    "wav",
    "wavpcm",
    "flac",
    "sph",
    "nist",
    "aiff",
    "aif",
    "au",
    "snd",
    "mp3",
    "ogg",
    "vorbis",
    "opus",
    "w64",
    "caf",
)
_SOX_OUTPUTS = ("wav", "wavpcm", "sph", "au", "aiff", "aif")


def _sox(arguments: Sequence[str]) -> Decoded:
    words = list(arguments)
    source, _ = _sox_file(words, _SOX_INPUTS)
    if source == "-":
        raise CommandError("it reads its standard input")
    target, kind = _sox_file(words, _SOX_OUTPUTS)
    if target != "-" or kind is None:
        raise CommandError("its output is not '-t wav -'")
    if not words:
        return Decoded(source)
    if words[0] == "remix" and len(words) == 2 and words[1].isdecimal() and int(words[1]) > 0:
        return Decoded(source, int(words[1]) - 1)
    raise CommandError(f"its effect {' '.join(words)[:60]!r} changes the audio")


def _sox_file(words: list[str], kinds: Sequence[str]) -> tuple[str, str | None]:
    """Removes the next file and the options before it; returns the file and its type."""
    kind = None
    while words:
        word = words.pop(0)
        if word in ("-t", "--type"):
            kind = words.pop(0) if words else ""
            if kind not in kinds:
                raise CommandError(f"its type {kind!r} is not known")
        elif word == "-" or not word.startswith("-"):
            return word, kind
        elif not _SOX_SILENT.fullmatch(word):
            raise CommandError(f"its option {word} may change the audio")
    raise CommandError("a file is missing")


_PROGRAMS: Mapping[str, Callable[[Sequence[str]], Decoded]] = {
    "flac": _flac,
    "sph2pipe": _sph2pipe,
    "sox": _sox,
    "cat": _cat,
}
