"""Workers list and skip the same recordings as the launcher."""

from __future__ import annotations

import pickle
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.support.outputs import written
from transforms.corpus.sources import list_corpus
from transforms.elements import AudioRef, channel_id
from transforms.output.ledger import Ledger
from transforms.output.receipts import GatherReceipt, Receipt
from transforms.runs.chunking import CHUNK_S
from transforms.runs.incremental import outstanding
from transforms.runs.plan import read_plan
from transforms.runs.worker_listing import CutChunks, DropScored, ListCorpus, is_listable, keys_of
from transforms.storage.source_versions import version_of_object, version_of_time

RUN, RUN2 = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345")
    return root


def listed(source: Path, ledger: Ledger, tmp_path: Path) -> tuple[list[AudioRef], int]:
    """Returns the refs that the pipeline lists, and the number that it skips."""
    with beam.Pipeline(runner=FnApiRunner()) as root:
        corpus = root | ListCorpus(str(source), ledger, RUN2)
        corpus.chunks | "Chunks" >> beam.combiners.ToList() | "KeepChunks" >> beam.Map(keep, tmp_path / "chunks")
        corpus.receipts | beam.Flatten() | GatherReceipt() | beam.Map(Receipt.write, str(tmp_path / "receipt"))
    chunks, receipt = pickle.loads((tmp_path / "chunks").read_bytes()), Receipt.read(str(tmp_path / "receipt"))
    refs, planned = (
        sorted(
            (ref for chunk in part for recording in chunk for ref in recording.refs), key=lambda ref: ref.utterance_id
        )
        for part in (chunks, [chunk for path in receipt.paths for chunk in read_plan(path)])
    )
    assert refs == planned
    return refs, receipt.work.skipped


def keep(items: list, path: Path) -> None:
    path.write_bytes(pickle.dumps(items))


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path / "out"), ("utterances", "rejects"))


@pytest.fixture
def source(tmp_path) -> Path:
    return fill(tmp_path / "corpus", "a.wav", "x/b.flac", "x/y/c.mp3", "x/y/d#ch0", "x/y/d", "z.tar")


def commit(ledger: Ledger, rows: list[dict], table: str = "utterances") -> None:
    path = Path(f"{ledger.prefix(table, RUN)}-{table}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def row(ref: AudioRef, **changes: str) -> dict:
    return {"utterance_id": ref.utterance_id, "uri": ref.uri, "source_version": ref.source_version, **changes}


def test_workers_list_what_the_launcher_lists(source, ledger, tmp_path):
    assert listed(source, ledger, tmp_path) == (list_corpus(str(source)), 0)


def test_workers_skip_what_the_launcher_skips(source, ledger, tmp_path):
    (source / "x/y/d#ch0").unlink()  # its id is also that of a channel of x/y/d, which is refused
    refs = {ref.utterance_id: ref for ref in list_corpus(str(source))}
    done, changed, by_channel, lost, tar = (refs[name] for name in ("a.wav", "x/b.flac", "x/y/d", "x/y/c.mp3", "z.tar"))
    commit(
        ledger,
        [
            row(done),
            row(changed, source_version="older"),
            *(row(by_channel, utterance_id=channel_id("x/y/d", channel)) for channel in range(2)),
            row(tar, utterance_id="z.tar/1", uri=f"{tar.uri}#1"),
            {"utterance_id": "gone.wav", "uri": "/elsewhere/gone.wav", "source_version": "1"},
        ],
    )
    commit(ledger, [row(lost, reason="unreadable")], "rejects")
    ledger.commit(RUN, {"job": "score"}, written(ledger, RUN))
    found, skipped = listed(source, ledger, tmp_path)
    assert skipped == 3
    assert found == outstanding([*refs.values()], ledger).refs
    assert [ref.utterance_id for ref in found] == ["x/b.flac", "x/y/c.mp3"]


def test_workers_accept_versions_of_earlier_releases():
    now = version_of_object(10, 1_000.0, 7)
    found = DropScored()
    found.start_bundle()
    for seconds, left in ((999.0, 1), (1_000.0, 0), (2_000.0, 0)):
        rows = [("a", "gs://b/a", version_of_time(10, seconds))]
        group = {"refs": [AudioRef("a", "gs://b/a", 10, now)], "rows": rows}
        assert len(list(found.process(("a", group)))) == left, seconds


def test_another_corpus_is_refused(source, ledger, tmp_path):
    commit(ledger, [{"utterance_id": "a.wav", "uri": "/elsewhere/a.wav", "source_version": "1"}])
    ledger.commit(RUN, {"job": "score"}, written(ledger, RUN))
    with pytest.raises(Exception, match="two corpora do not mix"):
        listed(source, ledger, tmp_path)


def test_a_kaldi_data_directory_is_not_listable(source):
    assert is_listable(str(source))
    fill(source, "wav.scp")
    assert not is_listable(str(source))


@given(st.text(max_size=6), st.text("#ab/", max_size=8))
def test_keys_of_a_row_include_its_recording(utterance_id, uri):
    assert utterance_id in keys_of(utterance_id, uri)
    assert utterance_id in keys_of(channel_id(utterance_id, 3), uri)
    assert f"archive {uri}" in keys_of(utterance_id, f"{uri}#member")


@pytest.mark.parametrize(("name", "there"), [("", True), ("x", True), ("a.wav", False), ("*", False), ("m.csv", False)])
def test_only_folders_are_listable(source, name, there):
    assert is_listable(str(source / name)) == there


def test_chunks_contain_each_ref_once_and_have_the_wanted_length():
    refs = [AudioRef(f"{i}.wav", f"/c/{i}.wav", 32_000 * (1 + i % 97), "1") for i in range(500)]
    dofn = CutChunks()
    dofn.start_bundle()
    chunks = [chunk for ref in refs for chunk in dofn.process(ref)] + [value.value for value in dofn.finish_bundle()]
    assert sorted(ref.uri for chunk in chunks for recording in chunk for ref in recording.refs) == sorted(
        ref.uri for ref in refs
    )
    seconds = [sum(recording.refs[0].size_bytes for recording in chunk) / 32_000 for chunk in chunks]
    assert max(seconds) <= CHUNK_S
    assert sorted(seconds)[1] > CHUNK_S / 2


def test_the_job_does_not_contain_the_files_of_earlier_runs(source, ledger):
    def size(runs: range) -> int:
        for number in runs:
            commit(ledger, [{"utterance_id": f"{number}", "uri": "/x", "source_version": "1"}])
            run_id = f"20260101T000000Z-{number:06x}"
            (path,) = Path(ledger.root, "utterances").glob(f"{RUN}*")
            path.rename(path.with_name(f"{run_id}-0.parquet"))
            ledger.commit(run_id, {"job": "score"}, written(ledger, run_id))
        root = beam.Pipeline(FnApiRunner())
        root | ListCorpus(str(source), ledger, RUN2)
        return len(root.to_runner_api().SerializeToString())

    assert size(range(1, 2)) == pytest.approx(size(range(2, 60)), abs=100)
