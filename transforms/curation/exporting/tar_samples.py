"""The other members of samples in tars: texts, metadata and everything else that belongs to a recording."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from transforms.audio.sound_file import open_audio
from transforms.corpus.archives.reading import archive_kind_of
from transforms.corpus.archives.tar import MAX_METADATA_BYTES, TEXT, TEXT_SUFFIXES, other_members, sample_of
from transforms.curation.exporting.target import Row
from transforms.curation.row_writers.piece_fields import cut_fields, cut_texts, without_untrue
from transforms.elements import ArchiveKind, printable

_IN_MEMORY_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
_JSON = "json"
# Suffixes of members with texts and their times in the whole utterance, which a piece does not have.
_TIMED_TEXTS = {"srt", "vtt", "lrc", "textgrid", "eaf", "ctm", "stm", "rttm", "wrd", "phn"}


@dataclasses.dataclass(frozen=True)
class OtherMembers:
    """The other members of the sample of a recording.

    Attributes:
        metadata: the object in its JSON member; empty if there is none.
        contents: contents of the other members, by what follows the name of the sample, such as `txt`.
    """

    metadata: dict[str, Any]
    contents: Mapping[str, bytes]

    @property
    def new_json(self) -> str:
        """Suffix of a new JSON member. It differs from that of a JSON member that is no object, which stays."""
        return f"audiosieve.{_JSON}" if _JSON in map(str.lower, self.contents) else _JSON

    def files(self) -> Iterator[tuple[str, BinaryIO]]:
        """Yields the suffix and the content of each member, in their order."""
        for suffix, content in self.contents.items():
            yield suffix, io.BytesIO(content)


class TarSamples:
    """Reads the other members of the recordings of a chunk. Use it in a `with` block.

    Each tar is read once from its beginning, in the order of the rows. The members are in a temporary file if they are many.

    Args:
        rows: rows of one chunk of a plan, sorted by archive.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._samples: dict[str, set[str]] = {}
        for row in rows:
            if is_in_tar(row):
                self._samples.setdefault(row["archive"], set()).add(_sample(row))
        self._archive = ""
        self._places: dict[str, dict[str, tuple[int, int]]] = {}
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 -- closed by __exit__

    def __enter__(self) -> TarSamples:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def of(self, row: Row) -> OtherMembers:
        """Returns the other members of the sample of a row. Those of a piece are cut to it, as its texts are.

        Raises:
            AudioFault: the tar cannot be read.
        """
        if not is_in_tar(row):
            return OtherMembers({}, {})
        if self._archive != row["archive"]:
            self._read(row["archive"])
        metadata: dict[str, Any] = {}
        contents = {}
        for suffix, (start, size) in self._places.get(_sample(row), {}).items():
            self._file.seek(start)
            content = self._file.read(size)
            is_metadata = suffix.lower() == _JSON and not metadata and size <= MAX_METADATA_BYTES
            parsed = _object(content) if is_metadata else None
            if parsed is None:
                contents[suffix] = content
            else:
                metadata = parsed
        if row["piece_start_us"] is None:
            return OtherMembers(metadata, contents)
        return _of_piece(row, metadata, contents)

    def _read(self, archive: str) -> None:
        self._archive, self._places = archive, {}
        self._file.seek(0)
        self._file.truncate()
        wanted = self._samples[archive]
        with open_audio(archive) as file:
            for sample, suffix, content in other_members(file):
                if sample in wanted:
                    start = self._file.tell()
                    shutil.copyfileobj(content, self._file, _BLOCK_BYTES)
                    self._places.setdefault(sample, {})[suffix] = (start, self._file.tell() - start)


def is_in_tar(row: Row) -> bool:
    """Whether the recording of a row of a plan is in a tar."""
    return bool(row["archive"]) and archive_kind_of(row["archive"]) == ArchiveKind.TAR


def _sample(row: Row) -> str:
    return sample_of(row["uri"].removeprefix(f"{row['archive']}#"))


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _of_piece(row: Row, metadata: dict[str, Any], contents: dict[str, bytes]) -> OtherMembers:
    """Cuts metadata and texts to a piece. A text without word times is left out, and so are transcripts with times."""
    in_file = {**row, "start_s": 0.0, "end_s": row["end_s"] - row["start_s"]}
    changed, _ = cut_fields(metadata, in_file)
    cut = {name: value for name, value in (metadata | changed).items() if value is not None or name not in changed}
    others = {}
    for suffix, content in contents.items():
        kind = suffix.rpartition(".")[2].lower()
        if kind in _TIMED_TEXTS:
            continue
        if kind not in TEXT_SUFFIXES:
            others[suffix] = _json_of_piece(content, in_file) if kind == _JSON else content
            continue
        text = printable(content.decode("utf-8-sig", "replace").strip())
        of_piece = cut_texts({**metadata, TEXT: text}, row)[0][TEXT]
        if of_piece:
            others[suffix] = of_piece.encode()
    return OtherMembers(cut, others)


def _json_of_piece(content: bytes, utterance: Row) -> bytes:
    """Returns a further JSON member of a piece, without texts and times of the whole utterance."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if isinstance(value, dict):
        changed, _ = cut_fields(value, utterance)
        value = {name: item for name, item in (value | changed).items() if item is not None or name not in changed}
    return json.dumps(without_untrue(value) if isinstance(value, list) else value, ensure_ascii=False).encode()
