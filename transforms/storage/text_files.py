"""Text files such as manifests: opened in any filesystem, decompressed, decoded and read line by line."""

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
    """Opens a UTF-8 text file. Skips a byte order mark, recognises gzip by the content, and keeps line ends.

    Raises:
        SourceError: the file does not exist; or, while it is read, it cannot be read or is not UTF-8.
    """
    if not FileSystems.exists(uri):
        raise SourceError(f"{uri}: there is no such manifest")
    try:
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            content = gzip.GzipFile(fileobj=file) if is_gzip else file
            with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{uri}: the manifest is not in UTF-8 ({error}); convert it, for example with iconv"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{uri}: the manifest cannot be read ({error})") from error


def lines(uri: str) -> Iterator[tuple[int, str]]:
    """Yields the number (from 1) and the stripped text of each line that is not blank.

    Raises:
        SourceError: see `open_text`.
    """
    with open_text(uri) as text:
        for number, line in enumerate(text, start=1):
            if stripped := line.strip(" \t\r\n"):
                yield number, stripped


def json_lines(uri: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the line number and the object of each line of a JSONL file.

    Raises:
        SourceError: see `open_text`; or a line is not a JSON object.
    """
    for number, line in lines(uri):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{uri}, line {number}: it is not JSON ({error}); {_ONE_PER_LINE}") from error
        if not isinstance(value, dict):
            raise SourceError(f"{uri}, line {number}: it is JSON, but not an object; {_ONE_PER_LINE}")
        yield number, value


_ONE_PER_LINE = "each line must be one JSON object"


class JsonText(str):
    """A table cell that was not a text: its JSON, or an empty text for null."""

    __slots__ = ()


def cell_text(value: Any) -> str:
    """Returns a table cell as valid Unicode: a text as it is, and others as `JsonText` if JSON can hold their type."""
    text = as_text(value)
    is_json = value is None or isinstance(value, (bool, int, float, list, dict))
    return JsonText(text) if is_json else text


def as_text(value: Any) -> str:
    """Returns a table cell as valid Unicode: empty for None, JSON for numbers, lists and objects."""
    if isinstance(value, str):
        text = value
    elif value is None:
        return ""
    elif isinstance(value, (bool, int, float, list, dict)):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
