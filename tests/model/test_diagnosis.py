"""What is heard in an utterance, pooled from its frames."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.activity import Activity
from model.diagnosis import (
    FRAME_S,
    FRAME_VALUES,
    HEARD_CAUSES,
    NO_CAUSE,
    RATINGS,
    CauseLimits,
    Diagnosis,
    Heard,
    pool_levels,
    pooled_snr_db,
)

FRAMES = 200
BEST = 4.64


def diagnosis(**values: float | np.ndarray) -> Diagnosis:
    """A diagnosis of speech without causes, at 40 dB, apart from the given values."""
    frames = np.zeros((FRAMES, len(FRAME_VALUES)), np.float32)
    for name, value in {"speech": 1.0, "snr_db": 40.0, "c50_db": 40.0, **values}.items():
        frames[:, FRAME_VALUES.index(name)] = value
    return Diagnosis(frames, CauseLimits.default())


def pooled(one: Diagnosis, score: float | np.ndarray = BEST, counted: np.ndarray | None = None) -> Heard:
    every = np.ones(FRAMES, bool) if counted is None else counted
    return one.pool(np.broadcast_to(np.float32(score), FRAMES), every, BEST)


def first(frames: int, value: float = 1.0, other: float = 0.0) -> np.ndarray:
    return np.where(np.arange(FRAMES) < frames, value, other)


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=50).filter(lambda noise: sum(noise) > 1e-3))
def test_the_snr_is_that_of_the_mean_noise(noise: list[float]) -> None:
    power = np.maximum(np.array(noise), 1e-6)  # speech has the power 1
    expected = -10 * np.log10(power.mean())
    assert pooled_snr_db(-10 * np.log10(power), np.ones(len(power))) == pytest.approx(expected, abs=1e-6)


def test_noise_in_a_tenth_of_the_speech_raises_the_snr_by_10_db() -> None:
    assert pooled(diagnosis(snr_db=first(FRAMES // 10, 0.0, 60.0))).snr_db == pytest.approx(10.0, abs=0.01)


def test_snr_and_c50_are_those_of_the_speech() -> None:
    heard = pooled(diagnosis(speech=first(100), snr_db=first(100, 20.0, -10.0), c50_db=first(100, 15.0, 0.0)))
    assert (heard.snr_db, heard.c50_db) == (pytest.approx(20.0, abs=1e-3), pytest.approx(15.0, abs=1e-3))
    assert heard.speech_s == pytest.approx(100 * FRAME_S)


def test_without_speech_there_is_neither_snr_nor_c50() -> None:
    heard = pooled(diagnosis(speech=first(6)))
    assert (heard.snr_db, heard.c50_db) == (None, None)


def test_frames_without_speech_need_no_snr_and_no_c50() -> None:
    speech, levels = first(100), first(100, 20.0, np.nan)
    assert pool_levels(speech, levels, levels) == pytest.approx({"snr_db": 20.0, "c50_db": 20.0})
    assert pool_levels(first(6), levels, levels) == {}
    unknown = pool_levels(speech, np.full(FRAMES, np.nan, np.float32), levels)
    assert np.isnan(unknown["snr_db"])
    assert unknown["c50_db"] == pytest.approx(20.0)


def test_loud_music_without_speech_does_not_lower_the_snr() -> None:
    levels = first(100, 20.0, -30.0)
    pooled_db = pool_levels(first(100, 1.0, 0.049), levels, levels)
    assert pooled_db == pytest.approx({"snr_db": 20.0, "c50_db": 20.0})


def test_a_cause_needs_its_share_of_the_counted_frames() -> None:
    short, long = diagnosis(noise=first(9)), diagnosis(noise=first(10))
    assert pooled(short).causes == ()
    assert pooled(long).causes == ("noise",)
    assert pooled(long, counted=np.arange(FRAMES) >= 10).causes == ()


def test_the_cause_that_costs_most_is_first() -> None:
    # Hum lasts longer, but the score falls only where there is clipping.
    one = diagnosis(hum=first(FRAMES) - first(50), clipping=first(50))
    assert pooled(one, np.where(np.arange(FRAMES) < 50, 1.0, BEST)).causes == ("clipping", "hum")
    assert pooled(one, np.where(np.arange(FRAMES) < 50, BEST, 1.0)).causes == ("hum", "clipping")


def test_a_frame_has_its_most_probable_cause_that_is_heard() -> None:
    one = diagnosis(noise=first(50, 0.6), music=first(20, 0.9, 0.4))
    causes = one.frame_causes()
    assert (causes[:20] == HEARD_CAUSES.index("music")).all()
    assert (causes[20:50] == HEARD_CAUSES.index("noise")).all()
    assert (causes[50:] == NO_CAUSE).all()


def test_music_and_second_voices_have_their_lengths() -> None:
    heard = pooled(diagnosis(music=first(30), second_voice=first(70)))
    assert (heard.music_s, heard.overlap_s) == (pytest.approx(30 * FRAME_S), pytest.approx(70 * FRAME_S))


def test_silence_that_was_not_heard_has_neither_speech_nor_causes() -> None:
    shown = np.arange(FRAMES + 50) < FRAMES
    whole = diagnosis(noise=1.0, mos_ovrl=3.0).expand(Activity(shown, shown, shown))
    assert len(whole.values) == FRAMES + 50
    assert not whole.speech[FRAMES:].any()
    assert not whole.cause_probabilities[FRAMES:].any()
    assert (whole.values[:, FRAME_VALUES.index("mos_ovrl")] == 3.0).all()


# Values without training.


@given(st.sets(st.sampled_from(FRAME_VALUES)))
def test_values_without_training_are_none_and_change_no_other_value(trained: set[str]) -> None:
    causes = {cause: first(50 + 10 * number) for number, cause in enumerate(HEARD_CAUSES)}
    whole = diagnosis(**causes, mos_sig=4.0, mos_bak=3.0, mos_ovrl=2.0)
    part = dataclasses.replace(whole, trained=frozenset(trained))
    expected, heard = pooled(whole, 2.0), pooled(part, 2.0)
    assert heard.causes == tuple(cause for cause in expected.causes if cause in trained)
    names = {"speech": "speech_s", "music": "music_s", "second_voice": "overlap_s"}
    for value in ("speech", "music", "second_voice", "snr_db", "c50_db", *RATINGS):
        name = names.get(value, value)
        # SNR and C50 are those of the speech.
        is_known = value in trained and (value not in ("snr_db", "c50_db") or "speech" in trained)
        assert getattr(heard, name) == (getattr(expected, name) if is_known else None)
    in_frames = {HEARD_CAUSES[index] for index in part.frame_causes().tolist() if index != NO_CAUSE}
    assert in_frames <= trained
    assert bool(in_frames) == bool(trained.intersection(HEARD_CAUSES))


def test_added_silence_does_not_change_what_was_trained() -> None:
    shown = np.arange(FRAMES + 50) < FRAMES
    part = dataclasses.replace(diagnosis(), trained=frozenset({"speech"}))
    assert part.expand(Activity(shown, shown, shown)).trained == {"speech"}
