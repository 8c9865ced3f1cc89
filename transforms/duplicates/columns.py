"""The columns `copy_of` and `duplicate_of`, which rules can use beside the columns of `utterances`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from transforms.duplicates.groups import find_duplicates
from transforms.schemas import COPY_OF, DUPLICATE_OF


class DuplicateColumns:
    """Adds the columns to the candidates of a filter. They are null until `find` has compared the utterances.

    A column of the corpus with the name of one of them takes its place.

    Args:
        connection: DuckDB with the table `utterances`.
        carried: columns of the corpus in `utterances`.

    Attributes:
        names: names of the columns.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, carried: Sequence[str]) -> None:
        self._connection = connection
        taken = {name.lower() for name in carried}
        self.names = [name for name in (COPY_OF, DUPLICATE_OF) if name not in taken]

    def mentioned(self, expression: str) -> list[str]:
        """Returns the columns that an SQL expression names, perhaps only in a text or a comment."""
        return [name for name in self.names if re.search(rf"\b{name}\b", expression, re.IGNORECASE)]

    def missing_data(self) -> str | None:
        """Returns why utterances cannot be compared, as a clause of a sentence; None if they can be."""
        old, count = self._connection.execute(
            "SELECT count(*) - count(content_hash), count(*) FROM utterances"
        ).fetchall()[0]
        if not old:
            return None
        return (
            f"needs the column content_hash, which {old:,} of {count:,} utterances lack, because an earlier version of "
            "audiosieve scored them; score the corpus into a new output, or remove the rule"
        )

    def empty(self, rows: str) -> str:
        """Returns the query that adds the columns to rows, with nulls."""
        added = "".join(f", NULL::VARCHAR AS {name}" for name in self.names)
        return f"SELECT *{added} FROM ({rows})"

    def find(self, decisions: str, spans: str | None, similar: bool) -> None:
        """Compares the utterances of which something is kept so far.

        Args:
            decisions: name of the table of decisions on candidates.
            spans: name of the table of good spans of trimmed utterances; None without trimming.
            similar: whether `duplicate_of` is needed; False if only `copy_of` is.
        """
        kept = f"SELECT utterance_id FROM {decisions} WHERE len(rules) = 0"
        if spans is not None:
            kept = f"""
                SELECT coalesce(parent_id, kept.utterance_id) AS utterance_id
                FROM ({kept}) AS kept LEFT JOIN {spans} AS spans USING (utterance_id)
            """
        columns = "utterance_id, score, duration_s, content_hash, fingerprint"
        find_duplicates(
            self._connection, f"SELECT {columns} FROM utterances SEMI JOIN ({kept}) USING (utterance_id)", similar
        )

    def filled(self, rows: str, spans: str | None) -> str:
        """Returns the query that adds the columns to rows. The parts of an utterance have its values.

        Args:
            rows: query for the rows.
            spans: name of the table of good spans; None without trimming.
        """
        utterance_id, parents = "candidate.utterance_id", ""
        if spans is not None:
            utterance_id = "coalesce(spans.parent_id, candidate.utterance_id)"
            parents = f"LEFT JOIN {spans} AS spans ON spans.utterance_id = candidate.utterance_id"
        added = "".join(f", duplicates.{name}" for name in self.names)
        return f"""
            SELECT candidate.*{added} FROM ({rows}) AS candidate {parents}
            LEFT JOIN duplicates ON duplicates.utterance_id = {utterance_id}
        """
