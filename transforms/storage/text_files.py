"""Text files such as manifests: opened in any filesystem, decompressed and decoded."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator
from typing import Any, TextIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.errors import SourceError

GZIP_MAGIC = b"\x1f\x8b"


class BrokenTextError(SourceError):
    """A text file cannot be read to its end."""


@contextlib.contextmanager
def open_text(uri: str, errors: str = "strict") -> Iterator[TextIO]:
    """Opens a text file in UTF-8, or in UTF-16 with a byte order mark. Recognises gzip by the content, and keeps line ends.

    Args:
        uri: path or URI of the file.
        errors: how to treat bytes that are not UTF-8, as in `open`.

    Raises:
        SourceError: the file does not exist; or, while it is read, it is not UTF-8.
        BrokenTextError: while it is read, it cannot be read.
    """
    if not FileSystems.exists(uri):
        raise SourceError(f"{uri}: there is no such manifest")
    try:
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            content = io.BufferedReader(gzip.GzipFile(fileobj=file)) if is_gzip else io.BufferedReader(file)
            is_utf_16 = content.peek(2)[:2] in _UTF_16_MARKS
            encoding, errors = ("utf-16", "replace") if is_utf_16 else ("utf-8-sig", errors)
            with io.TextIOWrapper(content, encoding, errors, newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{uri}: the manifest is not in UTF-8 ({error}); convert it, for example with iconv"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise BrokenTextError(f"{uri}: the manifest cannot be read ({error})") from error


_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_utf_8(text: str) -> bool:
    """Returns whether a text that was read with the error handler `surrogateescape` has no byte that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Made once, because making it takes as long as a call.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


class JsonText(str):
    """A table cell that was not a text: its JSON, or an empty text for null."""

    __slots__ = ()


def cell_text(value: Any) -> str:
    """Returns a table cell as valid Unicode: a text as it is, and others as `JsonText` if JSON can hold their type."""
    text = as_text(value)
    is_json = value is None or isinstance(value, (bool, int, float, list, dict))
    return JsonText(text) if is_json else text


def is_missing(value: Any) -> bool:
    """Returns whether a table cell has no value: null, or NaN, which pandas writes instead."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_text(value: Any) -> str:
    """Returns a table cell as valid Unicode: empty for a missing value, JSON for numbers, lists and objects."""
    if isinstance(value, str):
        text = value
    elif is_missing(value):
        return ""
    elif isinstance(value, (bool, int, float, list, dict)):
        text = _encode(value)
    else:
        text = str(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
