"""Command lines become frozen dataclasses of options, and wrong ones one sentence."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import JOBS, main
from pipelines.common.argument_types import Range, number_range, positive_int, ranges
from pipelines.common.arguments import Parser, parse_options, parse_with_beam, recorded
from pipelines.common.command_words import divide
from pipelines.common.errors import UsageError

# The shortest command line of each job.
SHORTEST = {
    "score": ["--input", "speech"],
    "query": ["out"],
    "report": ["out", "-o", "page.html"],
    "plot": ["a.wav", "-o", "a.png"],
    "filter": [],
    "compact": ["out"],
    "compare": ["a", "b"],
    "serve": [],
    "submit": [__file__],
    "export": ["--output", "model"],
    "synthesize": ["--speech", "speech", "--noise", "noise", "--output", "set", "--clips", "1"],
    "train": ["--data", "set", "--output", "bundle"],
    "evaluate": ["set", "--output", "out"],
    "reproduce": ["--speech", "speech", "--noise", "noise", "--output", "out"],
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a command of this test.

    Attributes:
        files: paths.
        threads: number of threads, at least 1.
        gain: range of gains.
        snr: ranges of SNRs.
        tag: tags.
        kind: "a" or "b".
        quiet: whether to print nothing.
    """

    files: tuple[str, ...]
    threads: int
    gain: Range | None
    snr: tuple[Range, ...]
    tag: tuple[str, ...]
    kind: str
    quiet: bool


def new_parser() -> Parser:
    parser = Parser("test", "Test.")
    add = parser.add_argument
    add("files", nargs="*")
    add("--threads", type=positive_int, default=1)
    add("--gain", type=number_range())
    add("--snr", type=ranges, default="-10:40")
    add("--tag", action="append", default=[])
    add("-k", "--kind", choices=["a", "b"], default="a")
    add("--quiet", action="store_true")
    return parser


def parse(*words: str) -> Options:
    return parse_options(new_parser(), words, Options)


def test_each_option_has_its_attribute_and_lists_are_tuples() -> None:
    assert parse() == Options((), 1, None, (Range(-10, 40),), (), "a", False)
    found = parse(
        "x", "y", "--threads=2", "--gain", "-20:6", "--snr", "-5,0:3", "--tag", "m", "--tag=n", "-k", "b", "--quiet"
    )
    assert found == Options(("x", "y"), 2, Range(-20, 6), (Range(-5, -5), Range(0, 3)), ("m", "n"), "b", True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.threads = 3  # type: ignore[misc]


def test_a_record_has_ranges_as_a_command_line_spells_them() -> None:
    found = recorded(parse("x", "--gain", "-20:6.5", "--snr", "-5,0:3"))
    assert found == {
        "files": ("x",),
        "threads": 1,
        "gain": "-20:6.5",
        "snr": "-5,0:3",
        "tag": (),
        "kind": "a",
        "quiet": False,
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--threads", "0"], "--threads is 0; must be at least 1"),
        (["--threads"], "--threads: expected one argument"),
        (["-k", "c"], "--kind: invalid choice: 'c' (choose from "),
        (["--thread", "2"], "unknown option --thread (did you mean --threads?)"),
        (["x", "--colour=red"], "unknown option --colour; see --help"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(words: Sequence[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert str(caught.value).startswith(sentence)


def test_arguments_may_stand_anywhere_between_options() -> None:
    assert parse("x", "--quiet", "y", "-k", "b", "z") == parse("--quiet", "-kb", "x", "y", "z")
    assert parse("x", "--quiet", "y").files == ("x", "y")
    assert parse("--quiet", "--", "--threads", "y").files == ("--threads", "y")
    # A comment of SQL, and stdin.
    assert parse("-- how many?\nSELECT 1", "-").files == ("-- how many?\nSELECT 1", "-")


def test_options_of_beam_are_passed_on() -> None:
    words = ["--threads", "2", "--direct_num_workers=2", "--tag=a", "--runner=DirectRunner"]
    options, for_beam = parse_with_beam(new_parser(), words, Options)
    assert (options.threads, options.tag) == (2, ("a",))
    assert for_beam == ("--direct_num_workers=2", "--runner=DirectRunner")
    with pytest.raises(UsageError, match=r"unknown option --num_worker \(did you mean --num_workers\?\)"):
        parse_with_beam(new_parser(), ["--num_worker=2"], Options)
    with pytest.raises(UsageError, match="--num_workers: invalid int value: 'many'"):
        parse_with_beam(new_parser(), ["--num_workers=many"], Options)


def test_the_value_of_an_option_of_beam_is_no_argument_of_the_command() -> None:
    words = ["--runner", "DirectRunner", "x", "--direct-num-workers", "2", "y", "--experiments=a b"]
    options, for_beam = parse_with_beam(new_parser(), words, Options)
    assert options.files == ("x", "y")
    assert for_beam == ("--runner", "DirectRunner", "--direct_num_workers", "2", "--experiments=a b")


@pytest.mark.parametrize("job", JOBS)
def test_the_shortest_command_line_of_each_job_is_parsed(job: str) -> None:
    module = importlib.import_module(f"pipelines.{job}")
    found: Any = module.parse(SHORTEST[job])
    options = found[0] if isinstance(found, tuple) else found
    parser = module.build_parser()
    names = {action.dest for action in parser._actions} - {"help"}
    assert {field.name for field in dataclasses.fields(options)} == names
    attributes = type(options).__doc__.partition("Attributes:")[2]
    assert all(f"\n        {name}: " in attributes for name in names)


def shown_help(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Returns what a command prints before it exits with status 0."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("job", JOBS)
def test_help_describes_the_job_and_each_option(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown_help(job, "--help", capsys=capsys)
    assert shown_help("help", job, capsys=capsys) == text
    parser = importlib.import_module(f"pipelines.{job}").build_parser()
    # First what the job is for, then examples, then the essential options, then the others.
    assert text.startswith(parser.description[:40])
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    places = [titles.index(title) for title in ("examples:", f"{parser.format_usage().rstrip()}", "options:")]
    assert places == sorted(places)
    if "further options:" in titles:
        assert titles.index("further options:") > places[-1]
    assert len(titles[places[1]]) < 128
    assert parser.description[0].isupper()
    assert parser.description.endswith(".")
    for action in parser._actions:
        assert action.help, action.option_strings
        assert not action.help.endswith("."), action.help
        # The default is stated once: by the help itself, or by the parser.
        shown = parser._get_formatter()._get_help_string(action)
        assert len(re.findall(r"\bby default\b|\bthe default\b(?! is)|\(default: ", shown)) <= 1, shown


@pytest.mark.parametrize("job", JOBS)
def test_help_shows_three_examples_that_are_understood(
    job: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("take1.flac", "take2.flac", "*.flac"):  # `submit` looks for its files
        (tmp_path / name).touch()
    examples = re.findall(r"^  audiosieve (.*)$", shown_help(job, "--help", capsys=capsys), re.MULTILINE)
    assert len(examples) == 3
    module = importlib.import_module(f"pipelines.{job}")
    for example in examples:
        assert shlex.split(example)[0] == job
        module.parse(shlex.split(example)[1:])


@pytest.mark.parametrize("job", JOBS)
def test_hyphens_in_the_name_of_each_option_are_underscores(job: str) -> None:
    actions = importlib.import_module(f"pipelines.{job}").build_parser()._actions
    names = [name for action in actions for name in action.option_strings if "_" in name]
    for name in names:
        words = divide([f"{name.replace('_', '-')}=1"], actions)
        assert words == divide([f"{name}=1"], actions)
        assert words.options == (f"{name}=1",)


def test_a_command_line_may_have_hyphens() -> None:
    options, _ = importlib.import_module("pipelines.score").parse(["speech", "out", "--dry-run", "--wave-hours", "2"])
    assert (options.input, options.output, options.dry_run, options.wave_hours) == ("speech", "out", True, 2.0)
    with pytest.raises(UsageError, match="--wave_hours is 0; must be over 0"):
        importlib.import_module("pipelines.score").parse(["speech", "out", "--wave-hours=0"])


@pytest.mark.parametrize("job", sorted(set(JOBS) - {"compact", "serve", "submit"}))
def test_o_is_the_output_of_each_job_that_has_one(job: str) -> None:
    actions = importlib.import_module(f"pipelines.{job}").build_parser()._option_string_actions
    assert actions["-o"] is actions["--output"]


def test_help_shows_the_default_of_a_value_and_none_of_a_flag() -> None:
    parser = Parser("job", "A job.")
    parser.add_argument("--size", type=positive_int, default=7, help="size")
    parser.add_argument("--overwrite", action="store_true", help="replace files")
    text = parser.format_help()
    assert "size (default: 7)" in text
    assert "False" not in text
