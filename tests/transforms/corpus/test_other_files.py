"""Which names are those of files without sound."""

from __future__ import annotations

import duckdb
import pytest

from transforms.corpus.other_files import OTHER_FILE

OTHER = [
    ".DS_Store",
    "/corpus/a/.DS_Store",
    "/corpus/a/._take1.wav",
    "gs://bucket/notes.txt",
    "/corpus/Cover.JPG",
    "/corpus/Ünïcode.png",
    "/corpus/a/Thumbs.db",
    "/corpus/README",
    "/corpus/words.ctm.gz",
    "/corpus/a.tar#notes.md",
]
SOUND = [
    "/corpus/a.wav",
    "/corpus/a.txt.flac",
    "/corpus/a",
    "/corpus/.hidden/a.mp3",
    "/a.raw",
    "/a.bin",
    "/a.zip",
    "/a.tar",
]


@pytest.mark.parametrize("uri", [*OTHER, *SOUND])
def test_python_and_sql_tell_other_files_from_sound(uri):
    assert bool(OTHER_FILE.search(uri)) == (uri in OTHER)
    assert duckdb.execute("SELECT regexp_matches(?, ?)", [uri, OTHER_FILE.pattern]).fetchone() == (uri in OTHER,)
