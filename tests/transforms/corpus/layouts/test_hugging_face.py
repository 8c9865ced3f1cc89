"""Tables of Hugging Face that hold recordings or only their paths, in Parquet and in folders of `save_to_disk`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, DatasetDict, Features, Value

from tests.support.archives import HF_AUDIO, WAV, write_parquet
from tests.support.storage.local_buckets import bucket
from transforms.corpus.archives.reading import members
from transforms.corpus.formats import SourceKind, source_kind
from transforms.corpus.listing import Corpus, ListingOptions
from transforms.corpus.sources import SourceError, scan_corpus
from transforms.errors import AudioFault

SCORE = ListingOptions(carry=frozenset(), is_strict=False)
FEATURES = Features({"audio": Audio(decode=False), "sentence": Value("string"), "speaker_id": Value("string")})


def scan(source: Path | str, **options: Any) -> Corpus:
    return scan_corpus(str(source), ListingOptions(carry=frozenset(), is_strict=False, **options))


def contents(corpus: Corpus) -> dict[str, tuple[object, str | None]]:
    """Content, or reason of the fault, and text of each recording by id."""
    assert not corpus.faulty
    read: dict[str, tuple[object, str | None]] = {}
    for ref in corpus.refs:
        if ref.archive is None:
            read[ref.utterance_id] = (Path(ref.uri).read_bytes(), ref.columns.get("text"))
            continue
        for member, content in members(ref):
            found = content.reason if isinstance(content, AudioFault) else content.read()
            read[member.utterance_id] = (found, member.columns.get("text"))
    return read


def files(root: Path) -> None:
    (root / "clips").mkdir(parents=True)
    for name in "ab":
        (root / f"clips/{name}.wav").write_bytes(WAV + name.encode())


def path_rows(*names: str, data: bytes | None = None) -> list[dict[str, Any]]:
    return [
        {"audio": {"bytes": data, "path": f"clips/{name}.wav"}, "transcription": f"text {name}", "speaker": "ann"}
        for name in names
    ]


def data_set(rows: list[dict[str, Any]]) -> Dataset:
    # Dataset.from_list would need torchcodec.
    return Dataset(pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema))


class TestParquetWithoutBytes:
    @pytest.mark.parametrize("statistics", [True, False])
    @pytest.mark.parametrize("given", ["file", "folder", "glob"])
    def test_paths_are_relative_to_the_file(self, tmp_path, given, statistics):
        files(tmp_path)
        table = write_parquet(tmp_path / "t.parquet", path_rows("a", "b"), write_statistics=statistics)
        corpus = scan({"file": table, "folder": tmp_path, "glob": tmp_path / "*.parquet"}[given])
        listed = {ref.uri: dict(ref.columns) for ref in corpus.refs if ref.columns}
        assert listed == {
            str(tmp_path / f"clips/{name}.wav"): {"text": f"text {name}", "speaker": "ann"} for name in "ab"
        }
        assert corpus.carried == ("text", "speaker")
        assert all(ref.size_bytes == len(WAV) + 1 for ref in corpus.refs if ref.columns)

    def test_paths_are_relative_to_the_audio_root(self, tmp_path):
        files(tmp_path / "audio")
        table = write_parquet(tmp_path / "t.parquet", path_rows("a"))
        (ref,) = scan(table, audio_root=str(tmp_path / "audio")).refs
        assert ref.uri == str(tmp_path / "audio/clips/a.wav")

    def test_shards_of_a_folder_may_have_the_same_paths_and_ids(self, tmp_path):
        files(tmp_path / "audio")
        for shard in ("train", "test"):
            rows = [{**row, "id": 1} for row in path_rows("a")]
            write_parquet(tmp_path / f"{shard}.parquet", rows)
        corpus = scan(tmp_path / "*.parquet", audio_root=str(tmp_path / "audio"))
        assert [ref.utterance_id for ref in corpus.refs] == ["test.parquet/1", "train.parquet/1"]

    def test_the_kept_utterances_are_listed_as_parquet(self, tmp_path):
        table = write_parquet(tmp_path / "t.parquet", path_rows("a"))
        assert source_kind(str(table)) == SourceKind("parquet", False)

    @pytest.mark.parametrize("elsewhere", [False, True])
    def test_bytes_come_before_paths_and_rows_may_differ(self, tmp_path, elsewhere):
        root = tmp_path / "audio" if elsewhere else tmp_path
        files(root)
        rows = [*path_rows("a", data=WAV + b"own"), *path_rows("b"), *path_rows("missing")]
        table = write_parquet(tmp_path / "t.parquet", rows)
        corpus = scan(table, **({"audio_root": str(root)} if elsewhere else {}))
        read = contents(corpus)
        assert read == {
            "t.parquet/clips/a.wav": (WAV + b"own", "text a"),
            "t.parquet/clips/b.wav": (WAV + b"b", "text b"),
            "t.parquet/clips/missing.wav": ("unreadable", "text missing"),
        }

    def test_the_audio_root_of_a_table_with_all_bytes_is_refused(self, tmp_path):
        table = write_parquet(tmp_path / "t.parquet", path_rows("a", data=WAV))
        with pytest.raises(SourceError, match="--audio_root applies to manifests"):
            scan(table, audio_root=str(tmp_path))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A data set in two Arrow files, as `save_to_disk` writes it."""
    rows = [
        {"audio": {"bytes": WAV + str(n).encode(), "path": f"{n}.wav"}, "sentence": f"text {n}", "speaker_id": "ann"}
        for n in range(4)
    ]
    data_set(rows).save_to_disk(tmp_path / "saved", num_shards=2)
    return tmp_path / "saved"


class TestSaveToDisk:
    @pytest.mark.parametrize("shelf", [False, True])
    def test_a_folder_is_read_with_its_texts(self, saved, shelf):
        corpus = scan(bucket(saved) if shelf else saved)
        assert contents(corpus) == {
            f"data-0000{n // 2}-of-00002.arrow/{n}.wav": (WAV + str(n).encode(), f"text {n}") for n in range(4)
        }
        assert corpus.carried == ("text", "speaker")

    def test_a_dictionary_of_splits(self, saved, tmp_path):
        data = Dataset.load_from_disk(str(saved))
        DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "both")
        read = contents(scan(tmp_path / "both"))
        assert len(read) == 8
        assert read["test/data-00000-of-00001.arrow/3.wav"] == (WAV + b"3", "text 3")

    def test_an_arrow_file_may_be_given(self, saved):
        assert len(contents(scan(saved / "data-00001-of-00002.arrow"))) == 2

    def test_the_form_with_a_footer(self, tmp_path):
        table = pa.table({"audio": pa.array([{"bytes": WAV, "path": None}], HF_AUDIO), "text": ["x"]})
        with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        assert contents(scan(tmp_path)) == {"x.arrow/0": (WAV, "x")}

    def test_rows_with_paths_only(self, saved, tmp_path):
        files(tmp_path / "audio")
        rows = [{"audio": {"bytes": None, "path": f"clips/{n}.wav"}, "sentence": n, "speaker_id": "ann"} for n in "ab"]
        for shard, row in enumerate(rows):
            # save_to_disk itself adds the bytes of files that it finds.
            table = pa.Table.from_pylist([row], schema=FEATURES.arrow_schema)
            path = saved / f"data-0000{shard}-of-00002.arrow"
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        corpus = scan(saved, audio_root=str(tmp_path / "audio"))
        assert contents(corpus) == {
            f"data-0000{shard}-of-00002.arrow/clips/{n}.wav": (WAV + n.encode(), n) for shard, n in enumerate("ab")
        }

    def test_a_truncated_file_is_read_as_far_as_it_goes(self, tmp_path):
        schema = pa.schema([("audio", HF_AUDIO)])
        path = tmp_path / "x.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for name in ("a", "b"):
                writer.write_table(pa.table({"audio": pa.array([{"bytes": WAV, "path": name}], HF_AUDIO)}))
        path.write_bytes(path.read_bytes()[:-200])
        read = contents(scan(tmp_path))
        assert read["x.arrow/a"] == (WAV, None)
        assert read["x.arrow"] == ("corrupt", None)

    def test_a_missing_arrow_file_is_a_reject(self, saved):
        (saved / "data-00001-of-00002.arrow").unlink()
        corpus = scan(saved)
        assert [ref.size_bytes > 0 for ref in corpus.refs] == [True, False]

    def test_a_data_set_without_audio_is_refused(self, saved):
        shutil.rmtree(saved)
        Dataset.from_list([{"text": "x"}]).save_to_disk(saved)
        with pytest.raises(SourceError, match="has no column of audio"):
            scan(saved)


def test_a_parquet_file_without_audio_stays_a_manifest(tmp_path):
    files(tmp_path)
    pq.write_table(pa.table({"path": ["clips/a.wav"], "text": ["x"]}), tmp_path / "m.parquet")
    (ref,) = scan(tmp_path / "m.parquet").refs
    assert ref.uri == str(tmp_path / "clips/a.wav")
