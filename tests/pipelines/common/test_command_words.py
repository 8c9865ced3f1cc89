"""Words of a command line are divided into options of the command, options of Beam, and arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.common.arguments import Parser, new_beam_parser
from pipelines.common.command_words import divide, expanded_pattern, with_underscores
from pipelines.common.errors import UsageError
from pipelines.score import parse

BEAM = new_beam_parser()._actions
# Options of the command, each as words that belong together.
OWN = [
    ["--first_size", "3"],
    ["--first-size=3"],
    ["--low", "-5"],
    ["-t", "a b"],
    ["-ta=b"],
    ["--quiet"],
    ["--text=--x"],
]
OF_BEAM = [["--runner", "X"], ["--direct-num-workers", "2"], ["--streaming"], ["--experiments=a"]]


def own_actions() -> list[argparse.Action]:
    parser = Parser("test", "Test.")
    for name in ("--first_size", "--low"):
        parser.add_argument(name)
    parser.add_argument("-t", "--text")
    parser.add_argument("--quiet", action="store_true")
    return parser._actions


@given(st.permutations([*OWN, *OF_BEAM, ["one"], ["two"], ["-"]]))
def test_the_order_of_the_words_does_not_matter(groups: list[list[str]]) -> None:
    words = divide([word for group in groups for word in group], own_actions(), BEAM)
    assert set(words.arguments) == {"one", "two", "-"}
    assert set(words.options) == {"--first_size=3", "--low=-5", "--text=a b", "--text=a=b", "--quiet", "--text=--x"}
    assert sorted(words.for_beam) == sorted(
        ["--runner", "X", "--direct_num_workers", "2", "--streaming", "--experiments=a"]
    )
    assert words.unknown == ()
    assert words.given == {"first_size", "low", "text", "quiet"}


@given(st.lists(st.sampled_from(["a", "b", "--sise", "--sise=1", "-z", "--quiet", "--", "--text", "c d"]), max_size=8))
def test_no_word_is_lost(typed: list[str]) -> None:
    words = divide(typed, own_actions(), BEAM)
    kept = [*words.arguments, *words.options, *words.for_beam, *words.unknown]
    first_end = typed.index("--") if "--" in typed else len(typed)
    expected = [*typed[:first_end], *typed[first_end + 1 :]]
    assert sorted("".join(kept).replace("=", "")) == sorted("".join(expected).replace("=", ""))


def test_an_option_that_the_command_has_too_is_not_for_beam() -> None:
    parser = Parser("test", "Test.")
    parser.add_argument("--runner")
    words = divide(["--runner", "X", "--streaming"], parser._actions, BEAM)
    assert (words.options, words.for_beam) == (("--runner=X",), ("--streaming",))


def test_underscores() -> None:
    assert [*map(with_underscores, ["--dry-run", "--dry_run", "-o", "a-b"])] == ["--dry_run", "--dry_run", "-o", "a-b"]


@pytest.mark.parametrize(
    "words",
    [
        ["speech", "out"],
        ["--input", "speech", "--output", "out"],
        ["--input=speech", "out"],
        ["out", "--input", "speech"],
        ["speech", "-o", "out"],
        ["speech", "--model", "m", "out"],
        ["--runner", "DirectRunner", "speech", "--direct_num_workers", "2", "out"],
    ],
)
def test_corpus_and_output_may_be_named_by_position(words: list[str]) -> None:
    options, _ = parse(words)
    assert (options.input, options.output) == ("speech", "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speech", "--input", "speech", "out", "more"], "unexpected argument 'out'; see --help"),
        (["speech", "out", "more"], "unexpected argument 'more'; see --help"),
        (["speech", "out", "--modle", "m"], "unknown option --modle .did you mean --model.."),
        ([], "the following arguments are required: --input"),
    ],
)
def test_too_many_or_too_few_arguments_are_an_error(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        parse(words)


class TestExpandedPattern:
    """The shell replaces a pattern without quotes by the names of all files."""

    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("corpus/a.wav", "corpus/b.wav", "corpus/c.flac", "one.wav", "two.wav"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()

    @pytest.mark.parametrize(
        ("words", "pattern"),
        [
            (["--input", "corpus/a.wav", "corpus/b.wav", "--output", "out"], "corpus/*.wav"),
            (["corpus/a.wav", "corpus/b.wav", "--input", "corpus/c.flac", "--output", "out"], "corpus/*"),
            (["corpus/a.wav", "corpus/b.wav", "out"], "corpus/*.wav"),
            (["one.wav", "two.wav", "out"], "*.wav"),
            (["./one.wav", "./two.wav", "out"], "./*.wav"),
        ],
    )
    def test_it_is_explained(self, words: list[str], pattern: str) -> None:
        with pytest.raises(UsageError, match=r"^unexpected argument '") as caught:
            parse(words)
        assert str(caught.value).endswith(
            f"; if the shell replaced a pattern by the names of files, quote it: '{pattern}'"
        )

    def test_other_words_do_not_look_like_one(self) -> None:
        assert expanded_pattern("corpus", ["corpus", "out"]) is None
        assert expanded_pattern("nowhere", ["nowhere", "corpus"]) is None
        assert expanded_pattern("corpus/a.wav", ["corpus/a.wav", "one.wav"]) is None
