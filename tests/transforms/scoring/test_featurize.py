"""Recordings become spectrograms and rejects in one step."""

from __future__ import annotations

import dataclasses

import apache_beam as beam
import numpy as np
import pytest
import soundfile
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from model.activity import shown_spectrogram
from model.features import NUM_BINS, FeatureConfig
from model.high_pass import without_dc
from transforms.audio import waveform as waveform_module
from transforms.elements import EACH, REJECTS, AudioRef, FeaturizedUtterance, Recording, Reject, RowFault, Span
from transforms.errors import Reason, Stage
from transforms.scoring import featurize as featurize_module
from transforms.scoring.featurize import Featurize, LongSpectrogram, featurize_recording
from transforms.telemetry import NAMESPACE

RATE = 16_000


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (samples, channels)).astype(np.float32)


def found_in(recording: Recording, channels: str = "mix") -> list[FeaturizedUtterance | Reject]:
    return list(featurize_recording(recording, FeatureConfig(), channels))


def one(ref: AudioRef) -> FeaturizedUtterance | Reject:
    (found,) = found_in(Recording((ref,)))
    return found


def test_faulty_rows_are_rejected_and_the_others_of_the_recording_are_read(tmp_path, make_ref):
    soundfile.write(tmp_path / "a.wav", noise(16_000), RATE)
    ref = make_ref(uri=tmp_path / "a.wav")
    faulty = dataclasses.replace(ref, utterance_id="b", fault=RowFault(Reason.INVALID_ROW, "m.csv, line 2: no end"))
    reject, good = found_in(Recording((ref, faulty)))
    assert (reject.utterance_id, reject.stage, reject.reason) == ("b", Stage.LIST, Reason.INVALID_ROW)
    assert reject.detail == "m.csv, line 2: no end"
    assert good.utterance.ref == ref
    (tmp_path / "a.wav").unlink()
    assert found_in(Recording((faulty,))) == [reject]


def test_the_spectrogram_and_the_facts_are_those_of_the_decoded_samples(tmp_path, make_ref):
    samples = noise(48_000, 2)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    ref = make_ref("a.wav", tmp_path / "a.wav")
    found = one(ref)
    assert found.utterance.ref is ref
    assert (found.utterance.duration_s, found.utterance.channels) == (3.0, 2)
    assert (found.utterance.sample_rate, found.utterance.format) == (RATE, "WAV/FLOAT")
    # The mean of two independent noises is 3 dB lower.
    assert found.utterance.facts.rms_dbfs == pytest.approx(-23, abs=0.1)
    assert len(found.utterance.frame_facts) == 1 + (48_000 - 512) // 256
    expected, _ = shown_spectrogram(without_dc(samples.mean(axis=1)), FeatureConfig())
    np.testing.assert_array_equal(found.spectrogram, expected)


def test_a_recording_of_one_frame_has_one_frame(tmp_path, make_ref):
    soundfile.write(tmp_path / "a.wav", noise(512), RATE)
    assert one(make_ref("a.wav", tmp_path / "a.wav")).spectrogram.shape == (1, NUM_BINS)


def test_a_level_that_no_feature_can_represent_is_a_fault_of_featurize(tmp_path, make_ref):
    soundfile.write(tmp_path / "a.wav", 1e-13 * noise(RATE), RATE, subtype="FLOAT")
    found = one(make_ref("a.wav", tmp_path / "a.wav"))
    assert (found.stage, found.reason) == (Stage.FEATURIZE, Reason.SILENT)


@pytest.mark.parametrize("compression", ["log", "magnitude"])
@pytest.mark.parametrize("level", ["gated", "none"])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_any_part_of_a_long_spectrogram_is_that_part_of_the_whole(
    tmp_path, make_ref, monkeypatch, compression, level, rate
):
    soundfile.write(tmp_path / "a.wav", noise(5 * rate), rate, subtype="FLOAT")
    recording = Recording((make_ref("a.wav", tmp_path / "a.wav"),))
    config = FeatureConfig(compression=compression, level=level)
    (whole,) = featurize_recording(recording, config)
    monkeypatch.setattr(featurize_module, "WHOLE_FRAMES", 100)
    monkeypatch.setattr(waveform_module, "MEMORY_SAMPLES", 1_000)
    (parts,) = featurize_recording(recording, config)
    assert isinstance(parts.spectrogram, LongSpectrogram)
    assert len(parts.spectrogram) == len(whole.spectrogram) > 300
    for part in (slice(0, 1), slice(7, 90), slice(250, None), slice(None), slice(310, 9_999), slice(5, 5)):
        np.testing.assert_array_equal(parts.spectrogram[part], whole.spectrogram[part])
    assert parts.utterance == whole.utterance


class TestSpans:
    def test_each_span_is_an_utterance_in_any_order(self, tmp_path):
        samples = noise(10 * RATE)
        soundfile.write(tmp_path / "a.flac", samples, RATE)
        samples = soundfile.read(tmp_path / "a.flac", dtype="float32")[0]
        uri = str(tmp_path / "a.flac")
        spans = [Span(8.0), Span(0.5, 2.25), Span(), Span(2.0, 4.0), Span(0.5, 2.25)]
        found = found_in(Recording(tuple(AudioRef(str(i), uri, 1, "1", span=span) for i, span in enumerate(spans))))
        assert sorted(item.utterance.ref.utterance_id for item in found) == list("01234")
        for item in found:
            span = item.utterance.ref.span
            part = samples[round(span.start_s * RATE) : None if span.end_s is None else round(span.end_s * RATE)]
            assert item.utterance.duration_s == len(part) / RATE
            expected, _ = shown_spectrogram(without_dc(part), FeatureConfig())
            np.testing.assert_array_equal(item.spectrogram, expected)

    def test_a_span_outside_the_recording_costs_no_other_its_score(self, tmp_path):
        soundfile.write(tmp_path / "a.wav", noise(2 * RATE), RATE)
        uri = str(tmp_path / "a.wav")
        refs = [
            AudioRef(f"{span}", uri, 1, "1", span=span)
            for span in (Span(0, 1), Span(1.5, 3.0), Span(2.5, 3), Span(9), Span(1.0, 2.2), Span(1.0, 1.01))
        ]
        found = {
            (item.utterance_id if isinstance(item, Reject) else item.utterance.ref.utterance_id): item
            for item in found_in(Recording(tuple(refs)))
        }
        reasons = [getattr(found[ref.utterance_id], "reason", None) for ref in refs]
        assert reasons == [None, Reason.OUTSIDE, Reason.OUTSIDE, Reason.OUTSIDE, None, Reason.TOO_SHORT]

    def test_a_truncated_recording_keeps_the_spans_before_the_end(self, tmp_path):
        soundfile.write(tmp_path / "a.flac", noise(60 * RATE), RATE)
        whole = (tmp_path / "a.flac").read_bytes()
        (tmp_path / "a.flac").write_bytes(whole[: len(whole) * 3 // 4])
        uri = str(tmp_path / "a.flac")
        spans = (Span(0, 5), Span(10, 30), Span(50, 55), Span())
        found = found_in(Recording(tuple(AudioRef(str(span), uri, 1, "1", span=span) for span in spans)))
        scored = {item.utterance.ref.span for item in found if isinstance(item, FeaturizedUtterance)}
        lost = {item.utterance_id: item.reason for item in found if isinstance(item, Reject)}
        assert scored == {Span(0, 5), Span(10, 30)}
        assert set(lost) == {str(Span(50, 55)), str(Span())}
        assert set(lost.values()) <= {Reason.CORRUPT, Reason.TRUNCATED}

    @pytest.mark.parametrize(
        "coding", [("wav", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III")]
    )
    def test_a_late_span_is_the_same_with_and_without_a_seek(self, tmp_path, coding):
        name, subtype = coding
        soundfile.write(tmp_path / f"a.{name}", noise(100 * RATE), RATE, subtype=subtype)
        samples = soundfile.read(tmp_path / f"a.{name}", dtype="float32")[0]
        span = Span(70.0, 72.0)
        (found,) = found_in(Recording((AudioRef("late", str(tmp_path / f"a.{name}"), 1, "1", span=span),)))
        expected, _ = shown_spectrogram(without_dc(samples[70 * RATE : 72 * RATE]), FeatureConfig())
        np.testing.assert_allclose(found.spectrogram, expected, atol=3e-3)


class TestChannels:
    @pytest.fixture
    def recording(self, tmp_path, make_ref) -> Recording:
        soundfile.write(tmp_path / "a.wav", noise(2 * RATE, 3) * [1.0, 0.5, 0.1], RATE, subtype="FLOAT")
        return Recording((make_ref("a.wav", tmp_path / "a.wav"),))

    def test_each_channel_is_an_utterance_with_its_own_facts(self, recording):
        found = found_in(recording, EACH)
        assert [item.utterance.ref.utterance_id for item in found] == ["a.wav#ch0", "a.wav#ch1", "a.wav#ch2"]
        assert [item.utterance.facts.rms_dbfs for item in found] == pytest.approx([-20, -26, -40], abs=0.3)
        assert all(item.utterance.channels == 3 for item in found)

    @pytest.mark.parametrize(("channels", "level"), [("first", -20), ("0", -20), ("2", -40)])
    def test_a_selected_channel_keeps_the_id(self, recording, channels, level):
        (found,) = found_in(recording, channels)
        assert found.utterance.ref.utterance_id == "a.wav"
        assert found.utterance.facts.rms_dbfs == pytest.approx(level, abs=0.3)

    def test_a_missing_channel_is_a_reject(self, recording):
        (found,) = found_in(recording, "3")
        assert (found.reason, found.utterance_id) == (Reason.NO_CHANNEL, "a.wav")
        assert "has 3" in found.detail

    def test_a_silent_channel_is_a_reject(self, tmp_path, make_ref):
        samples = noise(RATE, 2)
        samples[:, 1] = 0
        soundfile.write(tmp_path / "a.wav", samples, RATE)
        first, second = found_in(Recording((make_ref("a.wav", tmp_path / "a.wav"),)), EACH)
        assert isinstance(first, FeaturizedUtterance)
        assert (second.utterance_id, second.reason) == ("a.wav#ch1", Reason.SILENT)


def test_a_recording_with_several_utterances_counts_once(tmp_path, make_ref):
    soundfile.write(tmp_path / "a.wav", noise(48_000, 2), RATE)
    recording = Recording((make_ref("a.wav", tmp_path / "a.wav"),))
    with beam.Pipeline(runner=FnApiRunner()) as root:
        root | beam.Create([0]) | beam.Map(lambda _: (recording,)) | beam.ParDo(Featurize(FeatureConfig(), EACH))
    found = root.result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    assert {metric.key.metric.name: metric.committed for metric in found["counters"]} == {"recordings": 1}
    counts = {metric.key.metric.name: metric.committed.count for metric in found["distributions"]}
    assert counts == {"decode_ms": 2, "features_ms": 2}


def test_a_recording_over_the_longest_length_is_a_reject(tmp_path, make_ref, monkeypatch):
    monkeypatch.setattr("transforms.audio.decode.MAX_S", 2)
    soundfile.write(tmp_path / "a.flac", np.tile(noise(800), (100, 1)), RATE)
    found = one(make_ref("a.flac", tmp_path / "a.flac"))
    assert found.reason == Reason.TOO_LONG


class TestDoFn:
    def test_utterances_are_the_main_output(self, tmp_path, make_ref):
        soundfile.write(tmp_path / "a.wav", noise(2_000), RATE)
        recording = Recording((make_ref("a.wav", tmp_path / "a.wav"),))
        assert [found.spectrogram.shape for found in Featurize(FeatureConfig()).process([recording] * 2)] == [
            (6, NUM_BINS)
        ] * 2

    def test_rejects_are_tagged_and_name_their_utterance(self, tmp_path, make_ref):
        (tmp_path / "a.wav").write_text("no sound")
        ref = make_ref("speaker/a.wav", tmp_path / "a.wav")
        (output,) = Featurize(FeatureConfig()).process([Recording((ref,))])
        assert output.tag == REJECTS
        assert output.value == Reject(
            uri=ref.uri,
            utterance_id="speaker/a.wav",
            source_version=ref.source_version,
            stage=Stage.DECODE,
            reason=Reason.UNSUPPORTED_FORMAT,
            detail=output.value.detail,
        )

    def test_a_missing_file_rejects_all_its_utterances(self, tmp_path):
        refs = tuple(AudioRef(str(i), str(tmp_path / "none.wav"), 1, "1", span=Span(i, i + 1)) for i in range(3))
        outputs = list(Featurize(FeatureConfig()).process([Recording(refs)]))
        assert [output.value.utterance_id for output in outputs] == ["0", "1", "2"]
        assert {output.value.reason for output in outputs} == {Reason.UNREADABLE}

    def test_a_bug_is_not_a_reject(self):
        with pytest.raises(AttributeError):
            list(Featurize(None).process([None]))
