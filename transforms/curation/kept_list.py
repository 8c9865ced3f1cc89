"""The list of kept utterances that manifests and exports are made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from transforms.audio.sound_file import open_audio
from transforms.corpus.columns import RESERVED_NAMES
from transforms.corpus.formats import archive_begins
from transforms.curation.duckdb_rows import OWN_UTTERANCES, batches_of, quoted, write_parquet
from transforms.decoders.sound import num_samples, open_sound
from transforms.elements import SPANS_MARK
from transforms.errors import AudioFault
from transforms.schemas import TRIMMED
from transforms.storage.files import look_at

# Column names that have another meaning in manifests, so that carried columns cannot use them.
RESERVED_COLUMNS = RESERVED_NAMES | {TRIMMED}
# Begins the name of a new column if the corpus has a column of that name.
PREFIX = "audiosieve_"
# Number of recordings whose headers are read at the same time.
_READERS = 16


class ManifestError(ValueError):
    """A manifest cannot list the kept utterances."""


# SQL for the order of the corpus; of rows that it does not have, that of their recordings. Pieces are ordered by their starts.
IN_ORDER = "position NULLS LAST, source_id, piece_number, id"


def field_key(name: str) -> str:
    """Returns the name of a further column in the table of a `KeptList`. No column of the list itself has such a name."""
    return f"field {name}"


def field_sql(name: str) -> str:
    """Returns SQL for a further column of a `KeptList`."""
    return quoted(field_key(name))


def free_name(name: str, names: Iterable[str]) -> str:
    """Returns the name of a new column that differs from other names, even if case is ignored."""
    taken = {other.lower() for other in names}
    if name not in taken:
        return name
    candidate, number = f"{PREFIX}{name}", 2
    while candidate in taken:
        candidate, number = f"{PREFIX}{name}_{number}", number + 1
    return candidate


class KeptList:
    """The kept utterances, one row each, in a DuckDB table.

    Columns of the table:

        id, path             id of the utterance, path of its recording
        archive, member      path of the archive and name in it; null if the recording is a file of its own
        whole                whether the utterance is the whole recording
        start_s, end_s       start and end in the recording, rounded to whole samples
        recording_s          duration of the recording; null if unknown
        duration_s, sample_rate, channels, channel, score, source_version, format
                             as in `utterances`; the score has four decimals
        source_id            id of the row in the corpus: that of the utterance, or of the utterance that a piece is part of
        piece_start_us, piece_end_us, piece_is_last, piece_number, parent_s
                             of a piece: start and end in its utterance, whether it ends where that ends, its number among
                             the pieces of that, and the length of that in seconds; null for other utterances
        position             number that sorts the list like the rows of the corpus; null if these are unknown
        field NAME           further columns (`field_key`): those of the corpus that were carried; after trimming also
                             `trimmed`, as in kept.parquet

    Attributes:
        table: name of the table, for SQL.
        columns: names of the further columns, which manifests copy.
        json_columns: names of those whose values are JSON, because they have no type in common.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: str,
        columns: Sequence[str],
        json_columns: Sequence[str] = (),
    ) -> None:
        self._connection = connection
        self.table = table
        self.columns = list(columns)
        self.json_columns = frozenset(json_columns)

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        """Streams the rows of a query over the table as Arrow batches."""
        return batches_of(self._connection, query)

    def rows(self, query: str) -> Iterator[dict[str, Any]]:
        """Streams the rows of a query over the table, with the values of JSON."""
        keys = [field_key(name) for name in self.json_columns]
        for batch in self.batches(query):
            for row in batch.to_pylist():
                for key in keys:
                    if row.get(key) is not None:
                        row[key] = json.loads(row[key])
                yield row

    def texts(self, query: str) -> Iterator[str]:
        """Streams the first column of a query over the table, which must hold texts."""
        for batch in self.batches(query):
            yield from batch.column(0).to_pylist()

    def schema(self, query: str) -> pa.Schema:
        """Returns the Arrow schema of a query over the table."""
        return self._connection.sql(query).to_arrow_reader(1).schema

    def fields(self) -> pa.Schema:
        """Returns the further columns with their types; those of JSON are texts."""
        columns = ", ".join(f"{field_sql(name)} AS {quoted(name)}" for name in self.columns)
        return self.schema(f"SELECT {columns} FROM {self.table}") if columns else pa.schema([])

    def write_parquet(self, query: str, schema: pa.Schema, path: Path) -> int:
        """Writes the rows of a query over the table to a Parquet file; returns their number."""
        return write_parquet(self._connection, query, schema, path)

    def join(self, name: str, rows: Any) -> None:
        """Makes Arrow data available to queries.

        Args:
            name: name of the view that queries read.
            rows: Arrow table or dataset.
        """
        self._connection.register(name, rows)

    def make(self, table: str, query: str) -> None:
        """Makes a temporary table of the rows of a query."""
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}")

    def of_table(self, table: str, columns: Sequence[str], json_columns: Sequence[str]) -> KeptList:
        """Returns a list of another table that `make` made, with other further columns."""
        return KeptList(self._connection, table, columns, json_columns)

    def set_positions(self, places: str) -> None:
        """Sorts the list like the rows of the corpus.

        Args:
            places: table with `id` and `place` of utterances.
        """
        self._connection.execute(
            f"UPDATE {self.table} SET position = {places}.place FROM {places} WHERE {self.table}.id = {places}.id"
        )

    def has_archives(self) -> bool:
        """Whether any utterance is in an archive."""
        (row,) = self.rows(f"SELECT count(archive) > 0 AS has_archives FROM {self.table}")
        return bool(row["has_archives"])

    def unmeasured(self) -> list[str]:
        """Returns the paths of the recordings whose duration is unknown, without those in archives."""
        query = f"SELECT DISTINCT path FROM {self.table} WHERE recording_s IS NULL AND archive IS NULL ORDER BY path"
        return list(self.texts(query))

    def set_durations(self, durations: Mapping[str, float]) -> None:
        """Fills in unknown durations of recordings.

        Args:
            durations: duration in seconds by path.
        """
        paths, seconds = pa.array(durations.keys(), pa.string()), pa.array(durations.values(), pa.float64())
        self.join("recordings", pa.table({"path": paths, "duration_s": seconds}))
        self._connection.execute(f"""
            UPDATE {self.table} SET recording_s = recordings.duration_s FROM recordings
            WHERE {self.table}.path = recordings.path AND recording_s IS NULL
        """)


def kept_list_query(
    kept: str, *, archives: str, spans: str | None, has_spans: bool, columns: Sequence[str] = ()
) -> str:
    """Returns the query for the table of a `KeptList`.

    Args:
        kept: table of kept rows, with the columns of `utterances`.
        archives: name of the table of archives (`formats.find_archives`).
        spans: name of the table of good spans (`trimming.good_spans`); None if nothing was trimmed.
        has_spans: whether the corpus may list spans of recordings. Its utterances then get a start and an end.
        columns: further columns of `kept` to include.
    """
    is_span, recording_s, parents = "false", "kept.duration_s", ""
    piece = (
        "NULL::BIGINT AS piece_start_us, NULL::BIGINT AS piece_end_us, NULL::BOOLEAN AS piece_is_last, "
        "NULL::BIGINT AS piece_number, NULL::DOUBLE AS parent_s"
    )
    source_id = "kept.utterance_id"
    if spans is not None:
        source_id = "coalesce(spans.parent_id, kept.utterance_id)"
        piece = (
            "spans.start_us AS piece_start_us, spans.end_us AS piece_end_us, spans.is_last AS piece_is_last, "
            "spans.number AS piece_number, parents.duration_s AS parent_s"
        )
        is_span, recording_s = "spans.utterance_id IS NOT NULL", "coalesce(parents.duration_s, kept.duration_s)"
        parents = (
            f"LEFT JOIN (SELECT *, row_number() OVER (PARTITION BY parent_id ORDER BY start_us) AS number FROM {spans}) "
            "AS spans USING (utterance_id) "
            f"LEFT JOIN {OWN_UTTERANCES} AS parents ON parents.utterance_id = spans.parent_id"
        )
    # In an archive, only a manifest lists spans; the version says so.
    in_archive = f"archives.archive IS NOT NULL AND NOT contains(kept.source_version, '{SPANS_MARK}')"
    is_recording = in_archive if has_spans else "true"
    further = "".join(f", kept.{quoted(name)} AS {field_sql(name)}" for name in columns)
    return f"""
        WITH on_samples AS (
            SELECT kept.utterance_id AS id, kept.uri AS path, archives.archive,
                substr(kept.uri, length(archives.archive) + 2) AS member,
                ({is_recording}) AND NOT ({is_span}) AS whole,
                CASE WHEN {is_recording} THEN {recording_s} END AS recording_s,
                round_even(kept.start_s * kept.sample_rate, 0) AS first_sample,
                round(kept.duration_s * kept.sample_rate) AS samples,
                kept.duration_s, kept.sample_rate, kept.channels, kept.channel, round(kept.score::DOUBLE, 4) AS score,
                kept.source_version, kept.format, {source_id} AS source_id, {piece},
                NULL::BIGINT AS position{further}
            FROM {kept} AS kept {parents}
            LEFT JOIN {archives} AS archives ON {archive_begins("kept.uri")} = archives.begins
        )
        SELECT * EXCLUDE (first_sample, samples), first_sample / sample_rate AS start_s,
            (first_sample + samples) / sample_rate AS end_s
        FROM on_samples ORDER BY id
    """


def manifest_columns(carried: Sequence[str]) -> list[str]:
    """Returns the carried columns of a corpus that manifests can have too, without `RESERVED_COLUMNS`."""
    return [name for name in carried if name.lower() not in RESERVED_COLUMNS]


def unnamed_recordings(kept: KeptList) -> list[str]:
    r"""Returns the local paths that name no file, because a byte that is not UTF-8 stands in them as `\xNN`."""
    query = rf"SELECT DISTINCT path FROM {kept.table} WHERE regexp_matches(path, '\\x[89a-f][0-9a-f]') ORDER BY path"
    return [path for path in kept.texts(query) if path.startswith("/") and not look_at(path).is_there]


def measure_recordings(kept: KeptList) -> None:
    """Reads the unknown durations of recordings from their headers, and adds them to the list.

    Raises:
        ManifestError: a recording cannot be opened.
    """
    paths = kept.unmeasured()
    with ThreadPoolExecutor(_READERS) as readers:
        durations = list(readers.map(_duration_of, paths))
    kept.set_durations(dict(zip(paths, durations, strict=True)))


def _duration_of(path: str) -> float:
    try:
        with open_audio(path) as file, open_sound(file) as sound:
            return num_samples(sound) / sound.samplerate
    except AudioFault as fault:
        raise ManifestError(
            f"{path}: Lhotse cuts need the duration of the recording, which cannot be opened ({fault.detail}); "
            "choose another --format"
        ) from fault
