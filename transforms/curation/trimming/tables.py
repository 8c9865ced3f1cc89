"""Makes the DuckDB tables of trimmed utterances: what is left of them, and what is removed."""

from __future__ import annotations

from pathlib import Path

import duckdb

from transforms.curation.duckdb_rows import spill
from transforms.curation.piece_texts import PieceTexts
from transforms.curation.trimming.measurement import MEASURED, MEASUREMENTS, measure_spans
from transforms.curation.trimming.spans import check_new_ids, good_spans, removed_spans, span_utterances


def make_tables(
    connection: duckdb.DuckDBPyConnection, texts: PieceTexts, scratch: Path, min_s: float, pad_s: float
) -> None:
    """Makes the tables of trimmed utterances.

    - `spans`: the good spans (see `trimming.spans`);
    - `span_rows`: the good spans as rows of `utterances`;
    - `span_texts`: the rows of `PieceTexts.rows`;
    - `removed`: the rows of `removed_spans`.

    Args:
        connection: DuckDB over an output.
        texts: texts and word times of the corpus.
        scratch: folder for data that does not fit into memory.
        min_s: shortest span to keep, in seconds; at least `spans.LEAST_S`.
        pad_s: margin that is cut off on both sides of an anomaly, in seconds.

    Raises:
        TrimError: the spans cannot get scores or ids.
    """
    connection.execute(f"CREATE TEMP TABLE spans AS {good_spans(min_s, pad_s)}")
    measured = spill(measure_spans(connection, "spans"), MEASUREMENTS, scratch / "measured.parquet")
    connection.register("measured", measured)
    # A span without speech is not an utterance.
    connection.execute("DELETE FROM spans WHERE utterance_id IN (SELECT utterance_id FROM measured WHERE is_silent)")
    connection.execute(f"CREATE TEMP TABLE removed AS {removed_spans('spans')}")
    check_new_ids(connection, "spans", "removed")
    rows = texts.rows(connection, "spans")
    connection.register("span_texts", spill(rows, texts.schema, scratch / "span_texts.parquet"))
    span_rows = span_utterances("spans", "measured", MEASURED, "span_texts", texts.columns)
    connection.execute(f"CREATE TEMP TABLE span_rows AS {span_rows}")
