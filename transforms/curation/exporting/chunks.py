"""Writes the audio of kept utterances as files, and chunks of a plan in any format."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from transforms.curation.exporting.datasets import export_parquet
from transforms.curation.exporting.outcomes import exported_row, rejected_row
from transforms.curation.exporting.plan import ExportFormat
from transforms.curation.exporting.segments import segments, suffix_of
from transforms.curation.exporting.shar import export_shar
from transforms.curation.exporting.shards import export_shard
from transforms.curation.exporting.target import AudioTarget, Row
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.atomic_files import atomic_file

_BLOCK_BYTES = 1 << 20
# Errors by which a file system refuses the name of a file, but not others.
_REFUSED_NAME = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.ENOTDIR}


def export_files(rows: Sequence[Row], folder: str, target: AudioTarget, resume: bool = True) -> Iterator[Row]:
    """Writes one file for each row of a plan.

    Args:
        rows: rows of a plan.
        folder: folder of the export, in any filesystem that Beam knows.
        target: audio to write.
        resume: whether to skip the rows whose file exists.

    Yields:
        The outcome of each row (`OUTCOMES`).
    """
    missing = []
    for row in rows:
        name = _existing_file(row, folder, target) if resume else None
        if name:
            yield exported_row(row, name)
        else:
            missing.append(row)
    for row, segment in segments(missing, target):
        if isinstance(segment, AudioFault):
            yield rejected_row(row, segment)
            continue
        name = f"{row['stem']}.{segment.suffix}"
        try:
            with atomic_file(f"{folder}/{name}") as out:
                shutil.copyfileobj(segment.content, out, _BLOCK_BYTES)
        except OSError as error:
            if error.errno not in _REFUSED_NAME:
                raise
            detail = f"{folder}/{name} cannot be written ({error.strerror}); export to another folder"
            yield rejected_row(row, AudioFault(Stage.EXPORT, Reason.UNWRITABLE, detail))
            continue
        yield exported_row(row, name, is_limited=segment.is_limited)


def _existing_file(row: Row, folder: str, target: AudioTarget) -> str | None:
    """Returns the name of the file that an earlier export wrote for a row."""
    copied = [suffix_of(row["uri"], row["format"])] if target.copies(row) else []
    for suffix in dict.fromkeys((*copied, target.container, "wav")):
        name = f"{row['stem']}.{suffix}"
        if FileSystems.exists(f"{folder}/{name}"):
            return name
    return None


class ExportChunk(beam.DoFn):
    """Exports chunks of a plan: number of the chunk -> the outcome of each of its rows (`OUTCOMES`).

    Args:
        plan: path of the plan.
        folder: folder of the export, in any filesystem that Beam knows.
        format: format of the export.
        target: audio to write.
        fields: further columns of the kept list, with their types.
        resume: whether to skip what an earlier export wrote.
    """

    def __init__(
        self, plan: str, folder: str, format: ExportFormat, target: AudioTarget, fields: pa.Schema, resume: bool
    ) -> None:
        self.plan, self.folder, self.format = plan, folder, format
        self.target, self.fields, self.resume = target, fields, resume

    def process(self, chunk: int) -> Iterable[Row]:
        """Exports a chunk."""
        rows = pq.ParquetFile(self.plan).read_row_group(chunk).to_pylist()
        if self.format == "webdataset":
            yield from export_shard(rows, self.folder, chunk, self.target, self.resume)
        elif self.format == "shar":
            yield from export_shar(rows, self.folder, chunk, self.target, self.resume)
        elif self.format == "parquet":
            yield from export_parquet(rows, self.folder, chunk, self.target, self.fields, self.resume)
        else:
            yield from export_files(rows, self.folder, self.target, self.resume)
