"""Rows of tables with recordings, as the `datasets` library of Hugging Face writes them in Parquet and Arrow."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
from apache_beam.io.filesystem import BeamIOError

from transforms.audio.sound_file import open_audio
from transforms.corpus.archives.member import Member, size_fault
from transforms.corpus.columns import role_columns
from transforms.corpus.word_times import word_columns
from transforms.errors import AudioFault, Reason, SourceError, Stage
from transforms.storage.files import Finder
from transforms.storage.text_files import as_text

_ID_COLUMNS = ("id", "utterance_id")
# Exceptions of pyarrow at a damaged file. Some are OSErrors; `is_read_error` tells them from errors of the disk.
BROKEN_TABLE = (pa.ArrowException, OSError, ValueError)


def is_read_error(error: Exception) -> bool:
    """Returns whether an error of `BROKEN_TABLE` means that the file could not be read, not that it is damaged."""
    return isinstance(error, OSError) and (error.errno is not None or isinstance(error, BeamIOError))


def audio_columns(schema: pa.Schema) -> list[str]:
    """Returns the columns of recordings: structs with `bytes` and `path` that are not declared as another type."""
    types = _declared_types(schema)
    return [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and {"bytes", "path"} <= {part.name for part in field.type}
        and types.get(field.name, "Audio") == "Audio"
    ]


def _declared_types(schema: pa.Schema) -> dict[str, str]:
    """Returns the types that `datasets` declared for the columns ("Audio", "Image", "Value"), if it wrote the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature["_type"] for name, feature in features.items() if "_type" in feature}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


class AudioRows:
    """Turns rows of a table into recordings.

    Args:
        schema: schema of the table.
        num_rows: number of its rows.
        values: function that returns all values of a column; "audio.path" is the field `path` of the column `audio`.
        finder: finder of recordings of which the table holds only the paths.

    Attributes:
        columns: names of the columns to read.
    """

    def __init__(
        self, schema: pa.Schema, num_rows: int, values: Callable[[str], Sequence[Any]], finder: Finder
    ) -> None:
        self._finder = finder
        self._audio = audio_columns(schema)
        self._id = _id_column(schema, values)
        self._paths = {column for column in self._audio if self._id is None and _are_unique(values(f"{column}.path"))}
        self._digits = len(str(num_rows))
        words = word_columns(schema.names)
        self._metadata = [
            field.name
            for field in schema
            if field.name != self._id
            and (_is_plain(field.type) or (field.name in words and pa.types.is_nested(field.type)))
        ]
        self._roles = role_columns(self._metadata)
        self.columns = [*self._audio, *self._metadata, *([self._id] if self._id else [])]

    def names(self, number: int, row: Mapping[str, Any]) -> dict[str, str]:
        """Returns the names of the recordings of a row, by column.

        Args:
            number: number of the row in the file, from 0.
            row: values by column.
        """
        names = {}
        for column in self._audio:
            audio = row[column] or {}
            name = as_text(row[self._id] if self._id else audio.get("path") if column in self._paths else None)
            name = name or f"{number:0{self._digits}d}"
            names[column] = f"{name}/{column}" if len(self._audio) > 1 else name
        return names

    def members(self, number: int, row: Mapping[str, Any]) -> Iterator[Member]:
        """Yields the recordings of a row, one per column of recordings.

        Args:
            number: number of the row in the file, from 0.
            row: values by column.
        """
        metadata = {name: as_text(row[name]) for name in self._metadata}
        metadata |= {role: metadata[name] for role, name in self._roles.items()}
        for column, name in self.names(number, row).items():
            audio = row[column] or {}
            data = audio.get("bytes")
            content = _content(data) if data is not None else self._file(audio.get("path"))
            size = len(content.getbuffer()) if isinstance(content, io.BytesIO) else len(data or b"")
            yield Member(name, size, metadata, content)

    def _file(self, path: str | None) -> BinaryIO | AudioFault:
        """Reads the recording at a path."""
        if not path:
            return AudioFault(Stage.READ, Reason.EMPTY_FILE, "the row holds no recording: no bytes and no path")
        try:
            file = self._finder.find(path)
            if fault := size_fault(file.size_bytes):
                return fault
            with open_audio(file.uri) as opened:
                return io.BytesIO(opened.read())
        except SourceError as error:
            return AudioFault(Stage.READ, Reason.UNREADABLE, str(error))
        except AudioFault as fault:
            detail = f"the row holds only the path {path}: {fault.detail}; --audio_root names the folder of such paths"
            return AudioFault(fault.stage, fault.reason, detail)


def _content(data: bytes) -> BinaryIO | AudioFault:
    return size_fault(len(data)) or io.BytesIO(data)


def _id_column(schema: pa.Schema, values: Callable[[str], Sequence[Any]]) -> str | None:
    """Returns the first id column of integers or texts in which no value is missing or occurs twice."""
    for name in _ID_COLUMNS:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            continue
        texts = [as_text(value) for value in values(name)]
        if len(set(texts)) == len(texts) and "" not in texts:
            return name
    return None


def _are_unique(paths: Sequence[str | None]) -> bool:
    """Returns whether the paths of recordings are unique. Many data sets have the same path in all rows."""
    known = [path for path in paths if path]
    return len(set(known)) == len(known)


def _is_plain(kind: pa.DataType) -> bool:
    return not (
        pa.types.is_nested(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
