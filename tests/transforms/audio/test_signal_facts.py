"""Facts that follow from the powers of frames, on signals with a known value."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from model.features import frame_power
from tests.support.outputs import speech_frames
from transforms.audio.signal_facts import (
    FLOOR_DB,
    decibels,
    dynamic_range_db,
    facts_of,
    frame_levels_db,
    silence_ratio,
    snr_estimate_db,
)
from transforms.elements import FrameFacts

RATE = 16_000


def tone(seconds: float, rate: int = RATE, amplitude: float = 0.5, hertz: float = 437.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(n: int, rms: float = 0.1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, rms, n).astype(np.float32)


@pytest.mark.parametrize(("ratio", "db"), [(1.0, 0.0), (100.0, 20.0), (1e-30, FLOOR_DB), (0.0, FLOOR_DB)])
def test_decibels_have_a_floor(ratio, db):
    assert decibels(ratio) == pytest.approx(db)


def test_frame_levels_are_in_dbfs():
    levels = frame_levels_db(np.concatenate([np.full(1_024, 0.1), np.zeros(1_024)]))
    assert levels[0] == pytest.approx(-20.0)
    assert levels[-1] == FLOOR_DB
    assert len(levels) == 7


class TestFactsOfFrames:
    """Facts of an utterance, or of a part of one."""

    def facts(self, frames, **whole):
        known = {"dc_offset": 0.0, "hum_dbfs": None, "clipped_per_frame": 0.0}
        return facts_of(frames, **{**known, **whole})

    def test_steady_sound_has_no_silence_and_no_fault(self):
        measured = self.facts(speech_frames(100))
        assert (measured.peak_dbfs, measured.bandwidth_hz) == pytest.approx((-8.0, 7_900.0))
        assert (measured.lead_silence_s, measured.trail_silence_s, measured.longest_gap_s) == (0.0, 0.0, 0.0)
        assert (measured.clipped_ratio, measured.dropouts, measured.dropout_s) == (0.0, 0, 0.0)

    def test_the_level_is_that_of_the_active_part(self):
        frames = speech_frames(400)
        level = self.facts(dataclasses.replace(frames, level_dbfs=frames.level_dbfs[300:])).rms_dbfs
        frames.level_dbfs[:300] = -200.0
        measured = self.facts(frames)
        assert measured.rms_dbfs == pytest.approx(level, abs=0.2)
        assert measured.lead_silence_s == pytest.approx(4.8)
        assert measured.silence_ratio == pytest.approx(0.75)

    def test_clipped_samples_are_spread_over_the_clipped_frames(self):
        frames = speech_frames(100)
        frames.clipped[20:40] = True
        assert self.facts(frames, clipped_per_frame=0.1).clipped_ratio == pytest.approx(0.02)
        names = [field.name for field in dataclasses.fields(frames)]
        part = FrameFacts(**{name: getattr(frames, name)[50:] for name in names})
        assert self.facts(part, clipped_per_frame=0.1).clipped_ratio == 0.0

    def test_dropouts_are_counted_and_summed(self):
        frames = speech_frames(100)
        frames.dropout_s[10] = 0.01
        frames.dropout_s[50:53] = [0.004, 0.016, 0.002]
        measured = self.facts(frames)
        assert (measured.dropouts, measured.dropout_s) == (2, pytest.approx(0.032))

    def test_hum_is_relative_to_the_level(self):
        measured = self.facts(speech_frames(100), hum_dbfs=-50.0)
        assert measured.hum_db == pytest.approx(-50.0 - measured.rms_dbfs)


class TestSilence:
    def test_a_tone_that_is_silent_half_the_time_has_a_ratio_of_half(self):
        assert silence_ratio(frame_power(np.concatenate([tone(1.0), np.zeros(RATE, np.float32)]))) == pytest.approx(
            0.5, abs=0.02
        )

    @pytest.mark.parametrize(("below_db", "expected"), [(30, 0.0), (36, 0.0), (44, 0.25), (60, 0.25)])
    def test_frames_more_than_40_db_below_the_speech_are_silent(self, below_db, expected):
        pause = noise(RATE, rms=0.5 / np.sqrt(2) * 10 ** (-below_db / 20))
        assert silence_ratio(frame_power(np.concatenate([tone(3.0), pause]))) == pytest.approx(expected, abs=0.02)

    def test_a_gain_does_not_change_it(self):
        samples = np.concatenate([tone(1.0), noise(RATE, rms=1e-4)])
        assert silence_ratio(frame_power(samples)) == silence_ratio(frame_power(samples * np.float32(0.01)))

    def test_a_steady_tone_has_no_silence(self):
        assert silence_ratio(frame_power(tone(1.0))) == 0.0


class TestSnrEstimate:
    @pytest.mark.parametrize("snr_db", [5, 10, 20, 30, 45])
    def test_a_gated_tone_in_noise_has_its_snr(self, snr_db):
        gate = np.repeat([1, 0, 1, 1, 0, 1], RATE // 2).astype(np.float32)
        samples = tone(3.0) * gate + noise(3 * RATE, rms=0.5 / np.sqrt(2) * 10 ** (-snr_db / 20))
        assert snr_estimate_db(frame_power(samples)) == pytest.approx(snr_db, abs=2.5)

    def test_a_gain_does_not_change_it(self):
        samples = np.concatenate([tone(1.0), np.zeros(RATE, np.float32)]) + noise(2 * RATE, rms=0.01)
        assert snr_estimate_db(frame_power(samples * np.float32(0.1))) == pytest.approx(
            snr_estimate_db(frame_power(samples)), abs=1e-3
        )

    def test_digital_silence_has_no_estimate(self):
        assert snr_estimate_db(frame_power(np.concatenate([tone(1.0), np.zeros(RATE // 4, np.float32)]))) is None

    def test_a_little_digital_silence_does_not_matter(self):
        samples = np.concatenate([tone(1.0), np.zeros(RATE, np.float32)]) + noise(2 * RATE, rms=0.01)
        samples[-800:] = 0
        assert snr_estimate_db(frame_power(samples)) == pytest.approx(30.97, abs=1.5)

    def test_steady_noise_has_a_low_estimate_within_the_range(self):
        assert -20 <= snr_estimate_db(frame_power(noise(2 * RATE))) < 0

    def test_less_than_a_frame_has_no_estimate(self):
        assert snr_estimate_db(frame_power(noise(100))) is None


class TestDynamicRange:
    @pytest.mark.parametrize("db", [10, 38, 60])
    def test_the_range_is_the_distance_of_the_pauses_from_the_speech(self, db):
        loud = noise(2 * RATE)
        assert dynamic_range_db(np.concatenate([loud, loud * 10 ** (-db / 20)])) == pytest.approx(db, abs=1.0)

    def test_steady_noise_has_almost_no_range(self):
        assert dynamic_range_db(noise(2 * RATE)) < 2

    def test_digital_silence_counts_as_the_floor(self):
        samples = np.concatenate([np.full(RATE, 0.1), np.zeros(RATE)])
        assert dynamic_range_db(samples) == pytest.approx(-20 - FLOOR_DB, abs=0.1)
