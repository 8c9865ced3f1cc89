"""Small copies of TED-LIUM, and recordings with RTTM and CTM beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from transforms.corpus.formats import SourceKind, source_kind
from transforms.corpus.listing import Corpus, ListingOptions
from transforms.corpus.sources import SourceError, scan_corpus
from transforms.corpus.word_times import Word, parse_words
from transforms.elements import Span


def scan(source: Path | str, **options: Any) -> Corpus:
    return scan_corpus(str(source), ListingOptions(carry=frozenset(), is_strict=False, **options))


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


STM = """;; CATEGORY "0" "" ""
Talk_2010 1 Talk_2010 16.99 22.14 <o,f0,male> I 'm going to <unk> share
Talk_2010 1 inter_segment_gap 22.14 23.00 <o,,unknown> ignore_time_segment_in_scoring
Talk_2010 1 Talk_2010 23.00 29.50 <o,f0,male> a very strange road
"""


class TestTedLium:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "TEDLIUM_release-3"
        write(root, {"data/stm/Talk_2010.stm": STM, "data/sph/Talk_2010.sph": "NIST_1A", "LM/x.txt": "x"})
        return root

    @pytest.mark.parametrize(
        ("given", "name"),
        [("", "data/sph/Talk_2010"), ("data", "sph/Talk_2010"), ("data/stm/Talk_2010.stm", "Talk_2010")],
    )
    def test_segments_are_spans_with_texts(self, root, given, name):
        corpus = scan(root / given if given else root)
        assert [(ref.utterance_id, ref.uri, ref.span, dict(ref.columns)) for ref in corpus.refs] == [
            (
                f"{name}#16.990-22.140",
                f"{root}/data/sph/Talk_2010.sph",
                Span(16.99, 22.14),
                {"text": "I 'm going to <unk> share", "speaker": "Talk_2010"},
            ),
            (
                f"{name}#23.000-29.500",
                f"{root}/data/sph/Talk_2010.sph",
                Span(23.0, 29.5),
                {"text": "a very strange road", "speaker": "Talk_2010"},
            ),
        ]
        assert corpus.carried == ("text", "speaker")
        assert "1 segment to ignore" in corpus.notes[0]
        assert source_kind(str(root / given if given else root)) == SourceKind("jsonl", True)

    def test_a_faulty_line_costs_only_itself(self, root):
        with (root / "data/stm/Talk_2010.stm").open("a") as file:
            file.write("Talk_2010 1 x\nTalk_2010 1 x 5.0 4.0 <o> back\n")
        corpus = scan(root)
        assert len(corpus.refs) == 4
        assert sorted(ref.fault.detail.rpartition("line ")[2][:6] for ref in corpus.faulty) == ["5: mus", "6: the"]


RTTM = """SPEAKER call 1 0.50 2.50 <NA> <NA> ann <NA> <NA>
SPEAKER call 1 3.00 1.00 <NA> <NA> bob <NA> <NA>
SPEAKER call 1 3.00 1.00 <NA> <NA> ann <NA> <NA>
SPKR-INFO call 1 <NA> <NA> <NA> unknown ann <NA> <NA>
"""
CTM = "call 1 0.60 0.30 good 0.9\ncall 1 1.00 0.5 day\ncall 1 3.10 0.2 yes NA\n"


class TestRttmAndCtm:
    def test_turns_are_utterances_with_speakers(self, tmp_path):
        write(tmp_path, {"x/call.wav": "audio", "x/call.rttm": RTTM, "x/other.wav": "audio"})
        corpus = scan(tmp_path)
        assert {ref.utterance_id: (ref.span, ref.columns.get("speaker")) for ref in corpus.refs} == {
            "x/call#0.500-3.000": (Span(0.5, 3.0), "ann"),
            "x/call#3.000-4.000": (Span(3.0, 4.0), "bob"),
            "x/call#3.000-4.000#ann": (Span(3.0, 4.0), "ann"),
            "x/other.wav": (Span(), None),
        }
        assert corpus.carried == ("speaker",)
        assert "1 recording is in no table" in corpus.notes[0]

    def test_one_file_for_several_recordings_elsewhere(self, tmp_path):
        lines = RTTM + RTTM.replace("call", "talk")
        write(tmp_path, {"audio/call.flac": "audio", "audio/talk.flac": "audio", "labels/all.rttm": lines})
        for source in (tmp_path, tmp_path / "labels/all.rttm"):
            assert {Path(ref.uri).name for ref in scan(source).refs} == {"call.flac", "talk.flac"}

    def test_another_name_than_that_of_the_file(self, tmp_path):
        write(tmp_path, {"rec1.wav": "audio", "rec1.rttm": RTTM})
        assert {ref.uri for ref in scan(tmp_path).refs} == {str(tmp_path / "rec1.wav")}

    def test_the_channels_of_a_call(self, tmp_path):
        write(
            tmp_path,
            {"call.wav": "a", "call.rttm": RTTM.replace("call 1 3.00 1.00 <NA> <NA> b", "call 2 3 1 <NA> <NA> b")},
        )
        assert [ref.channel for ref in scan(tmp_path).refs] == [0, 1, 0]

    def test_words_are_the_text_of_a_recording(self, tmp_path):
        write(tmp_path, {"call.wav": "audio", "call.ctm": ";; x\n" + CTM})
        corpus = scan(tmp_path)
        (ref,) = corpus.refs
        assert (ref.utterance_id, ref.span, ref.columns["text"]) == ("call", Span(), "good day yes")
        assert parse_words(ref.columns["words"], 4.0) == [
            Word("good", 0.6, 0.9, 0.9),
            Word("day", 1.0, 1.5),
            Word("yes", 3.1, 3.3),
        ]
        assert corpus.carried == ("text", "words")

    def test_words_of_a_turn_count_from_its_start(self, tmp_path):
        write(tmp_path, {"call.wav": "audio", "call.rttm": RTTM, "call.ctm": CTM})
        first = scan(tmp_path).refs[0]
        assert first.columns["text"] == "good day"
        assert [word["start"] for word in json.loads(first.columns["words"])] == [0.1, 0.5]

    def test_a_missing_recording_is_a_reject_later(self, tmp_path):
        write(tmp_path, {"call.rttm": RTTM})
        assert {(ref.uri, ref.size_bytes) for ref in scan(tmp_path).refs} == {(str(tmp_path / "call.wav"), 0)}

    def test_an_annotation_without_utterances_is_refused(self, tmp_path):
        write(tmp_path, {"call.rttm": "SPKR-INFO call 1 <NA>\n"})
        with pytest.raises(SourceError, match="has no line that names an utterance"):
            scan(tmp_path / "call.rttm")
