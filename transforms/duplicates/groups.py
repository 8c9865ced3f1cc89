"""Finds the utterances of a corpus that are the same recording, and the one of each group to keep, with DuckDB.

Exact copies have the same `content_hash`. For all others, an inverted index of landmarks in `fingerprint` gives pairs of
candidates, which are then compared in full. The work is linear in the number of utterances: in each list of the index, an
utterance is paired only with the best one and with its next neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa

from transforms.duplicates.fingerprint import FRAME_BITS, FRAMES_PER_S

# Largest difference in length, and largest shift of the sound, in seconds. Half a second may be cut off at either end, and
# codecs add some hundredths.
LONGER_S, SHIFT_S = 1.25, 0.75
# Landmarks at the same time agree if at most `WRONG_BITS` of the 16 bits of their codes differ.
WRONG_BITS = 2
# Two utterances are the same recording if `LEAST_AGREEING` landmarks agree, and `AGREEING_SHARE` of those of the sound that
# both have, and if this sound is `COMMON_SHARE` of the shorter one.
LEAST_AGREEING, AGREEING_SHARE, COMMON_SHARE = 4, 0.3, 0.6
# A key of the index is the codes of two landmarks, the second one up to this many places after the first.
_PLACES = 3
# Neighbours that an utterance is paired with in each list of the index, and lists in which it must be paired with another to be
# compared with it. A single one is often chance.
_NEIGHBOURS, _LEAST_LINKS = 2, 2

_LONGER_MS, _SHIFT_FRAMES = round(LONGER_S * 1_000), round(SHIFT_S * FRAMES_PER_S)
_REPLACED = pa.schema([("rank", pa.int64()), ("copy_rank", pa.int64()), ("kept_rank", pa.int64())])


def find_duplicates(connection: duckdb.DuckDBPyConnection, utterances: str, similar: bool = True) -> None:
    """Creates the table `duplicates`, with a row for each utterance that is the same recording as a better one.

    Utterances are ranked by descending score, then by id. In this order, each one is kept unless it is the same recording as
    one that is kept already. So an utterance is never replaced by one that it was not compared with, at the end of a chain of
    others.

    Columns of the table:

        utterance_id   id of the utterance
        copy_of        id of the best utterance with the same samples; null if it is this one
        duplicate_of   id of the utterance that is kept in its place

    Args:
        connection: DuckDB.
        utterances: query for `utterance_id`, `score`, `duration_s`, `content_hash` and `fingerprint` of utterances.
        similar: whether to compare fingerprints, too; False to find only exact copies.
    """
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE ranked AS
        SELECT row_number() OVER (ORDER BY score DESC, utterance_id) - 1 AS rank, utterance_id,
            coalesce(content_hash, utterance_id) AS samples, round(duration_s * 1000)::BIGINT AS duration_ms
        FROM ({utterances})
    """)
    first = connection.execute("""
        SELECT min(rank) OVER (PARTITION BY samples) AS first FROM ranked ORDER BY rank
    """).fetchnumpy()["first"]
    ranks = np.arange(len(first))
    kept = np.array(first, np.int64)
    if similar:
        # A pair comes after all pairs with a better one as the worse of the two, so that `kept[better]` is final.
        for better, worse in _same_recordings(connection, utterances):
            if kept[worse] == worse and kept[better] == better:
                kept[worse] = better
        kept = kept[first]
    is_replaced = kept != ranks
    columns = [column[is_replaced] for column in (ranks, np.where(first == ranks, -1, first), kept)]
    connection.register("replaced", pa.table(columns, schema=_REPLACED))
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE duplicates AS
        SELECT ranked.utterance_id, copies.utterance_id AS copy_of, best.utterance_id AS duplicate_of
        FROM replaced JOIN ranked USING (rank) JOIN ranked AS best ON best.rank = kept_rank
        LEFT JOIN ranked AS copies ON copies.rank = copy_rank
    """)
    connection.unregister("replaced")
    connection.execute("DROP TABLE ranked")


def _same_recordings(connection: duckdb.DuckDBPyConnection, utterances: str) -> Iterator[tuple[int, int]]:
    """Yields the ranks of each two utterances that are the same recording, sorted by the worse, then by the better one."""
    for table, query in (
        ("landmarks", _landmarks(utterances)),
        ("pairs", _pairs()),
        ("same", _same()),
    ):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}")
    for batch in connection.sql("SELECT better, worse FROM same ORDER BY worse, better").to_arrow_reader(65_536):
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
    for table in ("landmarks", "pairs", "same"):
        connection.execute(f"DROP TABLE {table}")


def _landmarks(utterances: str) -> str:
    """Returns the query for the landmarks of the best utterance of each group of exact copies."""
    return f"""
        WITH originals AS (
            SELECT min(rank) AS rank, arg_min(duration_ms, rank) AS duration_ms, arg_min(utterance_id, rank) AS utterance_id
            FROM ranked GROUP BY samples
        )
        SELECT rank, duration_ms, (landmark >> {FRAME_BITS})::INTEGER AS code,
            (landmark & {(1 << FRAME_BITS) - 1})::INTEGER AS frame
        FROM (
            SELECT rank, duration_ms, unnest(fingerprint) AS landmark FROM ({utterances}) JOIN originals USING (utterance_id)
        )
    """


def _pairs() -> str:
    """Returns the query for the pairs of utterances that have a key of the index in common."""
    later = ", ".join(f"lead(code, {place}) OVER in_time" for place in range(1, _PLACES + 1))
    neighbours = ", ".join(
        f"CASE WHEN lead(duration_ms, {step}) OVER near <= duration_ms + {_LONGER_MS} THEN lead(rank, {step}) OVER near END"
        for step in range(1, _NEIGHBOURS + 1)
    )
    return f"""
        WITH keys AS (
            SELECT DISTINCT rank, duration_ms, code::BIGINT << 32 | later AS key
            FROM (
                SELECT rank, duration_ms, code, unnest([{later}]) AS later FROM landmarks
                WINDOW in_time AS (PARTITION BY rank ORDER BY frame)
            ) WHERE later IS NOT NULL
        ),
        shared AS (SELECT * FROM keys WHERE key IN (SELECT key FROM keys GROUP BY key HAVING count(*) > 1)),
        linked AS (
            SELECT rank, key, unnest([{neighbours}, min(rank) OVER alike]) AS other FROM shared
            WINDOW near AS (PARTITION BY key ORDER BY duration_ms, rank),
                alike AS (PARTITION BY key ORDER BY duration_ms
                    RANGE BETWEEN {_LONGER_MS} PRECEDING AND {_LONGER_MS} FOLLOWING)
        )
        SELECT least(rank, other) AS better, greatest(rank, other) AS worse FROM linked WHERE rank <> other
        GROUP BY ALL HAVING count(DISTINCT key) >= {_LEAST_LINKS}
    """


def _same() -> str:
    """Returns the query for the pairs that are the same recording."""
    return f"""
        WITH nearby AS (
            SELECT better, worse, one.code AS one_code, other.code AS other_code, one.frame, one.frame - other.frame AS shift
            FROM pairs JOIN landmarks AS one ON one.rank = better JOIN landmarks AS other ON other.rank = worse
            WHERE abs(one.duration_ms - other.duration_ms) <= {_LONGER_MS}
                AND one.frame - other.frame BETWEEN -{_SHIFT_FRAMES} AND {_SHIFT_FRAMES}
        ),
        shifts AS (
            SELECT better, worse, round(median(shift))::INTEGER AS usual FROM nearby WHERE one_code = other_code
            GROUP BY better, worse HAVING count(*) > 1
        ),
        agreeing AS (
            SELECT better, worse, usual, count(DISTINCT frame) AS landmarks FROM nearby JOIN shifts USING (better, worse)
            WHERE abs(shift - usual) <= 1 AND bit_count(xor(one_code, other_code)) <= {WRONG_BITS}
            GROUP BY better, worse, usual HAVING count(DISTINCT frame) >= {LEAST_AGREEING}
        ),
        extents AS (SELECT rank, min(frame) AS first, max(frame) AS last FROM landmarks GROUP BY rank),
        common AS (
            SELECT better, worse, landmarks, greatest(one.first, other.first + usual) AS first,
                least(one.last, other.last + usual) AS last, least(one.last - one.first, other.last - other.first) AS shorter
            FROM agreeing JOIN extents AS one ON one.rank = better JOIN extents AS other ON other.rank = worse
        )
        SELECT better, worse FROM common JOIN landmarks AS inside ON inside.rank = better
            AND inside.frame BETWEEN first AND last
        WHERE last - first >= {COMMON_SHARE} * shorter
        GROUP BY better, worse, landmarks HAVING landmarks >= {AGREEING_SHARE} * count(*)
    """
