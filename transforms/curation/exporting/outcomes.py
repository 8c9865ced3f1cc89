"""The outcomes of an export: the file of each kept utterance, or the reason for its reject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from transforms import schemas
from transforms.curation.duckdb_rows import quoted_text
from transforms.curation.exporting.target import AudioTarget, Row
from transforms.curation.kept_list import KeptList
from transforms.elements import printable
from transforms.errors import AudioFault, Stage

# `path` is the file, relative to the folder of the export, and null for a reject. `member` is the name in it, if it is an
# archive. `is_limited` is true if it is quieter than the target loudness. The other columns are those of rejects. An exported
# utterance has only `utterance_id` and `uri` of them.
OUTCOMES = pa.schema(
    [
        *(pa.field(field.name, field.type) for field in schemas.REJECTS),
        pa.field("path", pa.string()),
        pa.field("member", pa.string()),
        pa.field("is_limited", pa.bool_()),
    ]
)


class ExportOutcomes:
    """The outcomes of an export.

    Attributes:
        exported: number of exported utterances.
        rejected: number of utterances that could not be exported.
        limited: number of files, written now, that are quieter than the target loudness to keep their true peaks low.

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
            SELECT count(path) AS exported, count_if(is_limited) AS limited, count(*) - count(path) AS rejected,
                (SELECT count(*) FROM {kept.table}) AS planned,
                (SELECT count(*) FROM {kept.table} WHERE id IN (SELECT utterance_id FROM outcomes)) AS known
            FROM outcomes
        """)
        self.exported, self.rejected, self.limited = row["exported"], row["rejected"], row["limited"]
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
        query = "SELECT * FROM outcomes WHERE path IS NULL ORDER BY utterance_id"
        self._kept.write_parquet(query, schemas.REJECTS, path)

    def files(self, folder: str, target: AudioTarget) -> KeptList:
        """Returns the list of exported utterances, with their files instead of the recordings.

        Args:
            folder: folder of the export.
            target: audio that was written.
        """
        uri = f"{quoted_text(folder)} || '/' || outcomes.path"
        place = f"""
            {uri} || coalesce('#' || outcomes.member, '') AS path,
            CASE WHEN outcomes.member IS NOT NULL THEN {uri} END AS archive, outcomes.member AS member
        """
        source = f"""
            {self._kept.table} AS kept JOIN outcomes ON kept.id = outcomes.utterance_id AND outcomes.path IS NOT NULL
            ORDER BY kept.id
        """
        return target.files_of(self._kept, "exported_files", place, source)


def exported_row(row: Row, path: str, member: str | None = None, is_limited: bool = False) -> Row:
    """Returns the outcome of an exported utterance.

    Args:
        row: row of a plan.
        path: path of the file, relative to the folder of the export.
        member: name in the file, if that is an archive.
        is_limited: whether it is quieter than the target loudness, to keep its true peak low.
    """
    known = {"utterance_id": row["utterance_id"], "uri": row["uri"], "path": path, "member": member}
    return dict.fromkeys(OUTCOMES.names) | known | {"is_limited": is_limited}


def rejected_row(row: Row, fault: AudioFault) -> Row:
    """Returns the outcome of an utterance that could not be exported."""
    known = {"uri": row["uri"], "utterance_id": row["utterance_id"], "source_version": row["source_version"]}
    reject = {"stage": Stage.EXPORT, "reason": fault.reason, "detail": printable(fault.detail)}
    return dict.fromkeys(OUTCOMES.names) | known | reject
