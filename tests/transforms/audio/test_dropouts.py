"""Dropouts are gaps with hard edges inside sound, and nothing else that is silent."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.speech_like import in_16_bits, in_blocks, speech_like
from transforms.audio import dropouts as dropouts_module
from transforms.audio.dropouts import DropoutMeter, Dropouts

RATE = 16_000
SPEECH = in_16_bits(speech_like(8.0, seed=2))
SECONDS = 0.02


def dropouts(samples: np.ndarray, rate: int = RATE, cuts: list[int] | None = None) -> Dropouts:
    meter = DropoutMeter(rate)
    for block in in_blocks(np.asarray(samples, np.float32), cuts or []):
        meter.add(block)
    return meter.result()


def loud_places(count: int, samples: np.ndarray = SPEECH, seconds: float = SECONDS, rate: int = RATE) -> list[int]:
    """Starts of gaps, in order, at whose edges the sound is loud, and that are at least 0.2 s apart."""
    length, edge = round(seconds * rate), round(0.005 * rate)
    power = np.convolve(np.square(samples), np.ones(edge) / edge, "valid")
    softer = np.minimum(power[: -length - edge], power[length + edge :])
    places: list[int] = []
    for place in np.argsort(-softer):
        start = int(place) + edge
        if all(abs(start - other) > 0.2 * rate + length for other in places):
            places.append(start)
        if len(places) == count:
            break
    return sorted(places)


def with_gaps(
    starts: list[int], seconds: float = SECONDS, value: float | None = 0.0, samples: np.ndarray = SPEECH
) -> np.ndarray:
    """Samples with gaps of a value, or of the sample before the gap."""
    result = samples.copy()
    for start in starts:
        result[start : start + round(seconds * RATE)] = samples[start - 1] if value is None else value
    return result


class TestFound:
    @pytest.mark.parametrize("seconds", [0.01, 0.02, 0.06, 0.5, 1.5])
    @pytest.mark.parametrize("value", [0.0, None])
    def test_a_gap_is_found_at_its_place(self, seconds, value):
        start = loud_places(1, seconds=seconds)[0]
        found = dropouts(with_gaps([start], seconds, value))
        assert found.count == 1
        assert found.intervals[0] == pytest.approx([start, start + seconds * RATE], abs=64)
        assert found.total_s == pytest.approx(seconds, abs=0.008)

    def test_ten_gaps_are_counted(self):
        starts = loud_places(10)
        found = dropouts(with_gaps(starts))
        assert found.count == 10
        assert found.intervals[:, 0] == pytest.approx(np.array(starts), abs=64)

    @pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
    @pytest.mark.parametrize("value", [0.0, None])
    def test_a_resampler_does_not_hide_them(self, rate, value):
        starts = loud_places(6)
        resampled = in_16_bits(soxr.resample(with_gaps(starts, 0.04, value), RATE, rate))
        assert dropouts(resampled, rate).count >= 5

    def test_one_channel_of_two_is_enough_and_both_count_once(self):
        gaps = with_gaps(loud_places(4))
        for pair in ([SPEECH, gaps], [gaps, SPEECH], [gaps, gaps], [gaps, 0.5 * gaps]):
            assert dropouts(np.stack(pair, axis=1)).count == 4

    def test_the_seconds_are_shared_among_the_frame_shifts(self):
        start = loud_places(1)[0] // 256 * 256
        seconds = dropouts(with_gaps([start])).seconds_by_shift(len(SPEECH) // 256)
        assert seconds.sum() == pytest.approx(SECONDS, abs=0.005)
        assert seconds[start // 256] == pytest.approx(0.016, abs=0.003)

    def test_beyond_the_limit_dropouts_are_still_counted(self, monkeypatch):
        monkeypatch.setattr(dropouts_module, "MAX_INTERVALS", 3)
        found = dropouts(with_gaps(loud_places(10)))
        assert found.count == 10
        assert len(found.intervals) == 3
        assert found.total_s == pytest.approx(10 * SECONDS, rel=0.2)


def gated(samples: np.ndarray, below: float) -> np.ndarray:
    """Samples with zeros where their envelope is below a share of its largest value."""
    envelope = np.convolve(np.abs(samples), np.ones(320) / 320, "same")
    return np.where(envelope > below * envelope.max(), samples, 0)


TIME = np.arange(len(SPEECH)) / RATE
LEAD = np.concatenate([np.zeros(RATE), SPEECH[2000:], np.zeros(RATE)])
OTHERS = {
    "speech": SPEECH,
    "zeros at both ends": LEAD,
    "a hard gate at a low level": gated(SPEECH, 0.01),
    "zeros of 4 s": np.concatenate([SPEECH[: 3 * RATE], np.zeros(4 * RATE), SPEECH[3 * RATE :]]),
    "clipped plateaus": np.clip(SPEECH + 3 * np.sin(2 * np.pi * 20 * TIME), -0.4, 0.4),
    "a square wave": 0.3 * np.sign(np.sin(2 * np.pi * 20 * TIME + 0.1)),
    "a slow tone": 0.5 * np.sin(2 * np.pi * 5 * TIME),
    "a tone": 0.5 * np.sin(2 * np.pi * 440 * TIME),
    "8 bits": np.round(SPEECH * 128) / 128,
    "quiet 8 bits": np.round(SPEECH * 20) / 128,
    "very quiet 8 bits of a low voice": np.round(speech_like(8.0, pitch_hz=60.0) * 6) / 128,
    "silence": np.zeros(2 * RATE),
    "a constant": np.full(2 * RATE, 0.1),
    "clicks in silence": np.where(np.arange(2 * RATE) % 4_000 == 0, 0.8, 0.0),
    "one sample": np.ones(1),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_silence_is_no_dropout(kind):
    found = dropouts(OTHERS[kind])
    assert found.count == 0
    assert found.total_s == 0.0
    assert found.intervals.shape == (0, 2)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(SPEECH)), max_size=6))
def test_the_result_does_not_depend_on_the_blocks(cuts):
    samples = with_gaps(loud_places(6))
    whole, parts = dropouts(samples), dropouts(samples, cuts=cuts)
    assert parts.intervals.tolist() == whole.intervals.tolist()


@settings(max_examples=15, deadline=None)
@given(st.integers(-20, 20))
def test_a_gain_changes_nothing(exponent):
    samples = with_gaps(loud_places(6))
    assert dropouts(samples * np.float32(2.0) ** exponent).intervals.tolist() == dropouts(samples).intervals.tolist()


def test_a_gap_across_many_blocks_is_found():
    start = loud_places(1, seconds=1.5)[0]
    cuts = list(range(0, len(SPEECH), 1_000))
    assert dropouts(with_gaps([start], 1.5), cuts=cuts).count == 1


def test_an_offset_changes_nothing():
    samples = with_gaps(loud_places(6)) + np.float32(0.125)
    assert dropouts(samples).count == 6


@pytest.mark.parametrize("rate", [4_000, 384_000])
def test_the_lowest_and_the_highest_rate(rate):
    samples = speech_like(2.0, rate=rate, seed=3)
    start = loud_places(1, samples, 0.05, rate)[0]
    samples[start : start + rate // 20] = 0
    assert dropouts(samples, rate).count == 1


@pytest.mark.corpus
def test_real_speech_has_no_dropouts_and_cut_samples_are_found(corpus):
    files = sorted((corpus / "speech").rglob("*.flac"))[::10]
    gated_files = sorted((corpus / "speech" / "picovoice-barista").rglob("*.flac"))
    found = []
    for file in [*files, *gated_files]:
        samples = soundfile.read(file, dtype="float32")[0]
        assert dropouts(samples).count == 0, file
        starts = loud_places(5, samples)
        found.append(dropouts(with_gaps(starts, samples=samples)).count / max(len(starts), 1))
    assert np.mean(found) > 0.9
