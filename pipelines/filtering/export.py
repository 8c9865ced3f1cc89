"""Exports the audio of the utterances that `audiosieve filter` keeps, with Beam on this machine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines.common.runners import beam_options
from pipelines.filtering.folders import Folder
from transforms.curation.audio_export import ExportChunk
from transforms.curation.export_outcomes import OUTCOMES, ExportOutcomes
from transforms.curation.export_plan import ExportFormat, write_export_plan
from transforms.curation.kept_list import KeptList
from transforms.output.parquet_sink import WriteTable

FILES = REJECTS, MANIFEST, RECORD = "export_rejects.parquet", "exported.jsonl", "export.json"


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Configuration of an export.

    Attributes:
        folder: folder for the audio.
        format: format of audio that is cut out of recordings, or "webdataset".
        shard_size: utterances in a shard of WebDataset, at least 1.
        beam_arguments: options for Beam.
    """

    folder: Folder
    format: ExportFormat
    shard_size: int
    beam_arguments: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns everything that determines the files of the export, as `export.json` records it."""
        return {"folder": self.folder.uri, "export_format": self.format, "shard_size": self.shard_size}


def build_export(root: beam.Pipeline, chunks: int, export: ExportChunk, prefix: str) -> None:
    """Exports the chunks of a plan and writes the outcomes.

    Args:
        root: an empty pipeline.
        chunks: number of chunks in the plan.
        export: step that exports a chunk.
        prefix: path prefix for the Parquet files of outcomes.
    """
    (
        root
        | "Chunks" >> beam.Create(range(chunks))
        | "Spread" >> beam.Reshuffle()
        | "Export" >> beam.ParDo(export)
        | "WriteOutcomes" >> WriteTable(prefix, OUTCOMES)
    )


def export_kept(kept: KeptList, config: ExportConfig, output: Folder, scratch: Path) -> str:
    """Exports the audio of kept utterances, and writes the outcomes to the folder of the selection.

    Args:
        kept: the kept utterances.
        config: configuration of the export.
        output: folder of the selection.
        scratch: a local folder for temporary files.

    Returns:
        One line with the numbers of exported and rejected utterances.

    Raises:
        UsageError: a folder cannot be written.
        RuntimeError: an utterance was lost or repeated, which is a bug.
    """
    resume = not config.folder.is_empty()
    config.folder.check_writable()
    (scratch / RECORD).write_text(json.dumps(config.as_dict()), encoding="utf-8")
    output.put(scratch / RECORD, RECORD)
    plan = scratch / "plan.parquet"
    chunks = write_export_plan(kept, plan, config.format, config.shard_size)
    runner, pipeline_options = beam_options(config.beam_arguments)
    with beam.Pipeline(runner=runner, options=pipeline_options) as root:
        export = ExportChunk(str(plan), config.folder.uri, config.format, resume)
        build_export(root, chunks, export, str(scratch / "outcomes"))
    outcomes = ExportOutcomes(kept, list(scratch.glob("outcomes*.parquet")))
    outcomes.write_rejects(scratch / REJECTS)
    output.put(scratch / REJECTS, REJECTS)
    if config.format != "webdataset":
        outcomes.write_manifest(config.folder.uri, scratch / MANIFEST)
        output.put(scratch / MANIFEST, MANIFEST)
    text = f"{outcomes.exported:,} exported to {config.folder.uri}, {outcomes.rejected:,} rejected"
    if outcomes.rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in outcomes.reject_counts().items())
        text += f" ({reasons}; see {REJECTS})"
    return text
