"""Small copies of GigaSpeech and WenetSpeech, and a large one that is read in little memory."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from transforms.corpus.formats import SourceKind, source_kind
from transforms.corpus.layouts.large_json import audio_items
from transforms.corpus.listing import BadRow, Corpus, ListingOptions
from transforms.corpus.sources import SourceError, scan_corpus
from transforms.elements import Span


def scan(source: Path | str, carry: frozenset[str] = frozenset(), **options: Any) -> Corpus:
    return scan_corpus(str(source), ListingOptions(carry=carry, is_strict=False, **options))


def gigaspeech(number: int) -> dict[str, Any]:
    aid = f"AUD{number:010d}"
    segments = [
        {
            "sid": f"{aid}_S{n:07d}",
            "speaker": "N/A",
            "begin_time": 10.5 * n,
            "end_time": 10.5 * n + 4.25,
            "text_tn": f"TEXT {n} <PERIOD>",
            "subsets": ["{XL}", "{L}"],
        }
        for n in range(2)
    ]
    return {
        "title": 'a "quoted" title, }, {',
        "url": "http://x",
        "path": f"audio/audiobook/P0001/{aid}.opus",
        "aid": aid,
        "source": "audiobook",
        "duration": 100.0,
        "segments": segments,
    }


def wenetspeech(number: int) -> dict[str, Any]:
    aid = f"Y{number:010d}"
    segment = {"sid": f"{aid}_S00000", "confidence": 0.95, "begin_time": 1.5, "end_time": 3.0, "text": "你好"}
    return {"aid": aid, "path": f"audio/train/youtube/B00000/{aid}.opus", "duration": 9.0, "segments": [segment]}


def write(path: Path, audios: list[dict[str, Any]], indent: int | None = 4, ascii_only: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for audio in audios:
        recording = path.parent / audio["path"]
        recording.parent.mkdir(parents=True, exist_ok=True)
        recording.write_bytes(b"OggS")
    document = {"dataset": "x", "language": "EN", "version": "1.0", "num_audios": len(audios), "audios": audios}
    path.write_text(json.dumps(document, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    return path


class TestGigaSpeech:
    @pytest.mark.parametrize("indent", [None, 4])
    @pytest.mark.parametrize("given", ["", "GigaSpeech.json"])
    def test_segments_are_spans_with_texts(self, tmp_path, given, indent):
        write(tmp_path / "GigaSpeech.json", [gigaspeech(n) for n in range(2)], indent)
        corpus = scan(tmp_path / given)
        assert [(ref.utterance_id, ref.uri, ref.span, dict(ref.columns)) for ref in corpus.refs] == [
            (
                f"AUD000000000{audio}_S000000{n}",
                f"{tmp_path}/audio/audiobook/P0001/AUD000000000{audio}.opus",
                Span(10.5 * n, 10.5 * n + 4.25),
                {"text": f"TEXT {n} <PERIOD>"},
            )
            for audio in range(2)
            for n in range(2)
        ]
        assert corpus.carried == ("text",)
        assert source_kind(str(tmp_path / given)) == SourceKind("jsonl", True)

    def test_other_columns_can_be_carried(self, tmp_path):
        table = write(tmp_path / "GigaSpeech.json", [gigaspeech(0)])
        ref = scan(table, frozenset({"source", "subsets", "speaker"})).refs[0]
        assert ref.columns == {
            "source": "audiobook",
            "subsets": '["{XL}", "{L}"]',
            "speaker": "",
            "text": "TEXT 0 <PERIOD>",
        }

    def test_the_audio_may_be_elsewhere(self, tmp_path):
        write(tmp_path / "x/GigaSpeech.json", [gigaspeech(0)]).rename(tmp_path / "GigaSpeech.json")
        assert all(ref.size_bytes for ref in scan(tmp_path / "GigaSpeech.json", audio_root=str(tmp_path / "x")).refs)


def test_wenetspeech(tmp_path):
    table = write(tmp_path / "WenetSpeech.json", [wenetspeech(0)])
    table.with_name("WenetSpeech.json.gz").write_bytes(gzip.compress(table.read_bytes()))
    for source in (table, tmp_path, table.with_name("WenetSpeech.json.gz")):
        (ref,) = scan(source).refs
        assert (ref.utterance_id, ref.span, ref.columns) == ("Y0000000000_S00000", Span(1.5, 3.0), {"text": "你好"})
        assert ref.size_bytes


class TestFaults:
    def test_faulty_items_and_segments_cost_only_themselves(self, tmp_path):
        audios = [gigaspeech(n) for n in range(5)]
        table = write(tmp_path / "GigaSpeech.json", audios)
        audios[1] |= {"path": None}
        audios[2]["segments"][0] |= {"end_time": -1}
        text = json.dumps({"dataset": "x", "audios": audios}, indent=2)
        table.write_text(text.replace('"AUD0000000003"', "broken"))
        corpus = scan(table)
        assert sorted(ref.utterance_id for ref in corpus.refs if not ref.fault) == [
            "AUD0000000000_S0000000",
            "AUD0000000000_S0000001",
            "AUD0000000002_S0000001",
            "AUD0000000004_S0000000",
            "AUD0000000004_S0000001",
        ]
        assert sorted(ref.fault.detail.partition(", item ")[2][:33] for ref in corpus.faulty) == [
            "2: the item has no path and segme",
            "3: segment AUD0000000002_S0000000",
            "4: the item is not JSON (Expectin",
        ]

    def test_a_list_that_is_cut_off_is_read_as_far_as_it_goes(self, tmp_path):
        table = write(tmp_path / "GigaSpeech.json", [gigaspeech(n) for n in range(3)])
        table.write_text(table.read_text()[:-900])
        rows = list(audio_items(str(table)))
        assert [isinstance(row, BadRow) for row in rows] == [False, False, True]

    def test_an_empty_list_is_refused(self, tmp_path):
        with pytest.raises(SourceError, match="the manifest is empty"):
            scan(write(tmp_path / "GigaSpeech.json", []))

    def test_another_json_is_a_manifest(self, tmp_path):
        (tmp_path / "a.wav").write_bytes(b"x")
        (tmp_path / "m.json").write_text('{"path": "a.wav", "audios": 3}\n')
        assert [ref.utterance_id for ref in scan(tmp_path / "m.json").refs] == ["a.wav"]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_large_file_is_read_in_flat_memory(tmp_path, indent):
    path = tmp_path / "GigaSpeech.json"
    item = json.dumps(gigaspeech(0) | {"filler": "x" * 5_000}, indent=indent)
    with path.open("w") as file:
        file.write('{"dataset": "x", "audios": [')
        file.write(",\n".join([item] * 8_000) if indent else ", ".join([item] * 8_000))
        file.write("]}")
    assert path.stat().st_size > 40 << 20
    tracemalloc.start()
    assert sum(1 for _ in audio_items(str(path))) == 8_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 << 20
