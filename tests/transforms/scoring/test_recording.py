"""One recording scored in this process: its scores are those of its frames in any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.bundle import DEFAULT
from model.frame_estimates import FrameEstimates
from transforms.audio.decode import read_audio
from transforms.elements import EACH, AudioRef, Recording, Reject, ScoredUtterance
from transforms.errors import AudioFault, Reason, Stage
from transforms.scoring.featurize import featurize_recording
from transforms.scoring.inference import load_scorer, score_batch
from transforms.scoring.recording import score_decoded, score_recording

RATE = 16_000


@pytest.fixture(scope="module")
def scorer(bundle: Path):
    return load_scorer(str(bundle))


@pytest.fixture
def ref(tmp_path: Path, make_ref) -> AudioRef:
    noise = np.random.default_rng(0).normal(0, 0.1, (3 * RATE, 2))
    noise[:, 1] /= 30
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    return make_ref("a.wav", tmp_path / "a.wav")


def test_decoded_audio_scores_as_in_the_pipeline(ref, scorer):
    score = score_decoded(read_audio(ref.uri), scorer, ref)
    (expected,) = score_batch(list(featurize_recording(Recording((ref,)), scorer.bundle.features)), scorer)
    assert isinstance(expected, ScoredUtterance)
    assert score.utterance == expected.utterance
    np.testing.assert_allclose(score.frame_score, expected.frame_score, atol=1e-4)
    assert score.score == scorer.pool(score.frame_score[score.utterance.frame_facts.activity.counted])


def test_each_channel_of_a_recording_has_a_score(ref, scorer):
    first, second = score_recording(Recording((ref,)), scorer, EACH)
    assert [score.utterance.ref.utterance_id for score in (first, second)] == ["a.wav#ch0", "a.wav#ch1"]
    assert second.facts.rms_dbfs < first.facts.rms_dbfs - 20


def test_a_recording_that_cannot_be_decoded_is_a_reject(tmp_path, make_ref, scorer):
    (tmp_path / "b.wav").write_text("no sound")
    (reject,) = score_recording(Recording((make_ref("b.wav", tmp_path / "b.wav"),)), scorer)
    assert isinstance(reject, Reject)
    assert (reject.stage, reject.reason) == (Stage.DECODE, Reason.UNSUPPORTED_FORMAT)


def test_a_model_that_gives_no_finite_score_makes_a_reject_or_a_fault(ref, scorer, monkeypatch):
    def not_finite(spectrograms):
        return [FrameEstimates(np.full(len(one), np.nan), None) for one in spectrograms]

    monkeypatch.setattr(scorer, "score", not_finite)
    (reject,) = score_recording(Recording((ref,)), scorer)
    assert (reject.utterance_id, reject.stage, reject.reason) == ("a.wav", Stage.SCORE, Reason.MODEL_FAILED)
    with pytest.raises(AudioFault, match="not finite"):
        score_decoded(read_audio(ref.uri), scorer, ref)


def test_a_model_is_loaded_once(bundle, scorer):
    assert load_scorer(str(bundle)) is scorer


class TestChannels:
    """The default model scores the better channel, whatever the other one carries."""

    @pytest.fixture
    def speech(self, samples: Path) -> np.ndarray:
        return soundfile.read(samples / "clean.flac", dtype="float32")[0]

    def score(self, folder: Path, make_ref, left: np.ndarray, right: np.ndarray):
        soundfile.write(folder / "a.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
        (score,) = score_recording(Recording((make_ref("a.wav", folder / "a.wav"),)), load_scorer(DEFAULT))
        return score

    @pytest.mark.parametrize(
        ("other", "flag"),
        [
            (lambda x: -0.95 * x, "antiphase"),
            (lambda x: np.concatenate([np.zeros(40, np.float32), x[:-40]]), "delayed_channels"),
            (lambda x: 0 * x, "dead_channel"),
            (lambda x: np.where(np.arange(len(x)) < len(x) // 2, x, np.float32(0)), "dead_channel"),
            (lambda x: x + np.random.default_rng(1).normal(0, 0.01, len(x)).astype(np.float32), "noisy_channel"),
            (lambda x: np.random.default_rng(1).normal(0, 0.05, len(x)).astype(np.float32), "unlike_channels"),
        ],
    )
    def test_a_bad_channel_moves_no_score(self, tmp_path, make_ref, speech, other, flag):
        alone = self.score(tmp_path, make_ref, speech, speech)
        score = self.score(tmp_path, make_ref, speech, other(speech))
        assert score.score == pytest.approx(alone.score, abs=1e-2)
        assert (score.utterance.channel, score.flags, score.causes) == (0, [flag], ["channel"])
        assert (alone.utterance.channel, alone.flags, alone.causes) == (None, [], [])

    def test_the_other_order_selects_the_other_channel(self, tmp_path, make_ref, speech):
        noise = np.random.default_rng(1).normal(0, 0.05, len(speech)).astype(np.float32)
        assert self.score(tmp_path, make_ref, noise, speech).utterance.channel == 1

    def test_a_voice_in_each_channel_is_named(self, tmp_path, make_ref, speech, samples):
        second = soundfile.read(samples / "compressed.mp3", dtype="float32")[0]
        length = min(len(speech), len(second))
        score = self.score(tmp_path, make_ref, speech[:length], second[:length])
        assert (score.flags, score.causes) == (["unlike_channels"], ["second_voice"])
