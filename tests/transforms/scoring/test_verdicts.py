"""Flags and causes follow from facts, each on one side of its limit."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.diagnosis import HEARD_CAUSES
from tests.support.outputs import GOOD
from transforms.marks import NO_SPEECH, VOICE_PER_CHANNEL
from transforms.scoring.verdicts import CHANNEL_FLAGS, RECORDING_FLAGS, causes, flags


def flags_of(marks=(), duration_s=4.0, format="FLAC/PCM_16", **facts) -> list[str]:
    return flags(dataclasses.replace(GOOD, **facts), marks, duration_s, format)


def causes_of(marks=(), duration_s=4.0, format="FLAC/PCM_16", **facts) -> list[str]:
    measured = dataclasses.replace(GOOD, **facts)
    return causes(measured, flags(measured, marks, duration_s, format), marks)


@pytest.mark.parametrize(
    ("flag", "doubtful", "good"),
    [
        ("near_silent", {"rms_dbfs": -77.0}, {"rms_dbfs": -75.0}),
        ("near_silent", {"rms_dbfs": -56.0, "noise_floor_snr_db": 9.0}, {"rms_dbfs": -54.0, "noise_floor_snr_db": 9.0}),
        (
            "near_silent",
            {"rms_dbfs": -70.0, "noise_floor_snr_db": 9.0},
            {"rms_dbfs": -70.0, "noise_floor_snr_db": 11.0},
        ),
        ("mostly_silence", {"silence_ratio": 0.81}, {"silence_ratio": 0.79}),
        ("clipped", {"clipped_ratio": 0.0011}, {"clipped_ratio": 0.0009}),
        ("narrow_band", {"bandwidth_hz": 4_999.0}, {"bandwidth_hz": 5_000.0}),
        ("very_short", {"duration_s": 0.99}, {"duration_s": 1.0}),
    ],
)
def test_each_flag_stands_on_one_side_of_its_limit_only(flag, doubtful, good):
    assert flags_of(**doubtful) == [flag]
    assert flags_of(**good) == []


@pytest.mark.parametrize("mark", [NO_SPEECH, *RECORDING_FLAGS])
def test_marks_of_the_samples_are_flags(mark):
    assert flags_of(marks=[mark]) == [mark]


def test_a_quiet_recording_with_24_bits_is_audible():
    assert flags_of(rms_dbfs=-80.0, format="WAV/PCM_16") == ["near_silent"]
    assert flags_of(rms_dbfs=-80.0, format="WAV/PCM_24") == []
    assert flags_of(rms_dbfs=-130.0, format="WAV/PCM_24") == ["near_silent"]
    assert flags_of(rms_dbfs=-130.0, format="WAV/FLOAT") == []


def test_neither_an_offset_nor_an_unknown_snr_is_a_doubt():
    assert flags_of(dc_offset=0.2, noise_floor_snr_db=None) == []


def test_all_flags_can_stand_together_in_a_fixed_order():
    bad = {"rms_dbfs": -90, "silence_ratio": 0.9, "clipped_ratio": 0.1, "bandwidth_hz": 3_400}
    assert flags_of(marks=["upsampled", "no_speech"], duration_s=0.5, **bad) == [
        "no_speech",
        "near_silent",
        "mostly_silence",
        "clipped",
        "narrow_band",
        "upsampled",
        "very_short",
    ]


@pytest.mark.parametrize(
    ("cause", "bad", "good"),
    [
        ("silence", {"rms_dbfs": -90.0}, {"rms_dbfs": -50.0}),
        ("silence", {"silence_ratio": 0.9}, {"silence_ratio": 0.7}),
        ("silence", {"longest_gap_s": 3.1}, {"longest_gap_s": 2.9}),
        ("dropouts", {"dropout_s": 0.02}, {"dropout_s": 0.002}),
        ("clipping", {"clipped_ratio": 0.01}, {"clipped_ratio": 0.0005}),
        ("band_limit", {"bandwidth_hz": 4_000.0}, {"bandwidth_hz": 6_000.0}),
        ("hum", {"hum_db": -24.0}, {"hum_db": -26.0}),
        ("channel", {"marks": ["unlike_channels"]}, {"marks": ["upsampled"]}),
        ("second_voice", {"marks": ["unlike_channels", VOICE_PER_CHANNEL]}, {}),
    ],
)
def test_each_cause_stands_on_one_side_of_its_limit_only(cause, bad, good):
    assert causes_of(**bad) == [cause]
    assert causes_of(**good) == []


@pytest.mark.parametrize("flag", CHANNEL_FLAGS)
def test_every_difference_of_channels_is_the_cause_channel(flag):
    assert causes_of(marks=[flag]) == ["channel"]


@pytest.mark.parametrize("silent", [{"marks": [NO_SPEECH]}, {"rms_dbfs": -90.0}])
def test_what_is_no_speech_has_no_band_limit(silent):
    assert "band_limit" not in causes_of(bandwidth_hz=400.0, **silent)


@pytest.mark.parametrize(
    ("certain_speech_s", "active_s", "expected"),
    [(None, 10.0, []), (0.49, 10.0, ["no_speech"]), (0.51, 10.0, []), (0.09, 1.0, ["no_speech"]), (0.11, 1.0, [])],
)
def test_too_little_speech_for_the_model_is_no_speech(certain_speech_s, active_s, expected):
    measured = dataclasses.replace(GOOD, active_s=active_s)
    assert flags(measured, [], 12.0, "FLAC/PCM_16", certain_speech_s) == expected


PROVEN = {
    "silence": {"longest_gap_s": 4.0},
    "dropouts": {"dropout_s": 1.0},
    "clipping": {"clipped_ratio": 0.1},
    "band_limit": {"bandwidth_hz": 3_400.0},
    "hum": {"hum_db": -20.0},
}


@given(
    st.sets(st.sampled_from(sorted(PROVEN))),
    st.sets(st.sampled_from(["antiphase", VOICE_PER_CHANNEL])),
    st.lists(st.sampled_from(HEARD_CAUSES), unique=True),
)
def test_causes_are_those_proven_or_heard_each_once_and_in_order(proven, marks, heard):
    facts = dataclasses.replace(GOOD, **{name: value for cause in proven for name, value in PROVEN[cause].items()})
    without = causes(facts, flags(facts, sorted(marks), 4.0, "FLAC/PCM_16"), sorted(marks))
    found = causes(facts, flags(facts, sorted(marks), 4.0, "FLAC/PCM_16"), sorted(marks), heard)
    assert sorted(found) == sorted({*without, *heard})
    beyond_hearing = [cause for cause in without if cause not in HEARD_CAUSES]
    assert found[: len(beyond_hearing) + len(heard)] == beyond_hearing + heard
    rest = found[len(beyond_hearing) + len(heard) :]
    assert rest == [cause for cause in without if cause in rest]
