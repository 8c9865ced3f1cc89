"""The audio of what `audiosieve filter` kept, written by Beam from this machine, to a folder of it or to a bucket."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import duckdb
import pyarrow.dataset as ds

from pipelines.common.runners import beam_options
from pipelines.filtering.folders import Folder
from transforms import schemas
from transforms.curation.audio_export import OUTCOMES, Export
from transforms.curation.duckdb_rows import batches_of, write_parquet
from transforms.curation.export_plan import ExportFormat, write_export_plan
from transforms.curation.manifest_writers import carried_in_manifests, quoted
from transforms.output.parquet_sink import WriteTable

FILES = REJECTS, EXPORTED, RECORD = "export_rejects.parquet", "exported.jsonl", "export.json"


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """An export.

    Attributes:
        folder: where the audio goes.
        format: of what is cut out, or "webdataset".
        shard_size: utterances in a shard.
        beam_arguments: Beam's own options.
    """

    folder: Folder
    format: ExportFormat
    shard_size: int
    beam_arguments: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """What decides which files it writes, as `export.json` keeps it."""
        return {"folder": self.folder.uri, "export_format": self.format, "shard_size": self.shard_size}


def build_export(root: beam.Pipeline, chunks: int, export: Export, prefix: str) -> None:
    """Spread the chunks of the plan; write what is in them; keep what became of each utterance."""
    (
        root
        | "Chunks" >> beam.Create(range(chunks))
        | "Spread" >> beam.Reshuffle()
        | "Export" >> beam.ParDo(export)
        | "WriteOutcomes" >> WriteTable(prefix, OUTCOMES)
    )


def export_kept(
    connection: duckdb.DuckDBPyConnection, carried: Sequence[str], config: ExportConfig, keep: Folder, scratch: Path
) -> str:
    """Writes the kept audio, and into KEEP what became of each utterance.

    Args:
        connection: in which the selection was made.
        carried: columns of the corpus.
        config: of the export.
        keep: folder of the selection.
        scratch: an empty folder.

    Returns:
        What was done, in a line.

    Raises:
        UsageError: nothing can be written there.
        RuntimeError: an utterance was lost or doubled, which is a bug.
    """
    goes_on = not config.folder.is_empty()
    config.folder.check_writable()
    (scratch / RECORD).write_text(json.dumps(config.as_dict()), encoding="utf-8")
    keep.put(scratch / RECORD, RECORD)
    plan = scratch / "plan.parquet"
    chunks = write_export_plan(connection, carried, plan, config.format, config.shard_size)
    runner, pipeline_options = beam_options(config.beam_arguments)
    with beam.Pipeline(runner=runner, options=pipeline_options) as root:
        export = Export(str(plan), config.folder.uri, config.format, goes_on)
        build_export(root, chunks, export, str(scratch / "outcomes"))
    connection.register("outcomes", ds.dataset([str(path) for path in scratch.glob("outcomes*.parquet")], OUTCOMES))
    ((written, failed, known, wanted),) = connection.execute("""
        SELECT count(path), count(*) - count(path), (SELECT count(*) FROM kept SEMI JOIN outcomes USING (utterance_id)),
            (SELECT count(*) FROM kept)
        FROM outcomes
    """).fetchall()
    if not wanted == known == written + failed:
        raise RuntimeError(f"of {wanted} utterances {written} were exported, {failed} were not, and {known} are known")
    rejects = "SELECT * EXCLUDE (path) FROM outcomes WHERE path IS NULL ORDER BY utterance_id"
    write_parquet(connection, rejects, schemas.REJECTS, scratch / REJECTS)
    keep.put(scratch / REJECTS, REJECTS)
    if config.format != "webdataset":
        _write_exported(connection, carried, config.folder.uri, scratch / EXPORTED)
        keep.put(scratch / EXPORTED, EXPORTED)
    text = f"{written:,} exported to {config.folder.uri}, {failed:,} rejected"
    reasons = connection.execute(
        "SELECT reason, count(*) FROM outcomes WHERE path IS NULL GROUP BY reason ORDER BY count(*) DESC, reason"
    ).fetchall()
    if reasons:
        text += f" ({', '.join(f'{count:,} {reason}' for reason, count in reasons)}; see {REJECTS})"
    return text


def _write_exported(connection: duckdb.DuckDBPyConnection, carried: Sequence[str], audio: str, path: Path) -> None:
    """A manifest of the files that were written, as NeMo's."""
    names = carried_in_manifests(carried)
    columns = "".join(f", listed.{quoted(name)}" for name in names)
    query = f"""
        SELECT outcomes.path, id, duration_s, listed.score{columns} FROM listed JOIN outcomes ON id = utterance_id
        WHERE outcomes.path IS NOT NULL ORDER BY id
    """
    with path.open("w", encoding="utf-8") as file:
        for batch in batches_of(connection, query):
            for row in batch.to_pylist():
                found = {
                    "audio_filepath": f"{audio}/{row['path']}",
                    "id": row["id"],
                    "duration": row["duration_s"],
                    "score": row["score"],
                    **{name: row[name] for name in names if row[name] is not None},
                }
                file.write(json.dumps(found, ensure_ascii=False) + "\n")
