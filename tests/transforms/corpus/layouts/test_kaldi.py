"""Kaldi data directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.storage.local_buckets import bucket
from transforms.corpus.sources import SourceError, list_corpus
from transforms.corpus.word_times import Word, parse_words
from transforms.elements import Span


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "wav").mkdir(parents=True)
    for name in ("rec1.wav", "rec 2.wav"):
        (root / "wav" / name).write_bytes(b"12345")
    (root / "wav.scp").write_text("rec1 wav/rec1.wav\nrec2\twav/rec 2.wav \n")
    return root


def error_of(data: Path, name: str, text: str) -> str:
    (data / name).write_text(text)
    with pytest.raises(SourceError) as caught:
        list_corpus(str(data))
    return str(caught.value).removeprefix(f"{data}/{name}")


def test_without_segments_recordings_are_utterances(data):
    refs = list_corpus(str(data))
    assert [(ref.utterance_id, ref.uri, ref.span) for ref in refs] == [
        ("rec1", str(data / "wav/rec1.wav"), Span()),
        ("rec2", str(data / "wav/rec 2.wav"), Span()),
    ]
    assert all(ref.size_bytes == 5 and ref.columns == {} for ref in refs)


def test_segments_are_spans_and_minus_one_is_the_end(data):
    (data / "segments").write_text("u3 rec2 0 0.5\nu1 rec1 0.25 1.5\r\nu2 rec1 2.00 -1\n\n")
    refs = list_corpus(str(data))
    assert [ref.span for ref in refs] == [Span(0.25, 1.5), Span(2.0, None), Span(0.0, 0.5)]
    assert [Path(ref.uri).name for ref in refs] == ["rec1.wav", "rec1.wav", "rec 2.wav"]


def test_speakers_and_texts_are_columns(data):
    (data / "utt2spk").write_text("rec1 alice\nrec2 bob\nother carol\n")
    (data / "text").write_text("rec1 GOOD  MORNING\u3000you\nrec2\n", encoding="utf-8")
    assert [dict(ref.columns) for ref in list_corpus(str(data))] == [
        {"speaker": "alice", "text": "GOOD  MORNING\u3000you"},
        {"speaker": "bob", "text": ""},
    ]


def test_word_times_are_a_column_if_they_are_carried(data):
    (data / "segments").write_text("u1 rec1 5 9\nu2 rec1 9 12\n")
    (data / "ctm").write_text(";; a comment\nu1 1 0.50 0.25 good NA\nu1 1 0.75  0.5 morning -0.5 lex\nother 1 0 1 x\n")
    assert [ref.columns for ref in list_corpus(str(data))] == [{}, {}]
    first, second = list_corpus(str(data), ["words"])
    assert parse_words(first.columns["words"], 4.0) == [Word("good", 0.5, 0.75), Word("morning", 0.75, 1.25, -0.5)]
    assert second.columns == {"words": ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rec1 1 0.5 0.5\n", "/ctm, line 1: must be utterance, channel, start and duration in seconds"),
        ("rec1 1 0.5 0.5 a\nrec1 1 x 0.5 b\n", "/ctm, line 2: the start is 'x', which is not a number of seconds"),
        ("rec1 1 0.5 -1 a\n", "/ctm, line 1: the duration is -1; must not be negative"),
        ("a 1 0 1 x\nb 1 0 1 x\n", "/ctm: names no utterance of this directory (the first id is 'a'); must have ids"),
    ],
)
def test_word_times_that_cannot_be_read_are_an_error_with_their_line(data, text, message):
    (data / "ctm").write_text(text)
    with pytest.raises(SourceError) as caught:
        list_corpus(str(data), ["words"])
    assert str(caught.value).startswith(f"{data}{message}")


def test_a_segment_may_name_its_channel(data):
    (data / "segments").write_text("u1 rec1 0 1 0\nu2 rec1 0 1 1\nu3 rec1 0 1 -1\n")
    assert [ref.channel for ref in list_corpus(str(data))] == [0, 1, None]


def test_a_channel_that_is_not_a_number_is_an_error(data):
    (data / "segments").write_text("u1 rec1 0 1 left\n")
    with pytest.raises(SourceError, match=r"segments, line 1: .*a channel number from 0"):
        list_corpus(str(data))


def test_paths_are_relative_to_the_data_directory_or_the_working_directory(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wav").mkdir()
    for name in ("rec1.wav", "rec3.wav"):
        (tmp_path / "wav" / name).write_bytes(b"1")
    (data / "wav.scp").write_text("rec1 wav/rec1.wav\nrec3 wav/rec3.wav\nrec4 wav/none.wav\n")
    assert [ref.uri for ref in list_corpus("data")] == [
        str(data / "wav/rec1.wav"),
        str(tmp_path / "wav/rec3.wav"),
        str(data / "wav/none.wav"),
    ]


def test_wav_scp_itself_names_the_directory(data):
    assert list_corpus(str(data / "wav.scp")) == list_corpus(str(data))


def test_a_data_directory_in_a_bucket_is_read(data):
    (data / "segments").write_text("u1 rec1 1 2\n")
    (ref,) = list_corpus(bucket(data))
    assert (ref.uri, ref.size_bytes, ref.span) == (bucket(data / "wav/rec1.wav"), 5, Span(1.0, 2.0))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("rec2 wav-copy x.ark:1 - |", "is the output of a command (wav-copy x.ark:1 - |)"),
        ("rec2 raw_wav.1.ark:1234", "is in a Kaldi archive (raw_wav.1.ark:1234)"),
        ("rec2", "the line has an id but no path"),
        ("rec1 wav/rec1.wav", "the recording 'rec1' occurs twice"),
    ],
)
def test_a_recording_that_is_not_a_file_is_an_error_with_its_line(data, line, reason):
    message = error_of(data, "wav.scp", f"rec1 wav/rec1.wav\n{line}\n")
    assert message.startswith(", line 2: ")
    assert reason in message


@pytest.mark.parametrize("line", ["rec2 lame x |", "rec2 x.ark:1"])
def test_the_error_says_what_to_do(data, line):
    assert "list that file" in error_of(data, "wav.scp", f"rec1 wav/rec1.wav\n{line}\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("u2 rec9 0 1", "the recording 'rec9' is not in wav.scp"),
        ("u2 rec1 0", "must be id, recording, start, end and optionally a channel number from 0"),
        ("u2 rec1 x 1", "the start is 'x', which is not a number of seconds"),
        ("u2 rec1 0 x", "the end is 'x', which is not a number of seconds"),
        ("u2 rec1 0 -2", "the end is -2; must not be negative"),
        ("u2 rec1 3 2", "the span is 3 s to 2 s; the end must be after the start"),
    ],
)
def test_an_invalid_segment_is_an_error_with_its_line(data, line, reason):
    assert error_of(data, "segments", f"u1 rec1 0 1\n{line}\n") == f", line 2: {reason}"


def test_an_empty_wav_scp_is_an_error(data):
    assert error_of(data, "wav.scp", "\n") == ": the manifest is empty"


def test_a_repeated_utterance_is_an_error(data):
    (data / "segments").write_text("u1 rec1 0 1\nu1 rec1 1 2\n")
    with pytest.raises(SourceError, match="'u1'"):
        list_corpus(str(data))
