"""The audio of what is kept, written out: as it is where all of a recording is kept, or cut out of it to the sample.

A plan lists what to write: a Parquet file with a row for each utterance (`PLAN`), and a row group for each chunk, which one
worker writes at a time; for WebDataset a chunk is a shard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import apache_beam as beam
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms import schemas
from transforms.archives import AUDIO_SUFFIXES, PARQUET, PARQUET_SUFFIX, TAR, members
from transforms.arrow_rows import batches_of
from transforms.decode import BLOCK_SAMPLES, JUMP_S, jumps, open_audio, open_sound
from transforms.files import is_local, literally, look_at, match, version_of_file
from transforms.manifest_writers import quoted
from transforms.records import AudioFault, AudioRef, Reason, Stage, printable
from transforms.whole_files import whole_file

ExportFormat = Literal["flac", "wav", "webdataset"]
# Utterances in a chunk where it is no shard. Those of an archive are one chunk: it is read from its beginning.
CHUNK = 500

PLAN = pa.schema(
    [
        ("chunk", pa.int64()),
        ("utterance_id", pa.string()),
        ("stem", pa.string()),
        ("uri", pa.string()),
        ("archive", pa.string()),
        ("source_version", pa.string()),
        ("format", pa.string()),
        ("whole", pa.bool_()),
        ("first_sample", pa.int64()),
        ("samples", pa.int64()),
        ("sample_rate", pa.int32()),
        ("channel", pa.int32()),
        ("channels", pa.int32()),
        ("duration_s", pa.float64()),
        ("about", pa.string()),
    ]
)
# What became of each: the file's name in the folder of the export, or why there is none.
OUTCOMES = pa.schema([*(pa.field(field.name, field.type) for field in schemas.REJECTS), pa.field("path", pa.string())])

_BY_CONTAINER = {"MPEG": "mp3", "WAVEX": "wav", "OGG": "ogg"}
_INTO_16 = re.compile(r"PCM_(16|S8|U8)|ULAW|ALAW|GSM610|ALAC_16|.*ADPCM.*|DPCM_.*|VOX.*|G72.*|DWVW_1[26]|NMS_.*")
_INTO_24 = re.compile(r"PCM_24|ALAC_2[04]|DWVW_24")
_INTO_32 = re.compile(r"PCM_32|ALAC_32")
_FLAC_CHANNELS = 8
_IN_MEMORY_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
_AUDIO_SUFFIX = rf"(?i)\.({'|'.join(sorted(AUDIO_SUFFIXES))})$"


def write_plan(
    connection: duckdb.DuckDBPyConnection, carried: Sequence[str], path: Path, format: ExportFormat, shard_size: int
) -> int:
    """Writes the plan for what stands in `listed` (`manifest_writers.list_kept`).

    Args:
        connection: with `listed` and `entries`.
        carried: columns that the JSON in a shard tells.
        path: of the plan.
        format: of the export.
        shard_size: utterances in a shard.

    Returns:
        How many chunks it has.
    """
    chunk = f"(row_number() OVER by_place - 1) // {shard_size}"
    if format != "webdataset":
        number = f"(row_number() OVER by_place - 1) // {CHUNK}"
        chunk = f"CASE WHEN archive IS NULL THEN format('{{:012d}}', {number}) ELSE archive END"
    dotless = "|| replace(last, '.', '_')" if format == "webdataset" else "|| last"
    columns = "".join(f", {quoted(name)} := {quoted(name)}" for name in carried)
    query = f"""
        WITH parts AS (
            SELECT listed.*, entries.source_version, entries.format, list_transform(
                string_split(regexp_replace(id, '{_AUDIO_SUFFIX}', ''), '/'),
                lambda part: CASE WHEN part IN ('', '.', '..') THEN '_'
                    ELSE left(regexp_replace(part, '[[:cntrl:]]', '_', 'g'), 150) END) AS parts
            FROM listed JOIN entries ON entries.utterance_id = listed.id
        ),
        named AS (
            SELECT *, parts[-1] AS last, concat(array_to_string(parts[:-2], '/'), CASE WHEN len(parts) > 1 THEN '/' ELSE '' END)
                {dotless} AS stem
            FROM parts
        ),
        told AS (
            SELECT *, CASE WHEN count(*) OVER (PARTITION BY lower(stem)) > 1 THEN concat(stem, '-', left(md5(id), 8)) ELSE stem
                END AS one_stem, {chunk} AS part
            FROM named WINDOW by_place AS (ORDER BY path, start_s, id)
        )
        SELECT dense_rank() OVER (ORDER BY part) - 1 AS chunk, id AS utterance_id, one_stem AS stem, path AS uri, archive,
            source_version, format, whole, round(start_s * sample_rate)::BIGINT AS first_sample,
            round((end_s - start_s) * sample_rate)::BIGINT AS samples, sample_rate, channel, channels, duration_s,
            to_json(struct_pack(id := id, score := score, duration := round(duration_s, 6), sample_rate := sample_rate
                {columns})) AS about
        FROM told ORDER BY chunk, path, start_s, id
    """
    chunks = 0
    with pq.ParquetWriter(path, PLAN) as writer:
        for table in _by_chunk(batches_of(connection, query)):
            writer.write_table(table.cast(PLAN), row_group_size=max(1, len(table)))
            chunks += 1
    return chunks


def _by_chunk(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gathers rows in order of their chunk into a table for each."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        numbers = batch.column("chunk").to_numpy()
        starts = [0, *(1 + (numbers[1:] != numbers[:-1]).nonzero()[0]).tolist(), len(batch)]
        for first, last in itertools.pairwise(starts):
            part = batch.slice(first, last - first)
            if held and held[-1].column("chunk")[0] != part.column("chunk")[0]:
                yield pa.Table.from_batches(held)
                held = []
            held.append(part)
    if held:
        yield pa.Table.from_batches(held)


# --- from a recording to what is kept of it ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Piece:
    """The audio of an utterance, encoded.

    Attributes:
        suffix: of its name, without the dot.
        content: the bytes, from their start.
    """

    suffix: str
    content: BinaryIO


Row = dict[str, Any]


def pieces(rows: Sequence[Row], container: str) -> Iterator[tuple[Row, Piece | AudioFault]]:
    """The audio of some rows of a plan, each to be used before the next is asked for.

    Args:
        rows: of one chunk, in its order.
        container: "flac" or "wav", for what is cut out of a recording.

    Yields:
        Each row, once, with its audio, or the fault of it.
    """
    for (archive, uri), group in itertools.groupby(rows, lambda row: (row["archive"], row["archive"] or row["uri"])):
        wanted = list(group)
        try:
            _check_version(uri, wanted[0]["source_version"])
        except AudioFault as fault:
            yield from ((row, fault) for row in wanted)
            continue
        yield from _of_archive(archive, wanted, container) if archive else _of_file(uri, wanted, container)


def _check_version(uri: str, version: str) -> None:
    """Refuses a recording that is not what was scored.

    Raises:
        AudioFault: it has changed since, or is gone.
    """
    try:
        file = look_at(uri) if is_local(uri) else next(match(literally(uri)), None)
    except OSError as error:
        raise AudioFault(Stage.EXPORT, Reason.UNREADABLE, str(error)) from error
    if file is None or not file.is_there:
        raise AudioFault(Stage.EXPORT, Reason.UNREADABLE, "it is gone since it was scored")
    if file.source_version != version_of_file(version):
        raise AudioFault(Stage.EXPORT, Reason.CHANGED, "it has changed since it was scored; score the corpus again")


def _of_archive(archive: str, rows: Sequence[Row], container: str) -> Iterator[tuple[Row, Piece | AudioFault]]:
    wanted: dict[str, list[Row]] = {}
    for row in rows:
        wanted.setdefault(row["uri"], []).append(row)
    kind = PARQUET if archive.lower().endswith(PARQUET_SUFFIX) else TAR
    lost = AudioFault(Stage.EXPORT, Reason.UNREADABLE, "it is not in the archive any more")
    found = cast(Generator, members(AudioRef("", archive, 0, "", archive=kind)))
    with contextlib.closing(found):
        for ref, content in found:
            if isinstance(content, AudioFault):
                if ref.uri == archive:
                    lost = content
                else:
                    yield from ((row, content) for row in wanted.pop(printable(ref.uri), ()))
            elif here := wanted.pop(printable(ref.uri), None):
                yield from _of_sound(content, ref.uri, here, container)
            if not wanted:
                break
    yield from ((row, lost) for row in itertools.chain.from_iterable(wanted.values()))


def _of_file(uri: str, rows: Sequence[Row], container: str) -> Iterator[tuple[Row, Piece | AudioFault]]:
    done = 0
    try:
        with open_audio(uri) as file:
            for found in _of_sound(file, uri, rows, container):
                done += 1
                yield found
    except AudioFault as fault:
        yield from ((row, fault) for row in rows[done:])


def _of_sound(
    file: BinaryIO, name: str, rows: Sequence[Row], container: str
) -> Iterator[tuple[Row, Piece | AudioFault]]:
    """What rows want of one recording, in the order of their starts."""
    sound: soundfile.SoundFile | None = None
    at = 0
    try:
        for row in rows:
            try:
                is_all = row["whole"] and not _one_of_several(row)
                if not is_all:
                    if sound is None or row["first_sample"] < at:
                        file.seek(0)
                        sound, at = open_sound(file), 0
                    is_all = _is_all(row, sound)
                with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spooled:
                    content = cast(BinaryIO, spooled)
                    if is_all or sound is None:
                        sound = None
                        piece = _copied(file, _suffix(name, row["format"]), content)
                    else:
                        piece = _cut(sound, at, row, container, content)
                        at = row["first_sample"] + row["samples"]
                    yield row, piece
            except AudioFault as fault:
                sound = None
                yield row, fault
    finally:
        if sound is not None:
            sound.close()


def _one_of_several(row: Row) -> bool:
    return row["channel"] is not None and row["channels"] > 1


def _is_all(row: Row, sound: soundfile.SoundFile) -> bool:
    """Whether a span turns out to be all of the recording."""
    return not row["first_sample"] and row["samples"] == sound.frames and not _one_of_several(row)


def _suffix(name: str, format: str) -> str:
    """A recording's own suffix; where it has none, or one that says nothing of sound, that of its format."""
    suffix = name.rpartition("/")[2].rpartition(".")[2].lower()
    found = format.partition("/")[0]
    return suffix if suffix in AUDIO_SUFFIXES else _BY_CONTAINER.get(found, found.lower())


def _copied(file: BinaryIO, suffix: str, content: BinaryIO) -> Piece:
    """All bytes of a recording.

    Raises:
        AudioFault: they cannot be read.
    """
    file.seek(0)
    while block := _read(file):
        content.write(block)
    content.seek(0)
    return Piece(suffix, content)


def _read(file: BinaryIO) -> bytes:
    try:
        return file.read(_BLOCK_BYTES)
    except OSError as error:
        raise AudioFault(Stage.EXPORT, Reason.UNREADABLE, str(error)) from error


def _cut(sound: soundfile.SoundFile, at: int, row: Row, container: str, content: BinaryIO) -> Piece:
    """Encodes a span of a sound so that no sample changes.

    Args:
        sound: whose next sample is the one numbered `at`.
        at: not beyond the span's first.
        row: what is wanted.
        container: "flac" or "wav".
        content: where to.

    Raises:
        AudioFault: the sound breaks off, or is broken.
    """
    kind, subtype, suffix = _coding(sound.subtype, sound.channels if row["channel"] is None else 1, container)
    first, left = row["first_sample"], row["samples"]
    block = max(1, BLOCK_SAMPLES // sound.channels)
    try:
        if jumps(sound) and first > at + JUMP_S * sound.samplerate:
            at = sound.seek(min(first, sound.frames))
        while at < first and (passed := len(sound.read(min(block, first - at), dtype=kind, always_2d=True))):
            at += passed
        channels = sound.channels if row["channel"] is None else 1
        with soundfile.SoundFile(
            content, "w", sound.samplerate, channels, subtype, format="FLAC" if suffix == "flac" else "WAV"
        ) as out:
            while left:
                samples = sound.read(min(block, left), dtype=kind, always_2d=True)
                if not len(samples):
                    detail = f"{left} of the {row['samples']} samples from {first} on are not there"
                    raise AudioFault(Stage.EXPORT, Reason.TRUNCATED, detail)
                out.write(samples if row["channel"] is None else samples[:, row["channel"]])
                left -= len(samples)
    except soundfile.LibsndfileError as error:
        raise AudioFault(Stage.EXPORT, Reason.CORRUPT, str(error)) from error
    content.seek(0)
    return Piece(suffix, content)


def _coding(subtype: str, channels: int, container: str) -> tuple[str, str, str]:
    """How samples are read, how they are written, and in which container, so that none changes."""
    lossless = "wav" if channels > _FLAC_CHANNELS else container
    if _INTO_16.fullmatch(subtype):
        return "int16", "PCM_16", lossless
    if _INTO_24.fullmatch(subtype):
        return "int32", "PCM_24", lossless
    if _INTO_32.fullmatch(subtype):
        return "int32", "PCM_32", "wav"
    return ("float64", "DOUBLE", "wav") if subtype == "DOUBLE" else ("float32", "FLOAT", "wav")


# --- files and shards ----------------------------------------------------------------------------------------------------


def export_files(rows: Sequence[Row], folder: str, container: str, goes_on: bool = True) -> Iterator[Row]:
    """Writes a file for each row.

    Args:
        rows: of a plan.
        folder: where to, in any filesystem that Beam knows.
        container: "flac" or "wav", for what is cut out of a recording.
        goes_on: whether what is there is looked for, and left.

    Yields:
        What became of each (`OUTCOMES`).
    """
    todo = []
    for row in rows:
        there = _there(row, folder, container) if goes_on else None
        if there:
            yield _done(row, there)
        else:
            todo.append(row)
    for row, found in pieces(todo, container):
        if isinstance(found, AudioFault):
            yield _failed(row, found)
            continue
        name = f"{row['stem']}.{found.suffix}"
        with whole_file(f"{folder}/{name}") as out:
            shutil.copyfileobj(found.content, out, _BLOCK_BYTES)
        yield _done(row, name)


def _there(row: Row, folder: str, container: str) -> str | None:
    """The file of a row that an earlier export has written."""
    for suffix in dict.fromkeys((_suffix(row["uri"], row["format"]), container, "wav")):
        name = f"{row['stem']}.{suffix}"
        if FileSystems.exists(f"{folder}/{name}"):
            return name
    return None


def export_shard(rows: Sequence[Row], folder: str, number: int, goes_on: bool = True) -> Iterator[Row]:
    """Writes a tar of all rows, `KEY.flac` (or the recording's own suffix) and `KEY.json` of each.

    One that is there and has them all is left. Times and owners in it are always the same, so that its bytes are, too.

    Args:
        rows: of one chunk of a plan.
        folder: where to, in any filesystem that Beam knows.
        number: of the chunk.
        goes_on: whether what is there is looked for.

    Yields:
        What became of each (`OUTCOMES`).
    """
    name = f"shard-{number:06d}.tar"
    uri = f"{folder}/{name}"
    if goes_on and FileSystems.exists(uri):
        keys = _keys(uri)
        if all(row["stem"] in keys for row in rows):
            yield from (_done(row, name) for row in rows)
            return
    with whole_file(uri) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row, found in pieces(rows, "flac"):
            if isinstance(found, AudioFault):
                yield _failed(row, found)
                continue
            _add(tar, f"{row['stem']}.{found.suffix}", found.content)
            about = {name: value for name, value in json.loads(row["about"]).items() if value is not None}
            _add(tar, f"{row['stem']}.json", io.BytesIO(json.dumps(about, ensure_ascii=False).encode()))
            yield _done(row, name)


def _keys(uri: str) -> set[str]:
    with (
        FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file,
        tarfile.open(fileobj=file) as tar,
    ):
        return {name.removesuffix(".json") for name in tar.getnames() if name.endswith(".json")}


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO) -> None:
    header = tarfile.TarInfo(name)
    header.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    tar.addfile(header, content)


def _done(row: Row, path: str) -> Row:
    return dict.fromkeys(OUTCOMES.names) | {"utterance_id": row["utterance_id"], "uri": row["uri"], "path": path}


def _failed(row: Row, fault: AudioFault) -> Row:
    return {
        "uri": row["uri"],
        "utterance_id": row["utterance_id"],
        "source_version": row["source_version"],
        "stage": Stage.EXPORT,
        "reason": fault.reason,
        "detail": printable(fault.detail),
        "path": None,
    }


class Export(beam.DoFn):
    """Numbers of chunks of a plan -> what became of each utterance in them (`OUTCOMES`).

    Args:
        plan: its path.
        folder: where the audio goes.
        format: of the export.
        goes_on: whether an earlier one may have written some of it.
    """

    def __init__(self, plan: str, folder: str, format: ExportFormat, goes_on: bool) -> None:
        self.plan, self.folder, self.format, self.goes_on = plan, folder, format, goes_on

    def process(self, chunk: int) -> Iterable[Row]:
        """Writes what is in a chunk."""
        rows = pq.ParquetFile(self.plan).read_row_group(chunk).to_pylist()
        if self.format == "webdataset":
            yield from export_shard(rows, self.folder, chunk, self.goes_on)
        else:
            yield from export_files(rows, self.folder, self.format, self.goes_on)
