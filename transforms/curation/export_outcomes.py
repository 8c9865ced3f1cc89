"""The outcomes of an export: the file of each kept utterance, or the reason for its reject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from transforms import schemas
from transforms.curation.kept_list import KeptList
from transforms.curation.manifest_writers import json_line, nemo_entry, write_lines

# `path` is the file, relative to the folder of the export, and null for a reject. The other columns are those of rejects. An
# exported utterance has only `utterance_id`, `uri` and `path`.
OUTCOMES = pa.schema([*(pa.field(field.name, field.type) for field in schemas.REJECTS), pa.field("path", pa.string())])


class ExportOutcomes:
    """The outcomes of an export.

    Attributes:
        exported: number of exported utterances.
        rejected: number of utterances that could not be exported.

    Args:
        kept: utterances that were to be exported.
        files: Parquet files of outcomes.

    Raises:
        RuntimeError: an utterance is missing or repeated, which is a bug.
    """

    def __init__(self, kept: KeptList, files: Sequence[Path]) -> None:
        self._kept = kept
        kept.join("outcomes", ds.dataset([str(path) for path in files], OUTCOMES))
        (row,) = kept.rows(f"""
            SELECT count(path) AS exported, count(*) - count(path) AS rejected,
                (SELECT count(*) FROM {kept.table}) AS planned,
                (SELECT count(*) FROM {kept.table} WHERE id IN (SELECT utterance_id FROM outcomes)) AS known
            FROM outcomes
        """)
        self.exported, self.rejected = row["exported"], row["rejected"]
        if not row["planned"] == row["known"] == self.exported + self.rejected:
            raise RuntimeError(
                f"{row['planned']} utterances were to be exported; {self.exported} were exported, {self.rejected} were "
                f"rejected, and {row['known']} have an outcome"
            )

    def reject_counts(self) -> dict[str, int]:
        """Returns the number of rejects by reason, most frequent first."""
        rows = self._kept.rows("""
            SELECT reason, count(*) AS count FROM outcomes WHERE path IS NULL
            GROUP BY reason ORDER BY count(*) DESC, reason
        """)
        return {row["reason"]: row["count"] for row in rows}

    def write_rejects(self, path: Path) -> None:
        """Writes the rejects to a Parquet file."""
        query = "SELECT * EXCLUDE (path) FROM outcomes WHERE path IS NULL ORDER BY utterance_id"
        self._kept.write_parquet(query, schemas.REJECTS, path)

    def write_manifest(self, folder: str, path: Path) -> None:
        """Writes a NeMo manifest of the exported files.

        Args:
            folder: folder of the export.
            path: path of the manifest.
        """
        # An exported file holds exactly one utterance.
        rows = self._kept.rows(f"""
            SELECT kept.* REPLACE (outcomes.path AS path, true AS whole, NULL AS channel)
            FROM {self._kept.table} AS kept JOIN outcomes ON id = outcomes.utterance_id
            WHERE outcomes.path IS NOT NULL ORDER BY id
        """)
        entries = (nemo_entry(row | {"path": f"{folder}/{row['path']}"}, self._kept.columns) for row in rows)
        write_lines(path, map(json_line, entries))
