"""Manifests, read back by our own readers of corpora and by the libraries of trainers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.kept_lists import list_all, of_channel
from tests.support.outputs import scored
from transforms.corpus.sources import list_corpus
from transforms.curation.kept_list import KeptList, measure_recordings
from transforms.curation.manifest_formats import FORMATS, refusal
from transforms.elements import ScoredUtterance

TABLES = ("csv", "tsv", "jsonl", "parquet")
READ_BACK = (*TABLES, "kaldi", "lhotse", "paths")


def write(kept: KeptList, format: str, folder: Path) -> Path:
    assert refusal(kept, format) is None
    path = folder / FORMATS[format].file
    FORMATS[format].write(kept, path)
    return path


def place(item: ScoredUtterance) -> tuple[str, int, int]:
    """The recording of an utterance, its first sample in it, and its number of samples."""
    utterance = item.utterance
    rate = utterance.sample_rate
    return utterance.ref.uri, round(utterance.ref.span.start_s * rate), round(utterance.duration_s * rate)


def read_back(path: Path, utterances: Sequence[ScoredUtterance]) -> dict[str, tuple[str, int, int]]:
    """The places of the utterances that our own reader finds in a manifest."""
    places = {}
    by_id = {item.utterance.ref.utterance_id: item.utterance for item in utterances}
    for ref in list_corpus(str(path)):
        utterance = by_id[ref.utterance_id]
        rate = utterance.sample_rate
        start = round(ref.span.start_s * rate)
        end = round(utterance.duration_s * rate) if ref.span.end_s is None else round(ref.span.end_s * rate)
        places[ref.utterance_id] = (ref.uri, start, end - start)
    return places


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
NAMES = st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))


@st.composite
def corpora(draw) -> list[ScoredUtterance]:
    """Utterances with odd names, spans on and between samples, several rates, and one or the mean of several channels."""
    rate = draw(st.sampled_from([8_000, 16_000, 44_100, 48_000]))
    spans = draw(st.booleans())
    found = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        start_s = draw(st.floats(0, 7_200)) if spans else 0.0
        samples = draw(st.integers(rate // 10, rate * 60))
        channels = draw(st.integers(1, 3))
        channel = draw(st.none() | st.integers(0, channels - 1))
        item = scored(
            name, 3.0, start_s=start_s, duration_s=samples / rate, sample_rate=rate, columns={"speaker": f"s {name}"}
        )
        # An utterance from the start is a span, too, in a corpus of spans.
        found.append(of_channel(item, channels, channel))
    return found


@settings(max_examples=80)
@given(corpora(), st.sampled_from(READ_BACK))
def test_a_manifest_lists_exactly_what_is_kept_or_is_refused(utterances, format):
    has_spans = any(item.utterance.ref.span.start_s for item in utterances)
    with tempfile.TemporaryDirectory() as folder:
        kept = list_all(Path(folder) / "out", utterances, has_spans=has_spans)
        assume(refusal(kept, format) is None)
        # The recordings do not exist: say that they end with their utterance.
        ends = {row["path"]: row["end_s"] for row in kept.rows(f"SELECT path, end_s FROM {kept.table}")}
        kept.set_durations({path: ends[path] for path in kept.unmeasured()})
        path = write(kept, format, Path(folder))
        expected = {item.utterance.ref.utterance_id: place(item) for item in utterances}
        if format == "paths":
            assert sorted(ref.uri for ref in list_corpus(str(path))) == sorted(uri for uri, _, _ in expected.values())
        else:
            assert read_back(path, utterances) == expected


@pytest.fixture
def two(tmp_path: Path) -> list[ScoredUtterance]:
    """Spans of a real recording of two channels, which differ in every sample."""
    path = tmp_path / "audio" / "a recording.wav"
    path.parent.mkdir()
    ramp = np.arange(48_000, dtype=np.int16) - 24_000
    soundfile.write(path, np.stack([ramp, ramp[::-1]], axis=1), 16_000)
    about = {"speaker": "alice", "text": 'a "quoted"  word, and\u00fc', "session": "x"}
    return [
        of_channel(scored("u2", 3.25, uri=str(path), start_s=0.5, duration_s=1.0, columns=about), 2, 1),
        of_channel(
            scored("u1", 4.0, uri=str(path), start_s=1.75, duration_s=1.25, columns=about | {"speaker": ""}), 2, 0
        ),
    ]


CARRY = ("speaker", "text", "session")


@pytest.mark.parametrize("format", TABLES)
def test_tables_carry_what_is_carried(tmp_path, two, format):
    kept = list_all(tmp_path / "out", two, CARRY, has_spans=True)
    refs = list_corpus(str(write(kept, format, tmp_path)))
    assert [ref.utterance_id for ref in refs] == ["u1", "u2"]
    columns = dict(refs[1].columns)
    assert columns["channel"] == "1"
    assert float(columns["score"]) == 3.25
    assert {name: columns[name] for name in CARRY} == {
        "speaker": "alice",
        "text": 'a "quoted"  word, and\u00fc',
        "session": "x",
    }


def test_a_line_for_nemo(tmp_path, two):
    path = write(list_all(tmp_path / "out", two, CARRY, has_spans=True), "jsonl", tmp_path)
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[1]) == {
        "audio_filepath": two[0].utterance.ref.uri,
        "id": "u2",
        "offset": 0.5,
        "duration": 1.0,
        "channel": 1,
        "score": 3.25,
        "speaker": "alice",
        "text": 'a "quoted"  word, and\u00fc',
        "session": "x",
    }


def test_a_table_of_whole_recordings_has_no_start_and_end(tmp_path):
    path = write(list_all(tmp_path / "out", [scored("a.wav", 4.0)]), "parquet", tmp_path)
    assert pq.read_table(path).to_pylist() == [{"id": "a.wav", "path": "/corpus/a.wav", "duration": 4.0, "score": 4.0}]


def test_a_kaldi_directory(tmp_path, two):
    folder = write(list_all(tmp_path / "out", two, CARRY, has_spans=True), "kaldi", tmp_path)
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert texts == {
        "wav.scp": f"recording-00000001 {two[0].utterance.ref.uri}\n",
        "segments": "u1 recording-00000001 1.750000 3.000000 0\nu2 recording-00000001 0.500000 1.500000 1\n",
        "utt2spk": "u1 u1\nu2 alice\n",
        "spk2utt": "alice u2\nu1 u1\n",
        "text": 'u1 a "quoted" word, and\u00fc\nu2 a "quoted" word, and\u00fc\n',
    }


def test_a_kaldi_directory_of_whole_recordings_is_sorted_as_in_the_c_locale(tmp_path):
    names = ["b", "B", "a-1", "a1", "a_1", "\u00e9", "z"]
    folder = write(list_all(tmp_path / "out", [scored(name, 4.0) for name in names]), "kaldi", tmp_path)
    keys = [line.split()[0] for line in (folder / "wav.scp").read_text(encoding="utf-8").splitlines()]
    assert keys == sorted(names, key=str.encode)
    assert not (folder / "segments").exists()
    assert not (folder / "text").exists()


def test_kaldi_itself_reads_it(tmp_path):
    kaldi_native_io = pytest.importorskip("kaldi_native_io")
    whole = tmp_path / "mono.wav"
    samples = (np.arange(8_000) % 100).astype(np.int16)
    soundfile.write(whole, samples, 16_000)
    folder = write(list_all(tmp_path / "out", [scored("m", 4.0, uri=str(whole), duration_s=0.5)]), "kaldi", tmp_path)
    with kaldi_native_io.RandomAccessWaveReader(f"scp:{folder}/wav.scp") as reader:
        wave = reader["m"]
        assert wave.sample_freq == 16_000
        assert (np.asarray(wave.data)[0] == samples).all()
    with kaldi_native_io.RandomAccessTokenReader(f"ark:{folder}/utt2spk") as reader:
        assert reader["m"] == "m"


def test_lhotse_cuts(tmp_path, two):
    kept = list_all(tmp_path / "out", two, CARRY, has_spans=True)
    measure_recordings(kept)
    path = write(kept, "lhotse", tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    assert write(kept, "lhotse", again).read_bytes() == path.read_bytes()
    refs = list_corpus(str(path))
    assert [(ref.utterance_id, ref.span.start_s, ref.span.end_s) for ref in refs] == [
        ("u1", 1.75, 3.0),
        ("u2", 0.5, 1.5),
    ]
    assert refs[1].columns == {"speaker": "alice", "text": 'a "quoted"  word, and\u00fc'}
    assert refs[1].channel == 1


def test_lhotse_itself_reads_them(tmp_path, two):
    lhotse = pytest.importorskip("lhotse", reason="lhotse needs torch, which is not installed", exc_type=ImportError)
    whole = tmp_path / "whole.flac"
    soundfile.write(whole, np.stack([np.arange(9_600) % 50, np.arange(9_600) % 31], axis=1).astype(np.int16), 48_000)
    mixed = of_channel(scored("w", 4.0, uri=str(whole), duration_s=0.2, sample_rate=48_000), 2, None)
    kept = list_all(tmp_path / "out", [*two, mixed], CARRY, has_spans=True)
    measure_recordings(kept)
    cuts = {cut.id: cut for cut in lhotse.CutSet.from_file(write(kept, "lhotse", tmp_path))}
    lhotse.validate(lhotse.CutSet.from_cuts(cuts.values()), read_data=True)
    assert sorted(cuts) == ["u1", "u2", "w"]
    ramp = (np.arange(48_000) - 24_000) / 32_768
    assert np.allclose(cuts["u2"].load_audio(), ramp[::-1][None, 8_000:24_000], atol=1e-6)
    assert np.allclose(cuts["u1"].load_audio(), ramp[None, 28_000:], atol=1e-6)
    assert cuts["w"].load_audio().shape == (2, 9_600)
    assert cuts["u2"].recording.duration == 3.0
    assert cuts["u2"].supervisions[0].speaker == "alice"
    assert cuts["u2"].custom == {"score": 3.25, "session": "x"}


def test_an_index_of_tars(tmp_path):
    items = [
        scored("s.tar/x/2.wav", 4.0, uri="/data/s.tar#x/2.wav", columns={"speaker": "b"}),
        scored("s.tar/x/1.a.wav", 3.0, uri="/data/s.tar#x/1.a.wav", columns={"speaker": "a"}),
    ]
    kept = list_all(tmp_path / "out", items, ["speaker"])
    rows = [json.loads(line) for line in write(kept, "webdataset", tmp_path).read_text().splitlines()]
    assert rows[0] == {
        "url": "/data/s.tar",
        "key": "x/1",
        "member": "x/1.a.wav",
        "id": "s.tar/x/1.a.wav",
        "duration": 4.0,
        "score": 3.0,
        "speaker": "a",
    }
    assert rows[1]["key"] == "x/2"


def test_an_index_leads_webdataset_to_the_samples(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    tar = tmp_path / "s.tar"
    with webdataset.TarWriter(str(tar)) as writer:
        for number in range(4):
            writer.write({"__key__": f"x/{number}", "wav": b"RIFF....WAVE", "txt": "words"})
    kept = [scored(f"s.tar/x/{number}.wav", 4.0, uri=f"{tar}#x/{number}.wav") for number in (1, 3)]
    path = write(list_all(tmp_path / "out", kept), "webdataset", tmp_path)
    keys = {(row["url"], row["key"]) for row in map(json.loads, path.read_text().splitlines())}
    samples = webdataset.WebDataset([str(tar)], shardshuffle=False).select(
        lambda sample: (sample["__url__"], sample["__key__"]) in keys
    )
    assert [sample["__key__"] for sample in samples] == ["x/1", "x/3"]


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_datasets_reads_it(tmp_path, two, format):
    datasets = pytest.importorskip("datasets")
    path = write(list_all(tmp_path / "out", two, CARRY, has_spans=True), format, tmp_path)
    kind = "json" if format == "jsonl" else format
    found = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert found["id"] == ["u1", "u2"]
    assert found[1]["text"] == 'a "quoted"  word, and\u00fc'
