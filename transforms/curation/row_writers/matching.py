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
from typing import Any

import pyarrow as pa

from transforms.corpus.source_rows import Manifests, RowKey, combined_schema, row_keys
from transforms.curation.duckdb_rows import spill
from transforms.curation.kept_list import KeptList, ManifestError

CHANGED_MEANWHILE = "a manifest of the corpus has changed while it was read; run the command again"
_KEYS = pa.schema(
    [("place", pa.int64()), *((name, pa.string()) for name in ("utterance_id", "path", "version"))],
)
# Columns of a `KeptList` that rows of the corpus need, besides its further columns.
_KEPT = (
    *("id", "source_id", "path", "whole", "start_s", "end_s", "recording_s", "duration_s", "sample_rate", "channels"),
    *("channel", "score", "piece_start_us", "piece_end_us", "piece_is_last", "parent_s"),
)


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
    """

    manifests: Manifests
    kept: KeptList
    names: tuple[str, ...]
    lacking: int
    is_trimmed: bool
    splits_channels: bool

    def found(self) -> Iterator[dict[str, Any]]:
        """Yields the kept utterances that have a row, in the order of the rows, with the row as `place`."""
        columns = ", ".join(f"kept.{name}" for name in _KEPT)
        yield from self.kept.rows(f"""
            SELECT {columns}, places.place FROM {self.kept.table} AS kept JOIN places ON places.id = kept.id
            ORDER BY places.place, kept.start_s, kept.channel, kept.id
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
    kept: KeptList, manifests: Manifests, scratch: Path, *, is_trimmed: bool, splits_channels: bool
) -> SourceRows:
    """Finds the rows of kept utterances.

    Args:
        kept: the kept utterances.
        manifests: the manifests of the corpus.
        scratch: folder for data that does not fit into memory.
        is_trimmed: whether kept utterances may be pieces.
        splits_channels: whether each channel of a recording is an utterance.

    Raises:
        READ_ERRORS: a manifest cannot be read.
    """
    if manifests.format == "parquet":
        combined_schema(manifests.uris)
    names: dict[str, None] = {}
    keys = _rows(row_keys(manifests, names))
    kept.join("source_rows", spill(keys, _KEYS, scratch / "source_rows.parquet"))
    source_id = r"regexp_replace(kept.source_id, '#ch\d+$', '')" if splits_channels else "kept.source_id"
    kept.make(
        "places",
        f"""
        SELECT kept.id, min(source.place) AS place
        FROM {kept.table} AS kept JOIN source_rows AS source ON source.utterance_id = {source_id}
        WHERE (kept.path = source.path OR ends_with(kept.path, '/' || source.path))
            AND regexp_replace(kept.source_version, '^[^@#]*', '') = source.version
        GROUP BY kept.id
        """,
    )
    (row,) = kept.rows(f"SELECT (SELECT count(*) FROM {kept.table}) - (SELECT count(*) FROM places) AS lacking")
    return SourceRows(manifests, kept, tuple(names), row["lacking"], is_trimmed, splits_channels)


def _rows(keys: Iterable[tuple[int, RowKey]]) -> Iterator[dict[str, Any]]:
    for place, key in keys:
        yield {"place": place, "utterance_id": key.utterance_id, "path": key.path, "version": key.version}


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
