"""The rejects of a report, and the files of a corpus that are no recordings."""

from __future__ import annotations

import dataclasses

import duckdb

from transforms.corpus.other_files import IS_OTHER_FILE

REJECT_EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Rejected:
    """The rejects of one stage and reason.

    Attributes:
        stage: stage that rejected the inputs.
        reason: reason of the rejects.
        count: number of rejects.
        examples: (utterance_id, detail) of up to `REJECT_EXAMPLES` of them.
    """

    stage: str
    reason: str
    count: int
    examples: list[tuple[str, str]]


def count_rejects(connection: duckdb.DuckDBPyConnection) -> tuple[list[Rejected], list[Rejected]]:
    """Returns the rejected recordings and the other files, each by stage and reason, the most frequent first.

    A faulty row of a manifest counts as a recording.

    Args:
        connection: connection with the table `rejects`.
    """
    rows = connection.execute(
        f"""
        SELECT {IS_OTHER_FILE} AS is_other, stage, reason, count(*) AS number,
            min((utterance_id, detail), {REJECT_EXAMPLES})
        FROM rejects GROUP BY ALL ORDER BY number DESC, stage, reason
        """
    ).fetchall()
    counts: tuple[list[Rejected], list[Rejected]] = [], []
    for is_other, stage, reason, count, examples in rows:
        counts[is_other].append(Rejected(stage, reason, count, [tuple(example) for example in examples]))
    return counts
