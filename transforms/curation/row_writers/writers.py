"""The writers of rows of the corpus, by format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from transforms.curation.piece_texts import TextState
from transforms.curation.row_writers.kaldi_rows import write_kaldi
from transforms.curation.row_writers.lhotse_rows import write_lhotse
from transforms.curation.row_writers.matching import SourceRows
from transforms.curation.row_writers.parquet_rows import write_parquet
from transforms.curation.row_writers.text_rows import write_jsonl, write_paths, write_table

# Functions that write rows to a path and return the number of pieces by how they got their texts.
WRITERS: dict[str, Callable[[SourceRows, Path], Counter[TextState]]] = {
    "csv": write_table,
    "tsv": write_table,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "kaldi": write_kaldi,
    "lhotse": write_lhotse,
    "paths": write_paths,
}
