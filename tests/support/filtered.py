"""Corpora and their outputs for tests of `audiosieve filter`."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

from tests.support.outputs import rejected, scored, write_output
from transforms.corpus.archives.reading import members
from transforms.corpus.sources import list_corpus
from transforms.elements import AudioRef, ScoredUtterance

RATE = 16_000
# Frame scores of 7.376 s with an anomaly in the middle.
BAD_MIDDLE = [4.0] * 200 + [1.0] * 60 + [3.7] * 200


def rows_of(path: Path) -> list[dict]:
    """The rows of a Parquet file."""
    return pq.read_table(path).to_pylist()


def ids_of(path: Path) -> list[str]:
    """The utterance ids in a Parquet file."""
    return [row["utterance_id"] for row in rows_of(path)]


def wav(path: Path, seconds: float, seed: int = 0) -> Path:
    """Writes a recording of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-9_000, 9_000, round(seconds * RATE)).astype(np.int16)
    soundfile.write(path, samples, RATE)
    return path


def write_corpus(root: Path) -> Path:
    """Writes six recordings of 1 to 2.25 s in two folders."""
    for number in range(6):
        wav(root / f"s{number % 2}" / f"r{number}.wav", 1.0 + number / 4, number)
    return root


def write_tar(corpus: Path, root: Path) -> Path:
    """Packs a corpus into `root/s.tar`."""
    root.mkdir()
    with tarfile.open(root / "s.tar", "w") as tar:
        for path in sorted(corpus.rglob("*.wav")):
            tar.add(path, f"{path.parent.name}/{path.name}")
    return root


def read_member(tar: Path | str, member: str) -> bytes:
    """The content of a file in a tar."""
    with tarfile.open(tar) as file:
        return file.extractfile(member).read()


def refs_of(source: Path | str) -> list[AudioRef]:
    """All recordings of a corpus, with those in archives."""
    refs = []
    for ref in list_corpus(str(source)):
        refs += [member for member, _ in members(ref)] if ref.archive else [ref]
    return refs


def write_output_of(source: Path | str, root: Path, scores: Sequence[float]) -> Path:
    """Writes an output of an existing corpus.

    Args:
        source: the corpus.
        root: folder of the output.
        scores: scores of the utterances, in the order of the corpus.
    """
    items = []
    for ref, score in zip(refs_of(source), scores, strict=True):
        path, _, member = ref.uri.partition("#")
        info = soundfile.info(io.BytesIO(read_member(path, member)) if member else path)
        end_s = info.duration if ref.span.end_s is None else ref.span.end_s
        duration_s = end_s - ref.span.start_s
        made = scored(ref.utterance_id, score, start_s=ref.span.start_s, duration_s=duration_s, sample_rate=RATE)
        utterance = dataclasses.replace(made.utterance, ref=ref, channels=info.channels)
        items.append(ScoredUtterance(utterance, made.frame_score))
    return write_output(root, items, source=str(source))


def write_small_output(root: Path) -> Path:
    """Writes an output with utterances of 4 s of two speakers, one with an anomaly, and two rejects; the corpus is gone."""
    scores = {"a1": 4.0, "a2": 3.8, "a3": 3.0, "a4": 1.5, "b1": 3.5, "b2": 3.2}
    items = [scored(name, score, columns={"speaker": name[0]}) for name, score in scores.items()]
    items.append(scored("b3", BAD_MIDDLE, columns={"speaker": "b"}))
    rejects = [rejected("x"), rejected("y")]
    return write_output(root, items, rejects, carry=["speaker"], source="/gone/corpus.csv")
