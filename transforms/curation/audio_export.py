"""Writes the audio of kept utterances as files or as tar shards, in any filesystem that Beam knows."""

from __future__ import annotations

import errno
import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.curation.audio_segments import segments, suffix_of
from transforms.curation.export_outcomes import OUTCOMES
from transforms.curation.export_plan import Container, ExportFormat, Row
from transforms.elements import printable
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.atomic_files import atomic_file

_BLOCK_BYTES = 1 << 20
# Errors by which a file system refuses the name of a file, but not others.
_REFUSED_NAME = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.ENOTDIR}


def export_files(rows: Sequence[Row], folder: str, container: Container, resume: bool = True) -> Iterator[Row]:
    """Writes one file for each row of a plan.

    Args:
        rows: rows of a plan.
        folder: folder of the export, in any filesystem that Beam knows.
        container: format of audio that is cut out of a recording.
        resume: whether to skip the rows whose file exists.

    Yields:
        The outcome of each row (`OUTCOMES`).
    """
    missing = []
    for row in rows:
        name = _existing_file(row, folder, container) if resume else None
        if name:
            yield _exported(row, name)
        else:
            missing.append(row)
    for row, segment in segments(missing, container):
        if isinstance(segment, AudioFault):
            yield _rejected(row, segment)
            continue
        name = f"{row['stem']}.{segment.suffix}"
        try:
            with atomic_file(f"{folder}/{name}") as out:
                shutil.copyfileobj(segment.content, out, _BLOCK_BYTES)
        except OSError as error:
            if error.errno not in _REFUSED_NAME:
                raise
            detail = f"{folder}/{name} cannot be written ({error.strerror}); export to another folder"
            yield _rejected(row, AudioFault(Stage.EXPORT, Reason.UNWRITABLE, detail))
            continue
        yield _exported(row, name)


def _existing_file(row: Row, folder: str, container: Container) -> str | None:
    """Returns the name of the file that an earlier export wrote for a row."""
    for suffix in dict.fromkeys((suffix_of(row["uri"], row["format"]), container, "wav")):
        name = f"{row['stem']}.{suffix}"
        if FileSystems.exists(f"{folder}/{name}"):
            return name
    return None


def export_shard(rows: Sequence[Row], folder: str, number: int, resume: bool = True) -> Iterator[Row]:
    """Writes a tar file with the audio and a JSON file of each row.

    The audio has the suffix flac, or that of the recording if it is copied whole. Times and owners are fixed, so that the same
    rows give the same bytes.

    Args:
        rows: rows of one chunk of a plan.
        folder: folder of the export, in any filesystem that Beam knows.
        number: number of the chunk.
        resume: whether to skip a shard that exists and has all rows.

    Yields:
        The outcome of each row (`OUTCOMES`).
    """
    name = f"shard-{number:06d}.tar"
    uri = f"{folder}/{name}"
    if resume and FileSystems.exists(uri):
        keys = _keys(uri)
        if all(row["stem"] in keys for row in rows):
            yield from (_exported(row, name) for row in rows)
            return
    with atomic_file(uri) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row, segment in segments(rows, "flac"):
            if isinstance(segment, AudioFault):
                yield _rejected(row, segment)
                continue
            _add(tar, f"{row['stem']}.{segment.suffix}", segment.content)
            metadata = {name: value for name, value in json.loads(row["metadata"]).items() if value is not None}
            _add(tar, f"{row['stem']}.json", io.BytesIO(json.dumps(metadata, ensure_ascii=False).encode()))
            yield _exported(row, name)


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


def _exported(row: Row, path: str) -> Row:
    return dict.fromkeys(OUTCOMES.names) | {"utterance_id": row["utterance_id"], "uri": row["uri"], "path": path}


def _rejected(row: Row, fault: AudioFault) -> Row:
    return {
        "uri": row["uri"],
        "utterance_id": row["utterance_id"],
        "source_version": row["source_version"],
        "stage": Stage.EXPORT,
        "reason": fault.reason,
        "detail": printable(fault.detail),
        "path": None,
    }


class ExportChunk(beam.DoFn):
    """Exports chunks of a plan: number of the chunk -> the outcome of each of its rows (`OUTCOMES`).

    Args:
        plan: path of the plan.
        folder: folder of the export, in any filesystem that Beam knows.
        format: format of the export.
        resume: whether to skip what an earlier export wrote.
    """

    def __init__(self, plan: str, folder: str, format: ExportFormat, resume: bool) -> None:
        self.plan, self.folder, self.format, self.resume = plan, folder, format, resume

    def process(self, chunk: int) -> Iterable[Row]:
        """Exports a chunk."""
        rows = pq.ParquetFile(self.plan).read_row_group(chunk).to_pylist()
        if self.format == "webdataset":
            yield from export_shard(rows, self.folder, chunk, self.resume)
        else:
            yield from export_files(rows, self.folder, self.format, self.resume)
