"""Writes kept utterances as shards of WebDataset: tars with the audio, the metadata and the other members of a sample."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives.member import has_audio_suffix
from transforms.curation.exporting.outcomes import exported_row, rejected_row
from transforms.curation.exporting.segments import segments
from transforms.curation.exporting.tar_samples import TarSamples, is_in_tar
from transforms.curation.exporting.target import AudioTarget, Row
from transforms.curation.kept_list import free_name
from transforms.curation.row_writers.piece_fields import audio_fields
from transforms.errors import AudioFault
from transforms.storage.atomic_files import atomic_file


def export_shard(
    rows: Sequence[Row], folder: str, number: int, target: AudioTarget, resume: bool = True
) -> Iterator[Row]:
    """Writes a tar file with the audio and a JSON file of each row.

    A recording of a tar keeps the other members of its sample; the JSON file has those of its own, too. If that is no object,
    it stays, and the new one is `KEY.audiosieve.json`. The text of another recording becomes `KEY.txt`. Times and owners are
    fixed, so that the same rows give the same bytes.

    Args:
        rows: rows of one chunk of a plan.
        folder: folder of the export, in any filesystem that Beam knows.
        number: number of the chunk.
        target: audio to write.
        resume: whether to skip a shard that exists and has all rows.

    Yields:
        The outcome of each row (`OUTCOMES`).
    """
    name = f"shard-{number:06d}.tar"
    uri = f"{folder}/{name}"
    if resume and FileSystems.exists(uri):
        written = recordings_in(uri)
        if all(row["stem"] in written for row in rows):
            yield from (exported_row(row, name, written[row["stem"]]) for row in rows)
            return
    with (
        atomic_file(uri) as out,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar,
        TarSamples(rows) as samples,
    ):
        for row, segment in segments(rows, target):
            if isinstance(segment, AudioFault):
                yield rejected_row(row, segment)
                continue
            try:
                others = samples.of(row)
            except AudioFault as fault:
                yield rejected_row(row, fault)
                continue
            member = f"{row['stem']}.{segment.suffix}"
            add_member(tar, member, segment.content)
            metadata = _metadata(row, target, others.metadata)
            text = metadata.get("text")
            if not is_in_tar(row) and isinstance(text, str):
                add_member(tar, f"{row['stem']}.txt", io.BytesIO(text.encode()))
            for suffix, content in others.files():
                add_member(tar, f"{row['stem']}.{suffix}", content)
            content = io.BytesIO(json.dumps(metadata, ensure_ascii=False).encode())
            add_member(tar, f"{row['stem']}.{others.new_json}", content)
            yield exported_row(row, name, member, segment.is_limited)


def _metadata(row: Row, target: AudioTarget, original: dict[str, Any]) -> dict[str, Any]:
    """Returns the JSON of a sample: that of the corpus, if there is one, with the score and the columns of the list."""
    metadata = fields_of(row, target) | original
    metadata |= audio_fields(metadata, target.audio_of(row)) | _of_audio(row, target)
    metadata = {name: value for name, value in metadata.items() if value is not None or name in original}
    for name, value in (("id", row["utterance_id"]), ("score", row["score"])):
        if metadata.setdefault(name, value) != value:
            metadata[free_name(name, metadata)] = value
    return metadata


def fields_of(row: Row, target: AudioTarget) -> dict[str, Any]:
    """Returns the further columns of a row of a plan that are not null, with the sampling rate of the file."""
    fields = json.loads(row["fields"])
    fields |= audio_fields(fields, target.audio_of(row))
    return {name: value for name, value in fields.items() if value is not None}


def _of_audio(row: Row, target: AudioTarget) -> dict[str, Any]:
    rate = target.rate_of(row)
    return {"duration": round(target.samples_of(row) / rate, 6), "sample_rate": rate}


def recordings_in(uri: str) -> dict[str, str]:
    """Returns the names of the recordings in a written tar, by their names without suffix."""
    with (
        FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file,
        tarfile.open(fileobj=file) as tar,
    ):
        return {name.rpartition(".")[0]: name for name in tar.getnames() if has_audio_suffix(name)}


def add_member(tar: tarfile.TarFile, name: str, content: BinaryIO) -> None:
    """Adds a file to a tar.

    Args:
        tar: tar that is open for writing.
        name: name of the member.
        content: content of the file, seekable, at any position.
    """
    header = tarfile.TarInfo(name)
    header.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    tar.addfile(header, content)
