"""The truth of a clip agrees with the signals that it is made of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile

from model.features import SAMPLE_RATE
from tests.support.speech_like import speech_like
from transforms.elements import AudioRef
from transforms.synthesis.added_sounds import SoundPlan, SoundSegment
from transforms.synthesis.degradations.codecs import Coding
from transforms.synthesis.degradations.echo import AcousticEcho
from transforms.synthesis.degradations.partial import Partial
from transforms.synthesis.degradations.recording import BandLimit, Hum, Reverb
from transforms.synthesis.degradations.suppression import Suppression
from transforms.synthesis.degradations.transmission import Codec
from transforms.synthesis.materials import Material
from transforms.synthesis.mix import power
from transforms.synthesis.no_speech import NoiseFloor
from transforms.synthesis.rooms import RecordedRoom
from transforms.synthesis.scene import Scene, heard_at
from transforms.synthesis.speech_activity import speech_mask, speech_spans

SPEECH = np.concatenate([speech_like(1.0, seed=1), np.zeros(8_000, np.float32), speech_like(1.0, seed=2)])
LENGTH = len(SPEECH)
HUM = Hum(50.0, 20.0, (1.0, 0.5), (0.0, 1.0))


@pytest.fixture(scope="module")
def segments(tmp_path_factory) -> dict[str, SoundSegment]:
    """Segments of recordings of noise, music, another voice and a room, by name."""
    root = tmp_path_factory.mktemp("sounds")
    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    echo = np.zeros(4_000)
    echo[[10, 3_000]] = 0.5, 0.4
    sounds = {
        "noise": 0.1 * np.random.default_rng(0).standard_normal(len(time)),
        "music": 0.2 * np.sin(2 * np.pi * 330 * time) * (1 + np.sin(2 * np.pi * 2 * time)) / 2,
        "voice": np.concatenate([np.zeros(8_000), speech_like(1.0, seed=3, pitch_hz=200.0), np.zeros(8_000)]),
        "room": echo,
    }
    found = {}
    for name, samples in sounds.items():
        soundfile.write(root / f"{name}.wav", samples, SAMPLE_RATE, subtype="FLOAT")
        material = Material(AudioRef(name, str(root / f"{name}.wav"), 1, "1"), name, name, "train", len(samples))
        found[name] = SoundSegment(material, 0, 0.0, None)
    return found


def plan(segment: SoundSegment, snr_db: float, start: int = 0, length: int = LENGTH) -> SoundPlan:
    return SoundPlan((segment,), start, length, snr_db)


def ratio_db(speech: np.ndarray, added: np.ndarray) -> float:
    return float(10 * np.log10(power(speech) / power(added)))


def test_the_snr_is_that_of_the_speech_to_all_that_was_added(segments):
    scene = Scene(SPEECH)
    scene.place_in_room([Reverb(RecordedRoom(segments["room"].material.ref))])
    in_room = scene.samples
    scene.add_background("noise", plan(segments["noise"], 10.0))
    scene.add_background("music", plan(segments["music"], 5.0, 4_000, 16_000))
    scene.add_voice(plan(segments["voice"], 8.0, 2_000, 30_000), [])
    scene.degrade([HUM])
    mask = speech_mask(speech_spans(SPEECH), LENGTH)
    assert scene.speech_snr_db() == pytest.approx(ratio_db(in_room[mask], (scene.samples - in_room)[mask]), abs=1e-3)
    # What changes both alike does not count.
    before = scene.speech_snr_db()
    scene.degrade([BandLimit(300.0, 3400.0)])
    assert scene.speech_snr_db() == before


def test_after_noise_suppression_the_snr_and_the_audibility_of_noise_are_unknown(segments):
    scene = Scene(SPEECH)
    scene.add_background("noise", plan(segments["noise"], 10.0))
    scene.add_background("music", plan(segments["music"], 10.0))
    scene.degrade([HUM, Suppression("wiener", 10.0, -30.0)])
    assert scene.speech_snr_db() is None
    audible = {row["cause"]: row["audible"] for row in scene.distortions}
    assert (audible["noise"], audible["hum"], audible["music"]) == (None, None, True)


def test_an_echo_counts_as_an_added_sound_unless_it_is_heard_as_reverberation():
    for delay_s, is_counted in ((0.02, False), (0.4, True)):
        scene = Scene(SPEECH)
        scene.degrade([AcousticEcho(-10.0, delay_s, False, 200.0, 5_000.0, 0.2, 1)])
        assert (scene.speech_snr_db() is not None) == is_counted


def test_each_sound_has_its_snr(segments):
    for kind in ("noise", "music"):
        scene = Scene(SPEECH)
        scene.add_background(kind, plan(segments[kind], 7.0, 5_000, 10_000))
        added = scene.samples - SPEECH
        assert not np.delete(added, np.s_[5_000:15_000]).any()
        assert ratio_db(SPEECH, added[5_000:15_000]) == pytest.approx(7.0, abs=0.01)


def test_voices_are_compared_while_they_speak_and_only_their_speech_is_a_distortion(segments):
    scene = Scene(SPEECH)
    scene.add_voice(plan(segments["voice"], 6.0, 3_000, 30_000), [])
    added = (scene.samples - SPEECH)[3_000:33_000]
    spans = speech_spans(added)
    voice = added[speech_mask(spans, len(added))]
    assert ratio_db(SPEECH[speech_mask(scene.spans, LENGTH)], voice) == pytest.approx(6.0, abs=0.05)
    found = [(row["start_s"], row["end_s"]) for row in scene.distortions]
    expected = [((3_000 + start) / SAMPLE_RATE, (3_000 + end) / SAMPLE_RATE) for start, end in spans]
    assert np.array(found) == pytest.approx(np.array(expected), abs=0.02)
    assert {(row["kind"], row["cause"], row["audible"]) for row in scene.distortions} == {
        ("second_voice", "second_voice", True)
    }


def test_a_pause_of_another_speaker_is_no_second_voice(segments):
    scene = Scene(SPEECH)
    scene.add_voice(plan(segments["voice"], 6.0, 0, 6_000), [])
    assert (scene.distortions, scene.speech_snr_db()) == ([], None)
    assert np.array_equal(scene.samples, SPEECH)


def test_a_second_voice_is_in_the_same_room(segments):
    rooms = [Reverb(RecordedRoom(segments["room"].material.ref))]
    dry, wet = Scene(SPEECH), Scene(SPEECH)
    dry.add_voice(plan(segments["voice"], 6.0, 0, 30_000), [])
    wet.add_voice(plan(segments["voice"], 6.0, 0, 30_000), rooms)
    # The echo comes 2,990 samples later.
    dry_voice, wet_voice = (scene.samples - SPEECH for scene in (dry, wet))
    echo = wet_voice[:30_000] - 0.5 / np.hypot(0.5, 0.4) * dry_voice[:30_000]
    assert np.corrcoef(echo[2_990:30_000], dry_voice[: 30_000 - 2_990])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("snr_db", "audible"), [(-5.0, True), (29.0, True), (33.0, None), (38.5, False), (50.0, False)]
)
def test_soft_sounds_are_inaudible(snr_db, audible):
    assert heard_at("music", snr_db).audible is audible


def test_a_noise_far_below_another_may_be_inaudible(segments):
    soft = dataclasses.replace(segments["music"], level_db=-60.0)
    scene = Scene(SPEECH)
    scene.add_background("noise", SoundPlan((segments["noise"], soft), 0, LENGTH, 0.0))
    assert [row["audible"] for row in scene.distortions] == [True, False]


@pytest.mark.parametrize(("snr_db", "audible"), [(0.0, None), (15.0, True)])
def test_loud_noise_may_hide_coding_but_no_narrow_band(segments, snr_db, audible):
    scene = Scene(SPEECH)
    scene.add_background("noise", plan(segments["noise"], snr_db))
    scene.degrade([Codec(Coding("gsm", 8_000))])
    scene.leave_masked_open()
    found = {row["cause"]: row["audible"] for row in scene.distortions}
    assert found == {"noise": True, "codec": audible, "band_limit": True}


def test_noise_elsewhere_hides_no_coding(segments):
    scene = Scene(SPEECH)
    scene.add_background("noise", plan(segments["noise"], -10.0, 0, 12_000))
    scene.degrade([Partial(Codec(Coding("gsm", 8_000)), 26_000, LENGTH)])
    scene.leave_masked_open()
    assert {row["audible"] for row in scene.distortions if row["cause"] == "codec"} == {True}


def test_clean_speech_has_no_snr():
    scene = Scene(SPEECH)
    assert scene.speech_snr_db() is None
    scene.degrade([BandLimit(300.0, 3400.0)])
    assert scene.speech_snr_db() is None


def test_without_speech_the_damage_of_degradations_is_uncertain(segments):
    scene = Scene(np.zeros(LENGTH, np.float32))
    scene.play("music", plan(segments["music"], 0.0))
    scene.degrade([HUM, BandLimit(300.0, 3400.0)])
    assert [(row["cause"], row["audible"]) for row in scene.distortions] == [
        ("music", True),
        ("hum", True),
        ("band_limit", None),
    ]
    assert (scene.spans, scene.speech_snr_db()) == ((), None)


def test_a_noise_floor_is_no_damage():
    scene = Scene(np.zeros(LENGTH, np.float32))
    scene.play_quiet(NoiseFloor(-3.0, 1))
    assert [(row["kind"], row["cause"], row["audible"]) for row in scene.distortions] == [("noise_floor", None, False)]
    assert power(scene.samples) == pytest.approx(1.0, rel=1e-3)
