"""Processing and noises at the microphone have the spectrum, level and time course of their parameters, and lower PESQ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import tests
from model.features import SAMPLE_RATE
from model.labels import PESQ_WB
from transforms.synthesis.degradations.additive import add_sound
from transforms.synthesis.degradations.base import Degradation
from transforms.synthesis.degradations.disturbances import Handling, Plosives, Wind, loud_onsets
from transforms.synthesis.degradations.dynamics import GainControl, Gate
from transforms.synthesis.degradations.echo import AcousticEcho
from transforms.synthesis.degradations.suppression import RULES, Suppression, methods
from transforms.synthesis.labels.pesq_labels import pesq
from transforms.synthesis.scene import Scene

SAMPLES = Path(tests.__file__).parent / "samples" / "audio"
RISING_STRENGTHS: dict[str, list[Degradation]] = {
    **{method: [Suppression(method, excess_db, -25.0) for excess_db in (0.0, 7.0, 15.0)] for method in methods()},
    "gain_control": [GainControl(gain_db, -5.0, 0.02, 0.2) for gain_db in (6.0, 18.0, 30.0)],
    "hard gate": [Gate(threshold_db, 0.01, -50.0) for threshold_db in (-35.0, -25.0, -15.0)],
    "soft gate": [Gate(threshold_db, 0.01, -12.0) for threshold_db in (-35.0, -25.0, -15.0)],
    "echo": [AcousticEcho(level_db, 0.2, False, 300.0, 4_000.0, 0.3, 1) for level_db in (-30.0, -18.0, -6.0)],
    "other voice": [AcousticEcho(level_db, 0.2, True, 300.0, 4_000.0, 0.3, 1) for level_db in (-30.0, -18.0, -6.0)],
    "wind": [Wind(snr_db, 200.0, 6.0, 1) for snr_db in (20.0, 5.0, -10.0)],
    "handling": [Handling(snr_db, 4, 1) for snr_db in (20.0, 5.0, -10.0)],
    "plosives": [Plosives(snr_db, 0.5, 1) for snr_db in (20.0, 5.0, -10.0)],
}


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return soundfile.read(SAMPLES / "clean.flac", dtype="float32")[0]


@pytest.fixture(scope="module")
def recordings(clean, make_speech) -> list[np.ndarray]:
    return [clean, make_speech(3.0, seed=4)]


@pytest.mark.parametrize("name", RISING_STRENGTHS)
def test_pesq_falls_with_the_strength(name, recordings):
    pytest.importorskip("pesq")
    scores = [
        np.mean([pesq(samples, degradation.apply(samples).samples, PESQ_WB) for samples in recordings])
        for degradation in RISING_STRENGTHS[name]
    ]
    assert 4.64 > scores[0] > scores[1] > scores[2]
    assert scores[0] - scores[2] > 0.1


def power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def added(degradation: Degradation, samples: np.ndarray) -> np.ndarray:
    return degradation.apply(samples).samples - samples


def share_below(samples: np.ndarray, frequency_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    return float(spectrum[: round(frequency_hz / SAMPLE_RATE * len(samples))].sum() / spectrum.sum())


class TestSuppression:
    @pytest.mark.parametrize("method", RULES)
    def test_steady_noise_falls_more_than_speech(self, method, clean):
        noise = np.random.default_rng(0).normal(0, 1, len(clean)).astype(np.float32)
        noise *= np.float32(np.sqrt(power(clean) / 100))
        noisy = np.concatenate([noise, noise + clean])
        cleaned = Suppression(method, 0.0, -30.0).apply(noisy).samples
        pause = slice(1_000, len(noise) - 1_000)
        assert 10 * np.log10(power(cleaned[pause]) / power(noisy[pause])) < -4
        assert 10 * np.log10(power(cleaned[len(noise) :]) / power(clean)) == pytest.approx(0, abs=1.0)

    def test_subtraction_leaves_musical_noise(self):
        """Residual peaks are far above the mean of the residual noise, more so than those of the noise itself."""
        noise = np.random.default_rng(0).normal(size=2 * SAMPLE_RATE).astype(np.float32)

        def peakiness(samples: np.ndarray) -> float:
            powers = np.abs(np.fft.rfft(samples.reshape(-1, 500) * np.hanning(500), axis=1)) ** 2
            return float(np.quantile(powers, 0.99) / powers.mean())

        assert peakiness(Suppression("subtraction", 3.0, -40.0).apply(noise).samples) > 2 * peakiness(noise)

    @pytest.mark.parametrize("method", methods())
    def test_without_suppression_the_signal_is_reconstructed(self, method, clean):
        np.testing.assert_allclose(Suppression(method, 0.0, 0.0).apply(clean).samples, clean, atol=1e-5)


class TestGainControl:
    @pytest.mark.parametrize(("attack_s", "release_s"), [(0.01, 0.2), (0.05, 0.8)])
    def test_the_gain_falls_with_the_attack_and_rises_with_the_release(self, attack_s, release_s):
        loud = np.ones(2 * SAMPLE_RATE, np.float32)
        signal = np.concatenate([0.01 * loud, loud, 0.01 * loud]).astype(np.float32)
        gain_db = 20 * np.log10(GainControl(20.0, 0.0, attack_s, release_s).apply(signal).samples / signal)
        start, end = 2 * SAMPLE_RATE, 4 * SAMPLE_RATE
        initial, risen = gain_db[start - 1_000], gain_db[end - 1_000]
        assert initial == pytest.approx(20.0 * (1 - np.exp(-2 / release_s)), abs=0.7)
        assert risen == pytest.approx(0.0, abs=0.2)
        # After its time constant, a gain has changed by 1 - 1/e of its way. Blocks are 5 ms long.
        assert gain_db[start + round(attack_s * SAMPLE_RATE)] == pytest.approx(initial / np.e, abs=4.0)
        assert gain_db[end + round(release_s * SAMPLE_RATE)] == pytest.approx(20 * (1 - 1 / np.e), abs=0.7)


class TestGate:
    def test_soft_sounds_near_loud_ones_are_damaged_and_pauses_are_not(self):
        """A word with a soft part of 0.1 s, and a pause with soft noise."""
        level = np.full(3 * SAMPLE_RATE, 1e-4, np.float32)
        level[16_000:19_200] = level[20_800:24_000] = 1.0
        level[19_200:20_800] = 0.02
        samples = level * np.random.default_rng(0).choice([-1.0, 1.0], len(level)).astype(np.float32)
        degraded = Gate(-25.0, 0.01, -40.0).apply(samples)
        ((start, end),) = degraded.spans
        assert (start, end) == pytest.approx((19_360, 20_640), abs=160)
        assert np.abs(degraded.samples[19_500:20_500]).max() == pytest.approx(0.02 * 10**-2, rel=1e-3)
        np.testing.assert_array_equal(degraded.samples[16_200:19_000], samples[16_200:19_000])


class TestAcousticEcho:
    @pytest.mark.parametrize("delay_s", [0.05, 0.4])
    def test_an_echo_has_its_delay_and_band(self, delay_s, clean):
        echo = added(AcousticEcho(-10.0, delay_s, False, 300.0, 3_000.0, 0.2, 0), clean)
        delay = round(delay_s * SAMPLE_RATE)
        assert not echo[:delay].any()
        size = 2 * len(clean)
        correlation = np.fft.irfft(np.fft.rfft(echo, size) * np.conj(np.fft.rfft(clean, size)))
        assert np.argmax(correlation[:20_000]) == pytest.approx(delay, abs=2)
        assert share_below(echo, 150.0) < 0.02
        assert share_below(echo, 4_000.0) > 0.95

    def test_another_part_comes_from_the_other_half(self):
        samples = np.zeros(2 * SAMPLE_RATE, np.float32)
        samples[8_000] = 1.0
        ((start, _),) = AcousticEcho(-10.0, 0.1, True, 300.0, 3_000.0, 0.2, 0).apply(samples).spans
        assert start == pytest.approx(8_000 + 16_000 + 1_600, abs=160)


class TestMicrophoneNoises:
    @pytest.mark.parametrize("corner_hz", [80.0, 400.0])
    def test_the_power_of_wind_falls_with_the_square_of_the_frequency_up_to_the_corner(self, corner_hz, clean):
        wind = np.concatenate([added(Wind(0.0, corner_hz, 0.0, seed), clean) for seed in range(20)])
        spectrum = np.abs(np.fft.rfft(wind)) ** 2
        frequency = np.fft.rfftfreq(len(wind), 1 / SAMPLE_RATE)

        def level_db(low_hz: float) -> float:
            return float(10 * np.log10(spectrum[(frequency >= low_hz) & (frequency < 1.2 * low_hz)].mean()))

        # An octave is 6 dB.
        assert level_db(30.0) - level_db(60.0) == pytest.approx(6.0, abs=2.0)
        assert level_db(corner_hz) - level_db(4 * corner_hz) > 30.0
        assert share_below(wind, 1.5 * corner_hz) > 0.9

    def test_an_overloaded_recorder_clips_gusts_above_the_speech(self, clean):
        loud, clipped = (Wind(-20.0, 200.0, overload_db, 3).apply(clean) for overload_db in (0.0, 10.0))
        assert loud.spans == clipped.spans
        peaks_db = [20 * np.log10(np.abs(degraded.samples).max()) for degraded in (loud, clipped)]
        assert peaks_db[0] - peaks_db[1] == pytest.approx(10.0, abs=0.01)

    def test_pops_are_low_and_start_with_loud_syllables(self, clean):
        silent = np.zeros(SAMPLE_RATE // 2, np.float32)
        samples = np.concatenate([silent, clean[8_000:16_000], silent])
        pops = Plosives(0.0, 1.0, 0).apply(samples)
        starts = loud_onsets(samples)
        assert len(silent) - 320 <= starts[0] <= starts[-1] < 2 * len(silent)
        assert pops.spans[0][0] == pytest.approx(starts[0], abs=320)
        assert share_below(pops.samples - samples, 150.0) > 0.95

    def test_thumps_are_low_and_rubs_are_not(self, clean):
        shares = [share_below(added(Handling(0.0, 1, seed), clean), 250.0) for seed in range(12)]
        assert all(share > 0.9 or share < 0.4 for share in shares)
        assert {share > 0.9 for share in shares} == {True, False}

    @pytest.mark.parametrize(
        "make",
        [
            lambda snr_db, seed: Wind(snr_db, 200.0, 0.0, seed),
            lambda snr_db, seed: Handling(snr_db, 3, seed),
            lambda snr_db, seed: Plosives(snr_db, 0.5, seed),
            lambda snr_db, seed: AcousticEcho(-snr_db, 0.1, False, 300.0, 4_000.0, 0.3, seed),
        ],
        ids=["wind", "handling", "plosives", "echo"],
    )
    @given(snr_db=st.floats(-20, 30), seed=st.integers(0, 99))
    def test_the_snr_holds_where_the_sound_is(self, make: Callable[[float, int], Degradation], snr_db, seed):
        samples = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        degraded = make(snr_db, seed).apply(samples)
        sound = np.concatenate([degraded.samples[start:end] - samples[start:end] for start, end in degraded.spans])
        assert 10 * np.log10(power(samples) / power(sound)) == pytest.approx(snr_db, abs=0.1)


def test_nothing_is_added_where_a_sound_is_soft():
    sound = np.zeros(8_000, np.float32)
    sound[1_600:3_200], sound[4_800:6_400] = 1.0, 0.001
    degraded = add_sound(np.ones(8_000, np.float32), sound, 0.0)
    assert degraded.spans == ((1_600, 3_200),)
    assert (degraded.samples[3_200:] == 1.0).all()


class TestSpeechSnr:
    def test_noises_at_the_microphone_count(self, clean):
        scene = Scene(clean)
        scene.degrade([Plosives(0.0, 0.5, 1)])
        louder = Scene(clean)
        louder.degrade([Plosives(-12.0, 0.5, 1)])
        assert scene.speech_snr_db() - louder.speech_snr_db() == pytest.approx(12.0, abs=0.1)

    def test_processing_leaves_it_open(self, clean):
        for degradation in (Suppression("wiener", 5.0, -20.0), Gate(-20.0, 0.01, -40.0)):
            scene = Scene(clean)
            scene.degrade([Handling(0.0, 2, 1), degradation])
            assert scene.speech_snr_db() is None
