"""Checks of the columns that the rules of `audiosieve filter` may name."""

from __future__ import annotations

from pipelines.common.errors import UsageError
from pipelines.filtering.decision import KEPT
from transforms.output.results import Results
from transforms.schemas import TRIMMED


def check_columns(results: Results) -> None:
    """Checks that column names are unique in SQL, which ignores case, also with those of kept.parquet.

    Raises:
        UsageError: two columns differ only in case, or not at all.
    """
    names = [name.lower() for name in results.dataset("utterances").schema.names]
    repeated = [name for name in results.carried if names.count(name.lower()) > 1]
    if repeated:
        raise UsageError(
            f"{results.root}: another column differs from {repeated[0]!r} only in case, and rules cannot tell them apart; "
            "score again with another --carry"
        )
    taken = [name for name in results.carried if name.lower() == TRIMMED]
    if taken:
        raise UsageError(
            f"{results.root}: has a carried column {taken[0]!r}, but {KEPT} has a column with this name; score again with "
            "another --carry"
        )
