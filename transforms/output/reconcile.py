"""Checks that every input of a run is in its output, scored or rejected. Reads the written tables in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from transforms.corpus.other_files import IS_OTHER_FILE
from transforms.elements import AudioRef, archives_of, printable
from transforms.output.ledger import Ledger, count_rows
from transforms.output.records import names_that_count

# Input of the comparison: all refs. The rows of an archive's members are matched by the URI of the archive.
LISTED = pa.schema([("utterance_id", pa.string()), ("archive_uri", pa.string())])
# DuckDB spills to disk beyond this.
MEMORY = "2GB"
BATCH_ROWS = 65_536


class LostRowsError(RuntimeError):
    """Rows are missing from the output, or are in it twice. This is a bug, and the output must not be committed."""


@dataclasses.dataclass(frozen=True)
class RunCounts:
    """Numbers of a run's output.

    Attributes:
        scored: number of scored utterances.
        rejected: numbers of rejected utterances, by reason.
        audio_s: seconds of scored audio.
        frames: number of scored frames.
        scores: histogram of the utterance scores in steps of 0.1, by lower end: {"3.4": 120}.
        other_files: those of the rejected that are no recordings by their names, such as texts and pictures, by reason.
    """

    scored: int = 0
    rejected: Counter[str] = dataclasses.field(default_factory=Counter)
    audio_s: float = 0.0
    frames: int = 0
    scores: Counter[str] = dataclasses.field(default_factory=Counter)
    other_files: Counter[str] = dataclasses.field(default_factory=Counter)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> RunCounts:
        """Returns the numbers that a run's record contains."""
        return cls(
            record["counts"]["scored"],
            Counter(record["rejected"]),
            record["audio_s"],
            record["work"]["frames"],
            Counter(record["scores"]),
            Counter(record.get("other_files", {})),  # records of earlier versions do not have them
        )

    def __add__(self, other: RunCounts) -> RunCounts:
        return RunCounts(
            self.scored + other.scored,
            self.rejected + other.rejected,
            self.audio_s + other.audio_s,
            self.frames + other.frames,
            self.scores + other.scores,
            self.other_files + other.other_files,
        )

    def score_quantile(self, share: float) -> float:
        """Returns a quantile of the utterance scores, within 0.05; NaN if there are none.

        Args:
            share: share of the utterances with at most that score, 0 to 1.
        """
        remaining = share * self.scores.total()
        for low, count in sorted((float(low), count) for low, count in self.scores.items()):
            remaining -= count
            if remaining <= 0:
                return low + 0.05
        return float("nan")


def listed_batches(refs: Sequence[AudioRef]) -> Iterator[pa.RecordBatch]:
    """Yields refs as batches of `LISTED`."""
    for start in range(0, len(refs), BATCH_ROWS):
        part = refs[start : start + BATCH_ROWS]
        yield pa.RecordBatch.from_pydict(
            {
                "utterance_id": [ref.utterance_id for ref in part],
                "archive_uri": [printable(ref.uri) if ref.archive else None for ref in part],
            },
            LISTED,
        )


def reconcile(ledger: Ledger, files: Sequence[str], listed: Iterable[pa.RecordBatch]) -> RunCounts:
    """Compares the output of a run with its input.

    Args:
        ledger: ledger of the output.
        files: names of the run's files.
        listed: input of the run, batches of `LISTED`.

    Raises:
        LostRowsError: an utterance has no row, a row has no utterance, an id occurs twice, or frames are missing.
    """
    with _database(listed) as db:
        for table, columns in (("utterances", ["duration_s", "num_frames", "score"]), ("rejects", ["stage", "reason"])):
            named = [name for name in files if name.startswith(f"{table}/")]
            _insert(db, "written", ledger.rows(table, ["utterance_id", "uri", *columns], named))
        _match(db)
        _check(db, count_rows(ledger, "frames", files))
        return _run_counts(db)


def out_of_date(
    ledger: Ledger, listed: Iterable[pa.RecordBatch], records: Sequence[dict[str, Any]] | None = None
) -> set[str]:
    """Returns the ids of committed rows whose utterances are scored again.

    Args:
        ledger: ledger of the output.
        listed: utterances that are scored again, batches of `LISTED`.
        records: records of the runs to look at; by default all.
    """
    with _database(listed) as db:
        for table in ("utterances", "rejects"):
            files = None if records is None else names_that_count(records, table)
            _insert(db, "written", ledger.rows(table, ["utterance_id", "uri"], files))
        _match(db)
        return {row[0] for row in db.execute("SELECT utterance_id FROM matched WHERE listed_id IS NOT NULL").fetchall()}


@contextlib.contextmanager
def _database(listed: Iterable[pa.RecordBatch]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens DuckDB with a table `listed` and an empty table `written`."""
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as folder, duckdb.connect() as db:
        db.execute(f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false")
        db.execute("SET temp_directory = ?", [folder])
        db.execute("CREATE TABLE listed (utterance_id VARCHAR, archive_uri VARCHAR)")
        db.execute("""
            CREATE TABLE written (
                utterance_id VARCHAR, uri VARCHAR, duration_s DOUBLE, num_frames BIGINT, score FLOAT,
                stage VARCHAR, reason VARCHAR
            )
        """)
        _insert(db, "listed", listed)
        yield db


def _insert(db: duckdb.DuckDBPyConnection, table: str, batches: Iterable[pa.RecordBatch]) -> None:
    for batch in batches:
        db.register("batch", batch)
        db.execute(f"INSERT INTO {table} BY NAME SELECT * FROM batch")
        db.unregister("batch")


def _match(db: duckdb.DuckDBPyConnection) -> None:
    """Creates the table `matched`: each written row with the id of its listed utterance, or null."""
    # A row has the id of its utterance; if each channel is an utterance, the channel follows the id.
    db.execute(r"""
        CREATE TABLE matched AS
        SELECT written.utterance_id, uri, coalesce(exact.utterance_id, base.utterance_id) AS listed_id
        FROM written LEFT JOIN listed AS exact ON exact.utterance_id = written.utterance_id
        LEFT JOIN listed AS base
            ON exact.utterance_id IS NULL AND base.utterance_id = regexp_replace(written.utterance_id, '#ch\d+$', '')
    """)
    _match_members(db)


def _check(db: duckdb.DuckDBPyConnection, frames: int) -> None:
    faults = {
        "inputs without a row": "FROM listed ANTI JOIN matched ON listed.utterance_id = listed_id",
        "rows without an input": "FROM matched WHERE listed_id IS NULL",
        "duplicate ids": "FROM (SELECT utterance_id FROM written GROUP BY utterance_id HAVING count(*) > 1)",
    }
    counts = {fault: _value(db, f"SELECT count(*) {rows}") for fault, rows in faults.items()}
    expected_frames = _value(db, "SELECT coalesce(sum(num_frames), 0)::BIGINT FROM written")
    if not any(counts.values()) and frames == expected_frames:
        return
    example = next(
        (_value(db, f"SELECT min(utterance_id) {faults[fault]}") for fault, count in counts.items() if count), None
    )
    raise LostRowsError(
        f"rows were lost: {_value(db, 'SELECT count(*) FROM listed')} inputs, "
        f"{', '.join(f'{count} {fault}' for fault, count in counts.items())}, {frames} of {expected_frames} frames"
        f"{'' if example is None else f' (for example {example!r})'}; nothing was committed. Run the command again, and "
        "report this"
    )


def _match_members(db: duckdb.DuckDBPyConnection) -> None:
    """Matches rows of members of archives with the archive in their URI."""
    archives = dict(db.execute("SELECT archive_uri, utterance_id FROM listed WHERE archive_uri IS NOT NULL").fetchall())
    if not archives:
        return
    db.execute("CREATE TABLE members (utterance_id VARCHAR, listed_id VARCHAR)")
    unmatched = db.cursor().execute("SELECT utterance_id, uri FROM matched WHERE listed_id IS NULL")
    while rows := unmatched.fetchmany(BATCH_ROWS):
        members: dict[str, list[str]] = {"utterance_id": [], "listed_id": []}
        for utterance_id, uri in rows:
            archive = next((archive for archive in archives_of(uri) if archive in archives), None)
            if archive is not None:
                members["utterance_id"].append(utterance_id)
                members["listed_id"].append(archives[archive])
        _insert(db, "members", [pa.RecordBatch.from_pydict(members)])
    db.execute("""
        UPDATE matched SET listed_id = members.listed_id FROM members
        WHERE matched.utterance_id = members.utterance_id AND matched.listed_id IS NULL
    """)


def _run_counts(db: duckdb.DuckDBPyConnection) -> RunCounts:
    scored, audio_s, frames = db.execute("""
        SELECT count(*), coalesce(sum(duration_s), 0), coalesce(sum(num_frames), 0)::BIGINT FROM written WHERE reason IS NULL
    """).fetchall()[0]
    rejects = "SELECT reason, count(*) FROM written WHERE reason IS NOT NULL"
    rejected = db.execute(f"{rejects} GROUP BY reason").fetchall()
    other_files = db.execute(f"{rejects} AND {IS_OTHER_FILE} GROUP BY reason").fetchall()
    scores = db.execute("""
        SELECT format('{:.1f}', floor(score * 10) / 10), count(*) FROM written WHERE reason IS NULL GROUP BY 1 ORDER BY 1
    """).fetchall()
    return RunCounts(
        scored, Counter(dict(rejected)), audio_s, frames, Counter(dict(scores)), Counter(dict(other_files))
    )


def _value(db: duckdb.DuckDBPyConnection, query: str) -> Any:
    return db.execute(query).fetchall()[0][0]
