"""Archives of recordings, WebDataset's tars and Hugging Face's Parquet, read as a stream, a recording at a time."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.audio.sound_file import open_audio
from transforms.corpus.manifests import ID_COLUMNS
from transforms.elements import AudioRef, printable
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.files import File
from transforms.storage.text_files import GZIP_MAGIC, as_text

TAR, PARQUET = "tar", "parquet"
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIX = ".parquet"
# A recording of more would not fit into memory, where it must be while it is decoded.
MAX_MEMBER_BYTES = 2 << 30
# What is beside a recording and larger is not about it.
MAX_ANNOTATION_BYTES = 16 << 20
# What is a recording by its name, whatever its bytes: if they are none, that is said.
AUDIO_SUFFIXES = {
    "3gp", "aac", "aif", "aifc", "aiff", "amr", "ape", "au", "caf", "flac", "gsm", "m4a", "m4b", "mp2",
    "mp3", "nist", "oga", "ogg", "opus", "rf64", "snd", "sph", "voc", "w64", "wav", "wave", "wma", "wv",
}  # fmt: skip
# What is a recording by its first bytes, whatever its name.
_MAGIC = re.compile(
    rb"RIFF....WAVE|RIFX....WAVE|RF64....WAVE|riff\x2e\x91\xcf\x11|fLaC|OggS|ID3|FORM....AIF[FC]|\.snd|NIST_1A|caff\x00\x01|"
    rb"....ftypM4[AB] |#!AMR|wvpk|Creative Voice File",
    re.DOTALL,
)
_MAGIC_BYTES = 32
_BLOCK_BYTES = 1 << 16
_MIN_PARQUET_BYTES = 12
# What Python's tarfile raises at headers that make no sense, beside its own errors.
_SENSELESS = (ValueError, IndexError, KeyError, OverflowError, RecursionError)
_BROKEN_TAR = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)
_BROKEN_PARQUET = (pa.ArrowException, OSError, ValueError)


def archive_kind(file: File) -> str | None:
    """Which archive of recordings a file is, "tar" or "parquet"; None if none. Of a Parquet file the footer is read."""
    name = file.uri.lower()
    if name.endswith(TAR_SUFFIXES):
        return TAR
    if not name.endswith(PARQUET_SUFFIX) or file.size_bytes < _MIN_PARQUET_BYTES:
        return None
    try:
        return PARQUET if holds_audio(file.uri) else None
    except OSError as error:
        # Not to be read now: then reading it shall say so, and the next run try again.
        return PARQUET if _of_the_system(error) else None
    except _BROKEN_PARQUET:
        return None


def _of_the_system(error: Exception) -> bool:
    """Whether a file could not be read, rather than what was read be no Parquet, for which Arrow has OSErrors of its own."""
    return isinstance(error, OSError) and (error.errno is not None or isinstance(error, BeamIOError))


def holds_audio(uri: str) -> bool:
    """Whether a Parquet file holds recordings and not only their names. Reads the footer alone.

    Raises:
        OSError or pyarrow.ArrowException: it cannot be opened, or is no Parquet.
    """
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return bool(audio_columns(pq.read_schema(file)))


def audio_columns(schema: pa.Schema) -> list[str]:
    """The columns that hold recordings: structs of `bytes` and `path`, but for those that say they are something else."""
    kinds = _kinds(schema)
    return [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and {"bytes", "path"} <= {part.name for part in field.type}
        and kinds.get(field.name, "Audio") == "Audio"
    ]


def _kinds(schema: pa.Schema) -> dict[str, str]:
    """What the columns are in the words of the `datasets` library, where it wrote the file: "Audio", "Image", "Value"."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature["_type"] for name, feature in features.items() if "_type" in feature}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def members(ref: AudioRef) -> Iterator[tuple[AudioRef, BinaryIO | AudioFault]]:
    """The recordings in an archive, in its order; one is in memory at a time, and nothing is unpacked to disk.

    Args:
        ref: an archive in any filesystem that Beam knows, read from its beginning to its end.

    Yields:
        Each recording and its bytes, from the first on, or the fault of it; at last, where the archive cannot be read to
        its end or holds no recording, the archive itself and the fault of that. Ids are those of the archive and the
        recording in it (`a.tar/x/1.wav`), all different; the columns of the archive are the recordings' too.
    """
    names: set[str] = set()
    try:
        with open_audio(ref.uri) as file:
            for found in _tar(file) if ref.archive == TAR else _parquet(file):
                name, content = found.name, found.content
                if name in names:
                    content = AudioFault(
                        Stage.READ, Reason.DUPLICATE_ID, f"{name!r} stands in the archive more than once"
                    )
                    name = _unique(name, names)
                names.add(name)
                yield _member(ref, name, found), content
        if not names:
            raise AudioFault(Stage.READ, Reason.EMPTY_ARCHIVE, "the archive holds no recording")
    except AudioFault as fault:
        yield ref, fault


def _unique(name: str, names: set[str]) -> str:
    number = 2
    while f"{name}#{number}" in names:
        number += 1
    return f"{name}#{number}"


@dataclasses.dataclass(slots=True)
class _Found:
    """A recording in an archive.

    Attributes:
        name: in the archive.
        size_bytes: of the recording.
        columns: what the archive says of it.
        content: its bytes, or why there are none.
    """

    name: str
    size_bytes: int
    columns: dict[str, str]
    content: BinaryIO | AudioFault


def _member(ref: AudioRef, name: str, found: _Found) -> AudioRef:
    return dataclasses.replace(
        ref,
        utterance_id=f"{ref.utterance_id}/{name}",
        uri=f"{ref.uri}#{name}",
        size_bytes=found.size_bytes,
        columns={**ref.columns, **found.columns},
        archive=None,
    )


def _too_large(size_bytes: int) -> AudioFault:
    detail = (
        f"the recording has {size_bytes} bytes, and in an archive {MAX_MEMBER_BYTES} are the most; put it into a file"
    )
    return AudioFault(Stage.READ, Reason.TOO_LONG, detail)


# --- tar ---------------------------------------------------------------------------------------------------------------


class _Header(tarfile.TarInfo):
    """A member's header. Python ends an archive in silence where one is broken; here it is remembered why it ended."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as error:
            cast(_Tar, tar).ending = error
            raise


class _Tar(tarfile.TarFile):
    tarinfo = _Header
    ending: tarfile.HeaderError | None = None


def _tar(file: BinaryIO) -> Iterator[_Found]:
    """The recordings in a tar.

    A sample is, as in WebDataset, a run of members whose names are the same up to the first dot of the last part. The
    plain values of its JSON are the columns of its recordings. So a recording is held back until it is known that none
    follows: until the next recording or the next sample.
    """
    held: _Found | None = None
    columns: dict[str, str] = {}
    sample = None
    broken: Exception | None = None
    try:
        for entry in _entries(file):
            if entry.sample != sample:
                sample, columns = entry.sample, {}
            elif not entry.is_recording:
                columns.update(entry.annotation())
                if held is not None:
                    held.columns.update(columns)
                continue
            if held is not None:
                yield held
                held = None
            if entry.is_recording:
                held = _Found(entry.name, entry.size_bytes, dict(columns), entry.content())
            else:
                columns.update(entry.annotation())
    except (*_BROKEN_TAR, OSError) as error:
        broken = error
    if held is not None:
        yield held
    if isinstance(broken, _BROKEN_TAR):
        raise AudioFault(Stage.READ, Reason.CORRUPT, f"the archive is damaged or breaks off: {broken}") from broken
    if broken is not None:
        raise broken


class _Entry:
    """A member of a tar, which can be read until the next is asked for, once.

    Attributes:
        name: of the member.
        sample: what its sample's members have in common of their names.
        size_bytes: of its data.
        is_recording: whether it is one, by its name or its first bytes.
    """

    def __init__(self, tar: _Tar, header: tarfile.TarInfo) -> None:
        self.name = printable(header.name.removeprefix("./"))
        folder, slash, last = self.name.rpartition("/")
        self.sample = folder + slash + last.partition(".")[0]
        self.size_bytes = header.size
        self._file = cast(io.BufferedReader, tar.extractfile(header)) if header.isreg() else None
        if "." in last and last.rpartition(".")[2].lower() in AUDIO_SUFFIXES:
            self.is_recording = not header.isdir()
        else:
            self.is_recording = self._file is not None and bool(_MAGIC.match(self._file.peek(_MAGIC_BYTES)))

    def annotation(self) -> dict[str, str]:
        """The plain values in it, if it is JSON."""
        if self._file is None or not self.name.lower().endswith(".json") or self.size_bytes > MAX_ANNOTATION_BYTES:
            return {}
        try:
            found = json.loads(self._file.read())
        except (ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {as_text(key): as_text(value) for key, value in found.items() if not isinstance(value, (dict, list))}

    def content(self) -> BinaryIO | AudioFault:
        """Its data, in memory."""
        if self._file is None:
            return AudioFault(Stage.READ, Reason.NOT_A_FILE, "it is a link or a device, and no recording")
        if self.size_bytes > MAX_MEMBER_BYTES:
            return _too_large(self.size_bytes)
        content = io.BytesIO()
        shutil.copyfileobj(self._file, content, _BLOCK_BYTES)
        content.seek(0)
        return content


def _entries(file: BinaryIO) -> Iterator[_Entry]:
    """The members of a tar that may be gzipped, whatever its name.

    Raises:
        AudioFault: it has no bytes.
        tarfile.TarError, EOFError, zlib.error or gzip.BadGzipFile: it is broken.
    """
    head = file.read(len(GZIP_MAGIC))
    if not head:
        raise AudioFault(Stage.READ, Reason.EMPTY_ARCHIVE, "the file has no bytes")
    file.seek(0)
    # Not tarfile's own gunzip: it does not compare the checksum.
    plain = cast(BinaryIO, _Unpacked(file)) if head == GZIP_MAGIC else file
    with _open_tar(plain) as tar:
        while (header := _next(tar)) is not None:
            yield _Entry(tar, header)
            tar.members = []  # type: ignore[attr-defined] # or a million headers would be kept
        if not isinstance(tar.ending, tarfile.EOFHeaderError):  # type: ignore[attr-defined] # unknown to typeshed
            raise tarfile.ReadError(f"it has no end mark, but {tar.ending or 'nothing'}")
        _check_end(tar)


class _Unpacked:
    """A gzipped file that gives what it has before it breaks off: `GzipFile.read` would keep the last block to itself."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = gzip.GzipFile(fileobj=file)

    def read(self, size: int) -> bytes:
        return self._file.read1(size)


def _open_tar(file: BinaryIO) -> _Tar:
    try:
        return _Tar.open(mode="r|", fileobj=file, bufsize=_BLOCK_BYTES)
    except _SENSELESS as error:
        raise tarfile.ReadError(f"a header makes no sense ({error})") from error


def _next(tar: _Tar) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except _SENSELESS as error:
        raise tarfile.ReadError(f"a header makes no sense ({error})") from error


def _check_end(tar: _Tar) -> None:
    """Reads on behind the end mark, and so compares gzip's checksum. Only zeros may follow."""
    rest = cast(BinaryIO, tar.fileobj)
    while block := rest.read(_BLOCK_BYTES):
        if block.strip(b"\0"):
            raise tarfile.ReadError("more follows after its end mark, as if several were joined; it was not read")


# --- Parquet -----------------------------------------------------------------------------------------------------------


def _parquet(file: BinaryIO) -> Iterator[_Found]:
    """The recordings in a Parquet file. Row groups that cannot be read are left out, which is said at the end."""
    try:
        # Buffered, not all at once: a row group may hold gigabytes.
        table = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
        rows = _Rows(table)
    except _BROKEN_PARQUET as error:
        if _of_the_system(error):
            raise
        raise AudioFault(Stage.READ, Reason.CORRUPT, f"the file cannot be read as Parquet: {error}") from error
    first, lost, broken = 0, 0, ""
    for group in range(table.num_row_groups):
        size, done = table.metadata.row_group(group).num_rows, 0
        try:
            for batch in table.iter_batches(1, row_groups=[group], columns=rows.columns):
                (row,) = batch.to_pylist()
                yield from rows.found(first + done, row)
                done += 1
        except _BROKEN_PARQUET as error:
            if _of_the_system(error):
                raise
            broken = broken or str(error)
        lost += size - done
        first += size
    if lost:
        detail = f"the archive is damaged: {lost} of its {first} rows cannot be read ({broken or 'they are not there'})"
        raise AudioFault(Stage.READ, Reason.CORRUPT, detail)


class _Rows:
    """How the rows of a Parquet file become recordings.

    Attributes:
        columns: what must be read.
    """

    def __init__(self, table: pq.ParquetFile) -> None:
        schema = table.schema_arrow
        self._audio = audio_columns(schema)
        self._id = _id_column(table, schema)
        self._paths = {column for column in self._audio if self._id is None and _tell_apart(table, column)}
        self._digits = len(str(table.metadata.num_rows))
        self._about = [field.name for field in schema if _is_plain(field.type) and field.name != self._id]
        self.columns = [*self._audio, *self._about, *([self._id] if self._id else [])]

    def found(self, number: int, row: Mapping[str, Any]) -> Iterator[_Found]:
        """The recordings of a row, which has one, or one for each column that holds recordings."""
        about = {name: as_text(row[name]) for name in self._about}
        for column in self._audio:
            audio = row[column] or {}
            name = as_text(row[self._id] if self._id else audio.get("path") if column in self._paths else None)
            name = name or f"{number:0{self._digits}d}"
            if len(self._audio) > 1:
                name = f"{name}/{column}"
            data = audio.get("bytes")
            yield _Found(name, len(data or b""), about, _bytes(data, audio.get("path")))


def _bytes(data: bytes | None, path: str | None) -> BinaryIO | AudioFault:
    if data is None:
        there = f"only the name of a file ({as_text(path)}); list that in a manifest" if path else "nothing"
        return AudioFault(Stage.READ, Reason.EMPTY_FILE, f"the row holds no recording, {there}")
    return _too_large(len(data)) if len(data) > MAX_MEMBER_BYTES else io.BytesIO(data)


def _id_column(table: pq.ParquetFile, schema: pa.Schema) -> str | None:
    """The column that tells the rows apart, if there is one: of whole numbers or texts, none missing, none twice."""
    for name in ID_COLUMNS:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            continue
        values: Sequence[Any] = table.read(columns=[name]).column(0).to_pylist()
        texts = set(map(as_text, values))
        if len(texts) == len(values) and "" not in texts:
            return name
    return None


def _tell_apart(table: pq.ParquetFile, column: str) -> bool:
    """Whether the paths of recordings are names for them: many sets have the same for all."""
    rows = table.read(columns=[f"{column}.path"]).column(0).to_pylist()
    paths = [row["path"] for row in rows if row and row["path"]]
    return len(set(paths)) == len(paths)


def _is_plain(kind: pa.DataType) -> bool:
    return not (
        pa.types.is_nested(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
