"""The audio of what is kept, written out as files or as shards, in any filesystem that Beam knows."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms import schemas
from transforms.curation.audio_segments import segments, suffix_of
from transforms.curation.export_plan import ExportFormat, Row
from transforms.elements import printable
from transforms.errors import AudioFault, Stage
from transforms.storage.atomic_files import atomic_file

# What became of each: the file's name in the folder of the export, or why there is none.
OUTCOMES = pa.schema([*(pa.field(field.name, field.type) for field in schemas.REJECTS), pa.field("path", pa.string())])
_BLOCK_BYTES = 1 << 20


def export_files(rows: Sequence[Row], folder: str, container: str, goes_on: bool = True) -> Iterator[Row]:
    """Writes a file for each row.

    Args:
        rows: of a plan.
        folder: where to, in any filesystem that Beam knows.
        container: "flac" or "wav", for what is cut out of a recording.
        goes_on: whether what is there is looked for, and left.

    Yields:
        What became of each (`OUTCOMES`).
    """
    todo = []
    for row in rows:
        there = _there(row, folder, container) if goes_on else None
        if there:
            yield _done(row, there)
        else:
            todo.append(row)
    for row, found in segments(todo, container):
        if isinstance(found, AudioFault):
            yield _failed(row, found)
            continue
        name = f"{row['stem']}.{found.suffix}"
        with atomic_file(f"{folder}/{name}") as out:
            shutil.copyfileobj(found.content, out, _BLOCK_BYTES)
        yield _done(row, name)


def _there(row: Row, folder: str, container: str) -> str | None:
    """The file of a row that an earlier export has written."""
    for suffix in dict.fromkeys((suffix_of(row["uri"], row["format"]), container, "wav")):
        name = f"{row['stem']}.{suffix}"
        if FileSystems.exists(f"{folder}/{name}"):
            return name
    return None


def export_shard(rows: Sequence[Row], folder: str, number: int, goes_on: bool = True) -> Iterator[Row]:
    """Writes a tar of all rows, `KEY.flac` (or the recording's own suffix) and `KEY.json` of each.

    One that is there and has them all is left. Times and owners in it are always the same, so that its bytes are, too.

    Args:
        rows: of one chunk of a plan.
        folder: where to, in any filesystem that Beam knows.
        number: of the chunk.
        goes_on: whether what is there is looked for.

    Yields:
        What became of each (`OUTCOMES`).
    """
    name = f"shard-{number:06d}.tar"
    uri = f"{folder}/{name}"
    if goes_on and FileSystems.exists(uri):
        keys = _keys(uri)
        if all(row["stem"] in keys for row in rows):
            yield from (_done(row, name) for row in rows)
            return
    with atomic_file(uri) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row, found in segments(rows, "flac"):
            if isinstance(found, AudioFault):
                yield _failed(row, found)
                continue
            _add(tar, f"{row['stem']}.{found.suffix}", found.content)
            about = {name: value for name, value in json.loads(row["about"]).items() if value is not None}
            _add(tar, f"{row['stem']}.json", io.BytesIO(json.dumps(about, ensure_ascii=False).encode()))
            yield _done(row, name)


def _keys(uri: str) -> set[str]:
    with (
        FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file,
        tarfile.open(fileobj=file) as tar,
    ):
        return {name.removesuffix(".json") for name in tar.getnames() if name.endswith(".json")}


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO) -> None:
    header = tarfile.TarInfo(name)
    header.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    tar.addfile(header, content)


def _done(row: Row, path: str) -> Row:
    return dict.fromkeys(OUTCOMES.names) | {"utterance_id": row["utterance_id"], "uri": row["uri"], "path": path}


def _failed(row: Row, fault: AudioFault) -> Row:
    return {
        "uri": row["uri"],
        "utterance_id": row["utterance_id"],
        "source_version": row["source_version"],
        "stage": Stage.EXPORT,
        "reason": fault.reason,
        "detail": printable(fault.detail),
        "path": None,
    }


class Export(beam.DoFn):
    """Numbers of chunks of a plan -> what became of each utterance in them (`OUTCOMES`).

    Args:
        plan: its path.
        folder: where the audio goes.
        format: of the export.
        goes_on: whether an earlier one may have written some of it.
    """

    def __init__(self, plan: str, folder: str, format: ExportFormat, goes_on: bool) -> None:
        self.plan, self.folder, self.format, self.goes_on = plan, folder, format, goes_on

    def process(self, chunk: int) -> Iterable[Row]:
        """Writes what is in a chunk."""
        rows = pq.ParquetFile(self.plan).read_row_group(chunk).to_pylist()
        if self.format == "webdataset":
            yield from export_shard(rows, self.folder, chunk, self.goes_on)
        else:
            yield from export_files(rows, self.folder, self.format, self.goes_on)
