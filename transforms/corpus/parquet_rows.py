"""Reads the rows of manifests in Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives.audio_rows import BROKEN_TABLE, audio_columns, is_read_error
from transforms.corpus.listing import BadRow
from transforms.corpus.rows import NumberedRow, Rows
from transforms.errors import SourceError

_BATCH_ROWS = 10_000


class ParquetTable:
    """A table in a Parquet file.

    Args:
        uri: URI of the file.

    Attributes:
        names: names of the columns, without those of raw bytes.
        has_audio: whether columns hold recordings or their paths, as `datasets` writes them.

    Raises:
        SourceError: the file does not exist, or is not Parquet.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        if not FileSystems.exists(uri):
            raise SourceError(f"{uri}: there is no such manifest")
        try:
            with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                schema = pq.read_schema(file)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{uri}: the manifest cannot be read as Parquet ({error})") from error
        self.has_audio = bool(audio_columns(schema))
        self.names: list[str] = [field.name for field in schema if not _is_binary(field.type)]

    def rows(self, names: Sequence[str]) -> Rows:
        """Yields the rows, and a fault for each damaged part.

        Args:
            names: names of the columns to read.

        Raises:
            SourceError: the file cannot be read at all.
        """
        with FileSystems.open(self._uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            table = pq.ParquetFile(file, page_checksum_verification=True)
            before = 0
            for group in range(table.num_row_groups):
                number = before
                before += table.metadata.row_group(group).num_rows
                try:
                    for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=list(names)):
                        yield from _rows(batch, number + 1)
                        number += len(batch)
                except BROKEN_TABLE as error:
                    if is_read_error(error):
                        raise
                    lost = f"{before - number} rows from this one on are damaged" if before > number + 1 else "damaged"
                    yield BadRow(number + 1, f"{lost} ({error})", f"{group} {number}")


def _rows(batch: pa.RecordBatch, number: int) -> Iterator[NumberedRow | BadRow]:
    """Yields the rows of a batch, whose first row has the given number."""
    try:
        yield from enumerate(batch.to_pylist(), number)
        return
    except UnicodeDecodeError:
        pass
    for index in range(len(batch)):
        try:
            yield number + index, batch.slice(index, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield BadRow(number + index, f"a text is not in UTF-8 ({error})", repr(error.object))


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
