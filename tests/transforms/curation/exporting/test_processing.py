"""Exported audio in another container, at another sampling rate, mixed, or at another loudness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from tests.support.exports import RATE, item, plan
from transforms.curation.exporting.chunks import export_files
from transforms.curation.exporting.loudness import PEAK_DBTP, gain_to, integrated_loudness, true_peak
from transforms.curation.exporting.spool import Spool
from transforms.curation.exporting.target import AudioTarget
from transforms.decoders.sound import open_sound

LENGTH = 3 * RATE


@pytest.fixture
def waves() -> np.ndarray:
    """Two channels of coloured noise at about -20 dBFS: float64 [n, 2]."""
    rng = np.random.default_rng(0)
    noise = np.apply_along_axis(np.convolve, 0, rng.normal(0, 0.1, (LENGTH, 2)), np.ones(4) / 2, mode="same")
    return np.clip(noise, -0.9, 0.9)


def exported(path: Path, folder: Path, target: AudioTarget, start: int = 0, **how) -> Path:
    """Exports one utterance of a file, the rest of it from a sample on, and returns the new file."""
    with path.open("rb") as file, open_sound(file) as sound:
        form, frames, channels = f"{sound.format}/{sound.subtype}", sound.frames, sound.channels
    made = item("a", path, start, frames - start, channels=channels, format=form, **how)
    ((row,),) = plan([made], has_spans=start > 0)
    (outcome,) = export_files([row], str(folder), target)
    assert outcome["reason"] is None, outcome["detail"]
    return folder / outcome["path"]


def written(path: Path, samples: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate, subtype)
    return path


@pytest.mark.parametrize("container", ["flac", "wav"])
@pytest.mark.parametrize("coding", ["WAV/PCM_16", "FLAC/PCM_16", "OGG/VORBIS", "MP3/MPEG_LAYER_III"])
def test_all_audio_has_the_container(tmp_path, waves, encode, coding, container):
    source = tmp_path / f"a.{coding.partition('/')[0].lower()}"
    source.write_bytes(encode(waves, RATE, coding))
    found = exported(source, tmp_path / "out", AudioTarget(container, copies_all=False))
    assert found.suffix == f".{container}"
    assert (found.read_bytes() == source.read_bytes()) == coding.startswith(container.upper())
    info = soundfile.info(found)
    assert (info.format, info.subtype, info.samplerate, info.channels) == (container.upper(), "PCM_16", RATE, 2)
    before = soundfile.read(source, dtype="float64")[0]
    assert np.abs(soundfile.read(found, dtype="float64")[0] - before).max() <= 2**-15


@pytest.mark.parametrize(
    ("subtype", "bits", "expected"),
    [
        ("PCM_24", 16, "PCM_16"),
        ("PCM_24", 24, "PCM_24"),
        ("PCM_32", 16, "PCM_16"),
        ("PCM_32", 24, "PCM_24"),
        ("FLOAT", 16, "PCM_16"),
        ("FLOAT", 24, "PCM_24"),
        ("DOUBLE", 16, "PCM_16"),
    ],
)
def test_flac_has_no_more_bits_than_the_recording_needs(tmp_path, waves, subtype, bits, expected):
    steps = 2 ** (bits - 1)
    source = written(tmp_path / "a.wav", np.rint(waves * steps) / steps, subtype)
    found = exported(source, tmp_path / "out", AudioTarget(), start=100)
    assert (found.suffix, soundfile.info(found).subtype) == (".flac", expected)
    before = soundfile.read(source, dtype="float64")[0][100:]
    assert np.array_equal(soundfile.read(found, dtype="float64")[0], before)


def test_samples_beyond_full_scale_are_kept(tmp_path, waves):
    source = written(tmp_path / "a.wav", np.rint(waves * 2**15) / 2**13, "FLOAT")
    found = exported(source, tmp_path / "out", AudioTarget(), start=100)
    assert (found.suffix, soundfile.info(found).subtype) == (".wav", "FLOAT")
    assert np.array_equal(soundfile.read(found)[0], soundfile.read(source)[0][100:])


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_audio_is_resampled(tmp_path, waves, rate):
    source = written(tmp_path / "a.wav", waves)
    found = exported(source, tmp_path / "out", AudioTarget(sample_rate=rate), start=777)
    assert (found.suffix, soundfile.info(found).subtype) == (".flac", "PCM_16")
    samples, found_rate = soundfile.read(found)
    assert (found_rate, len(samples)) == (rate, round((LENGTH - 777) * rate / RATE))
    expected = soxr.resample(soundfile.read(source)[0][777:], RATE, rate)
    assert np.abs(samples[: len(expected)] - expected[: len(samples)]).max() < 1e-3


def test_a_recording_with_the_rate_is_copied(tmp_path, waves):
    source = written(tmp_path / "a.wav", waves)
    found = exported(source, tmp_path / "out", AudioTarget(sample_rate=RATE))
    assert found.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("channel", [None, 1])
def test_one_channel_is_exported(tmp_path, waves, channel):
    source = written(tmp_path / "a.wav", waves)
    found = exported(source, tmp_path / "out", AudioTarget(is_mono=True), channel=channel)
    before = soundfile.read(source)[0]
    expected = before.mean(axis=1) if channel is None else before[:, channel]
    assert np.abs(soundfile.read(found)[0] - expected).max() <= 2**-15


def test_resampling_does_not_clip(tmp_path):
    square = 0.999 * np.sign(np.sin(2 * np.pi * 997 * np.arange(LENGTH) / RATE))
    source = written(tmp_path / "a.wav", square)
    found = exported(source, tmp_path / "out", AudioTarget(sample_rate=16_000))
    full_scale = np.abs(soundfile.read(found, dtype="int16")[0].astype(int)) >= 32_767
    beyond = np.abs(soxr.resample(soundfile.read(source)[0], RATE, 16_000)) > 1
    assert np.count_nonzero(full_scale) < np.count_nonzero(beyond) / 10


def true_peak_db(samples: np.ndarray) -> float:
    return 20 * np.log10(np.abs(resample_poly(samples, 4, 1, axis=0)).max())


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_the_loudness_is_the_target(tmp_path, waves, gain):
    source = written(tmp_path / "a.wav", waves * gain, "PCM_24")
    found = exported(source, tmp_path / "out", AudioTarget(loudness_lufs=-23.0))
    samples, rate = soundfile.read(found)
    assert pyloudnorm.Meter(rate).integrated_loudness(samples) == pytest.approx(-23.0, abs=0.05)
    assert true_peak_db(samples) < PEAK_DBTP


def test_a_true_peak_limits_the_loudness(tmp_path):
    clicks = np.random.default_rng(0).normal(0, 1e-3, LENGTH)
    clicks[::RATE] = 0.5
    source = written(tmp_path / "a.wav", clicks)
    ((row,),) = plan([item("a", source, 0, LENGTH, format="WAV/PCM_16")], has_spans=False)
    (outcome,) = export_files([row], str(tmp_path / "out"), AudioTarget(loudness_lufs=-23.0))
    assert outcome["is_limited"]
    samples, rate = soundfile.read(tmp_path / "out" / outcome["path"])
    assert PEAK_DBTP - 0.5 < true_peak_db(samples) < PEAK_DBTP
    assert pyloudnorm.Meter(rate).integrated_loudness(samples) < -23.5


def spool_of(samples: np.ndarray) -> Spool:
    spool = Spool(samples.shape[1])
    spool.add(samples)
    return spool


@pytest.mark.parametrize("seconds", [0.4, 1.0, 59.95, 60.35, 125.0])
def test_windows_have_the_loudness_of_the_whole(seconds):
    rate = 8_000
    rng = np.random.default_rng(1)
    level = np.repeat(rng.uniform(0.0005, 0.3, 130), rate)[: round(seconds * rate), np.newaxis]
    samples = (rng.normal(0, 1, level.shape) * level).astype(np.float32)
    with spool_of(samples) as spool:
        expected = pyloudnorm.Meter(rate).integrated_loudness(samples.astype(np.float64))
        assert integrated_loudness(spool, rate) == pytest.approx(expected, abs=0.02)


def test_silence_keeps_its_level():
    with spool_of(np.zeros((RATE, 1), np.float32)) as spool:
        assert gain_to(-23.0, spool, RATE, 1).factor == 1.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.02, 3.0), st.integers(1, 2), st.floats(-50, 20), st.floats(-40.0, -3.0))
def test_a_gain_exceeds_neither_the_loudness_nor_the_peak(seed, seconds, channels, level_db, target):
    rng = np.random.default_rng(seed)
    samples = rng.laplace(0, 0.1, (round(seconds * 16_000), channels)) * 10 ** (level_db / 20)
    with spool_of(samples.astype(np.float32)) as spool:
        gain = gain_to(target, spool, 16_000, channels)
        assert 20 * np.log10(gain.factor * true_peak(spool, 16_000, channels)) < PEAK_DBTP
        loudness = integrated_loudness(spool, 16_000)
    if loudness is not None:
        reached = loudness + 20 * np.log10(gain.factor)
        assert reached <= target + 1e-6
        assert gain.is_limited == (reached < target - 1e-6)


def test_too_many_channels_have_no_loudness(tmp_path):
    source = written(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, (LENGTH, 6)))
    ((row,),) = plan([item("a", source, 0, LENGTH, channels=6, format="WAV/PCM_16")], has_spans=False)
    (outcome,) = export_files([row], str(tmp_path / "out"), AudioTarget(loudness_lufs=-23.0))
    assert "add --mono" in outcome["detail"]
    (outcome,) = export_files([row], str(tmp_path / "out"), AudioTarget(loudness_lufs=-23.0, is_mono=True))
    assert outcome["path"] == "a.flac"
