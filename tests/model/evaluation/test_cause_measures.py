"""Measures of causes, speech, music and second voices."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.bootstrap import Resamples
from model.evaluation.cause_measures import (
    frame_auc,
    measure_behind_speech,
    measure_causes,
    measure_false_causes,
    measure_music,
    measure_speech,
    reliability,
)
from model.evaluation.diagnosed_clips import DiagnosedClip
from model.evaluation.metrics import weighted_auc
from model.frame_truth import Distortion
from tests.support.training.diagnosed_clips import NUM_FRAMES, diagnosed, distortion, speech
from tests.support.training.scored_clips import clip, resamples_of

HALF = np.arange(NUM_FRAMES) < NUM_FRAMES // 2


def resamples(clips: list[DiagnosedClip]) -> Resamples:
    return resamples_of([one.clip for one in clips])


def test_the_auc_of_frames_is_that_of_single_frames_in_each_resample() -> None:
    rng = np.random.default_rng(0)
    lengths, speakers = [30, 50, 20, 40], ["a", "b", "a", "c"]
    truth = [rng.random(length) < 0.4 for length in lengths]
    value = [
        np.round(rng.random(length) * 0.7 + 0.3 * frames, 2) for length, frames in zip(lengths, truth, strict=True)
    ]
    items, drawn = np.arange(4), Resamples(speakers, 30, seed=1)
    found = frame_auc(truth, value, items, drawn)
    positive, values = np.concatenate(truth), np.concatenate(value)
    expected = drawn.estimate(lambda weight: {"auc": weighted_auc(positive, values, weight)}, np.repeat(items, lengths))
    assert found.value == pytest.approx(expected["auc"].value)
    np.testing.assert_allclose(found.resampled, expected["auc"].resampled)


def test_speech_is_measured_in_known_frames() -> None:
    clips = [
        diagnosed(speech(0, speech=((0.0, 2.0),)), speech=np.where(HALF, 0.9, 0.2)),
        diagnosed(speech(1, speech=()), speech=0.6),
        # Only the other voice speaks in the second half.
        diagnosed(
            speech(2, speech=((0.0, 2.0),), distortions=(distortion("second_voice"),)), speech=np.where(HALF, 0.9, 1.0)
        ),
        diagnosed(clip(3), speech=0.5),
    ]
    found = measure_speech(clips, resamples(clips))
    assert found["clips"] == 3
    assert found["frames"] - found["speech_frames"] == pytest.approx(1.5 * NUM_FRAMES, abs=2)
    assert found["auc"].value > 0.99
    assert found["recall"].value > 0.98
    # The whole second clip is taken for speech.
    assert found["precision"].value == pytest.approx(0.5, abs=0.01)
    assert measure_speech(clips[3:], resamples(clips[3:])) == {}


def test_causes_of_clips_and_frames() -> None:
    clips = [
        diagnosed(speech(0, distortions=(distortion("noise", 0.0, 2.0),)), noise=np.where(HALF, 0.9, 0.1)),
        diagnosed(speech(1, "noise"), noise=0.2),
        diagnosed(speech(2), noise=0.7, music=0.9),
        diagnosed(speech(3, "hum"), hum=0.8),
        diagnosed(speech(4, distortions=(distortion("noise", audible=None),)), noise=1.0),
        diagnosed(clip(5), noise=1.0),
    ]
    found = measure_causes(clips, resamples(clips))
    assert found["clips"] == 5
    # Music does not occur, so its false positive counts for no cause.
    assert list(found["by_cause"]) == ["noise", "hum"]
    noise = found["by_cause"]["noise"]
    assert (noise["clips"]["known"], noise["clips"]["with_cause"]) == (4, 2)
    assert [noise["clips"][name].value for name in ("precision", "recall", "f1")] == [0.5, 0.5, 0.5]
    assert noise["clips"]["auc"].value == 0.75
    assert found["macro_f1"].value == 0.75
    # Half of one clip is found, all of another is missed, and all of a third is wrong.
    assert noise["frames"]["f1"].value == pytest.approx(2 * 0.5 / (2 * 0.5 + 1 + 1), abs=0.01)
    assert found["frame_macro_f1"].value == pytest.approx((noise["frames"]["f1"].value + 1) / 2)


def test_only_counted_frames_are_measured_for_causes() -> None:
    source = speech(0, distortions=(distortion("noise", 0.0, 2.0),))
    clips = [diagnosed(source, counted=HALF, noise=0.9), diagnosed(speech(1))]
    found = measure_causes(clips, resamples(clips))["by_cause"]["noise"]["frames"]
    assert found["known"] == NUM_FRAMES + np.count_nonzero(HALF)
    assert found["f1"].value == 1.0


def test_the_reliability_of_exact_probabilities_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200_000)
    points = reliability(rng.random(200_000) < probability, probability)
    assert len(points) == 10
    assert sum(point["frames"] for point in points) == 200_000
    for point in points:
        assert point["share"] == pytest.approx(point["probability"], abs=0.02)
    assert [point["frames"] for point in reliability(np.array([True]), np.array([1.0]))] == [1]


def test_music_and_voices_by_the_level_of_the_speech_over_them() -> None:
    clips = [
        diagnosed(speech(0, "music", speech_snr_db=11.0), music=0.9),
        diagnosed(speech(1, "music", speech_snr_db=9.0), music=0.2),
        diagnosed(speech(2, "music", speech_snr_db=-1.0), music=1.0),
        # The level of noise and music together says nothing about the music.
        diagnosed(speech(3, "music", "noise", speech_snr_db=10.0), music=0.0),
        diagnosed(speech(4, "reverberation"), music=0.3),
        diagnosed(speech(5), music=0.1),
        diagnosed(speech(6, "music", speech=()), music=1.0),
        diagnosed(speech(7, speech=()), music=1.0),
    ]
    found = measure_music(clips, resamples(clips))
    assert list(found["behind_speech"]) == ["0 dB", "10 dB"]
    ten = found["behind_speech"]["10 dB"]
    assert (ten["clips"], ten["without"], ten["auc"].value) == (2, 2, 0.75)
    assert found["behind_speech"]["0 dB"]["auc"].value == 1.0
    assert (found["alone"]["clips"], found["alone"]["auc"].value) == (1, 1.0)
    assert measure_behind_speech("second_voice", clips, resamples(clips)) == {}


def test_the_level_of_a_second_voice_is_in_its_detail() -> None:
    voice = Distortion("second_voice", "speech/a/1, 8.2 dB", 1.0, 2.0, "second_voice", True)
    clips = [
        diagnosed(speech(0, distortions=(voice,), speech_snr_db=30.0), second_voice=np.where(HALF, 0.9, 0.0)),
        diagnosed(speech(1), second_voice=0.5),
    ]
    found = measure_behind_speech("second_voice", clips, resamples(clips))
    assert list(found) == ["10 dB"]
    assert found["10 dB"]["auc"].value == 1.0


def test_false_causes_of_clean_and_of_narrow_clips() -> None:
    clips = [
        diagnosed(speech(0, "band_limit"), band_limit=0.9),
        diagnosed(speech(1, "band_limit"), band_limit=0.9, codec=0.9),
        diagnosed(speech(2, "band_limit", "noise"), noise=0.9),
        diagnosed(speech(3), band_limit=0.9, hum=0.9),
        diagnosed(speech(4, "band_limit", speech=()), hum=0.9),
        diagnosed(speech(5, distortions=(distortion("band_limit"), distortion("noise", audible=None))), hum=0.9),
        diagnosed(speech(6, distortions=(distortion("band_limit"), distortion("noise", audible=False))), hum=0.9),
    ]
    found = measure_false_causes(clips, resamples(clips))
    assert (found["band_limit_only"]["clips"], found["band_limit_only"]["share"].value) == (3, pytest.approx(2 / 3))
    assert found["band_limit_only"]["causes"] == {"codec": 1, "hum": 1}
    assert (found["clean"]["clips"], found["clean"]["causes"]) == (1, {"band_limit": 1, "hum": 1})
