"""Variations change the sound of clean speech, but not its length, its timing or its cleanness."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.training.alignment import delay
from transforms.audio.signal_facts import dynamic_range_db
from transforms.synthesis.rooms import simulation_installed
from transforms.synthesis.speech_variation import (
    EQUALIZER_DB,
    EQUALIZER_HZ,
    DigitalSilence,
    Equalizer,
    Expander,
    Microphone,
    SmallRoom,
    change_speed,
    draw_expander,
    draw_variations,
    samples_needed,
)

SOME = [draw_variations(np.random.default_rng(seed), 7, "train") for seed in range(300)]
ONE_OF_EACH = {type(variation).__name__: variation for drawn in SOME for variation in drawn}
ONE_OF_EACH["Expander"] = draw_expander(np.random.default_rng(0))
if not simulation_installed():
    del ONE_OF_EACH["SmallRoom"]


@pytest.fixture(scope="module")
def speech(make_speech) -> np.ndarray:
    return make_speech(3.0, seed=1)


@pytest.mark.parametrize("name", ONE_OF_EACH)
class TestEvery:
    def test_length_and_timing_are_kept(self, name, speech):
        before = speech.copy()
        varied = ONE_OF_EACH[name].apply(speech)
        assert varied.shape == speech.shape
        assert varied.dtype == np.float32
        assert np.isfinite(varied).all()
        assert not np.array_equal(varied, speech)
        assert abs(delay(speech, varied)) <= 1
        assert np.array_equal(speech, before)

    def test_the_result_is_reproducible(self, name, speech):
        assert np.array_equal(ONE_OF_EACH[name].apply(speech), ONE_OF_EACH[name].apply(speech))

    def test_pauses_stay_far_below_the_speech(self, name, speech):
        assert dynamic_range_db(ONE_OF_EACH[name].apply(speech)) > dynamic_range_db(speech) - 12

    def test_silence_stays_silent(self, name):
        assert not ONE_OF_EACH[name].apply(np.zeros(1_000, np.float32)).any()


def gain_db(variation, frequency: float) -> float:
    """Gain of a filter in the middle of a long tone."""
    tone = np.sin(2 * np.pi * frequency / 16_000 * np.arange(32_000)).astype(np.float32)
    middle = slice(8_000, 24_000)
    return 10 * np.log10(np.mean(variation.apply(tone)[middle] ** 2) / np.mean(tone[middle] ** 2))


def test_an_equalizer_has_its_gains_and_interpolates_between_them():
    gains = (6.0, -6.0, 3.0, 0.0, -2.0, 5.0, -5.0)
    equalizer = Equalizer(gains)
    for frequency, expected in zip(EQUALIZER_HZ, gains, strict=True):
        assert gain_db(equalizer, frequency) == pytest.approx(expected, abs=0.3)
    assert gain_db(equalizer, 141.4) == pytest.approx(0.0, abs=0.3)
    assert gain_db(equalizer, 7_900.0) == pytest.approx(-5.0, abs=0.3)


def test_a_microphone_attenuates_both_ends():
    microphone = Microphone(100.0, 2, 6_000.0, 4)
    levels = {frequency: gain_db(microphone, frequency) for frequency in (50.0, 100.0, 1_000.0, 6_000.0, 7_500.0)}
    assert levels == pytest.approx({50.0: -12.3, 100.0: -3.0, 1_000.0: 0.0, 6_000.0: -3.0, 7_500.0: -8.4}, abs=0.4)


def test_a_gate_keeps_the_speech_and_silences_the_pauses():
    loud, pause = np.full(8_000, 0.3, np.float32), np.full(8_000, 1e-4, np.float32)  # 70 dB apart
    gated = DigitalSilence(threshold_db=-50.0, hold_s=0.1).apply(np.concatenate([pause, loud, pause]))
    hold = round(0.1 * 16_000)
    assert np.array_equal(gated[8_000:16_000], loud)
    assert gated[8_000 - hold + 160 : 8_000].any()  # held open before and after the speech
    assert gated[16_000 : 16_000 + hold - 160].all()
    assert not gated[: 8_000 - hold - 160].any()
    assert not gated[16_000 + hold + 160 :].any()


def test_a_gate_without_pauses_leaves_the_signal_unchanged():
    loud = np.random.default_rng(0).normal(0, 0.1, 16_001).astype(np.float32)
    assert np.array_equal(DigitalSilence(-50.0, 0.05).apply(loud), loud)


@pytest.mark.parametrize("length", [0, 1, 79, 80, 81, 1_000])
def test_a_gate_accepts_any_length(length):
    assert DigitalSilence(-50.0, 0.05).apply(np.ones(length, np.float32)).shape == (length,)


class TestDraw:
    def test_the_draw_is_reproducible(self):
        assert draw_variations(np.random.default_rng(5), 7, "train") == SOME[5]

    def test_one_or_two_different_variations_are_drawn(self):
        counts = [len(drawn) for drawn in SOME]
        assert set(counts) == {1, 2}
        assert all(len({type(variation) for variation in drawn}) == len(drawn) for drawn in SOME)
        assert {type(variation).__name__ for drawn in SOME for variation in drawn} == {
            "Equalizer",
            "Microphone",
            "SmallRoom",
            "DigitalSilence",
            "GoodCodec",
        }

    def test_variations_are_drawn_within_their_ranges(self):
        for variation in (variation for drawn in SOME for variation in drawn):
            match variation:
                case Equalizer():
                    assert all(abs(gain) <= EQUALIZER_DB for gain in variation.gains_db)
                case Microphone():
                    assert 60 <= variation.low_hz <= 250
                    assert 5_000 <= variation.high_hz <= 7_800
                    assert variation.low_order <= 3
                    assert variation.high_order <= 6
                case DigitalSilence():
                    assert -60 <= variation.threshold_db <= -35
                    assert 0.02 <= variation.hold_s <= 0.2
                case SmallRoom():
                    assert 0.08 <= variation.room.rt60_s <= 0.25

    def test_no_small_room_is_in_two_splits(self):
        rooms = {
            split: {
                variation.room
                for seed in range(300)
                for variation in draw_variations(np.random.default_rng(seed), 7, split)
                if isinstance(variation, SmallRoom)
            }
            for split in ("train", "val")
        }
        assert len(rooms["train"]) > 30
        assert not rooms["train"] & rooms["val"]

    def test_the_detail_names_the_variation(self):
        for drawn in SOME:
            for variation in drawn:
                assert variation.detail.split()[0] in ("equalizer", "microphone", "room", "silence", "codec")


def test_varied_clean_speech_has_the_best_score_against_itself(speech):
    pytest.importorskip("pesq")
    from model.labels import PESQ_WB
    from transforms.synthesis.labels.pesq_labels import pesq

    for variation in ONE_OF_EACH.values():
        varied = variation.apply(speech)
        assert pesq(varied, varied, PESQ_WB) == pytest.approx(4.64, abs=0.01)


class TestChangeSpeed:
    @pytest.mark.parametrize("speed", [1 / 1.2, 0.95, 1.0, 1.07, 1.2])
    def test_the_pitch_follows_the_speed_and_the_length_is_as_requested(self, speed):
        tone = np.sin(2 * np.pi * 500 / 16_000 * np.arange(samples_needed(16_000, speed))).astype(np.float32)
        changed = change_speed(tone, speed, 16_000)
        assert changed.shape == (16_000,)
        assert changed.dtype == np.float32
        assert np.abs(np.fft.rfft(changed)).argmax() == pytest.approx(500 * speed, abs=1)
        assert np.abs(changed[-20:]).max() > 0.5, "the end is silent"

    def test_a_speed_of_one_leaves_the_signal_unchanged(self, speech):
        assert np.array_equal(change_speed(speech, 1.0, len(speech)), speech)

    def test_too_few_samples_are_followed_by_zeros(self):
        assert not change_speed(np.ones(100, np.float32), 1.2, 1_000)[200:].any()


class TestExpander:
    def test_only_soft_parts_are_attenuated(self):
        loud, soft = np.full(8_000, 0.5, np.float32), np.full(8_000, 0.001, np.float32)
        expanded = Expander(-40.0, 0.0, -20.0).apply(np.concatenate([loud, soft, loud]))
        np.testing.assert_allclose(expanded[:7_900], 0.5)
        np.testing.assert_allclose(expanded[8_200:15_800], 0.0001, rtol=1e-4)
        np.testing.assert_allclose(expanded[16_200:], 0.5)

    def test_the_hold_time_delays_the_attenuation(self):
        loud, soft = np.full(8_000, 0.5, np.float32), np.full(8_000, 0.001, np.float32)
        expanded = Expander(-40.0, 0.1, -60.0).apply(np.concatenate([loud, soft]))
        np.testing.assert_allclose(expanded[8_000:9_500], 0.001)
        assert expanded[10_000:].max() < 2e-6

    def test_drawn_expanders_differ_widely(self):
        drawn = [draw_expander(np.random.default_rng(seed)) for seed in range(300)]
        for name, low, high in (("threshold_db", -48, -30), ("hold_s", 0.004, 0.06), ("gain_db", -55, -15)):
            values = [getattr(item, name) for item in drawn]
            assert min(values) < low < high < max(values)
