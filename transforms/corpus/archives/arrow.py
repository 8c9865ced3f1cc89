"""Arrow files of recordings (IPC streams and files), as `save_to_disk` of the library `datasets` writes them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives.audio_rows import BROKEN_TABLE, AudioRows, audio_columns, is_read_error
from transforms.corpus.archives.member import Member
from transforms.corpus.listing import BadRow
from transforms.corpus.rows import Rows
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.files import Finder, is_local

ARROW_SUFFIX = ".arrow"
# First bytes of the form with a footer; the other one is a stream.
_FILE_MAGIC = b"ARROW1"


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[Any]:
    """Opens an Arrow file as an iterator of batches with a `schema`."""
    with contextlib.ExitStack() as stack:
        if is_local(uri):
            # Batches hold hundreds of recordings; a mapped file gives them back to the system.
            file = stack.enter_context(pa.memory_map(uri))
        else:
            file = stack.enter_context(FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED))
        is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        file.seek(0)
        yield _Batches(pa.ipc.open_file(file)) if is_file else pa.ipc.open_stream(file)


class _Batches:
    """The batches of the form with a footer, one at a time."""

    def __init__(self, reader: pa.RecordBatchFileReader) -> None:
        self._reader = reader
        self.schema = reader.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return map(self._reader.get_batch, range(self._reader.num_record_batches))


def arrow_schema(uri: str) -> pa.Schema:
    """Returns the schema of an Arrow file.

    Raises:
        OSError or pyarrow.ArrowException: the file cannot be opened, or is not Arrow.
    """
    with _opened(uri) as batches:
        return batches.schema


def lacks_bytes(uri: str) -> tuple[bool, bool]:
    """Returns whether some rows of an Arrow file with audio, and whether all of them, hold no recording, only its path.

    Raises:
        OSError or pyarrow.ArrowException: the file cannot be read.
    """
    rows, missing = 0, 0
    with _opened(uri) as batches:
        names = audio_columns(batches.schema)
        for batch in batches:
            for name in names:
                rows += len(batch)
                missing += pc.struct_field(batch.column(name), "bytes").null_count
    return missing > 0, missing == rows > 0


def path_rows(uri: str) -> Rows:
    """Yields the rows of an Arrow file, without the bytes of recordings.

    Raises:
        OSError: the file cannot be read.
    """
    number = 0
    try:
        with _opened(uri) as batches:
            for batch in batches:
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except BROKEN_TABLE as error:
        if is_read_error(error):
            raise
        yield BadRow(number + 1, f"the rest of the file is damaged ({error})", str(number))


def read_arrow(uri: str, finder: Finder) -> Iterator[Member]:
    """Reads the recordings in an Arrow file.

    Args:
        uri: URI of the file.
        finder: finder of recordings of which the file holds only the paths.

    Raises:
        AudioFault: the file is damaged; the rows before the damage are yielded first.
        OSError: the file cannot be read.
    """
    number = 0
    try:
        with _opened(uri) as batches:
            rows = AudioRows(batches.schema, _num_rows(uri), lambda name: _values(uri, name), finder)
            for batch in batches:
                selected = batch.select(rows.columns)
                for index in range(len(batch)):
                    (row,) = selected.slice(index, 1).to_pylist()
                    yield from rows.members(number, row)
                    number += 1
    except BROKEN_TABLE as error:
        if is_read_error(error):
            raise
        detail = f"the archive is damaged: the rows after the first {number} cannot be read ({error})"
        raise AudioFault(Stage.READ, Reason.CORRUPT, detail) from error


def arrow_rows(uri: str) -> Iterator[tuple[pa.RecordBatch, dict[str, str]]]:
    """Reads the rows of an Arrow file with recordings, one at a time.

    Args:
        uri: URI of the file.

    Yields:
        A batch of one row with all columns, and the names of its recordings by column.

    Raises:
        BROKEN_TABLE: the file is damaged or cannot be read.
    """
    number = 0
    with _opened(uri) as batches:
        rows = AudioRows(batches.schema, _num_rows(uri), lambda name: _values(uri, name), Finder(""))
        for batch in batches:
            for index in range(len(batch)):
                one = batch.slice(index, 1)
                (row,) = one.select(rows.columns).to_pylist()
                yield one, rows.names(number, row)
                number += 1


def _num_rows(uri: str) -> int:
    return sum(len(array) for array in _arrays(uri, lambda batch: batch.column(0)))


def _values(uri: str, name: str) -> list[Any]:
    """Returns the values of a column, or of a field of it, such as `audio.path`; up to the damage in a damaged file."""
    column, dot, field = name.rpartition(".")

    def array_of(batch: pa.RecordBatch) -> pa.Array:
        is_field = dot and name not in batch.schema.names
        return pc.struct_field(batch.column(column), field) if is_field else batch.column(name)

    return [value for array in _arrays(uri, array_of) for value in array.to_pylist()]


def _arrays(uri: str, array_of: Callable[[pa.RecordBatch], pa.Array]) -> Iterator[pa.Array]:
    with _opened(uri) as batches:
        try:
            yield from map(array_of, batches)
        except BROKEN_TABLE as error:
            if is_read_error(error):
                raise
