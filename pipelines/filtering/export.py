"""Exports the audio of the utterances that `audiosieve filter` keeps, with Beam on this machine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines.common.runners import beam_options
from pipelines.filtering.folders import Folder
from transforms.curation.duckdb_rows import quoted_text
from transforms.curation.exporting.chunks import ExportChunk
from transforms.curation.exporting.loudness import PEAK_DBTP
from transforms.curation.exporting.outcomes import OUTCOMES, ExportOutcomes
from transforms.curation.exporting.plan import DATASETS, SHARDS, ExportFormat, write_export_plan
from transforms.curation.exporting.target import AudioTarget
from transforms.curation.kept_list import KeptList
from transforms.curation.manifest_formats import KALDI
from transforms.output.parquet_sink import WriteTable

FILES = REJECTS, RECORD = "export_rejects.parquet", "export.json"


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Configuration of an export.

    Attributes:
        folder: folder for the audio.
        format: format of the export; None for "original", or for "wav" with a manifest in Kaldi's format.
        shard_size: utterances in a shard, at least 1.
        sample_rate: sampling rate of the audio in Hz; None for that of the recordings.
        is_mono: whether to write one channel.
        loudness_lufs: loudness of the audio in LUFS; None to keep that of the recordings.
        beam_arguments: options for Beam.
    """

    folder: Folder
    format: ExportFormat | None
    shard_size: int
    sample_rate: int | None = None
    is_mono: bool = False
    loudness_lufs: float | None = None
    beam_arguments: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns everything that determines the files of the export, as `export.json` records it."""
        return {
            "folder": self.folder.uri,
            "export_format": self.format,
            "shard_size": self.shard_size,
            "sample_rate": self.sample_rate,
            "mono": self.is_mono,
            "loudness": self.loudness_lufs,
        }

    def with_format(self, manifest: str | None) -> ExportConfig:
        """Returns the configuration with a format.

        Args:
            manifest: format of the manifest; None for no manifest.
        """
        if self.format is not None:
            return self
        return dataclasses.replace(self, format="wav" if manifest == KALDI else "original")

    def target(self, manifest: str | None) -> AudioTarget:
        """Returns the audio to write.

        Args:
            manifest: format of the manifest; None for no manifest.
        """
        format = self.with_format(manifest).format
        return AudioTarget(
            container="wav" if format == "wav" else "flac",
            copies_all=format not in ("wav", "flac"),
            sample_rate=self.sample_rate,
            is_mono=self.is_mono,
            loudness_lufs=self.loudness_lufs,
            # Kaldi reads no other WAV files.
            max_bits=16 if manifest == KALDI else None,
        )

    def preview(self, kept: KeptList) -> KeptList:
        """Returns the list of kept utterances as if all were exported, before they have files.

        Args:
            kept: the kept utterances.
        """
        uri = quoted_text(f"{self.folder.uri}/audio")
        archive = uri if self.format in (*SHARDS, *DATASETS) else "NULL::VARCHAR"
        place = f"{uri} AS path, {archive} AS archive, NULL::VARCHAR AS member"
        return AudioTarget().files_of(kept, f"preview_of_{kept.table}", place, f"{kept.table} AS kept ORDER BY kept.id")


@dataclasses.dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        files: the exported utterances with their files.
        text: one line with the numbers of exported and rejected utterances.
    """

    files: KeptList
    text: str


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


def export_kept(kept: KeptList, config: ExportConfig, manifest: str | None, output: Folder, scratch: Path) -> Exported:
    """Exports the audio of kept utterances, and writes the rejects to the folder of the selection.

    Args:
        kept: the kept utterances.
        config: configuration of the export.
        manifest: format of the manifest; None for no manifest.
        output: folder of the selection.
        scratch: a local folder for temporary files.

    Raises:
        UsageError: a folder cannot be written.
        RuntimeError: an utterance was lost or repeated, which is a bug.
    """
    resume = not config.folder.is_empty()
    config.folder.check_writable()
    if resume:
        config.folder.remove_drafts()
    (scratch / RECORD).write_text(json.dumps(config.as_dict()), encoding="utf-8")
    output.put(scratch / RECORD, RECORD)
    plan, target = scratch / "plan.parquet", config.target(manifest)
    format = config.with_format(manifest).format
    assert format is not None
    chunks = write_export_plan(kept, plan, format, config.shard_size)
    runner, pipeline_options = beam_options(config.beam_arguments)
    with beam.Pipeline(runner=runner, options=pipeline_options) as root:
        export = ExportChunk(str(plan), config.folder.uri, format, target, kept.fields(), resume)
        build_export(root, chunks, export, str(scratch / "outcomes"))
    outcomes = ExportOutcomes(kept, list(scratch.glob("outcomes*.parquet")))
    outcomes.write_rejects(scratch / REJECTS)
    output.put(scratch / REJECTS, REJECTS)
    text = f"{outcomes.exported:,} exported to {config.folder.uri}, {outcomes.rejected:,} rejected"
    if outcomes.rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in outcomes.reject_counts().items())
        text += f" ({reasons}; see {REJECTS})"
    if outcomes.limited:
        text += (
            f"; {outcomes.limited:,} are quieter than {config.loudness_lufs:g} LUFS, to keep their peaks below "
            f"{PEAK_DBTP:g} dBTP"
        )
    return Exported(outcomes.files(config.folder.uri, target), text)
