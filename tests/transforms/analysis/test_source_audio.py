"""The audio of a row is decoded as it was scored: its span, its channel, its member of an archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from model.high_pass import without_dc
from transforms.analysis.source_audio import source_audio, source_audio_of_many
from transforms.errors import AudioFault

RATE = 16_000


def row(uri: Path | str, duration_s: float, start_s: float = 0.0, channel: int | None = None) -> dict[str, Any]:
    return {"utterance_id": str(uri), "uri": str(uri), "start_s": start_s, "duration_s": duration_s, "channel": channel}


@pytest.fixture(scope="module")
def stereo() -> np.ndarray:
    """Four seconds of noise, the second channel half as loud."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    return np.stack([noise, noise / 2], axis=1)


@pytest.fixture(scope="module")
def wave(tmp_path_factory: pytest.TempPathFactory, stereo: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("audio") / "take #1.wav"
    soundfile.write(path, stereo, RATE, subtype="FLOAT")
    return path


def test_a_span_and_a_channel_are_decoded(wave, stereo):
    decoded = source_audio(row(wave, 1.5, start_s=0.25, channel=1))
    span = stereo[RATE // 4 : RATE // 4 + RATE * 3 // 2, 1]
    assert decoded.samples == pytest.approx(without_dc(span), abs=1e-6)


def test_the_mean_of_the_channels_is_decoded_by_default(wave, stereo):
    assert source_audio(row(wave, 4.0)).samples == pytest.approx(without_dc(stereo.mean(axis=1)), abs=1e-6)


def test_a_deleted_or_shortened_recording_is_a_fault(wave, tmp_path):
    with pytest.raises(AudioFault, match="No such file"):
        source_audio(row(tmp_path / "gone.wav", 4.0))
    with pytest.raises(AudioFault, match="not within the recording of 4"):
        source_audio(row(wave, 5.0))


def test_members_of_archives_are_decoded(tmp_path, wave, stereo):
    content = wave.read_bytes()
    tar = tmp_path / "shard#0.tar"
    with tarfile.open(tar, "w") as file:
        for name in ("a.wav", "b.wav", "broken.wav"):
            header = tarfile.TarInfo(name)
            header.size = 3 if name == "broken.wav" else len(content)
            file.addfile(header, io.BytesIO(b"abc" if name == "broken.wav" else content))
    parquet = tmp_path / "hf.parquet"
    pq.write_table(pa.table({"audio": [{"bytes": content, "path": "x.wav"}]}), parquet)
    names = [f"{tar}#b.wav", f"{tar}#a.wav", f"{tar}#broken.wav", f"{tar}#gone.wav", f"{parquet}#x.wav", str(wave)]
    found = dict.fromkeys(names)
    for decoded_row, audio in source_audio_of_many([row(name, 4.0, channel=0) for name in names]):
        found[decoded_row["uri"]] = audio
    for name in (names[0], names[1], names[4], names[5]):
        assert found[name].samples == pytest.approx(without_dc(stereo[:, 0]), abs=1e-6)
    assert "no longer has this member" in str(found[names[3]])
    assert isinstance(found[names[2]], AudioFault)


def test_every_row_of_one_recording_is_decoded(wave):
    rows = [row(wave, 1.0, start_s=float(n)) for n in range(3)]
    assert [decoded_row for decoded_row, _ in source_audio_of_many(rows)] == rows
