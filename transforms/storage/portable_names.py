"""Names of files and folders that any file system can hold: Linux, macOS, Windows, and object storage."""

from __future__ import annotations

import hashlib
import re
import unicodedata

# Longest name of a file or folder in bytes. File systems allow 255; the rest is for a suffix, or what makes the name unique.
NAME_BYTES = 200
# Longest relative path in bytes. Cloud Storage allows 1,024 for the whole name of an object, Linux 4,095 for a path.
PATH_BYTES = 700
# Characters that Windows does not allow, control characters, line and paragraph separators, and halves of surrogate pairs.
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
# Names of devices on Windows, with any suffix.
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)")
_ENDS_BADLY = re.compile(r"[. ]+$")
_HASH_DIGITS = 8


def portable_name(name: str) -> str:
    """Returns a name of at most `NAME_BYTES` that any file system can hold; a good name is unchanged."""
    name = _FORBIDDEN.sub("_", name)
    # Windows removes dots and spaces at the end.
    name = _ENDS_BADLY.sub(lambda end: "_" * len(end[0]), name) or "_"
    if _DEVICE.match(name):
        name = f"_{name}"
    return _shortened(name)


def _shortened(name: str) -> str:
    """Returns the first whole characters of a long name, with a hash of all of it."""
    content = name.encode()
    if len(content) <= NAME_BYTES:
        return name
    start = content[: NAME_BYTES - _HASH_DIGITS - 1].decode(errors="ignore")
    return f"{start}-{short_hash(name)}"


def portable_path(names: list[str]) -> str:
    """Joins portable names to a path of at most `PATH_BYTES`. In a longer path, a hash replaces the inner folders."""
    path = "/".join(names)
    if len(path.encode()) <= PATH_BYTES:
        return path
    *folders, name = names
    left = PATH_BYTES - len(name.encode()) - 2 - _HASH_DIGITS
    kept: list[str] = []
    for folder in folders:
        left -= len(folder.encode()) + 1
        if left < 0:
            break
        kept.append(folder)
    return "/".join([*kept, short_hash("/".join(folders)), name])


def short_hash(text: str) -> str:
    """Returns some hexadecimal digits that depend on a text."""
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:_HASH_DIGITS]


def folded(path: str) -> str:
    """Returns the same text for all paths that are one file on a file system that ignores case and forms of Unicode."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
