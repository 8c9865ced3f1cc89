"""Lhotse manifests, written like those of `to_dict` and `to_file`, because Lhotse itself needs torch."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from transforms.corpus.listing import ListingOptions
from transforms.corpus.sources import SourceError, list_corpus, scan_corpus
from transforms.corpus.word_times import Word, parse_words
from transforms.elements import Span


def recording(path: str, **changes: Any) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": path}
    name = Path(path).stem
    return {
        "id": name,
        "sources": [source],
        "sampling_rate": 16000,
        "num_samples": 48000,
        "duration": 3.0,
        "channel_ids": [0],
        **changes,
    }


def cut(path: str, **changes: Any) -> dict[str, Any]:
    name = Path(path).stem
    supervision = {
        "id": f"{name}-s",
        "recording_id": name,
        "start": 0.0,
        "duration": 1.0,
        "channel": 0,
        "text": "héllo",
        "language": "English",
        "speaker": "alice",
        "gender": "F",
        "custom": {"snr": 3},
    }
    return {
        "id": f"{name}-cut",
        "start": 0.5,
        "duration": 1.1,
        "channel": 0,
        "supervisions": [supervision],
        "recording": recording(path),
        "type": "MonoCut",
        **changes,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav/a.wav").write_bytes(b"12345")
    (tmp_path / "wav/b.wav").write_bytes(b"12345")
    return tmp_path


def write(path: Path, *rows: dict[str, Any]) -> str:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def error_of(root: Path, row: dict[str, Any]) -> str:
    source = write(root / "cuts.jsonl", cut("wav/a.wav"), row)
    with pytest.raises(SourceError) as caught:
        list_corpus(source)
    message = str(caught.value)
    assert message.startswith(f"{source}, line 2: ")
    return message


@pytest.mark.parametrize("name", ["recordings.jsonl", "recordings_train.jsonl.gz", "any.json"])
def test_recordings_are_utterances(root, name):
    refs = list_corpus(write(root / name, recording("wav/b.wav"), recording(str(root / "wav/a.wav"))))
    assert [(ref.utterance_id, ref.uri, ref.span, ref.size_bytes) for ref in refs] == [
        ("a", str(root / "wav/a.wav"), Span(), 5),
        ("b", str(root / "wav/b.wav"), Span(), 5),
    ]


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts_train.jsonl.gz"])
def test_cuts_are_spans_of_their_recordings(root, name):
    (ref,) = list_corpus(write(root / name, cut("wav/a.wav")))
    assert (ref.utterance_id, ref.uri, ref.span) == ("a-cut", str(root / "wav/a.wav"), Span(0.5, 1.6))
    assert ref.columns == {"speaker": "alice", "text": "héllo", "language": "English"}


def test_a_cut_of_the_whole_recording_has_no_span(root):
    (ref,) = list_corpus(write(root / "cuts.jsonl", cut("wav/a.wav", start=0, duration=3.0)))
    assert ref.span == Span()


@pytest.mark.parametrize(
    "items",
    [
        [["good", 0.5, 0.25, None], ["", 0.75, 0.25, None], ["morning", 1.0, 0.5, 0.9]],
        # As Lhotse wrote them before version 1.8.
        [
            {"symbol": "good", "start": 0.5, "duration": 0.25},
            {"symbol": "morning", "start": 1.0, "duration": 0.5, "score": 0.9},
        ],
    ],
    ids=["lists", "objects"],
)
def test_an_alignment_of_words_is_a_column_if_it_is_carried(root, items):
    row = cut("wav/a.wav", duration=2.0)
    row["supervisions"][0]["alignment"] = {"phone": [["G", 0.5, 0.1]], "word": items}
    source = write(root / "cuts.jsonl", row)
    assert "words" not in list_corpus(source)[0].columns
    (ref,) = list_corpus(source, ["text", "words"])
    assert parse_words(ref.columns["words"], 2.0) == [Word("good", 0.5, 0.75), Word("morning", 1.0, 1.5, 0.9)]


@pytest.mark.parametrize("supervisions", [[], None, [{"id": "s", "recording_id": "a", "start": 0, "duration": 1}]])
def test_missing_fields_of_a_supervision_are_not_columns(root, supervisions):
    (ref,) = list_corpus(write(root / "cuts.jsonl", cut("wav/a.wav", supervisions=supervisions)))
    assert ref.columns == {}


def test_texts_of_further_supervisions_are_not_left_out_silently(root):
    supervisions = [{**cut("a.wav")["supervisions"][0], "text": text} for text in ("one", "two")]
    (root / "cuts.jsonl").write_text(json.dumps(cut("wav/a.wav", supervisions=supervisions)))
    corpus = scan_corpus(str(root / "cuts.jsonl"), ListingOptions())
    assert corpus.refs[0].columns["text"] == "one"
    assert "1 cut has several supervisions; the text is that of the first one" in corpus.notes[0]
    assert not scan_corpus(str(root / "cuts.jsonl"), ListingOptions(carry=frozenset())).notes


def test_a_cut_without_a_type_is_recognised_by_its_recording(root):
    row = cut("wav/a.wav")
    del row["type"]
    assert list_corpus(write(root / "m.jsonl", row))[0].utterance_id == "a-cut"


def test_a_cut_has_its_channel_if_the_recording_has_others(root):
    stereo = recording("wav/a.wav", channel_ids=[0, 1])
    stereo["sources"][0]["channels"] = [0, 1]
    rows = [cut("wav/a.wav", id=f"c{n}", recording=stereo, channel=n) for n in (0, 1)]
    rows.append(cut("wav/a.wav", id="c2", recording=stereo, channel=[0, 1], type="MultiCut", supervisions=[]))
    channels = [ref.channel for ref in list_corpus(write(root / "cuts.jsonl", *rows))]
    assert channels == [0, 1, None]


def test_a_cut_of_several_but_not_all_channels_is_an_error(root):
    many = recording("wav/a.wav", channel_ids=[0, 1, 2])
    many["sources"][0]["channels"] = [0, 1, 2]
    assert "list a cut for each" in error_of(root, cut("wav/a.wav", recording=many, channel=[0, 2], type="MultiCut"))
    assert "has [0, 1, 2]" in error_of(root, cut("wav/a.wav", recording=many, channel=7))


def test_paths_are_relative_to_the_manifest_or_the_working_directory(root, monkeypatch):
    (root / "manifests").mkdir()
    monkeypatch.chdir(root)
    (ref,) = list_corpus(write(root / "manifests/recordings.jsonl", recording("wav/a.wav")))
    assert ref.uri == str(root / "wav/a.wav")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "m", "type": "MixedCut", "tracks": []}, "a MixedCut is composed of other cuts"),
        ({"id": "p", "type": "PaddingCut", "duration": 1, "sampling_rate": 16000}, "a PaddingCut is composed"),
        (cut("a.wav", recording=None), "the entry has no recording"),
        ({"id": "s", "recording_id": "a", "start": 0, "duration": 1}, "the entry has no recording"),
        (cut("a.wav", id=None), "the entry has no id"),
        (cut("a.wav", start=-1), "start is -1; must not be negative"),
        (cut("a.wav", duration=None), "duration is '', which is not a number of seconds"),
        (cut("a.wav", duration=0), "the span is 0.5 s to 0.5 s"),
        (recording("a.wav", sources=[]), "the recording has no sources"),
        (recording("a.wav", sources=[{"type": "file", "channels": [0]}]), "the recording's source has no path"),
        (recording("a.wav", transforms=[{"name": "Speed"}]), "the recording has transforms, which are not supported"),
        *(
            (
                recording("a.wav", sources=[{"type": kind, "channels": [0], "source": "x"}]),
                f"source is a {kind}, and only",
            )
            for kind in ("url", "memory", "shar")
        ),
        (
            recording("a.wav", sources=[{"type": "file", "channels": [n], "source": f"{n}.wav"} for n in (0, 1)]),
            "the recording has 2 files; list each as its own recording",
        ),
    ],
)
def test_an_entry_that_is_not_a_part_of_a_file_is_an_error_with_its_line(root, row, reason):
    assert reason in error_of(root, row)


def test_supervisions_without_recordings_are_an_error(root):
    source = write(
        root / "supervisions.jsonl", {"id": "s", "recording_id": "a", "start": 0.0, "duration": 1.0, "channel": 0}
    )
    with pytest.raises(SourceError, match="use cuts that contain their recordings"):
        list_corpus(source)
