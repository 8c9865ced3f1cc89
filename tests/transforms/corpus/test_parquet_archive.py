"""Parquet files of recordings: the names and columns of their rows, and the faults of damaged files."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archives import HF_AUDIO, WAV, outline, read_members, write_parquet
from transforms.corpus.archives import member as archive_member
from transforms.corpus.archives.parquet import audio_columns
from transforms.corpus.archives.reading import members
from transforms.corpus.sources import list_corpus
from transforms.corpus.word_times import Word, parse_words
from transforms.errors import AudioFault, Reason


class TestParquet:
    def test_rows_are_recordings_with_the_plain_columns(self, tmp_path):
        rows = [
            {"audio": {"bytes": WAV, "path": "x/a.wav"}, "text": "é", "n": 1, "tags": ["x"], "raw": b"1"},
            {"audio": {"bytes": b"fLaC", "path": None}, "text": None, "n": 2, "tags": [], "raw": b"2"},
        ]
        path = write_parquet(tmp_path / "s.parquet", rows)
        (first, one), (second, two) = read_members(path)
        assert (first.utterance_id, first.uri, first.size_bytes) == ("s.parquet/x/a.wav", f"{path}#x/a.wav", len(WAV))
        assert (second.utterance_id, one, two) == ("s.parquet/1", WAV, b"fLaC")
        assert (first.columns, second.columns) == ({"text": "é", "n": "1"}, {"text": "", "n": "2"})

    def test_word_times_are_a_column(self, tmp_path):
        words = [{"word": "good", "start": 0.5, "end": 0.75}]
        rows = [{"audio": {"bytes": WAV, "path": "a.wav"}, "words": words, "tags": [{"word": "x"}]}]
        ((ref, _),) = read_members(write_parquet(tmp_path / "s.parquet", rows))
        assert ref.columns.keys() == {"words"}
        assert parse_words(ref.columns["words"], 1.0) == [Word("good", 0.5, 0.75)]

    @pytest.mark.parametrize(
        ("ids", "expected"),
        [
            (["u1", "u2"], ["u1", "u2"]),
            ([7, 8], ["7", "8"]),
            (["u1", "u1"], ["a.wav", "b.wav"]),
            (["u1", None], ["a.wav", "b.wav"]),
            (["u1", ""], ["a.wav", "b.wav"]),
            ([0.5, 1.5], ["a.wav", "b.wav"]),
        ],
    )
    @pytest.mark.parametrize("name", ["id", "utterance_id"])
    def test_the_id_column_names_recordings_if_its_values_are_unique(self, tmp_path, name, ids, expected):
        rows = [{"audio": {"bytes": WAV, "path": f"{p}.wav"}, name: i} for p, i in zip("ab", ids, strict=True)]
        assert outline(write_parquet(tmp_path / "s.parquet", rows)) == [(f"s.parquet/{name}", WAV) for name in expected]

    def test_rows_with_equal_paths_are_named_by_number(self, tmp_path):
        rows = [{"audio": {"bytes": WAV, "path": "audio.wav"}}] * 12
        names = [name for name, _ in outline(write_parquet(tmp_path / "s.parquet", rows))]
        assert names == [f"s.parquet/{n:02d}" for n in range(12)]

    def test_a_row_without_bytes_is_a_fault(self, tmp_path):
        rows = [{"audio": {"bytes": None, "path": "a.wav"}}, {"audio": None}, {"audio": {"bytes": WAV, "path": None}}]
        assert outline(write_parquet(tmp_path / "s.parquet", rows)) == [
            ("s.parquet/a.wav", Reason.UNREADABLE),
            ("s.parquet/1", Reason.EMPTY_FILE),
            ("s.parquet/2", WAV),
        ]

    def test_every_column_of_recordings_is_read(self, tmp_path):
        audio = pa.array([{"bytes": WAV, "path": "a.wav"}], HF_AUDIO)
        pq.write_table(pa.table({"clean": audio, "noisy": audio}), tmp_path / "s.parquet")
        assert outline(tmp_path / "s.parquet") == [("s.parquet/a.wav/clean", WAV), ("s.parquet/a.wav/noisy", WAV)]

    def test_large_binaries_and_further_fields_are_read(self, tmp_path):
        kind = pa.struct([("path", pa.large_string()), ("sampling_rate", pa.int32()), ("bytes", pa.large_binary())])
        path = write_parquet(
            tmp_path / "s.parquet", [{"audio": {"bytes": WAV, "path": "a.wav", "sampling_rate": 1}}], kind
        )
        assert outline(path) == [("s.parquet/a.wav", WAV)]

    def test_a_file_without_rows_is_a_fault(self, tmp_path):
        pq.write_table(pa.table({"audio": pa.array([], HF_AUDIO)}), tmp_path / "s.parquet")
        assert outline(tmp_path / "s.parquet") == [("s.parquet", Reason.EMPTY_ARCHIVE)]

    def test_a_recording_over_the_size_limit_is_a_fault(self, tmp_path, monkeypatch):
        monkeypatch.setattr(archive_member, "MAX_MEMBER_BYTES", 50)
        rows = [{"audio": {"bytes": WAV * 9, "path": "a.wav"}}, {"audio": {"bytes": WAV, "path": "b.wav"}}]
        assert outline(write_parquet(tmp_path / "s.parquet", rows)) == [
            ("s.parquet/a.wav", Reason.TOO_LONG),
            ("s.parquet/b.wav", WAV),
        ]

    def test_a_damaged_row_group_does_not_affect_others(self, tmp_path):
        rows = [{"audio": {"bytes": WAV + bytes([n]) * 5_000, "path": f"{n}.wav"}} for n in range(9)]
        path = write_parquet(
            tmp_path / "s.parquet", rows, row_group_size=3, compression="zstd", write_page_checksum=True
        )
        whole = bytearray(path.read_bytes())
        # The first column of the second row group: the bytes of recordings 3 to 5.
        column = pq.ParquetFile(path).metadata.row_group(1).column(0)
        start = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2
        whole[start : start + 8] = b"\xff" * 8
        path.write_bytes(whole)
        *good, last = read_members(path)
        assert [ref.utterance_id for ref, _ in good] == [f"s.parquet/{n}.wav" for n in (0, 1, 2, 6, 7, 8)]
        assert [content for _, content in good] == [rows[n]["audio"]["bytes"] for n in (0, 1, 2, 6, 7, 8)]
        assert isinstance(last[1], AudioFault)
        assert last[1].reason == Reason.CORRUPT
        assert "3 of its 9 rows" in last[1].detail

    def test_a_file_truncated_after_listing_is_corrupt(self, tmp_path):
        path = write_parquet(tmp_path / "s.parquet", [{"audio": {"bytes": WAV, "path": "a.wav"}}])
        (ref,) = list_corpus(str(path))
        path.write_bytes(path.read_bytes()[:-20])
        ((_, fault),) = members(ref)
        assert isinstance(fault, AudioFault)
        assert fault.reason == Reason.CORRUPT

    @settings(max_examples=40)
    @given(data=st.data())
    def test_any_damage_gives_only_faults_with_unique_ids(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("damaged") / "s.parquet"
        rows = [{"audio": {"bytes": WAV * 9, "path": f"{n}.wav"}, "id": f"u{n}", "text": "é" * n} for n in range(6)]
        whole = bytearray(write_parquet(path, rows, row_group_size=2, write_page_checksum=True).read_bytes())
        (ref,) = list_corpus(str(path))
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole)
        names = [member.utterance_id for member, _ in members(ref)]
        assert names
        assert len(set(names)) == len(names)

    def test_a_column_declared_as_an_image_holds_no_recordings(self):
        schema = pa.schema({"image": HF_AUDIO, "sound": HF_AUDIO, "plain": pa.string()})
        assert audio_columns(schema) == ["image", "sound"]
        features = {"image": {"_type": "Image"}, "sound": {"_type": "Audio"}, "plain": {"_type": "Value"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        assert audio_columns(schema.with_metadata(metadata)) == ["sound"]


def test_parquet_written_by_datasets_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"audio": [{"bytes": WAV, "path": f"{n}.wav"} for n in range(3)], "text": ["a", None, "c"]}
    made = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    made.to_parquet(str(tmp_path / "train-00000-of-00001.parquet"))
    read = read_members(tmp_path)
    assert [content for _, content in read] == [WAV] * 3
    assert [ref.utterance_id for ref, _ in read] == [f"train-00000-of-00001.parquet/{n}.wav" for n in range(3)]
    assert [ref.columns["text"] for ref, _ in read] == ["a", "", "c"]
