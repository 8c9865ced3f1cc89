"""Writes kept utterances as Lhotse Shar: for each shard a tar with the audio, and a file with the cuts."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.curation.exporting.outcomes import exported_row, rejected_row
from transforms.curation.exporting.segments import segments
from transforms.curation.exporting.shards import add_member, fields_of, recordings_in
from transforms.curation.exporting.target import AudioTarget, Row
from transforms.curation.kept_list import field_key
from transforms.curation.manifest_writers import json_line, lhotse_cut
from transforms.errors import AudioFault
from transforms.storage.atomic_files import atomic_file


def export_shar(
    rows: Sequence[Row], folder: str, number: int, target: AudioTarget, resume: bool = True
) -> Iterator[Row]:
    """Writes a shard: `recording.NUMBER.tar`, and then `cuts.NUMBER.jsonl.gz`.

    Args:
        rows: rows of one chunk of a plan.
        folder: folder of the export, in any filesystem that Beam knows.
        number: number of the chunk.
        target: audio to write.
        resume: whether to skip a shard that exists and has all rows.

    Yields:
        The outcome of each row (`OUTCOMES`).
    """
    name = f"recording.{number:06d}.tar"
    uri, cuts_uri = f"{folder}/{name}", f"{folder}/cuts.{number:06d}.jsonl.gz"
    if resume and FileSystems.exists(cuts_uri) and FileSystems.exists(uri):
        written = recordings_in(uri)
        if _number_of_cuts(cuts_uri) == len(written) and all(_cut_id(row) in written for row in rows):
            yield from (exported_row(row, name, written[_cut_id(row)]) for row in rows)
            return
    cuts = []
    with atomic_file(uri) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row, segment in segments(rows, target):
            if isinstance(segment, AudioFault):
                yield rejected_row(row, segment)
                continue
            cut = _cut(row, target)
            member = f"{cut['id']}.{segment.suffix}"
            add_member(tar, member, segment.content)
            add_member(tar, f"{cut['id']}.json", io.BytesIO(json_line(cut["recording"]).encode()))
            cuts.append(cut)
            yield exported_row(row, name, member, segment.is_limited)
    # Without a name and a time in the header, the same cuts give the same bytes.
    with atomic_file(cuts_uri) as out, gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as packed:
        packed.writelines(f"{json_line(cut)}\n".encode() for cut in cuts)


def _number_of_cuts(uri: str) -> int:
    with (
        FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file,
        gzip.GzipFile(fileobj=file) as lines,
    ):
        return sum(1 for _ in lines)


def _cut_id(row: Row) -> str:
    """Returns the id of the cut: that of the utterance, if Lhotse can find it as the path of a member."""
    utterance_id = str(row["utterance_id"])
    is_path = str(PurePosixPath(utterance_id)) == utterance_id and utterance_id.isprintable()
    return utterance_id if is_path and not utterance_id.startswith("/") else str(row["stem"])


def _cut(row: Row, target: AudioTarget) -> dict[str, Any]:
    """Returns the cut of a file, whose recording stands for the member of the tar."""
    fields = fields_of(row, target)
    rate, samples = target.rate_of(row), target.samples_of(row)
    utterance = {
        "id": _cut_id(row),
        "path": _cut_id(row),
        "whole": True,
        "recording_s": samples / rate,
        "duration_s": samples / rate,
        "sample_rate": rate,
        "channels": target.channels_of(row),
        "channel": None,
        "score": row["score"],
        **{field_key(name): value for name, value in fields.items()},
    }
    cut = lhotse_cut(utterance, list(fields))
    if cut["id"] != row["utterance_id"]:
        cut["custom"]["utterance_id"] = row["utterance_id"]
    cut["recording"]["sources"] = [{"type": "shar", "channels": cut["recording"]["channel_ids"], "source": ""}]
    return cut
