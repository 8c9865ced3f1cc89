"""Filesystems of fsspec as Beam sees them: on S3, on the web, and where a package is missing."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from tests.support.paths import ROOT
from tests.support.storage.s3_server import S3Bucket
from tests.support.web.file_server import FileServer
from transforms.corpus.sources import SourceError, list_corpus
from transforms.errors import OutputError
from transforms.output.ledger import Ledger
from transforms.storage.arrow_filesystem import arrow_filesystem
from transforms.storage.atomic_files import new_file, write_bytes
from transforms.storage.gcs.client import open_in_parts, patch_beam

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def registered() -> None:
    patch_beam()


def paths(pattern: str) -> list[str]:
    return [metadata.path for metadata in FileSystems.match([pattern])[0].metadata_list]


class TestS3:
    def test_beam_writes_lists_reads_renames_and_deletes(self, s3_bucket: S3Bucket) -> None:
        place = s3_bucket / "a/b c.bin"
        with FileSystems.create(place) as file:
            file.write(CONTENT)
        assert s3_bucket.read("a/b c.bin") == CONTENT
        assert paths(s3_bucket / "**") == [place]
        assert FileSystems.exists(place)
        assert not FileSystems.exists(s3_bucket / "a")
        with FileSystems.open(place) as file:
            file.seek(100)
            assert file.read(5) == CONTENT[100:105]
        FileSystems.rename([place], [s3_bucket / "z"])
        assert s3_bucket.names() == ["z"]
        FileSystems.delete([s3_bucket / "z", s3_bucket / "missing"])
        assert s3_bucket.names() == []

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("root/a.wav", ["root/a.wav"]),
            ("root/*.wav", ["root/a.wav", "root/a.wave.wav"]),
            ("root/**", ["root/a.wav", "root/a.wave.wav", "root/b.txt", "root/x/a.wav", "root/x/y/c.wav"]),
            ("root/?/a.wav", ["root/x/a.wav"]),
            ("root/x/*/*.wav", ["root/x/y/c.wav"]),
            ("root/[b].txt", ["root/b.txt"]),
            ("root/a*", ["root/a.wav", "root/a.wave.wav"]),
            ("nothing/**", []),
        ],
    )
    def test_patterns_match_as_in_other_buckets(self, s3_bucket: S3Bucket, pattern: str, found: list[str]) -> None:
        for name in ("other/a.wav", "root/a.wav", "root/a.wave.wav", "root/b.txt", "root/x/a.wav", "root/x/y/c.wav"):
            s3_bucket.write(name, b"1")
        assert paths(s3_bucket / pattern) == [s3_bucket / name for name in found]

    @pytest.mark.parametrize("size", [10, 12 << 20])
    def test_a_block_that_fails_leaves_nothing(self, s3_bucket: S3Bucket, size: int) -> None:
        write_bytes(s3_bucket / "old", b"old")
        for name in ("old", "new"):
            with contextlib.suppress(KeyError), new_file(s3_bucket / name, overwrite=True) as file:
                for _ in range(0, size, 1 << 20):
                    file.write(bytes(min(size, 1 << 20)))
                raise KeyError
        file = FileSystems.create(s3_bucket / "forgotten")
        file.write(b"1")
        del file
        assert s3_bucket.names() == ["old"]
        assert s3_bucket.read("old") == b"old"
        assert s3_bucket.unfinished_uploads() == []

    def test_parquet_reads_only_parts(self, s3_bucket: S3Bucket) -> None:
        buffer = io.BytesIO()
        table = pa.table({"a": pa.array(range(300_000)), "b": pa.array(range(300_000))})
        pq.write_table(table, buffer, compression="none", use_dictionary=False, row_group_size=100_000)
        s3_bucket.write("t/x.parquet", buffer.getvalue())
        with open_in_parts(s3_bucket / "t/x.parquet") as file:
            assert pq.ParquetFile(file).read_row_group(1, columns=["b"])["b"][0].as_py() == 100_000
        filesystem, prefix = arrow_filesystem(s3_bucket / "t")
        assert pq.read_table(f"{prefix}x.parquet", filesystem=filesystem) == table

    def test_a_version_follows_uploads_and_not_metadata(self, s3_bucket: S3Bucket) -> None:
        uri = s3_bucket.write("in/a.wav", b"12345")
        before = list_corpus(uri)
        s3_bucket.edit_metadata("in/a.wav")
        assert list_corpus(uri) == before == [*list_corpus(s3_bucket / "in/*.wav")]
        s3_bucket.write("in/a.wav", b"54321")
        assert list_corpus(uri)[0].source_version != before[0].source_version

    def test_an_s3_that_does_not_answer_is_an_outage(
        self, s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
        in_a_new_process(
            "import s3fs\nfrom apache_beam.io.filesystems import FileSystems\n"
            "from transforms.storage.gcs.client import patch_beam\nfrom transforms.storage.storage_errors import StorageError\n"
            "patch_beam(); s3fs.S3FileSystem.retries = 1\n"
            f"try: FileSystems.open('{s3_bucket / 'x'}')\n"
            "except StorageError as error: assert 'the storage does not answer' in str(error), error\n"
            "else: raise AssertionError\n"
        )

    def test_missing_credentials_are_named(self, s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        s3_bucket.write("a.wav", b"1")
        s3_bucket.client.put_object_acl(Bucket=s3_bucket.name, Key="a.wav", ACL="public-read")
        code = (
            "from transforms.storage.gcs.client import patch_beam; patch_beam()\n"
            "from transforms.corpus.sources import SourceError, list_corpus\n"
            f"try: print(len(list_corpus('{s3_bucket / 'a.wav'}')))\n"
            "except SourceError as error: assert 'set AWS_PROFILE, or AWS_ACCESS_KEY_ID' in str(error), error\n"
        )
        in_a_new_process(code + "else: raise AssertionError\n")
        monkeypatch.setenv("FSSPEC_S3_ANON", "true")
        in_a_new_process(code + "else: pass\n")


def in_a_new_process(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("sizes", [True, False])
class TestWeb:
    def test_files_are_read_in_any_order(self, ranges: bool, sizes: bool) -> None:
        with FileServer(ranges, sizes).serving() as server:
            server.files["a b.bin"] = CONTENT
            for opened in (FileSystems.open, open_in_parts):
                with opened(f"{server.url}a b.bin") as file:
                    file.seek(-10, io.SEEK_END)
                    assert file.read() == CONTENT[-10:]
                    file.seek(300)
                    assert file.read(7) == CONTENT[300:307]
                    file.seek(0)
                    assert file.read() == CONTENT

    def test_versions_follow_the_content(self, ranges: bool, sizes: bool) -> None:
        with FileServer(ranges, sizes).serving() as server:
            server.files = {"a.wav": b"12345", "list.csv": b"path\na.wav\n"}
            uri = f"{server.url}a.wav"
            (before,) = list_corpus(uri)
            assert list_corpus(f"{server.url}list.csv") == [before]
            server.files["a.wav"] = b"54321"
            assert list_corpus(uri)[0].source_version != before.source_version


class TestWebSources:
    def test_a_query_is_part_of_an_address(self) -> None:
        with FileServer().serving() as server:
            server.files["a.wav?key=1"] = b"12345"
            (ref,) = list_corpus(f"{server.url}a.wav?key=1")
            assert (ref.uri, ref.size_bytes) == (f"{server.url}a.wav?key=1", 5)

    def test_a_folder_is_listed_if_the_server_has_a_page_of_it(self) -> None:
        with FileServer().serving() as server:
            server.files = {"speech/a.wav": b"1", "speech/x/b.wav": b"22", "other.wav": b"1"}
            refs = list_corpus(f"{server.url}speech/")
            assert [(ref.utterance_id, ref.size_bytes) for ref in refs] == [("a.wav", 1), ("x/b.wav", 2)]
            assert [ref.utterance_id for ref in list_corpus(f"{server.url}speech/*.wav")] == ["a.wav"]

    def test_files_that_cannot_be_had_cost_no_other(self) -> None:
        with FileServer().serving() as server:
            names = ["a.wav", "missing.wav", "secret.wav", "http://127.0.0.1:1/dead.wav"]
            server.files = {"a.wav": b"1", "secret.wav": b"1", "list.csv": "\n".join(["path", *names]).encode()}
            server.status["secret.wav"] = 403
            refs = {ref.utterance_id: ref for ref in list_corpus(f"{server.url}list.csv")}
            assert [name for name in names if refs[name].size_bytes] == ["a.wav"]
            for name, said in (
                ("missing.wav", "there is no such file"),
                ("secret.wav", "permission is denied"),
                ("http://127.0.0.1:1/dead.wav", "the server does not answer"),
            ):
                with pytest.raises(OSError, match=said):
                    FileSystems.open(refs[name].uri)

    def test_a_missing_corpus_is_an_error(self) -> None:
        with FileServer().serving() as server, pytest.raises(SourceError, match="there is no such file"):
            list_corpus(f"{server.url}nothing")

    def test_nothing_can_be_written(self) -> None:
        with FileServer().serving() as server:
            with pytest.raises(OutputError, match="http:// can only be read"), new_file(f"{server.url}a.html"):
                pass
            for change in (FileSystems.create, lambda uri: FileSystems.delete([uri])):
                with pytest.raises(OSError, match="http:// can only be read"):
                    change(f"{server.url}a.html")
            assert {method for method, _ in server.requests} <= {"GET", "HEAD"}

    def test_compressed_files_are_read_by_their_suffix_on_request(self) -> None:
        import gzip

        with FileServer().serving() as server:
            server.files["a.txt.gz"] = gzip.compress(b"hello")
            assert FileSystems.open(f"{server.url}a.txt.gz").read() == b"hello"
            with FileSystems.open(f"{server.url}a.txt.gz", compression_type=CompressionTypes.UNCOMPRESSED) as file:
                assert file.read() == server.files["a.txt.gz"]


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_further_filesystems_hold_corpora_and_outputs(scheme: str, tmp_path: Path) -> None:
    root = f"{scheme}://{tmp_path}" if scheme == "file" else f"memory://{tmp_path.name}"
    write_bytes(f"{root}/in/a.wav", b"12345")
    write_bytes(f"{root}/in/x/b.wav", b"123")
    assert [(ref.utterance_id, ref.uri, ref.size_bytes) for ref in list_corpus(f"{root}/in")] == [
        ("a.wav", f"{root}/in/a.wav", 5),
        ("x/b.wav", f"{root}/in/x/b.wav", 3),
    ]
    assert [ref.uri for ref in list_corpus(f"{root}/in/*.wav")] == [f"{root}/in/a.wav"]
    for name in ("a.wav", "new.wav"):
        with contextlib.suppress(KeyError), new_file(f"{root}/in/{name}", overwrite=True) as file:
            file.write(b"x")
            raise KeyError
    assert paths(f"{root}/in/**") == [f"{root}/in/a.wav", f"{root}/in/x/b.wav"]
    with FileSystems.open(f"{root}/in/a.wav") as file:
        assert file.read() == b"12345"
    ledger = Ledger(f"{root}/out", ("utterances",))
    ledger.check_writable()
    run_id = ledger.new_run_id()
    ledger.begin(run_id, {"started_s": 1.0})
    assert ledger.pending() == [run_id]
    ledger.abandon(run_id)
    assert ledger.pending() == []


@pytest.mark.parametrize(
    ("missing", "uri", "said"),
    [
        ("s3fs", "s3://b/a.wav", 'the extra s3 is not installed: pip install "audiosieve[s3]"'),
        ("fsspec", "s3://b/a.wav", 'the extra s3 is not installed: pip install "audiosieve[s3]"'),
        ("fsspec", "https://h/a.wav", 'the extra fsspec is not installed: pip install "audiosieve[fsspec]"'),
        ("aiohttp", "https://h/a.wav", 'the extra fsspec is not installed: pip install "audiosieve[fsspec]"'),
        ("huggingface_hub", "hf://datasets/a/b/c.wav", 'pip install "audiosieve[fsspec]"'),
        ("adlfs", "abfs://b/a.wav", "abfs:// needs another package (Install adlfs"),
        ("fsspec", "foo://b/a.wav", "no filesystem is known for foo://"),
        ("-", "foo://b/a.wav", "no filesystem is known for foo://"),
    ],
)
def test_a_missing_package_is_named(missing: str, uri: str, said: str) -> None:
    in_a_new_process(
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from transforms.storage.gcs.client import patch_beam\n"
        "patch_beam()\n"
        "from transforms.corpus.sources import SourceError, list_corpus\n"
        f"try: list_corpus({uri!r})\n"
        f"except SourceError as error: assert {said!r} in str(error), error\n"
        "else: raise AssertionError\n"
    )


def test_local_paths_and_buckets_stay_beams() -> None:
    assert type(FileSystems.get_filesystem("/tmp/x")).__name__ == "LocalFileSystem"
    assert type(FileSystems.get_filesystem("gs://b/x")).__name__ == "GCSFileSystem"
