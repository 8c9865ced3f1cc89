"""Recordings whose path is longer than a system call accepts are listed, read and exported like others."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.kept_lists import list_all
from tests.support.outputs import scored
from transforms.audio.decode import read_audio
from transforms.corpus.sources import list_corpus
from transforms.curation.exporting.chunks import export_files
from transforms.curation.exporting.plan import write_export_plan
from transforms.curation.exporting.target import AudioTarget
from transforms.elements import AudioRef
from transforms.errors import AudioFault, Reason
from transforms.storage.files import look_at
from transforms.storage.long_paths import is_long, open_long

FOLDER = "\u6587" * 70


@pytest.fixture
def deep_corpus(tmp_path) -> tuple[Path, bytes]:
    """A corpus with a recording at its top and one 25 folders below, and the bytes of both."""
    content = io.BytesIO()
    soundfile.write(content, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000, format="WAV")
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "top.wav").write_bytes(content.getvalue())
    folder = os.open(root, os.O_RDONLY)
    for _ in range(25):
        os.mkdir(FOLDER, dir_fd=folder)
        below = os.open(FOLDER, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    with os.fdopen(os.open("deep.wav", os.O_WRONLY | os.O_CREAT, dir_fd=folder), "wb") as file:
        file.write(content.getvalue())
    os.mkfifo("fifo.wav", dir_fd=folder)
    os.close(folder)
    return root, content.getvalue()


def ref_of(root: Path, name: str) -> AudioRef:
    (found,) = [ref for ref in list_corpus(str(root)) if ref.uri.endswith(f"/{name}")]
    return found


def test_deep_recordings_are_listed_with_size_and_version(deep_corpus):
    root, content = deep_corpus
    refs = {ref.utterance_id: ref for ref in list_corpus(str(root))}
    assert sorted(refs) == sorted(["top.wav", f"{FOLDER}/" * 25 + "deep.wav", f"{FOLDER}/" * 25 + "fifo.wav"])
    deep = ref_of(root, "deep.wav")
    assert len(os.fsencode(deep.uri)) > 5_000
    assert deep.size_bytes == len(content)
    assert look_at(deep.uri).is_there


def test_deep_recordings_are_read(deep_corpus):
    root, content = deep_corpus
    assert read_audio(ref_of(root, "deep.wav").uri).duration_s == 1.0
    with open_long(str(root / "top.wav")) as file:
        assert file.read() == content


@pytest.mark.parametrize(("name", "reason"), [("fifo.wav", Reason.NOT_A_FILE), ("none.wav", Reason.UNREADABLE)])
def test_deep_files_that_cannot_be_read_are_faults(deep_corpus, name, reason):
    uri = ref_of(deep_corpus[0], "deep.wav").uri.replace("deep.wav", name)
    with pytest.raises(AudioFault) as caught:
        read_audio(uri)
    assert caught.value.reason == reason


def test_deep_recordings_are_exported(deep_corpus, tmp_path):
    root, content = deep_corpus
    ref = ref_of(root, "deep.wav")
    made = scored(ref.utterance_id, 3.5, uri=ref.uri, duration_s=1.0, sample_rate=16_000)
    utterance = dataclasses.replace(
        made.utterance, ref=dataclasses.replace(made.utterance.ref, **{"source_version": ref.source_version})
    )
    kept = list_all(tmp_path / "out", [dataclasses.replace(made, utterance=utterance)])
    write_export_plan(kept, tmp_path / "plan.parquet", "flac", 1)
    rows = pq.read_table(tmp_path / "plan.parquet").to_pylist()
    (outcome,) = export_files(rows, str(tmp_path / "audio"), AudioTarget())
    assert outcome["path"], outcome["detail"]
    assert (tmp_path / "audio" / outcome["path"]).read_bytes() == content


@pytest.mark.parametrize(("path", "expected"), [("/a" * 200, False), ("/a" * 1_100, True), ("/\u6587" * 501, True)])
def test_the_length_of_a_path_is_counted_in_bytes(path, expected):
    assert is_long(path) == expected
