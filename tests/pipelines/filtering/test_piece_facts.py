"""The values of a piece are about those that `audiosieve score` gives for a file of the piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.command import Output, audiosieve
from tests.support.filtered import rows_of

TOLERANCES = {
    "duration_s": 1e-6,
    "peak_dbfs": 0.3,
    "rms_dbfs": 0.3,
    "clipped_ratio": 1e-3,
    "silence_ratio": 0.03,
    "lead_silence_s": 0.04,
    "trail_silence_s": 0.04,
    "longest_gap_s": 0.04,
    "speech_s": 0.1,
    "dropout_s": 0.005,
    "bandwidth_hz": 500.0,
    "noise_floor_snr_db": 2.0,
}


@pytest.mark.slow
def test_facts_of_pieces_are_those_of_their_audio(samples: Path, tmp_path: Path) -> None:
    speech, rate = soundfile.read(samples / "clean.flac")
    generator = np.random.default_rng(3)
    noise = generator.normal(0, 0.2, 2 * rate)
    half = len(speech) // 2
    # A piece at a lower level; a burst of noise; and a loud piece with silence in the middle and at the end.
    parts = [0.6 * speech, speech[: 2 * rate] + noise, 0.9 * speech[:half], np.zeros(2 * rate), 0.9 * speech[half:]]
    recording = np.concatenate([*parts, np.zeros(rate)])
    recording += generator.normal(0, 5e-4, len(recording))
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio/a.wav", recording, rate)
    # A diagnosis depends on the audio around a piece. Without one, all facts are those of the signal.
    model = ("--model", "disturbance_net_v1")
    audiosieve("score", "--input", tmp_path / "audio", "--output", tmp_path / "out", *model)
    words = ("--trim", "anomalies", "--rules", "none", "--export", tmp_path / "pieces", "--export_format", "wav")
    audiosieve("filter", tmp_path / "out", "--output", tmp_path / "keep", *words)
    pieces = {row["utterance_id"]: row for row in rows_of(tmp_path / "keep/kept.parquet")}
    assert len(pieces) >= 2
    audiosieve("score", "--input", tmp_path / "keep/manifest.jsonl", "--output", tmp_path / "again", *model)
    again = {row["utterance_id"]: row for row in Output(tmp_path / "again").utterances}
    assert again.keys() == pieces.keys()
    for name, row in again.items():
        for fact, tolerance in TOLERANCES.items():
            assert pieces[name][fact] == pytest.approx(row[fact], abs=tolerance), (name, fact)
        assert (pieces[name]["flags"], pieces[name]["causes"]) == (row["flags"], row["causes"])
    levels = [row["rms_dbfs"] for row in sorted(pieces.values(), key=lambda row: row["start_s"])]
    assert levels[0] < levels[-1] - 2


def rumble(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of low frequencies: [length], RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.fft.rfftfreq(length, 1 / 16_000)
    spectrum[frequency < 60] = 0
    spectrum[1:] /= frequency[1:] ** 1.5
    noise = np.fft.irfft(spectrum, length)
    return noise / np.sqrt(np.mean(noise**2))


@pytest.mark.slow
def test_rules_drop_the_noisy_piece_of_a_recording(samples: Path, tmp_path: Path) -> None:
    speech, rate = soundfile.read(samples / "clean.flac")
    rng = np.random.default_rng(3)
    # Noise of low frequencies at an SNR of 14 dB is too harmless to make the last part an anomaly.
    noise = rumble(len(speech), rng) * np.sqrt(np.mean(speech**2) / 10**1.4)
    parts = [speech, 0.3 * speech[: 2 * rate] + rng.normal(0, 0.3, 2 * rate), speech + noise]
    recording = np.concatenate(parts)
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio/a.wav", 0.9 * recording / np.abs(recording).max(), rate)
    audiosieve("score", "--input", tmp_path / "audio", "--output", tmp_path / "out")
    words = ("filter", tmp_path / "out", "--trim", "anomalies", "--output")
    audiosieve(*words, tmp_path / "all", "--rules", "none")
    clean, noisy = sorted(rows_of(tmp_path / "all/kept.parquet"), key=lambda row: row["start_s"])
    assert noisy["snr_db"] < clean["snr_db"] - 5
    limit = (noisy["snr_db"] + clean["snr_db"]) / 2
    audiosieve(*words, tmp_path / "keep", "--where", f"snr_db >= {limit}")
    assert [row["utterance_id"] for row in rows_of(tmp_path / "keep/kept.parquet")] == [clean["utterance_id"]]
    done = audiosieve(*words, tmp_path / "tts", "--preset", "tts")
    assert "not applied, for lack of data: rating (mos_ovrl); all values are null\n" in done.stdout
    assert "could not check" not in done.stdout
