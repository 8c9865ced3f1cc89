"""Writes archives of recordings and lists their content."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.corpus.archives.reading import members
from transforms.corpus.sources import list_corpus
from transforms.elements import AudioRef
from transforms.errors import AudioFault

# The header of a WAV file without samples: enough to be recognised as a recording.
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + b"\0" * 28
HF_AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_tar(path: Path, *entries: tuple[str, Any], mode: str = "w", form: int = tarfile.USTAR_FORMAT) -> Path:
    """Writes a tar of names with their bytes, or with a header type of one byte, as `tarfile.SYMTYPE`."""
    with tarfile.open(path, mode, format=form) as file:  # type: ignore[call-overload]
        for name, content in entries:
            header = tarfile.TarInfo(name)
            if isinstance(content, bytes) and len(content) != 1:
                header.size = len(content)
                file.addfile(header, io.BytesIO(content))
            else:
                header.type, header.linkname = content, "elsewhere.wav"
                file.addfile(header)
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]], kind: pa.DataType = HF_AUDIO, **options: Any) -> Path:
    """Writes rows with the column `audio`, as `datasets` does; `options` are those of `pyarrow.parquet.write_table`."""
    names = [name for name in rows[0] if name != "audio"]
    columns = {"audio": pa.array([row["audio"] for row in rows], kind)}
    columns |= {name: pa.array([row[name] for row in rows]) for name in names}
    pq.write_table(pa.table(columns), path, **options)
    return path


def read_members(source: object) -> list[tuple[AudioRef, bytes | AudioFault]]:
    """Reads all archives of a corpus to their end."""
    read = []
    for ref in list_corpus(str(source)):
        for member, content in members(ref):
            read.append((member, content if isinstance(content, AudioFault) else content.read()))
    return read


def outline(source: object) -> list[tuple[str, object]]:
    """Returns the id of each recording with its bytes, or the reason of its fault."""
    return [
        (ref.utterance_id, content.reason if isinstance(content, AudioFault) else content)
        for ref, content in read_members(source)
    ]
