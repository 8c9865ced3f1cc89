"""Labels: PESQ falls with noise and fails without speech; the pseudo-score depends on the SNR alone."""

from __future__ import annotations

import numpy as np
import pytest

from model.features import num_frames
from model.labels import LABEL_SCALES, PESQ_NB, PESQ_WB, PSEUDO
from tests.support.training.mixing import mix
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.labels.pesq_labels import checked_frame_disturbances, label, pesq, pesq_installed
from transforms.synthesis.mix import Mixture

EMPTY = Mixture(np.zeros(0, np.float32), np.zeros(0, np.float32))


class TestPesq:
    @pytest.fixture(autouse=True)
    def _needs_pesq(self):
        pytest.importorskip("pesq")

    @pytest.fixture
    def speech(self, make_speech):
        return make_speech(3.0)

    @pytest.mark.parametrize(("scale", "best"), [(PESQ_WB, 4.64), (PESQ_NB, 4.55)])
    def test_clean_speech_against_itself_has_the_best_score(self, speech, scale, best):
        assert pesq(speech, speech, scale) == pytest.approx(best, abs=0.01)
        assert scale.high == pytest.approx(best)

    @pytest.mark.parametrize("scale", [PESQ_WB, PESQ_NB])
    def test_more_noise_lowers_the_score(self, speech, scale):
        noise = np.random.default_rng(0).normal(size=len(speech)).astype(np.float32)
        scores = []
        for snr_db in (40.0, 25.0, 10.0, -5.0):
            mixture = mix(speech, noise, snr_db, -3.0)
            scores.append(pesq(mixture.reference, mixture.degraded, scale))
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > scores[-1] + 1.0
        assert all(scale.low <= score <= scale.high + 0.01 for score in scores)

    def test_wide_and_narrow_band_are_two_scores(self, speech):
        noise = np.random.default_rng(0).normal(size=len(speech)).astype(np.float32)
        mixture = mix(speech, noise, 15.0, -3.0)
        labels = {scale.name: label(scale, mixture, 15.0) for scale in (PESQ_WB, PESQ_NB)}
        assert labels["pesq-wb"] == pesq(mixture.reference, mixture.degraded, PESQ_WB)
        assert labels["pesq-wb"] != labels["pesq-nb"]

    @pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # PESQ warns about silence
    @pytest.mark.parametrize(
        ("seconds", "level", "error"), [(1.0, 0.0, "NoUtterancesError"), (0.1, 1.0, "BufferTooShortError")]
    )
    def test_an_error_of_pesq_is_a_fault_with_a_readable_detail(self, speech, seconds, level, error):
        samples = speech[: round(seconds * 16_000)] * np.float32(level)
        with pytest.raises(AudioFault) as caught:
            label(PESQ_WB, Mixture(samples, samples), None)
        assert (caught.value.stage, caught.value.reason) == (Stage.LABEL, Reason.PESQ_FAILED)
        kind, _, text = caught.value.detail.partition(": ")
        assert kind == error
        assert text
        assert not text.startswith("b'")
        assert text.isprintable()

    def test_a_signal_without_samples_is_a_fault(self):
        with pytest.raises(AudioFault, match="pesq_failed: ValueError"):
            label(PESQ_WB, EMPTY, None)

    def test_an_installed_package_is_found(self):
        assert pesq_installed()

    @pytest.mark.parametrize("scale", LABEL_SCALES.values(), ids=str)
    def test_every_scale_has_a_label(self, speech, scale):
        assert scale.low <= label(scale, Mixture(speech, speech), 10.0) <= scale.high + 0.01

    def test_the_disturbances_of_the_frames_agree_with_it(self, speech):
        noise = np.random.default_rng(0).normal(size=len(speech)).astype(np.float32)
        for snr_db in (5.0, 20.0, None):
            mixture = mix(speech, noise, snr_db, -3.0)
            frames = checked_frame_disturbances(mixture, pesq(mixture.reference, mixture.degraded, PESQ_WB), 0.3)
            assert len(frames.symmetric) == len(frames.asymmetric) == num_frames(len(speech))


class TestFrameDisturbances:
    def test_disagreeing_labels_are_a_fault_with_both_scores(self, make_speech):
        speech = make_speech(1.0)
        mixture = Mixture(speech, speech)
        assert checked_frame_disturbances(mixture, 4.5, 0.3).score == pytest.approx(4.64, abs=0.01)
        for score in (4.3, float("nan")):
            with pytest.raises(AudioFault, match=r"the disturbances of its frames give 4\.64") as caught:
                checked_frame_disturbances(mixture, score, 0.3)
            assert (caught.value.stage, caught.value.reason) == (Stage.LABEL, Reason.LABELS_DISAGREE)


class TestPseudo:
    @pytest.mark.parametrize(("snr_db", "expected"), [(-10, 1), (-5, 2), (5, 4), (10, 5), (20, 7), (None, 8)])
    def test_the_pseudo_score_has_its_published_values(self, snr_db, expected):
        assert label(PSEUDO, EMPTY, snr_db) == expected

    def test_a_degraded_clip_has_no_pseudo_score(self):
        assert label(PSEUDO, EMPTY, 10.0, is_degraded=True) is None

    @pytest.mark.parametrize(("snr_db", "expected"), [(-30, 1), (60, 8)])
    def test_the_pseudo_score_stays_on_its_scale(self, snr_db, expected):
        assert label(PSEUDO, EMPTY, snr_db) == expected
