"""Silence around and inside speech is found, and does not count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.activity import find_activity, shown_spectrogram
from model.features import FeatureConfig, frame_power

SHIFT_S = 0.016


def power(*parts: tuple[float, float], jitter_db: float = 3.0) -> np.ndarray:
    """Power of frames: parts of (seconds, level in dB); -inf is digital silence."""
    levels = np.concatenate([np.full(round(seconds / SHIFT_S), db) for seconds, db in parts])
    return 10 ** ((levels + np.random.default_rng(1).uniform(-jitter_db, jitter_db, len(levels))) / 10)


SPEECH = (3.0, -26.0)


@pytest.mark.parametrize("silence_db", [-np.inf, -75.0, -90.0])
@pytest.mark.parametrize(("before_s", "after_s"), [(0.0, 1.6), (1.6, 0.0), (14.4, 16.0)])
def test_silence_at_both_ends_is_measured_and_does_not_count(silence_db, before_s, after_s):
    activity = find_activity(power((before_s, silence_db), SPEECH, (after_s, silence_db)))
    assert activity.lead_s == pytest.approx(before_s, abs=SHIFT_S)
    assert activity.trail_s == pytest.approx(after_s, abs=SHIFT_S)
    assert activity.counted_s == pytest.approx(3.0, abs=5 * SHIFT_S)


def test_a_room_that_is_35_db_below_the_speech_is_silence_too():
    activity = find_activity(power((5.0, -61.0), SPEECH, (5.0, -61.0), jitter_db=1.0))
    assert (activity.lead_s, activity.trail_s) == (pytest.approx(5.0, abs=0.05), pytest.approx(5.0, abs=0.05))


def test_noise_close_to_the_speech_counts():
    activity = find_activity(power((5.0, -38.0), SPEECH, (5.0, -38.0), jitter_db=1.0))
    assert activity.counted_s == pytest.approx(13.0, abs=0.1)


@pytest.mark.parametrize(("gap_s", "left_s"), [(0.2, 0.2), (0.48, 0.48), (0.8, 0.5), (5.0, 0.5), (60.0, 0.5)])
def test_a_long_pause_counts_as_a_short_one(gap_s, left_s):
    activity = find_activity(power(SPEECH, (gap_s, -np.inf), SPEECH))
    assert activity.longest_gap_s == pytest.approx(gap_s, abs=2 * SHIFT_S)
    assert activity.counted_s == pytest.approx(6.0 + left_s, abs=0.1)


def test_a_click_in_silence_is_silence():
    activity = find_activity(power((5.0, -np.inf), (0.04, -20.0), (5.0, -np.inf), SPEECH))
    assert activity.lead_s == pytest.approx(10.0, abs=0.1)


def test_without_sound_every_frame_counts_and_nothing_is_active():
    activity = find_activity(np.zeros(100))
    assert activity.counted.all()
    assert not activity.active.any()
    assert (activity.lead_s, activity.trail_s, activity.counted_s) == (1.6, 1.6, 0.0)


@given(st.floats(-80, 40), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_a_gain_changes_no_frame_and_some_frame_counts(gain_db, count, seed):
    frames = 10 ** np.random.default_rng(seed).uniform(-8, -2, count)
    activity, louder = find_activity(frames), find_activity(frames * 10 ** (gain_db / 10))
    np.testing.assert_array_equal(activity.counted, louder.counted)
    assert activity.counted.any()


def test_scores_of_shown_frames_spread_over_all_frames():
    activity = find_activity(power((1.6, -np.inf), SPEECH, (4.8, -np.inf), SPEECH))
    scores = np.arange(np.count_nonzero(activity.shown), dtype=np.float32)
    spread = activity.expand(scores)
    np.testing.assert_array_equal(spread[activity.shown], scores)
    assert (spread[: np.argmax(activity.shown)] == 0).all()
    assert (np.diff(spread) >= 0).all()


# Speech in a room, with a pause in which the room is heard.
IN_A_ROOM = ((0.8, -60.0), (1.5, -26.0), (0.4, -60.0), (1.5, -26.0), (0.8, -60.0))


def test_the_room_around_the_speech_is_context_and_padding_is_not():
    activity = find_activity(power((3.2, -np.inf), *IN_A_ROOM, (3.2, -np.inf), jitter_db=1.0))
    shown_s = np.count_nonzero(activity.shown) * SHIFT_S
    # The level falls at once after the speech, as if it was cut off. So there is context before it only.
    assert shown_s == pytest.approx(3.4 + 0.256, abs=0.05)
    assert activity.shown[activity.counted].all()


def test_a_fading_end_has_context_after_it():
    fade = [(0.016, -26.0 - 4 * step) for step in range(9)]
    activity = find_activity(power(*IN_A_ROOM[:-1], *fade, (0.8, -60.0), jitter_db=1.0))
    assert np.count_nonzero(activity.shown[activity.active.nonzero()[0][-1] + 1 :]) == 16


@given(
    st.sampled_from([-60.0, -55.0, -50.0, -48.0]),
    st.sampled_from([-np.inf, -100.0, -90.0, -80.0, -75.0]),
    st.floats(0, 15),
    st.floats(0, 15),
)
def test_added_silence_changes_no_frame_that_the_network_gets(room_db, silence_db, before_s, after_s):
    recording = [(seconds, room_db if level < -30 else level) for seconds, level in IN_A_ROOM]
    own = power(*recording)
    before, after = (power((seconds, silence_db)) if seconds >= SHIFT_S else own[:0] for seconds in (before_s, after_s))
    expected, found = find_activity(own), find_activity(np.concatenate([before, own, after]))
    inside = slice(len(before), len(before) + len(own))
    np.testing.assert_array_equal(found.shown[inside], expected.shown)
    np.testing.assert_array_equal(found.counted[inside], expected.counted)
    assert np.count_nonzero(found.shown) == np.count_nonzero(expected.shown)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_click_of_a_cut_is_no_context(frames):
    """A frame over the cut, and the ringing of the high-pass, lie between the speech and the silence."""
    speech, silence = [(1.5, -26.0), (0.4, -46.0), (1.5, -26.0)], (3.2, -np.inf)
    click = [(0.016, -48.5)] * frames
    found = find_activity(power(silence, *click[::-1], *speech, *click, silence, jitter_db=1.0))
    expected = find_activity(power(silence, *speech, silence, jitter_db=1.0))
    assert np.count_nonzero(found.shown) == np.count_nonzero(expected.shown)


def test_digital_silence_after_a_cut_is_no_context():
    speech, silence = [(1.5, -26.0), (0.4, -46.0), (1.5, -26.0)], (3.2, -np.inf)
    expected, found = find_activity(power(*speech)), find_activity(power(silence, *speech, silence))
    assert expected.shown.all()
    # Two frames at each end are the click of the cut.
    assert np.count_nonzero(found.shown) == np.count_nonzero(found.counted) == len(expected.shown) - 4


@given(st.integers(1, 40_000), st.integers(0, 40_000))
def test_silence_moves_no_feature_of_the_speech(before, after):
    rng = np.random.default_rng(3)
    speech = (rng.normal(0, 0.1, 16_000) * np.repeat(rng.uniform(0.1, 1.0, 100), 160)).astype(np.float32)
    padded = np.pad(speech, (before, after))
    expected, _ = shown_spectrogram(np.pad(speech, 4_096), FeatureConfig())
    found, activity = shown_spectrogram(padded, FeatureConfig())
    # Frames at the ends may lie half in the silence.
    assert abs(len(found) - len(expected)) <= 4
    assert activity.counted_s == pytest.approx(1.0, abs=0.1)
    middle = len(expected) // 2
    distances = [np.abs(found[middle + step] - expected[middle]).max() for step in range(-4, 5)]
    assert min(distances) < 0.05  # partial frames at the ends move the level a little


def test_the_power_is_that_of_the_frames_of_the_features():
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    spectrogram, activity = shown_spectrogram(samples, FeatureConfig(compression="magnitude", level="none"))
    assert len(activity.active) == len(frame_power(samples))
    assert np.mean(spectrogram**2) == pytest.approx(0.01, rel=0.05)
