"""From a reference to a spectrogram or a reject, in one step."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from model.features import NUM_BINS, FeatureConfig, spectrogram
from transforms.featurize import Featurize, featurize
from transforms.records import REJECTS, AudioFault, Reason, Reject, Stage


def test_the_spectrogram_is_that_of_the_decoded_samples_and_the_facts_travel_along(tmp_path, make_ref):
    samples = np.random.default_rng(0).normal(0, 0.1, (48_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    ref = make_ref("a.wav", tmp_path / "a.wav")
    found = featurize(ref, FeatureConfig())
    assert found.utterance.ref is ref
    assert (found.utterance.duration_s, found.utterance.channels) == (3.0, 2)
    assert (found.utterance.sample_rate, found.utterance.format) == (16_000, "WAV/FLOAT")
    assert found.utterance.facts.rms_dbfs == pytest.approx(-20, abs=0.1)
    assert found.spectrogram.shape == (1 + (48_000 - 512) // 256, NUM_BINS)
    np.testing.assert_array_equal(found.spectrogram, spectrogram(samples.mean(axis=1), FeatureConfig()))


def test_a_recording_of_one_frame_has_one_frame(tmp_path, make_ref):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 512), 16_000)
    assert featurize(make_ref("a.wav", tmp_path / "a.wav"), FeatureConfig()).spectrogram.shape == (1, NUM_BINS)


def test_sound_behind_the_last_whole_frame_alone_is_a_fault_of_featurize(tmp_path, make_ref):
    samples = np.zeros(512 + 255)
    samples[-10:] = 0.5
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    with pytest.raises(AudioFault) as caught:
        featurize(make_ref("a.wav", tmp_path / "a.wav"), FeatureConfig())
    assert (caught.value.stage, caught.value.reason) == (Stage.FEATURIZE, Reason.SILENT)


class TestDoFn:
    def test_what_is_good_goes_on(self, tmp_path, make_ref):
        soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 2_000), 16_000)
        (found,) = Featurize(FeatureConfig()).process(make_ref("a.wav", tmp_path / "a.wav"))
        assert found.spectrogram.shape == (6, NUM_BINS)

    def test_what_is_not_is_a_reject_that_names_its_utterance(self, tmp_path, make_ref):
        (tmp_path / "a.wav").write_text("no sound")
        ref = make_ref("speaker/a.wav", tmp_path / "a.wav")
        (output,) = Featurize(FeatureConfig()).process(ref)
        assert output.tag == REJECTS
        assert output.value == Reject(
            uri=ref.uri,
            utterance_id="speaker/a.wav",
            source_version=ref.source_version,
            stage=Stage.DECODE,
            reason=Reason.UNSUPPORTED_FORMAT,
            detail=output.value.detail,
        )

    def test_a_bug_is_no_reject(self):
        with pytest.raises(AttributeError):
            list(Featurize(None).process(None))
