"""Every utterance that went in must have come out, scored or rejected: counted from what was written, not from memory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from transforms.elements import AudioRef, archives_of, printable
from transforms.output.ledger import Ledger, count_rows

# What goes into the comparison: all refs, archives with where they are, since their members' rows name that.
LISTED = pa.schema([("utterance_id", pa.string()), ("archive_uri", pa.string())])
# DuckDB puts on disk what does not fit.
MEMORY = "2GB"
_BATCH = 65_536


class LostRowsError(RuntimeError):
    """Rows that should be in the output are not, or stand there twice: a bug, whose output must not be committed."""


@dataclasses.dataclass(frozen=True)
class RunCounts:
    """What came out of a run.

    Attributes:
        scored: utterances with a score.
        rejected: those with a reason instead, by reason.
        audio_s: seconds of audio that were scored.
        frames: that were scored.
        scores: utterances by score, in steps of a tenth, by the lower end: {"3.4": 120}.
    """

    scored: int = 0
    rejected: Counter[str] = dataclasses.field(default_factory=Counter)
    audio_s: float = 0.0
    frames: int = 0
    scores: Counter[str] = dataclasses.field(default_factory=Counter)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> RunCounts:
        """What a run's record says came out."""
        return cls(
            record["counts"]["scored"],
            Counter(record["rejected"]),
            record["audio_s"],
            record["work"]["frames"],
            Counter(record["scores"]),
        )

    def __add__(self, other: RunCounts) -> RunCounts:
        return RunCounts(
            self.scored + other.scored,
            self.rejected + other.rejected,
            self.audio_s + other.audio_s,
            self.frames + other.frames,
            self.scores + other.scores,
        )

    def score_quantile(self, share: float) -> float:
        """The score, to a tenth, that so large a share of the utterances do not exceed; NaN where there are none."""
        left = share * self.scores.total()
        for low, count in sorted((float(low), count) for low, count in self.scores.items()):
            left -= count
            if left <= 0:
                return low + 0.05
        return float("nan")


def listed_batches(refs: Sequence[AudioRef]) -> Iterator[pa.RecordBatch]:
    """Refs as `reconcile` takes them."""
    for start in range(0, len(refs), _BATCH):
        part = refs[start : start + _BATCH]
        yield pa.RecordBatch.from_pydict(
            {
                "utterance_id": [ref.utterance_id for ref in part],
                "archive_uri": [printable(ref.uri) if ref.archive else None for ref in part],
            },
            LISTED,
        )


def reconcile(ledger: Ledger, files: Sequence[str], listed: Iterable[pa.RecordBatch]) -> RunCounts:
    """Compares what a run wrote with what went into it, in bounded memory.

    Args:
        ledger: where it wrote.
        files: names of what it wrote.
        listed: what went in, batches of `LISTED`.

    Raises:
        LostRowsError: an utterance has no row, a row has no utterance, an id stands twice, or frames are missing.
    """
    with _database(listed) as db:
        for table, columns in (("utterances", ["duration_s", "num_frames", "score"]), ("rejects", ["reason"])):
            named = [name for name in files if name.startswith(f"{table}/")]
            _insert(db, "found", ledger.rows(table, ["utterance_id", "uri", *columns], named))
        _match(db)
        _check(db, count_rows(ledger, "frames", files))
        return _run_counts(db)


def out_of_date(ledger: Ledger, listed: Iterable[pa.RecordBatch]) -> set[str]:
    """Ids of committed rows of what is listed to be done again.

    Args:
        ledger: with the rows.
        listed: what is done again, batches of `LISTED`.
    """
    with _database(listed) as db:
        for table in ("utterances", "rejects"):
            _insert(db, "found", ledger.rows(table, ["utterance_id", "uri"]))
        _match(db)
        return {row[0] for row in db.execute("SELECT utterance_id FROM matched WHERE listed_id IS NOT NULL").fetchall()}


@contextlib.contextmanager
def _database(listed: Iterable[pa.RecordBatch]) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with what is `listed`, and an empty table for what is `found`."""
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as folder, duckdb.connect() as db:
        db.execute(f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false")
        db.execute("SET temp_directory = ?", [folder])
        db.execute("CREATE TABLE listed (utterance_id VARCHAR, archive_uri VARCHAR)")
        db.execute("CREATE TABLE found (utterance_id VARCHAR, uri VARCHAR, duration_s DOUBLE, num_frames BIGINT, "
                   "score FLOAT, reason VARCHAR)")  # fmt: skip
        _insert(db, "listed", listed)
        yield db


def _insert(db: duckdb.DuckDBPyConnection, table: str, batches: Iterable[pa.RecordBatch]) -> None:
    for batch in batches:
        db.register("batch", batch)
        db.execute(f"INSERT INTO {table} BY NAME SELECT * FROM batch")
        db.unregister("batch")


def _match(db: duckdb.DuckDBPyConnection) -> None:
    """Makes `matched`: of each row that was found, which listed utterance it is of, or null."""
    # It is that of its id; or, where each channel is an utterance, of the id without the channel.
    db.execute(r"""
        CREATE TABLE matched AS
        SELECT found.utterance_id, uri, coalesce(exact.utterance_id, base.utterance_id) AS listed_id
        FROM found LEFT JOIN listed AS exact ON exact.utterance_id = found.utterance_id
        LEFT JOIN listed AS base
            ON exact.utterance_id IS NULL AND base.utterance_id = regexp_replace(found.utterance_id, '#ch\d+$', '')
    """)
    _match_members(db)


def _check(db: duckdb.DuckDBPyConnection, frames: int) -> None:
    one = functools.partial(_one, db)
    missing = "FROM listed ANTI JOIN matched ON listed.utterance_id = listed_id"
    strange = "FROM matched WHERE listed_id IS NULL"
    twice = "FROM (SELECT utterance_id FROM found GROUP BY utterance_id HAVING count(*) > 1)"
    counts = [one(f"SELECT count(*) {rows}") for rows in (missing, strange, twice)]
    expected = one("SELECT coalesce(sum(num_frames), 0)::BIGINT FROM found")
    if any(counts) or frames != expected:
        first = next((one(f"SELECT min(utterance_id) {rows}") for rows, count in
                      zip((missing, strange, twice), counts, strict=True) if count), "")  # fmt: skip
        raise LostRowsError(
            f"rows were lost: of {one('SELECT count(*) FROM listed')} inputs {counts[0]} have no row, {counts[1]} rows have "
            f"no input, {counts[2]} ids stand twice, and {frames} of {expected} frames were written ({first!r} first); "
            "nothing of this is committed. Run it again, and report this"
        )


def _match_members(db: duckdb.DuckDBPyConnection) -> None:
    """Rows of members of archives are those of the archive that their uris name."""
    archives = dict(db.execute("SELECT archive_uri, utterance_id FROM listed WHERE archive_uri IS NOT NULL").fetchall())
    if not archives:
        return
    db.execute("CREATE TABLE members (utterance_id VARCHAR, listed_id VARCHAR)")
    unmatched = db.cursor().execute("SELECT utterance_id, uri FROM matched WHERE listed_id IS NULL")
    while rows := unmatched.fetchmany(_BATCH):
        found: dict[str, list[str]] = {"utterance_id": [], "listed_id": []}
        for utterance_id, uri in rows:
            archive = next((archive for archive in archives_of(uri) if archive in archives), None)
            if archive is not None:
                found["utterance_id"].append(utterance_id)
                found["listed_id"].append(archives[archive])
        _insert(db, "members", [pa.RecordBatch.from_pydict(found)])
    db.execute("""
        UPDATE matched SET listed_id = members.listed_id FROM members
        WHERE matched.utterance_id = members.utterance_id AND matched.listed_id IS NULL
    """)


def _run_counts(db: duckdb.DuckDBPyConnection) -> RunCounts:
    scored, audio_s, frames = db.execute("""
        SELECT count(*), coalesce(sum(duration_s), 0), coalesce(sum(num_frames), 0)::BIGINT FROM found WHERE reason IS NULL
    """).fetchall()[0]
    rejected = db.execute("SELECT reason, count(*) FROM found WHERE reason IS NOT NULL GROUP BY reason").fetchall()
    scores = db.execute("""
        SELECT format('{:.1f}', floor(score * 10) / 10), count(*) FROM found WHERE reason IS NULL GROUP BY 1 ORDER BY 1
    """).fetchall()
    return RunCounts(scored, Counter(dict(rejected)), audio_s, frames, Counter(dict(scores)))


def _one(db: duckdb.DuckDBPyConnection, query: str) -> Any:
    return db.execute(query).fetchall()[0][0]
