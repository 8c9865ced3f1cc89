"""Tars of recordings, as WebDataset writes them, read as a stream."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

from transforms.corpus.archives.member import (
    SIGNATURE_BYTES,
    Member,
    has_audio_suffix,
    size_fault,
    starts_like_audio,
)
from transforms.corpus.columns import role_columns
from transforms.corpus.word_times import word_columns
from transforms.elements import printable
from transforms.errors import AudioFault, Reason, Stage
from transforms.storage.text_files import GZIP_MAGIC, as_text

# A larger JSON member is not metadata of a recording.
MAX_METADATA_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 16
# Recordings of a sample in memory, to which metadata that follow belong. Names such as 2024.01.31.wav make very large samples.
_MOST_RECORDINGS = 16
_MOST_SAMPLE_BYTES = 64 << 20
# Suffixes of members with the text of a sample, and the column of that text.
TEXT_SUFFIXES = ("txt", "text", "transcript", "transcription", "lab")
TEXT = "text"
# Exceptions that `tarfile` raises at invalid headers, besides its own.
_INVALID_HEADER = (ValueError, IndexError, KeyError, OverflowError, RecursionError)
_BROKEN_TAR = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


def read_tar(file: BinaryIO) -> Iterator[Member]:
    """Reads the recordings in a tar.

    As in WebDataset, consecutive members whose names are equal up to the first dot of the last part form a sample. The plain
    values and the word times of its JSON member, and the text of its text member, become columns of all its recordings. These
    members may come after the recordings, so recordings are yielded at the next sample, or when they exceed the limits of a
    sample.

    Raises:
        AudioFault: the file is empty; or the archive is damaged, once the recordings before the damage are yielded.
        OSError: the file cannot be read.
    """
    pending: list[Member] = []
    # The recordings of a sample share it.
    columns: dict[str, str] = {}
    sample = None
    broken: Exception | None = None
    try:
        for entry in _entries(file):
            if entry.sample != sample:
                yield from _complete(pending)
                sample, columns = entry.sample, {}
            if entry.is_recording:
                while pending and not _fits(pending, entry):
                    yield from _complete([pending.pop(0)])
                pending.append(Member(entry.name, entry.size_bytes, columns, entry.content()))
            else:
                entry.add_metadata(columns)
    except (*_BROKEN_TAR, OSError) as error:
        broken = error
    yield from _complete(pending)
    if isinstance(broken, _BROKEN_TAR):
        raise AudioFault(Stage.READ, Reason.CORRUPT, f"the archive is damaged or truncated: {broken}") from broken
    if broken is not None:
        raise broken


def first_columns(file: BinaryIO) -> dict[str, str]:
    """Returns the columns of the first recording in a tar; empty if none can be read."""
    member = next(read_tar(file), None)
    return {} if member is None else member.columns


def other_members(file: BinaryIO) -> Iterator[tuple[str, str, BinaryIO]]:
    """Reads the members of a tar that are files but not recordings.

    Yields:
        The sample that a member belongs to, the rest of its name without the dot, such as `txt`, and its content.

    Raises:
        AudioFault: the file is empty or damaged.
        OSError: the file cannot be read.
    """
    try:
        for entry in _entries(file):
            if not entry.is_recording and (content := entry.open()) is not None:
                yield entry.sample, entry.name[len(entry.sample) + 1 :], content
    except _BROKEN_TAR as error:
        raise AudioFault(Stage.READ, Reason.CORRUPT, f"the archive is damaged or truncated: {error}") from error


def sample_of(name: str) -> str:
    """Returns the sample that a member of a tar belongs to: its name up to the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _fits(pending: Sequence[Member], entry: _Entry) -> bool:
    size = entry.size_bytes + sum(member.size_bytes for member in pending)
    return len(pending) < _MOST_RECORDINGS and size <= _MOST_SAMPLE_BYTES


def _complete(pending: list[Member]) -> Iterator[Member]:
    """Yields recordings whose metadata are read, and empties the list."""
    while pending:
        member = pending.pop(0)
        columns = member.columns
        columns = columns | {role: columns[name] for role, name in role_columns(columns).items()}
        yield dataclasses.replace(member, columns=columns)


class _Header(tarfile.TarInfo):
    """A member's header. `tarfile` ends silently at a damaged header; this class records the reason in the tar."""

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


class _Entry:
    """A member of a tar. It can be read once, before the next member is requested.

    Attributes:
        name: name of the member.
        sample: the part of the name that all members of a sample share.
        size_bytes: size of the content in bytes.
        is_recording: whether the member is a recording, by its suffix or its first bytes.
    """

    def __init__(self, tar: _Tar, header: tarfile.TarInfo) -> None:
        self.name = printable(header.name.removeprefix("./"))
        last = self.name.rpartition("/")[2]
        self.sample = sample_of(self.name)
        self.size_bytes = header.size
        self._file = cast(io.BufferedReader, tar.extractfile(header)) if header.isreg() else None
        if has_audio_suffix(last):
            self.is_recording = not header.isdir()
        else:
            self.is_recording = self._file is not None and starts_like_audio(self._file.peek(SIGNATURE_BYTES))

    def add_metadata(self, columns: dict[str, str]) -> None:
        """Adds the plain values and the word times of a JSON object, or a text, which does not replace one of JSON."""
        suffix = self.name.lower().rpartition(".")[2]
        if self._file is None or suffix not in ("json", *TEXT_SUFFIXES) or self.size_bytes > MAX_METADATA_BYTES:
            return
        content = self._file.read()
        if suffix in TEXT_SUFFIXES:
            columns.setdefault(TEXT, content.decode("utf-8-sig", "replace").strip())
            return
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            return
        if isinstance(values, dict):
            words = word_columns(list(values))
            for key, value in values.items():
                if not isinstance(value, (dict, list)) or key in words:
                    columns[as_text(key)] = as_text(value)

    def open(self) -> BinaryIO | None:
        """Returns the content as a stream; None if the member is not a file."""
        return cast("BinaryIO | None", self._file)

    def content(self) -> BinaryIO | AudioFault:
        """Reads the content into memory."""
        if self._file is None:
            return AudioFault(Stage.READ, Reason.NOT_A_FILE, "the member is a link or a device, not a file")
        if fault := size_fault(self.size_bytes):
            return fault
        content = io.BytesIO()
        shutil.copyfileobj(self._file, content, _BLOCK_BYTES)
        content.seek(0)
        return content


def _entries(file: BinaryIO) -> Iterator[_Entry]:
    """Reads the members of a tar. The content decides whether it is gzipped, not the name.

    Raises:
        AudioFault: the file is empty.
        tarfile.TarError, EOFError, zlib.error or gzip.BadGzipFile: the archive is damaged.
    """
    head = file.read(len(GZIP_MAGIC))
    if not head:
        raise AudioFault(Stage.READ, Reason.EMPTY_ARCHIVE, "the file has no bytes")
    file.seek(0)
    # The gunzip of `tarfile` does not compare the checksum.
    plain = cast(BinaryIO, _GunzippedFile(file)) if head == GZIP_MAGIC else file
    with _open_tar(plain) as tar:
        while (header := _next_header(tar)) is not None:
            yield _Entry(tar, header)
            tar.members = []  # type: ignore[attr-defined] # otherwise tarfile keeps every header in memory
        if not isinstance(tar.ending, tarfile.EOFHeaderError):  # type: ignore[attr-defined] # unknown to typeshed
            raise tarfile.ReadError(f"the end mark is missing: {tar.ending or 'the file ends before it'}")
        _check_end(tar)


class _GunzippedFile:
    """A gzipped file that returns all data before a truncation. `GzipFile.read` would drop the last block."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = gzip.GzipFile(fileobj=file)

    def read(self, size: int) -> bytes:
        return self._file.read1(size)


def _open_tar(file: BinaryIO) -> _Tar:
    try:
        return _Tar.open(mode="r|", fileobj=file, bufsize=_BLOCK_BYTES)
    except _INVALID_HEADER as error:
        raise tarfile.ReadError(f"a header is invalid ({error})") from error


def _next_header(tar: _Tar) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except _INVALID_HEADER as error:
        raise tarfile.ReadError(f"a header is invalid ({error})") from error


def _check_end(tar: _Tar) -> None:
    """Reads to the end of the file, which compares gzip's checksum. Only zeros may follow the end mark."""
    rest = cast(BinaryIO, tar.fileobj)
    while block := rest.read(_BLOCK_BYTES):
        if block.strip(b"\0"):
            raise tarfile.ReadError("more data follows the end mark, as in joined tars; it was not read")
