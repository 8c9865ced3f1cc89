"""The labels of a diagnosis: what is known in each frame, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.diagnosis import HEARD_CAUSES
from model.features import num_frames
from model.frame_truth import NO, UNKNOWN, YES
from model.pooling import pool
from model.training.diagnosis_labels import diagnosis_labels, trained_values
from tests.support.training.diagnosis_set import clip, distortion, unlabelled

NOISE = HEARD_CAUSES.index("noise")


def labels(**changes: Any) -> dict[str, np.ndarray]:
    row = {**clip(0), **changes}
    return diagnosis_labels(row, row["pesq_wb"])


def test_a_frame_has_speech_if_half_of_it_is_in_a_span() -> None:
    # Frames 2 to 5 start at samples 512, 768, 1024 and 1280.
    speech = labels(speech=[{"start_s": 800 / 16_000, "end_s": 1_536 / 16_000}])["speech"]
    assert np.flatnonzero(speech == YES).tolist() == [3, 4, 5]
    assert (np.delete(speech, [3, 4, 5]) == NO).all()


@given(st.integers(0, 10_000), st.integers(1, 4_000))
def test_a_span_of_any_length_touches_about_as_many_frames_as_it_has_hops(start: int, length: int) -> None:
    speech = labels(speech=[{"start_s": start / 16_000, "end_s": (start + length) / 16_000}])["speech"]
    touched = np.flatnonzero(speech == YES)
    assert abs(len(touched) - length / 256) <= 2
    assert len(touched) >= 1
    assert (np.diff(touched) == 1).all()


def test_where_only_a_second_voice_may_speak_speech_is_unknown() -> None:
    second = distortion("second_voice", True, 0.0, 0.9)
    speech = labels(distortions=[second], speech=[{"start_s": 0.0, "end_s": 0.4}])["speech"]
    assert (speech[:20] == YES).all()
    assert (speech[30:50] == UNKNOWN).all()


@pytest.mark.parametrize(
    ("audible", "value"),
    [([True], YES), ([False], NO), ([None], UNKNOWN), ([True, None], YES), ([None, False], UNKNOWN), ([], NO)],
)
def test_an_audible_distortion_decides(audible: list[bool | None], value: int) -> None:
    distortions = [distortion("noise", one, 0.2, 0.4) for one in audible]
    for order in (distortions, distortions[::-1]):
        causes = labels(distortions=order)["causes"]
        assert (causes[14:20, NOISE] == value).all()
        assert (causes[30:, NOISE] == NO).all()
        assert (np.delete(causes, NOISE, axis=1) == NO).all()


def test_a_distortion_without_a_cause_is_no_cause() -> None:
    assert (labels(distortions=[distortion(None, True, 0.0, 0.9)])["causes"] == NO).all()


def test_an_unknown_cause_is_an_error() -> None:
    with pytest.raises(ValueError, match="wow"):
        labels(distortions=[distortion("wow", True, 0.0, 0.9)])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.0, 25.0]),
        ({"speech_snr_db": None, "c50_db": 12.5, "distortions": []}, [40.0, 12.5]),
        ({"speech_snr_db": 55.0, "c50_db": 61.0}, [40.0, 25.0]),
        ({"speech": []}, [np.nan, np.nan]),
        ({"speech": None}, [np.nan, np.nan]),
        ({"distortions": None}, [np.nan, np.nan]),
        # After processing, the SNR of noisy speech is unknown.
        ({"speech_snr_db": None, "distortions": [distortion("noise", True, 0.0, 0.9)]}, [np.nan, 25.0]),
        ({"speech_snr_db": None, "distortions": [distortion("noise", False, 0.0, 0.9)]}, [40.0, 25.0]),
        ({"c50_db": None, "distortions": [distortion("reverberation", None, 0.0, 0.9)]}, [0.0, np.nan]),
    ],
)
def test_snr_and_c50_are_known_with_speech_only(changes: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_equal(labels(**changes)["levels_db"], np.array(expected, np.float32))


def test_the_frame_scores_pool_to_the_score() -> None:
    made = labels()
    assert pool(made["frame_score"], "pesq") == pytest.approx(made["score"], abs=0.02)


def test_of_a_real_recording_only_the_ratings_are_known() -> None:
    row = unlabelled(3)
    made = diagnosis_labels(row, None)
    assert np.isnan(made["score"])
    assert not made["frame_score"].any()
    assert len(made["frame_score"]) == num_frames(15_600)
    assert (made["speech"] == UNKNOWN).all()
    assert (made["causes"] == UNKNOWN).all()
    assert made["ratings"] == pytest.approx([3.5, 1.6, 1.6])


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, set()),
        ({"speech": []}, {"speech", "snr_db", "c50_db"}),
        ({"speech": None}, {"speech", "snr_db", "c50_db"}),
        ({"distortions": None}, {"noise", "snr_db", "c50_db"}),
        # Without an audible cause, a clip does not show how it sounds.
        ({"distortions": [distortion("noise", False, 0.0, 0.9)]}, {"noise"}),
        ({"distortions": [distortion("noise", None, 0.0, 0.9)]}, {"noise"}),
        ({"distortions": [distortion(None, True, 0.0, 0.9)]}, {"noise"}),
        # Values that are only known to be high do not show how to measure them.
        ({"speech_snr_db": 40.0, "c50_db": None}, {"snr_db", "c50_db"}),
        ({"mos_sig": None}, {"mos_sig"}),
        ({"mos_sig": None, "mos_bak": None, "mos_ovrl": None}, {"mos_sig", "mos_bak", "mos_ovrl"}),
    ],
)
def test_a_clip_is_an_example_of_the_values_that_it_has(changes: dict[str, Any], missing: set[str]) -> None:
    known = {"speech", "noise", "snr_db", "c50_db", "mos_sig", "mos_bak", "mos_ovrl"}
    assert trained_values({**clip(0), "c50_db": 12.0, **changes}) == known - missing
