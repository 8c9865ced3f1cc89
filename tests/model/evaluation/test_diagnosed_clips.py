"""Truth and diagnoses of clips."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.diagnosis import HEARD_CAUSES, CauseLimits, Diagnosis
from model.evaluation.diagnosed_clips import diagnosed_clip
from model.frame_truth import NO, UNKNOWN, YES, touched_frames, true_causes, true_speech
from tests.support.training.diagnosed_clips import NUM_FRAMES, diagnosed, diagnosis, distortion, speech

NOISE, DROPOUTS = HEARD_CAUSES.index("noise"), HEARD_CAUSES.index("dropouts")


@given(st.integers(0, 63_000), st.integers(1, 900))
def test_every_span_touches_a_frame_and_a_long_one_needs_half_of_it(start: int, length: int) -> None:
    touched = np.flatnonzero(touched_frames(start / 16_000, (start + length) / 16_000, NUM_FRAMES))
    inside = [min(256 * t + 512, start + length) - max(256 * t, start) for t in touched.tolist()]
    # The last frame ends at sample 64,000.
    assert inside
    assert min(inside) >= min(256, length)


def test_audible_distortions_count_and_uncertain_ones_make_unknown() -> None:
    source = speech(
        0,
        distortions=(
            distortion("noise", 0.0, 2.0, audible=True),
            distortion("noise", 1.0, 3.0, audible=None),
            distortion("dropouts", 0.0, 4.0, audible=False),
            distortion(None),
        ),
    )
    truth = true_causes(source.distortions, NUM_FRAMES)
    assert [truth[frame, NOISE] for frame in (30, 100, 150, 220)] == [YES, YES, UNKNOWN, NO]
    assert (np.delete(truth, NOISE, axis=1) == NO).all()
    assert (true_causes(None, NUM_FRAMES) == UNKNOWN).all()


def test_a_gap_shorter_than_half_a_frame_is_in_the_frames_that_hold_all_of_it() -> None:
    truth = true_causes([distortion("dropouts", 1.0, 1.005)], NUM_FRAMES)
    # 80 samples from sample 16,000.
    assert np.flatnonzero(truth[:, DROPOUTS] == YES).tolist() == [61, 62]


def test_only_the_second_voice_makes_speech_unknown() -> None:
    source = speech(0, speech=((0.0, 1.0), (2.0, 3.0)), distortions=(distortion("second_voice", 2.5, 3.5),))
    truth = true_speech(source.speech, source.distortions, NUM_FRAMES)
    assert [truth[round(62.5 * second)] for second in (0.5, 1.5, 2.2, 2.7, 3.2, 3.8)] == [
        YES,
        NO,
        YES,
        YES,
        UNKNOWN,
        NO,
    ]
    assert (true_speech(None, (), NUM_FRAMES) == UNKNOWN).all()
    assert (true_speech((), (), NUM_FRAMES) == NO).all()


def test_a_clip_has_the_causes_of_its_counted_frames() -> None:
    source = speech(0, distortions=(distortion("noise", 0.0, 1.0), distortion("dropouts", 0.0, 1.0, audible=None)))
    end = np.arange(NUM_FRAMES) > 100
    assert [diagnosed(source).truth(cause) for cause in ("noise", "dropouts", "hum")] == [YES, UNKNOWN, NO]
    assert [diagnosed(source, counted=end).truth(cause) for cause in ("noise", "dropouts", "hum")] == [NO, NO, NO]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.floats(0, 1, width=32),
    st.floats(0.0, 1.0, width=32),
)
def test_a_cause_is_heard_if_and_only_if_its_reached_probability_is_at_its_limit(
    seed: int, num_frames: int, limit: float, share: float
) -> None:
    rng = np.random.default_rng(seed)
    values = diagnosis({cause: rng.random(num_frames) for cause in HEARD_CAUSES}, num_frames).values
    limits = CauseLimits(dict.fromkeys(HEARD_CAUSES, limit), dict.fromkeys(HEARD_CAUSES, share))
    counted = rng.random(num_frames) < 0.7
    counted[rng.integers(num_frames)] = True
    source = dataclasses.replace(speech(0), duration_s=num_frames * 0.016)
    found = diagnosed_clip(source, Diagnosis(values, limits), np.full(num_frames, 3.0), counted, 4.64)
    assert (found.reached >= limit).tolist() == found.hears.tolist()
