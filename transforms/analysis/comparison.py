"""Two outputs of one corpus, joined by utterance: what each lacks, how far their scores agree, what a threshold would do."""

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

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
# Each utterance of either output once: its score, or why it has none. An id that was scored and, met again in an archive,
# rejected counts as scored.
_STANDING = """
    SELECT utterance_id, score, duration_s, source_version, NULL AS reason FROM {0}utterances
    UNION ALL
    SELECT utterance_id, NULL, NULL, any_value(source_version), min(reason) FROM {0}rejects
    WHERE utterance_id NOT IN (SELECT utterance_id FROM {0}utterances) GROUP BY ALL
"""
_JOINED = f"""
    WITH a AS ({_STANDING.format("")}), b AS ({_STANDING.format("b_")})
    SELECT coalesce(a.utterance_id, b.utterance_id) AS utterance_id, coalesce(a.duration_s, b.duration_s) AS duration_s,
        a.utterance_id IS NOT NULL AS in_a, b.utterance_id IS NOT NULL AS in_b, a.score AS score_a, b.score AS score_b,
        a.reason AS reason_a, b.reason AS reason_b, coalesce(a.source_version <> b.source_version, false) AS changed
    FROM a FULL JOIN b USING (utterance_id) ORDER BY utterance_id
"""


class NothingInCommonError(ValueError):
    """Two outputs of which no utterance is scored in both."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What two outputs, A and B, say of the same utterances.

    Attributes:
        a: the first.
        b: the second.
        joined: a row for each utterance of either: utterance_id, duration_s (A's where it has one), in_a, in_b, score_a,
            score_b, reason_a, reason_b (of rejects), changed (another source_version), difference and kept_a, kept_b;
            the last three null where one has no score.
        same_scale: whether their scores are on one label scale. Where not, the difference is one of percentile ranks.
        thresholds: of A and of B.
        facts: counts, agreement, the difference and the decisions, as JSON holds them.
    """

    a: Results
    b: Results
    joined: pa.Table
    same_scale: bool
    thresholds: tuple[float, float]
    facts: dict[str, Any]

    def worst(self, number: int) -> list[dict[str, Any]]:
        """So many rows of `joined`, those with the largest differences first."""
        difference = np.abs(self.joined["difference"].to_numpy())  # NaN, which sorts last, for null
        order = np.argsort(-difference, kind="stable")[: min(number, self.facts["counts"]["scored_in_both"])]
        rows = self.joined.take(order)
        return [dict(zip(rows.schema.names, row, strict=True)) for row in plain_rows(rows)]


def compare(a: Results, b: Results, threshold: tuple[float, ...] = ()) -> Comparison:
    """Compares two outputs.

    Args:
        a: the first.
        b: the second.
        threshold: scores from which on utterances are kept, in A and in B. Where there is none, A's is the median of its
            scores. Where there is one, or none, B's is the same on the same label scale, and else what keeps as many
            utterances.

    Raises:
        NothingInCommonError: no utterance is scored in both.
    """
    connection = a.connect()
    for table in ("utterances", "rejects"):
        connection.register(f"b_{table}", b.dataset(table))
    joined = select(connection, _JOINED).table()
    score_a, score_b = (joined[name].to_numpy().astype(np.float64) for name in ("score_a", "score_b"))
    both = np.isfinite(score_a) & np.isfinite(score_b)
    if not both.any():
        raise NothingInCommonError(
            f"no utterance is scored in both {a.root} and {b.root}: ids are paths relative to --input, which was "
            f"{a.source} and {b.source}"
        )
    same_scale = a.label_scale == b.label_scale
    of_a, of_b = score_a[both], score_b[both]
    difference = of_b - of_a if same_scale else percentile_rank(of_b) - percentile_rank(of_a)
    thresholds = choose_thresholds(of_a, of_b, threshold, same_scale)
    kept_a, kept_b = of_a >= thresholds[0], of_b >= thresholds[1]
    for name, values in (("difference", difference), ("kept_a", kept_a), ("kept_b", kept_b)):
        joined = joined.append_column(name, _spread(values, both))
    facts = {
        "counts": _counts(joined),
        "agreement": {"lcc": _finite(lcc(of_a, of_b)), "srcc": _finite(srcc(of_a, of_b))},
        "difference": {
            "of": "scores" if same_scale else "percentile ranks",
            "mean": float(difference.mean()),
            "mean_absolute": float(np.abs(difference).mean()),
            **{f"p{percentile}": float(np.percentile(difference, percentile)) for percentile in PERCENTILES},
        },
        "decisions": decisions(kept_a, kept_b, joined["duration_s"].to_numpy()[both]),
    }
    return Comparison(a, b, joined, same_scale, thresholds, facts)


def percentile_rank(score: np.ndarray) -> np.ndarray:
    """Share of the scores [N] under each one, ties half, in percent: [N], over 0 and under 100."""
    return (scipy.stats.rankdata(score) - 0.5) * (100 / len(score))


def choose_thresholds(
    score_a: np.ndarray, score_b: np.ndarray, asked: tuple[float, ...], same_scale: bool
) -> tuple[float, float]:
    """The scores from which on utterances are kept.

    Args:
        score_a: [N].
        score_b: [N], of the same utterances.
        asked: A's, and B's where there are two.
        same_scale: whether A's means the same in B.
    """
    first = asked[0] if asked else float(np.median(score_a))
    if len(asked) > 1:
        return first, asked[1]
    if same_scale:
        return first, first
    kept = int((score_a >= first).sum())
    # Over the best one, where none is kept.
    ascending = np.append(np.sort(score_b), np.nextafter(score_b.max(), np.inf))
    return first, float(ascending[len(score_b) - kept])


def decisions(kept_a: np.ndarray, kept_b: np.ndarray, seconds: np.ndarray) -> dict[str, dict[str, float]]:
    """What two thresholds make of the same utterances: the four cells of the table, in utterances and hours.

    Args:
        kept_a: bool [N].
        kept_b: bool [N].
        seconds: [N], lengths of the utterances.
    """
    cells = {
        "kept_in_both": kept_a & kept_b,
        "kept_in_a_only": kept_a & ~kept_b,
        "kept_in_b_only": ~kept_a & kept_b,
        "dropped_in_both": ~kept_a & ~kept_b,
    }
    return {
        name: {"utterances": int(which.sum()), "hours": float(seconds[which].sum()) / 3600}
        for name, which in cells.items()
    }


def _counts(joined: pa.Table) -> dict[str, Any]:
    in_a, in_b = joined["in_a"].to_numpy(), joined["in_b"].to_numpy()
    scored_a, scored_b = (joined[name].is_valid().to_numpy() for name in ("score_a", "score_b"))

    def by_reason(which: np.ndarray, column: str) -> dict[str, int]:
        found = pc.value_counts(joined[column].filter(pa.array(which))).to_pylist()
        return {row["values"]: row["counts"] for row in sorted(found, key=lambda row: (-row["counts"], row["values"]))}

    return {
        "scored_in_both": int((scored_a & scored_b).sum()),
        "rejected_in_both": int((in_a & in_b & ~scored_a & ~scored_b).sum()),
        "scored_in_a_rejected_in_b": by_reason(scored_a & in_b & ~scored_b, "reason_b"),
        "scored_in_b_rejected_in_a": by_reason(scored_b & in_a & ~scored_a, "reason_a"),
        "in_a_only": {"scored": int((scored_a & ~in_b).sum()), "rejected": int((in_a & ~scored_a & ~in_b).sum())},
        "in_b_only": {"scored": int((scored_b & ~in_a).sum()), "rejected": int((in_b & ~scored_b & ~in_a).sum())},
        "changed": int(joined["changed"].to_numpy().sum()),
    }


def _spread(values: np.ndarray, places: np.ndarray) -> pa.Array:
    """Values [n] in the n places [N] of a column, null in the others."""
    spread = np.zeros(len(places), values.dtype)
    spread[places] = values
    return pa.array(spread, mask=~places)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
