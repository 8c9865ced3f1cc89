"""The audio of what `audiosieve filter` kept, written by Beam on this machine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import duckdb
import pyarrow.dataset as ds

from pipelines.options import beam_options
from transforms import schemas
from transforms.arrow_rows import batches_of, write_parquet
from transforms.export import OUTCOMES, Export, ExportFormat, write_plan
from transforms.manifest_writers import carried_in_manifests, quoted
from transforms.sinks import WriteTable

REJECTS, EXPORTED, RECORD = "export_rejects.parquet", "exported.jsonl", "export.json"


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """An export.

    Attributes:
        folder: where the audio goes.
        format: of what is cut out, or "webdataset".
        shard_size: utterances in a shard.
        beam_arguments: Beam's own options.
    """

    folder: Path
    format: ExportFormat
    shard_size: int
    beam_arguments: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """What decides which files it writes, as `export.json` keeps it."""
        return {"folder": str(self.folder), "export_format": self.format, "shard_size": self.shard_size}


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
    connection: duckdb.DuckDBPyConnection, carried: Sequence[str], config: ExportConfig, keep: Path, scratch: Path
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
        RuntimeError: an utterance was lost or doubled, which is a bug.
    """
    _put(json.dumps(config.as_dict()).encode(), keep / RECORD)
    config.folder.mkdir(parents=True, exist_ok=True)
    plan = scratch / "plan.parquet"
    chunks = write_plan(connection, carried, plan, config.format, config.shard_size)
    runner, pipeline_options = beam_options(config.beam_arguments)
    with beam.Pipeline(runner=runner, options=pipeline_options) as root:
        build_export(root, chunks, Export(str(plan), str(config.folder), config.format), str(scratch / "outcomes"))
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
    _put((scratch / REJECTS).read_bytes(), keep / REJECTS)
    if config.format != "webdataset":
        draft = keep / f".{EXPORTED}"
        _write_exported(connection, carried, config.folder, draft)
        draft.replace(keep / EXPORTED)
    text = f"{written:,} exported to {config.folder}, {failed:,} rejected"
    reasons = connection.execute(
        "SELECT reason, count(*) FROM outcomes WHERE path IS NULL GROUP BY reason ORDER BY count(*) DESC, reason"
    ).fetchall()
    if reasons:
        text += f" ({', '.join(f'{count:,} {reason}' for reason, count in reasons)}; see {REJECTS})"
    return text


def _write_exported(connection: duckdb.DuckDBPyConnection, carried: Sequence[str], audio: Path, path: Path) -> None:
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
                    "audio_filepath": str(audio / row["path"]),
                    "id": row["id"],
                    "duration": row["duration_s"],
                    "score": row["score"],
                    **{name: row[name] for name in names if row[name] is not None},
                }
                file.write(json.dumps(found, ensure_ascii=False) + "\n")


def _put(content: bytes, path: Path) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content)
    draft.replace(path)
