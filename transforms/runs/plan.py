"""Plan of a run on another machine: its chunks, in Parquet files beside the output, so that the job stays small."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.elements import ArchiveKind, AudioRef, ListedMember, RowFault, Span, printable
from transforms.errors import Reason
from transforms.output.ledger import PENDING, Ledger
from transforms.output.parquet_sink import WriteTable
from transforms.output.reconcile import LISTED
from transforms.runs.chunking import Chunk, recordings
from transforms.runs.corpus_chunks import CorpusChunks
from transforms.schemas import PLAN
from transforms.storage.durable_files import sync_all
from transforms.storage.files import is_local
from transforms.storage.text_files import JsonText

# Number of utterances in a file of the plan. A worker reads such a file in about a second.
FILE_ROWS = 100_000


def plan_prefix(ledger: Ledger, run_id: str) -> str:
    """Returns the prefix of the paths of a run's plan."""
    return ledger.beside_record(run_id, f"{PENDING}/plan")


def write_plan(ledger: Ledger, run_id: str, chunks: Iterable[Chunk], file_rows: int = FILE_ROWS) -> list[str]:
    """Writes a plan.

    Args:
        ledger: ledger of the output.
        run_id: id of the run, which begins when the plan is complete.
        chunks: chunks to score.
        file_rows: number of utterances in a file; the last chunk may exceed it.

    Returns:
        Paths of the files.
    """
    paths: list[str] = []
    waiting: list[Chunk] = []

    def flush() -> None:
        path = f"{plan_prefix(ledger, run_id)}-{len(paths):06d}.parquet"
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            pq.write_table(plan_table(waiting), file, compression="zstd")
        paths.append(path)
        waiting.clear()

    rows = 0
    for chunk in chunks:
        waiting.append(chunk)
        rows += _num_refs(chunk)
        if rows >= file_rows:
            flush()
            rows = 0
    if waiting:
        flush()
    if is_local(ledger.root):
        sync_all(paths)  # `Ledger.begin` syncs their folder
    return paths


def plan_paths(ledger: Ledger, run_id: str) -> list[str]:
    """Returns the paths of the files of a run's plan."""
    pattern = f"{plan_prefix(ledger, run_id)}-*"
    return sorted(metadata.path for metadata in FileSystems.match([pattern])[0].metadata_list)


def count_planned(paths: Iterable[str]) -> int:
    """Returns the number of utterances in the files of a plan, from their footers; an archive counts as one."""
    total = 0
    for path in paths:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            total += pq.ParquetFile(file).metadata.num_rows
    return total


def plan_table(chunks: Sequence[Chunk]) -> pa.Table:
    """Returns chunks as rows of `PLAN`, numbered from 0 within a file."""
    rows = [(number, ref) for number, chunk in enumerate(chunks) for recording in chunk for ref in recording.refs]
    refs = [ref for _, ref in rows]
    return pa.table(
        {
            "chunk": [number for number, _ in rows],
            "utterance_id": [ref.utterance_id for ref in refs],
            "uri": [ref.uri.encode("utf-8", "surrogateescape") for ref in refs],
            "size_bytes": [ref.size_bytes for ref in refs],
            "source_version": [ref.source_version for ref in refs],
            "start_s": [ref.span.start_s for ref in refs],
            "end_s": [ref.span.end_s for ref in refs],
            "channel": [ref.channel for ref in refs],
            "archive": [ref.archive for ref in refs],
            "columns": [list(ref.columns.items()) for ref in refs],
            "json_columns": [[name for name, value in ref.columns.items() if type(value) is JsonText] for ref in refs],
            "fault_reason": [ref.fault and ref.fault.reason for ref in refs],
            "fault_detail": [ref.fault and ref.fault.detail for ref in refs],
            "row": [ref.row for ref in refs],
            "listed": [_listed_text(ref.listed) for ref in refs],
            "audio_root": [ref.audio_root for ref in refs],
        },
        PLAN,
    )


def read_plan(path: str) -> Iterator[Chunk]:
    """Yields the chunks in a file of a plan."""
    for _, rows in itertools.groupby(_rows(path), key=lambda row: row["chunk"]):
        yield tuple(recordings(map(_ref, rows)))


def _rows(path: str) -> Iterator[dict]:
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        for batch in pq.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()


def _ref(row: dict) -> AudioRef:
    return AudioRef(
        row["utterance_id"],
        _text(row["uri"]),
        row["size_bytes"],
        row["source_version"],
        _columns(row),
        Span(row["start_s"], row["end_s"]),
        ArchiveKind(row["archive"]) if row["archive"] else None,
        row["channel"],
        RowFault(Reason(row["fault_reason"]), row["fault_detail"]) if row["fault_reason"] else None,
        row["row"],
        _listed(row["listed"]),
        row["audio_root"],
    )


def _columns(row: dict) -> dict[str, str]:
    json_columns = set(row["json_columns"])
    return {name: JsonText(value) if name in json_columns else value for name, value in row["columns"]}


def _listed_text(listed: Mapping[str, Sequence[ListedMember]] | None) -> str | None:
    if listed is None:
        return None
    return json.dumps(
        {
            name: [(member.name, member.span.start_s, member.span.end_s, dict(member.columns)) for member in members]
            for name, members in listed.items()
        }
    )


def _listed(text: str | None) -> dict[str, tuple[ListedMember, ...]] | None:
    if text is None:
        return None
    return {
        key: tuple(ListedMember(name, Span(start, end), columns) for name, start, end, columns in members)
        for key, members in json.loads(text).items()
    }


def _text(uri: bytes) -> str:
    return uri.decode("utf-8", "surrogateescape")


def planned(paths: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """Yields the utterances of a plan as batches of `reconcile.LISTED`."""
    for path in paths:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            for batch in pq.ParquetFile(file).iter_batches(columns=["utterance_id", "uri", "archive"]):
                uris = zip(batch["uri"].to_pylist(), batch["archive"].to_pylist(), strict=True)
                archive_uris = [printable(_text(uri)) if archive else None for uri, archive in uris]
                yield pa.RecordBatch.from_arrays(
                    [batch["utterance_id"], pa.array(archive_uris, pa.string())], schema=LISTED
                )


class WritePlan(beam.PTransform):
    """Chunks -> paths of the files of their plan, for a run that lists its corpus itself.

    Args:
        ledger: ledger of the output.
        run_id: id of the run.
    """

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        super().__init__()
        self._prefix = plan_prefix(ledger, run_id)

    def expand(self, chunks: beam.PCollection) -> beam.PCollection:
        """Writes the chunks on the workers that hold them."""
        return chunks | WriteTable(self._prefix, PLAN, to_table=plan_table, count_rows=_num_refs, rows=FILE_ROWS)


def _num_refs(chunk: Chunk) -> int:
    return sum(len(recording.refs) for recording in chunk)


class ReadPlan(beam.PTransform):
    """Root -> chunks in the files of a plan.

    Args:
        paths: paths of the files.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__()
        self._paths = tuple(paths)

    def expand(self, root: beam.Pipeline) -> CorpusChunks:
        """Reads each file on one worker, and spreads the chunks."""
        return CorpusChunks(
            root
            | "PlanFiles" >> beam.Create(self._paths)
            | "ReadPlan" >> beam.FlatMap(read_plan).with_output_types(Any)
            | "Spread" >> beam.Reshuffle()
        )
