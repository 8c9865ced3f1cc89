"""Compares two outputs of one corpus by utterance: missing utterances, agreement of scores, and decisions of thresholds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.stats

from model.evaluation.metrics import lcc, srcc
from transforms.analysis.queries import select
from transforms.analysis.row_formats import plain_rows
from transforms.output.results import Results
from transforms.storage.source_versions import is_same_version

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
# One row for each utterance of an output, with its score or the reason of its reject. An id that is both scored and rejected,
# for example a duplicate in an archive, counts as scored.
_STATUS = """
    SELECT utterance_id, score, duration_s, source_version, NULL AS reason FROM {0}utterances
    UNION ALL
    SELECT utterance_id, NULL, NULL, any_value(source_version), min(reason) FROM {0}rejects
    WHERE utterance_id NOT IN (SELECT utterance_id FROM {0}utterances) GROUP BY ALL
"""
_JOINED = f"""
    WITH a AS ({_STATUS.format("")}), b AS ({_STATUS.format("b_")})
    SELECT coalesce(a.utterance_id, b.utterance_id) AS utterance_id, coalesce(a.duration_s, b.duration_s) AS duration_s,
        a.utterance_id IS NOT NULL AS in_a, b.utterance_id IS NOT NULL AS in_b, a.score AS score_a, b.score AS score_b,
        a.reason AS reason_a, b.reason AS reason_b, a.source_version AS version_a, b.source_version AS version_b
    FROM a FULL JOIN b USING (utterance_id) ORDER BY utterance_id
"""


# Utterances by cause, among those with scores of a version that wrote causes in both.
_CAUSES = """
    WITH scored AS (
        SELECT a.causes AS a, b.causes AS b FROM utterances AS a JOIN b_utterances AS b USING (utterance_id)
        WHERE a.causes IS NOT NULL AND b.causes IS NOT NULL
    ),
    by_cause AS (SELECT unnest(list_distinct(list_concat(a, b))) AS cause, a, b FROM scored)
    SELECT cause, count(*) FILTER (list_contains(a, cause)) AS in_a, count(*) FILTER (list_contains(b, cause)) AS in_b,
        count(*) FILTER (list_contains(a, cause) AND list_contains(b, cause)) AS in_both
    FROM by_cause GROUP BY cause ORDER BY greatest(in_a, in_b) DESC, cause
"""


class NothingInCommonError(ValueError):
    """No utterance is scored in both outputs."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The comparison of two outputs, A and B.

    Attributes:
        a: output A.
        b: output B.
        joined: a row for each utterance in A or B: utterance_id, duration_s (from A if possible), in_a, in_b, score_a, score_b,
            reason_a, reason_b (of rejects), changed (whether the recordings differ by source_version), difference, kept_a and
            kept_b. The last three are null unless both outputs have a score.
        same_scale: whether both have the same label scale. Otherwise, the differences are those of percentile ranks.
        thresholds: thresholds of A and B.
        facts: counts, agreement, differences, decisions and causes, as JSON values.
    """

    a: Results
    b: Results
    joined: pa.Table
    same_scale: bool
    thresholds: tuple[float, float]
    facts: dict[str, Any]

    def worst(self, number: int) -> list[dict[str, Any]]:
        """Returns the rows of `joined` with the largest differences, at most `number`, largest first."""
        difference = np.abs(self.joined["difference"].to_numpy())  # NaN, which sorts last, for null
        order = np.argsort(-difference, kind="stable")[: min(number, self.facts["counts"]["scored_in_both"])]
        rows = self.joined.take(order)
        return [dict(zip(rows.schema.names, row, strict=True)) for row in plain_rows(rows)]


def compare(a: Results, b: Results, thresholds: tuple[float, ...] = ()) -> Comparison:
    """Compares two outputs.

    Args:
        a: output A.
        b: output B.
        thresholds: lowest scores that are kept, in A and B. The default of A is the median of its scores. The default of B is
            the threshold of A. If the label scales differ, it is the threshold that keeps the same number of utterances.

    Raises:
        NothingInCommonError: no utterance is scored in both.
    """
    connection = a.connect()
    for table in ("utterances", "rejects"):
        connection.register(f"b_{table}", b.dataset(table))
    joined = _with_changed(select(connection, _JOINED).table())
    score_a, score_b = (joined[name].to_numpy().astype(np.float64) for name in ("score_a", "score_b"))
    both = np.isfinite(score_a) & np.isfinite(score_b)
    if not both.any():
        raise NothingInCommonError(
            f"no utterance is scored in both {a.root} and {b.root}; ids are paths relative to --input, which was "
            f"{a.source} and {b.source}"
        )
    same_scale = a.label_scale == b.label_scale
    shared_a, shared_b = score_a[both], score_b[both]
    difference = shared_b - shared_a if same_scale else percentile_rank(shared_b) - percentile_rank(shared_a)
    thresholds = choose_thresholds(shared_a, shared_b, thresholds, same_scale)
    kept_a, kept_b = shared_a >= thresholds[0], shared_b >= thresholds[1]
    for name, values in (("difference", difference), ("kept_a", kept_a), ("kept_b", kept_b)):
        joined = joined.append_column(name, _with_nulls(values, both))
    facts = {
        "counts": _counts(joined),
        "agreement": {"lcc": _finite(lcc(shared_a, shared_b)), "srcc": _finite(srcc(shared_a, shared_b))},
        "difference": {
            "of": "scores" if same_scale else "percentile ranks",
            "mean": float(difference.mean()),
            "mean_absolute": float(np.abs(difference).mean()),
            **{f"p{percentile}": float(np.percentile(difference, percentile)) for percentile in PERCENTILES},
        },
        "decisions": decisions(kept_a, kept_b, joined["duration_s"].to_numpy()[both]),
        "causes": select(connection, _CAUSES).table().to_pylist(),
    }
    return Comparison(a, b, joined, same_scale, thresholds, facts)


def percentile_rank(score: np.ndarray) -> np.ndarray:
    """Returns the share of the scores [N] below each score, with ties counted half, in percent: float [N], 0 to 100."""
    return (scipy.stats.rankdata(score) - 0.5) * (100 / len(score))


def choose_thresholds(
    score_a: np.ndarray, score_b: np.ndarray, given: tuple[float, ...], same_scale: bool
) -> tuple[float, float]:
    """Returns the thresholds of A and B.

    Args:
        score_a: scores in A: float [N].
        score_b: scores of the same utterances in B: float [N].
        given: thresholds that the caller chose: none, that of A, or those of A and B.
        same_scale: whether A and B have the same label scale.
    """
    first = given[0] if given else float(np.median(score_a))
    if len(given) > 1:
        return first, given[1]
    if same_scale:
        return first, first
    kept = int((score_a >= first).sum())
    # If none is kept, the threshold is above the best score.
    ascending = np.append(np.sort(score_b), np.nextafter(score_b.max(), np.inf))
    return first, float(ascending[len(score_b) - kept])


def decisions(kept_a: np.ndarray, kept_b: np.ndarray, seconds: np.ndarray) -> dict[str, dict[str, float]]:
    """Returns the 2 x 2 table of decisions, in utterances and hours.

    Args:
        kept_a: whether A keeps each utterance: bool [N].
        kept_b: whether B keeps each utterance: bool [N].
        seconds: durations of the utterances in seconds: float [N].
    """
    cells = {
        "kept_in_both": kept_a & kept_b,
        "kept_in_a_only": kept_a & ~kept_b,
        "kept_in_b_only": ~kept_a & kept_b,
        "dropped_in_both": ~kept_a & ~kept_b,
    }
    return {
        name: {"utterances": int(selected.sum()), "hours": float(seconds[selected].sum()) / 3600}
        for name, selected in cells.items()
    }


def _with_changed(joined: pa.Table) -> pa.Table:
    """Replaces the columns version_a and version_b by the column changed, which is false if one of them is null."""
    versions = [joined[name].to_pylist() for name in ("version_a", "version_b")]
    changed = [
        a != b and None not in (a, b) and not (is_same_version(a, b) or is_same_version(b, a))
        for a, b in zip(*versions, strict=True)
    ]
    return joined.drop_columns(["version_a", "version_b"]).append_column("changed", pa.array(changed, pa.bool_()))


def _counts(joined: pa.Table) -> dict[str, Any]:
    in_a, in_b = joined["in_a"].to_numpy(), joined["in_b"].to_numpy()
    scored_a, scored_b = (joined[name].is_valid().to_numpy() for name in ("score_a", "score_b"))

    def by_reason(selected: np.ndarray, column: str) -> dict[str, int]:
        counts = pc.value_counts(joined[column].filter(pa.array(selected))).to_pylist()
        return {row["values"]: row["counts"] for row in sorted(counts, key=lambda row: (-row["counts"], row["values"]))}

    return {
        "scored_in_both": int((scored_a & scored_b).sum()),
        "rejected_in_both": int((in_a & in_b & ~scored_a & ~scored_b).sum()),
        "scored_in_a_rejected_in_b": by_reason(scored_a & in_b & ~scored_b, "reason_b"),
        "scored_in_b_rejected_in_a": by_reason(scored_b & in_a & ~scored_a, "reason_a"),
        "in_a_only": {"scored": int((scored_a & ~in_b).sum()), "rejected": int((in_a & ~scored_a & ~in_b).sum())},
        "in_b_only": {"scored": int((scored_b & ~in_a).sum()), "rejected": int((in_b & ~scored_b & ~in_a).sum())},
        "changed": int(joined["changed"].to_numpy().sum()),
    }


def _with_nulls(values: np.ndarray, mask: np.ndarray) -> pa.Array:
    """Returns a column with values [n] where mask [N] is true, and null elsewhere."""
    column = np.zeros(len(mask), values.dtype)
    column[mask] = values
    return pa.array(column, mask=~mask)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
