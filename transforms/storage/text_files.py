"""Text that lists things: opened in any filesystem, unpacked, decoded, line by line."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from typing import Any, TextIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.errors import SourceError

GZIP_MAGIC = b"\x1f\x8b"


@contextlib.contextmanager
def open_text(uri: str) -> Iterator[TextIO]:
    """Opens text in UTF-8, with or without a byte order mark, gzipped or not whatever its name, its line ends as they are.

    Raises:
        SourceError: it is not there; or, where it is read within the block, it cannot be read or is not in UTF-8.
    """
    if not FileSystems.exists(uri):
        raise SourceError(f"{uri}: there is no such manifest")
    try:
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            plain = gzip.GzipFile(fileobj=file) if packed else file
            with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise SourceError(f"{uri}: the manifest is not in UTF-8 ({error}); convert it, as with iconv") from error
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{uri}: the manifest cannot be read ({error})") from error


def lines(uri: str) -> Iterator[tuple[int, str]]:
    """The lines of a text that hold anything, with their numbers from 1 on, without blanks around them.

    Raises:
        SourceError: as `open_text`.
    """
    with open_text(uri) as text:
        for number, line in enumerate(text, start=1):
            if stripped := line.strip(" \t\r\n"):
                yield number, stripped


def json_lines(uri: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with the numbers of their lines.

    Raises:
        SourceError: as `open_text`, or a line holds no JSON object.
    """
    for number, line in lines(uri):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{uri}, line {number}: it is no JSON ({error}); {_ONE_A_LINE}") from error
        if not isinstance(found, dict):
            raise SourceError(f"{uri}, line {number}: it is JSON, but no object; {_ONE_A_LINE}")
        yield number, found


_ONE_A_LINE = "each line must be one JSON object"


def as_text(value: Any) -> str:
    """What a cell says, as valid Unicode: nothing for None, JSON for numbers, lists and objects."""
    if isinstance(value, str):
        text = value
    elif value is None:
        return ""
    elif isinstance(value, (bool, int, float, list, dict)):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
