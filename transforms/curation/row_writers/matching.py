"""Finds the rows of the corpus's manifests that belong to kept utterances.

The manifests are read once more when the corpus is filtered. An output does not contain their rows: it would be as large as
they are, and it would need to copy them through each run. A row is found by its id, its recording, its span and its channel, so
a manifest that has changed since costs nothing but the rows that it no longer has. Both passes over the manifests read from
beginning to end; only the places of the rows are sorted, by DuckDB.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from transforms.corpus.listing import ListingOptions
from transforms.corpus.source_rows import Manifests, RowKey, cell_names, combined_schema, read_keys
from transforms.curation.kept_list import KeptList, ManifestError

CHANGED_MEANWHILE = (
    "a row of the corpus's manifest cannot be read, because the manifest has changed meanwhile or is damaged; run the command "
    "again, or with --format none"
)
_KEYS = pa.schema(
    [("place", pa.int64()), *((name, pa.string()) for name in ("utterance_id", "uri", "version"))],
)
_KEYS_AT_A_TIME = 10_000
# Columns of a `KeptList` that rows of the corpus need, besides its further columns.
_KEPT = (
    *("id", "source_id", "path", "whole", "start_s", "end_s", "recording_s", "duration_s", "sample_rate", "channels"),
    *("channel", "score", "piece_start_us", "piece_end_us", "piece_is_last", "piece_number", "parent_s"),
)
# Columns more of a list of exported files: path, sampling rate and channels of the recording.
_OF_FILES = ("source_path", "source_rate", "source_channels")


@dataclasses.dataclass(frozen=True)
class SourceRows:
    """The rows of the corpus's manifests that belong to kept utterances.

    Attributes:
        manifests: the manifests.
        kept: the kept utterances.
        names: names of the cells of all rows, kept or not, in the order in which they occur. Empty for Lhotse and Kaldi.
        lacking: number of kept utterances that have no row.
        is_trimmed: whether kept utterances may be pieces.
        splits_channels: whether each channel of a recording is an utterance.
        are_files: whether the list has exported files, which contain one utterance each.
    """

    manifests: Manifests
    kept: KeptList
    names: tuple[str, ...]
    lacking: int
    is_trimmed: bool
    splits_channels: bool
    are_files: bool = False

    def of_files(self, files: KeptList) -> SourceRows:
        """Returns the rows of those kept utterances that were exported, with their files.

        Args:
            files: the exported files (`AudioTarget.files_of`).
        """
        query = f"SELECT count(*) AS lacking FROM {files.table} AS kept ANTI JOIN places ON places.id = kept.id"
        (row,) = files.rows(query)
        return dataclasses.replace(self, kept=files, lacking=row["lacking"], are_files=True)

    def found(self) -> Iterator[dict[str, Any]]:
        """Yields the kept utterances that have a row, in the order of the rows, with the row as `place`."""
        columns = ", ".join(f"kept.{name}" for name in (*_KEPT, *(_OF_FILES if self.are_files else ())))
        yield from self.kept.rows(f"""
            SELECT {columns}, places.place FROM {self.kept.table} AS kept JOIN places ON places.id = kept.id
            ORDER BY places.place, kept.piece_number, kept.start_s, kept.channel, kept.id
        """)

    def without_row(self) -> Iterator[dict[str, Any]]:
        """Yields the kept utterances that have no row, with their further columns, sorted by id."""
        if self.lacking:
            yield from self.kept.rows(f"""
                SELECT kept.* FROM {self.kept.table} AS kept ANTI JOIN places ON places.id = kept.id ORDER BY kept.id
            """)

    def has(self, condition: str) -> bool:
        """Returns whether an SQL condition is true for any kept utterance."""
        (row,) = self.kept.rows(f"SELECT coalesce(bool_or({condition}), false) AS found FROM {self.kept.table}")
        return bool(row["found"])


def match_rows(
    kept: KeptList, source: str, options: ListingOptions, scratch: Path, *, is_trimmed: bool, splits_channels: bool
) -> SourceRows | None:
    """Finds the rows of kept utterances.

    Args:
        kept: the kept utterances.
        source: the corpus.
        options: how it was listed.
        scratch: folder for data that does not fit into memory.
        is_trimmed: whether kept utterances may be pieces.
        splits_channels: whether each channel of a recording is an utterance.

    Returns:
        The rows; None if the corpus has no manifest whose rows can be copied.

    Raises:
        READ_ERRORS: a manifest cannot be read.
    """
    path = scratch / "source_rows.parquet"
    with _Keys(path) as keys:
        manifests = read_keys(source, options, keys.add)
    if manifests is None:
        return None
    if manifests.format == "parquet":
        combined_schema(manifests.uris)
    kept.join("source_rows", ds.dataset(path, _KEYS))
    source_id = r"regexp_replace(kept.source_id, '#ch\d+$', '')" if splits_channels else "kept.source_id"
    # Kaldi and Lhotse have paths that are relative to the current directory of the run.
    same_name = "ends_with(kept.path, '/' || regexp_extract(source.uri, '[^/]*$'))"
    is_same = (
        f"kept.path = source.uri OR {same_name}"
        if manifests.format in ("kaldi", "lhotse")
        else "kept.path = source.uri"
    )
    kept.make(
        "places",
        f"""
        SELECT kept.id, min(source.place) AS place
        FROM {kept.table} AS kept JOIN source_rows AS source ON source.utterance_id = {source_id}
        WHERE ({is_same}) AND regexp_replace(kept.source_version, '^[^@#]*', '') = source.version
        GROUP BY kept.id
        """,
    )
    kept.set_positions("places")
    (row,) = kept.rows(f"SELECT (SELECT count(*) FROM {kept.table}) - (SELECT count(*) FROM places) AS lacking")
    return SourceRows(manifests, kept, cell_names(manifests), row["lacking"], is_trimmed, splits_channels)


class _Keys:
    """Writes keys of rows to a Parquet file, so that they need no memory."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, _KEYS, compression="zstd")
        self._rows: list[tuple[int, RowKey]] = []

    def __enter__(self) -> _Keys:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._flush()
        self._writer.close()

    def add(self, place: int, key: RowKey) -> None:
        """Adds the key of a row."""
        self._rows.append((place, key))
        if len(self._rows) == _KEYS_AT_A_TIME:
            self._flush()

    def _flush(self) -> None:
        columns: list[list[Any]] = [
            [place for place, _ in self._rows],
            *([getattr(key, name) for _, key in self._rows] for name in _KEYS.names[1:]),
        ]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _KEYS, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=_KEYS))
        self._rows = []


def merged(
    found: Iterable[dict[str, Any]], rows: Iterable[tuple[int, Any]]
) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Yields each row that belongs to kept utterances, and these utterances.

    Args:
        found: kept utterances with the `place` of their rows, sorted by place.
        rows: places and rows, sorted by place.

    Raises:
        ManifestError: a row is gone, because the manifest has changed meanwhile.
    """
    remaining = itertools.groupby(found, key=lambda utterance: utterance["place"])
    place, utterances = next(remaining, (None, iter(())))
    for number, row in rows:
        if place is None:
            return
        if number == place:
            yield row, list(utterances)
            place, utterances = next(remaining, (None, iter(())))
    if place is not None:
        raise ManifestError(CHANGED_MEANWHILE)
