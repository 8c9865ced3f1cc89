"""Prints the scores of a run as a table: `python tests/samples/show.py OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq


def main(output: str) -> None:
    """Prints `utterances`, best first, then `rejects`."""
    root = Path(output)
    scored = pq.read_table(root / "utterances").sort_by([("score", "descending")]).to_pylist()
    anomalies = pq.read_table(root / "anomalies").to_pylist()
    print(f"\n{'recording':<20} {'score':>5} {'worst frame':>11} {'length':>7} {'rate':>6}  remarks")
    for row in scored:
        spans = [
            f"bad {a['start_s']:.1f}-{a['end_s']:.1f} s" for a in anomalies if a["utterance_id"] == row["utterance_id"]
        ]
        print(
            f"{row['utterance_id']:<20} {row['score']:>5.2f} {row['frame_score_min']:>11.2f} {row['duration_s']:>5.1f} s "
            f"{row['sample_rate']:>6}  {', '.join(row['flags'] + spans)}"
        )
    for row in pq.read_table(root / "rejects").to_pylist():
        print(f"{row['utterance_id']:<20} {'-':>5}  rejected, {row['reason']}: {row['detail']}")


if __name__ == "__main__":
    main(sys.argv[1])
