"""Labels: PESQ falls with noise and refuses what has no speech; the pseudo-score needs no signal."""

from __future__ import annotations

import numpy as np
import pytest

from model.features import num_frames
from model.labels import LABEL_SCALES, PESQ_NB, PESQ_WB, PSEUDO
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.mix import Mixture, mix
from transforms.synthesis.pesq_labels import checked_frame_truth, label, pesq, pesq_installed

NOTHING = Mixture(np.zeros(0, np.float32), np.zeros(0, np.float32))


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
    def test_it_falls_with_every_step_of_noise(self, speech, scale):
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
        found = {scale.name: label(scale, mixture, 15.0) for scale in (PESQ_WB, PESQ_NB)}
        assert found["pesq-wb"] == pesq(mixture.reference, mixture.degraded, PESQ_WB)
        assert found["pesq-wb"] != found["pesq-nb"]

    @pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # PESQ's own, of silence
    @pytest.mark.parametrize(
        ("seconds", "level", "named"), [(1.0, 0.0, "NoUtterancesError"), (0.1, 1.0, "BufferTooShortError")]
    )
    def test_what_pesq_refuses_is_a_fault_that_people_can_read(self, speech, seconds, level, named):
        samples = speech[: round(seconds * 16_000)] * np.float32(level)
        with pytest.raises(AudioFault) as caught:
            label(PESQ_WB, Mixture(samples, samples), None)
        assert (caught.value.stage, caught.value.reason) == (Stage.LABEL, Reason.PESQ_FAILED)
        kind, _, text = caught.value.detail.partition(": ")
        assert kind == named
        assert text
        assert not text.startswith("b'")
        assert text.isprintable()

    def test_no_samples_at_all_are_a_fault_too(self):
        with pytest.raises(AudioFault, match="pesq_failed: ValueError"):
            label(PESQ_WB, NOTHING, None)

    def test_it_is_known_to_be_installed(self):
        assert pesq_installed()

    def test_the_truth_of_the_frames_agrees_with_it(self, speech):
        noise = np.random.default_rng(0).normal(size=len(speech)).astype(np.float32)
        for snr_db in (5.0, 20.0, None):
            mixture = mix(speech, noise, snr_db, -3.0)
            truth = checked_frame_truth(mixture, pesq(mixture.reference, mixture.degraded, PESQ_WB), 0.3)
            assert len(truth.disturbance) == len(truth.asymmetric_disturbance) == num_frames(len(speech))


class TestFrameTruth:
    def test_labels_that_do_not_agree_are_a_fault_that_names_both(self, make_speech):
        speech = make_speech(1.0)
        mixture = Mixture(speech, speech)
        assert checked_frame_truth(mixture, 4.5, 0.3).score == pytest.approx(4.64, abs=0.01)
        for score in (4.3, float("nan")):
            with pytest.raises(AudioFault, match=r"its frames make 4\.64") as caught:
                checked_frame_truth(mixture, score, 0.3)
            assert (caught.value.stage, caught.value.reason) == (Stage.LABEL, Reason.LABELS_DISAGREE)


class TestPseudo:
    @pytest.mark.parametrize(("snr_db", "expected"), [(-10, 1), (-5, 2), (5, 4), (10, 5), (20, 7), (None, 8)])
    def test_the_published_points(self, snr_db, expected):
        assert label(PSEUDO, NOTHING, snr_db) == expected

    def test_of_a_faulty_clip_it_knows_nothing(self):
        assert label(PSEUDO, NOTHING, 10.0, faulty=True) is None

    @pytest.mark.parametrize(("snr_db", "expected"), [(-30, 1), (60, 8)])
    def test_it_stays_on_its_scale(self, snr_db, expected):
        assert label(PSEUDO, NOTHING, snr_db) == expected


def test_pesq_is_known_for_every_scale_but_the_pseudo_score():
    from transforms.synthesis.pesq_labels import _PESQ_MODE

    assert set(_PESQ_MODE) == set(LABEL_SCALES) - {PSEUDO.name}
