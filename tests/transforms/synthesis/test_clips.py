"""A clip has the planned speech, noise and degradations; its row records them and holds the labels."""

from __future__ import annotations

import dataclasses
import io

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from model.features import SAMPLE_RATE, num_frames
from model.labels import PESQ_NB, PESQ_WB, PSEUDO
from tests.support.training.clip_options import OPTIONS, options, samples_of
from transforms.audio.decode import decode
from transforms.elements import REJECTS, AudioRef, Reject
from transforms.errors import AudioFault, Reason, Stage
from transforms.schemas import CLIPS
from transforms.synthesis.added_sounds import SoundPlan, SoundSegment
from transforms.synthesis.clips import MakeClip, make_clip
from transforms.synthesis.degradations.recording import Clipping, Reverb
from transforms.synthesis.degradations.transmission import Codec, Dropouts
from transforms.synthesis.flac import encode_flac
from transforms.synthesis.materials import Catalog, Material, MeasureMaterial
from transforms.synthesis.mix import power
from transforms.synthesis.rooms import RecordedRoom
from transforms.synthesis.speech_variation import Equalizer, Expander, change_speed, samples_needed


class TestMakeClip:
    def test_a_row_is_reproducible(self, plans):
        for plan in plans:
            assert make_clip(plan, options()) == make_clip(plan, options())

    def test_the_audio_is_flac_of_16_khz_and_16_bits_with_the_planned_length(self, plans):
        for plan in plans:
            row = make_clip(plan, options())
            decoded = decode(io.BytesIO(row["audio"]))
            assert (decoded.format, decoded.sample_rate, decoded.channels) == ("FLAC/PCM_16", SAMPLE_RATE, 1)
            assert len(decoded.samples) == plan.length
            assert row["duration_s"] == pytest.approx(plan.length / SAMPLE_RATE)
            assert decoded.facts.peak_dbfs == pytest.approx(plan.peak_dbfs, abs=0.1)

    @pytest.mark.parametrize("speed", [1 / 1.2, 1.1])
    def test_speech_at_another_speed_is_resampled_and_recorded(self, plans, recordings, speed):
        plan = dataclasses.replace(
            plans[1], speed=speed, speech_offset=1_000, length=16_000, variations=(), degradations=()
        )
        row = make_clip(plan, options())
        speech = soundfile.read(
            recordings[plan.speech.ref.utterance_id.removesuffix(".flac")].ref.uri, dtype="float32"
        )[0]
        expected = change_speed(speech[1_000 : 1_000 + samples_needed(16_000, speed)], speed, 16_000)
        assert np.corrcoef(samples_of(row), expected)[0, 1] > 0.999
        assert row["variation"] == [f"speed {speed:.2f}"]

    def test_an_expander_attenuates_soft_speech_and_is_recorded(self, plans):
        expander = Expander(-30.0, 0.01, -40.0)
        plain, expanded = (
            make_clip(dataclasses.replace(plans[1], variations=some, degradations=()), options())
            for some in ((), (expander,))
        )
        assert expanded["variation"] == [expander.detail]
        quiet = [np.percentile(np.abs(samples_of(row)), 20) for row in (plain, expanded)]
        assert quiet[1] < 0.3 * quiet[0]

    def test_a_row_fits_the_schema(self, plans):
        rows = [make_clip(plan, options()) for plan in plans]
        assert all([name for name in CLIPS.names if name in row] == list(row) for row in rows)
        assert all(CLIPS.field(name).nullable for row in rows for name in set(CLIPS.names) - set(row))
        table = pa.Table.from_pylist(rows, CLIPS)
        table.validate(full=True)
        assert not any(table[field.name].null_count for field in CLIPS if not field.nullable)

    def test_the_row_of_a_noisy_clip_records_its_material(self, plans):
        row = make_clip(plans[0], options())
        assert (row["speech_id"], row["speaker"]) == ("speech.flac", "speech-group")
        assert (row["noise_ids"], row["noise_groups"]) == (["noise.flac"], ["noise-group"])
        assert (row["split"], row["seed"], row["clip_id"]) == ("train", 7, plans[0].clip_id)
        assert (row["snr_db"], row["peak_dbfs"]) == (plans[0].noise.snr_db, plans[0].peak_dbfs)
        assert (row["corpus"], row["reference"], row["variation"]) == (None, None, [])
        (distortion,) = row["distortions"]
        assert distortion == {
            "kind": "noise",
            "detail": "noise.flac",
            "start_s": 0.0,
            "end_s": row["duration_s"],
            "cause": "noise",
            "audible": True,
        }
        assert row["pseudo"] == pytest.approx(np.clip((row["snr_db"] + 15) / 5, 1, 8))

    def test_a_clean_clip_has_no_noise_and_the_best_label(self, plans):
        row = make_clip(plans[1], options())
        assert (row["noise_ids"], row["noise_groups"], row["snr_db"], row["pseudo"]) == ([], [], None, 8.0)
        assert row["distortions"] == []

    def test_a_clean_clip_is_the_planned_segment_of_the_speech(self, plans):
        plan = plans[1]
        speech = soundfile.read(plan.speech.ref.uri)[0][plan.speech_offset : plan.speech_offset + plan.length]
        samples = samples_of(make_clip(plan, options()))
        np.testing.assert_allclose(samples, speech * np.abs(samples).max() / np.abs(speech).max(), atol=2e-4)

    def test_noise_starts_at_its_offset_and_is_repeated(self, plans):
        (segment,) = plans[0].noise.segments
        segments = (dataclasses.replace(segment, offset=4_321),)
        plan = dataclasses.replace(plans[0], noise=dataclasses.replace(plans[0].noise, segments=segments, snr_db=-60.0))
        noise = soundfile.read(segment.material.ref.uri)[0]
        expected = np.tile(noise, 1 + (4_321 + plan.length) // len(noise))[4_321 : 4_321 + plan.length]
        samples = samples_of(make_clip(plan, options()))
        assert np.corrcoef(samples, expected)[0, 1] > 0.999

    def test_only_requested_labels_are_in_the_row(self, plans):
        row = make_clip(plans[0], dataclasses.replace(OPTIONS, labels=()))
        assert {"pseudo", "pesq_wb", "pesq_nb"}.isdisjoint(row)

    def test_noise_lowers_the_pesq_label(self, plans):
        pytest.importorskip("pesq")
        noisy, clean = (make_clip(plan, options(PESQ_WB, PSEUDO)) for plan in plans)
        assert clean["pesq_wb"] == pytest.approx(4.64, abs=0.01)
        assert 1.0 <= noisy["pesq_wb"] < 4.0
        assert "pesq_nb" not in noisy

    def test_wide_band_pesq_comes_with_the_disturbance_of_every_frame(self, plans):
        pytest.importorskip("pesq")
        noisy, clean = (make_clip(plan, options(PESQ_WB)) for plan in plans)
        for row, plan in ((noisy, plans[0]), (clean, plans[1])):
            for column in ("disturbance", "asymmetric_disturbance"):
                assert len(row[column]) == num_frames(plan.length)
        assert max(clean["disturbance"]) < 0.5 < np.mean(noisy["disturbance"])
        without = make_clip(plans[0], options(PESQ_NB))
        assert (without["disturbance"], without["asymmetric_disturbance"]) == (None, None)

    def test_disagreeing_labels_are_a_fault(self, plans):
        pytest.importorskip("pesq")
        with pytest.raises(AudioFault, match="labels_disagree"):
            make_clip(plans[0], options(PESQ_WB, max_disagreement=-1.0))

    def test_labels_can_be_recomputed_from_the_stored_reference(self, plans):
        pytest.importorskip("pesq")
        from transforms.synthesis.labels.pesq_labels import pesq

        for plan in plans:
            row = make_clip(plan, options(PESQ_WB, keep_reference=True))
            reference = samples_of(row, "reference")
            assert len(reference) == plan.length
            assert 20 * np.log10(np.abs(reference).max()) == pytest.approx(-1.0, abs=0.01)
            assert pesq(reference, samples_of(row), PESQ_WB) == pytest.approx(row["pesq_wb"], abs=0.02)

    def test_partial_noise_is_only_in_its_part_and_has_its_snr_there(self, plans):
        noise = dataclasses.replace(plans[0].noise, start=5_000, length=8_000, snr_db=3.0)
        row = make_clip(dataclasses.replace(plans[0], noise=noise), options(keep_reference=True))
        degraded, reference = samples_of(row).astype(np.float64), samples_of(row, "reference").astype(np.float64)
        outside = np.r_[0:5_000, 13_000 : len(degraded)]
        reference *= np.dot(degraded[outside], reference[outside]) / np.dot(reference[outside], reference[outside])
        added = degraded - reference
        assert np.abs(added[outside]).max() < 3 / 32_768
        assert 10 * np.log10(power(reference) / power(added[5_000:13_000])) == pytest.approx(3.0, abs=0.05)
        assert [(d["start_s"], d["end_s"]) for d in row["distortions"]] == [(5_000 / SAMPLE_RATE, 13_000 / SAMPLE_RATE)]
        assert row["snr_db"] == 3.0
        # The pseudo-score is that of the SNR over the whole clip, in which the noise has less power.
        assert row["pseudo"] == pytest.approx((3.0 + 10 * np.log10(plans[0].length / 8_000) + 15) / 5)

    def test_the_sum_of_several_noises_has_the_snr(self, plans, recordings):
        segments = tuple(
            SoundSegment(recordings["noise"], offset, level, None) for offset, level in ((0, 2.0), (3_000, -2.0))
        )
        plan = dataclasses.replace(plans[0], noise=SoundPlan(segments, 0, plans[0].length, 6.0))
        row = make_clip(plan, options(keep_reference=True))
        assert row["noise_ids"] == ["noise.flac", "noise.flac"]
        assert [distortion["kind"] for distortion in row["distortions"]] == ["noise", "noise"]
        degraded, reference = samples_of(row).astype(np.float64), samples_of(row, "reference").astype(np.float64)
        clean = samples_of(make_clip(dataclasses.replace(plan, noise=None), options(keep_reference=True)), "reference")
        assert np.array_equal(reference, clean)
        # The difference to the reference, at a common gain, is the noise.
        gain = np.dot(degraded, reference) / np.dot(reference, reference)
        assert 10 * np.log10(power(gain * reference) / power(degraded - gain * reference)) == pytest.approx(
            6.0, abs=0.5
        )

    def test_degradations_follow_the_noise_and_are_recorded(self, plans):
        degradations = (Clipping(12.0), Dropouts(((0.5, 0.1),)))
        row = make_clip(dataclasses.replace(plans[0], degradations=degradations), options())
        kinds = [distortion["kind"] for distortion in row["distortions"]]
        assert kinds[0] == "noise"
        assert kinds[-1] == "dropouts"
        assert set(kinds[1:-1]) == {"clipping"}
        assert row["pseudo"] is None
        samples = samples_of(row)
        gap = row["distortions"][-1]
        start, end = (round(gap[name] * SAMPLE_RATE) for name in ("start_s", "end_s"))
        assert not samples[start + 16 : end - 16].any()
        # Samples are clipped at the planned peak.
        assert np.mean(np.abs(samples) > 0.99 * np.abs(samples).max()) > 0.001
        assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(plans[0].peak_dbfs, abs=0.01)

    def test_the_room_precedes_the_noise(self, plans, tmp_path):
        response = np.zeros(4_000)
        response[[10, 3_000]] = 0.5, 0.4
        soundfile.write(tmp_path / "echo.wav", response, SAMPLE_RATE)
        reverb = Reverb(RecordedRoom(AudioRef("echo.wav", str(tmp_path / "echo.wav"), 1, "1")))
        loud = dataclasses.replace(plans[0].noise, snr_db=-60.0)
        plain, echoed = (
            samples_of(make_clip(dataclasses.replace(plans[0], noise=loud, degradations=degradations), options()))
            for degradations in ((), (reverb,))
        )
        assert np.corrcoef(plain, echoed)[0, 1] > 0.9999
        row = make_clip(dataclasses.replace(plans[0], degradations=(reverb,)), options())
        assert [distortion["kind"] for distortion in row["distortions"]] == ["reverb", "noise"]

    def test_variations_apply_to_reference_and_clip_alike(self, plans):
        pytest.importorskip("pesq")
        varied = Equalizer((6.0, -6.0, 6.0, -6.0, 6.0, -6.0, 6.0))
        plain, other = (
            make_clip(dataclasses.replace(plans[1], variations=v), options(PESQ_WB, keep_reference=True))
            for v in ((), (varied,))
        )
        assert other["pesq_wb"] == pytest.approx(4.64, abs=0.01)
        assert other["variation"] == [varied.detail]
        assert other["distortions"] == []
        assert np.corrcoef(samples_of(plain, "reference"), samples_of(other, "reference"))[0, 1] < 0.99
        assert np.corrcoef(samples_of(other), samples_of(other, "reference"))[0, 1] > 0.99999

    def test_the_corpus_comes_from_the_manifest(self, plans):
        plan = plans[1]
        ref = dataclasses.replace(plan.speech.ref, columns={"corpus": "vctk"})
        row = make_clip(dataclasses.replace(plan, speech=dataclasses.replace(plan.speech, ref=ref)), options())
        assert row["corpus"] == "vctk"

    def test_a_codec_lowers_the_label_of_a_clip_without_noise(self, plans):
        pytest.importorskip("pesq")
        from transforms.synthesis.degradations.codecs import Coding

        plan = dataclasses.replace(plans[1], degradations=(Codec(Coding("gsm", 8_000)),))
        row = make_clip(plan, options(PESQ_WB))
        assert row["snr_db"] is None
        assert row["pesq_wb"] < 4.0

    def test_speech_that_is_silent_in_the_drawn_segment_is_a_fault(self, plans, recordings):
        for plan in plans:
            silent = dataclasses.replace(plan, speech=recordings["late"], speech_offset=100, length=8_000)
            with pytest.raises(AudioFault) as caught:
                make_clip(silent, options())
            assert (caught.value.stage, caught.value.reason) == (Stage.MIX, Reason.SILENT)

    def test_deleted_material_is_a_reject_with_the_id_of_the_clip(self, recordings, tmp_path):
        deleted = dataclasses.replace(
            recordings["speech"], ref=dataclasses.replace(recordings["speech"].ref, uri=str(tmp_path / "missing.flac"))
        )
        (output,) = MakeClip(dataclasses.replace(OPTIONS, clean_ratio=1.0)).process(3, Catalog([deleted]))
        assert output.tag == REJECTS
        assert isinstance(output.value, Reject)
        assert (output.value.utterance_id, output.value.uri) == ("7-00000003", str(tmp_path / "missing.flac"))
        assert (output.value.stage, output.value.reason) == (Stage.READ, Reason.UNREADABLE)

    def test_progress_is_reported(self, recordings, monkeypatch, capsys):
        catalog = Catalog([recordings["speech"], recordings["noise"]])
        make = MakeClip(OPTIONS)
        list(make.process(0, catalog))
        monkeypatch.setattr("transforms.progress.EVERY_S", 0.0)
        list(make.process(1, catalog))
        assert capsys.readouterr().err == "2 clips made in this process\n"

    def test_flac_holds_16_bit_samples_exactly(self):
        samples = np.random.default_rng(0).integers(-32_768, 32_768, 3_000) / np.float32(32_768)
        samples[:2] = -1.0, 32_767 / 32_768
        assert np.array_equal(soundfile.read(io.BytesIO(encode_flac(samples)), dtype="float32")[0], samples)


def test_in_a_pipeline_bad_material_is_rejected_and_the_rest_makes_clips(recordings, tmp_path):
    garbage = tmp_path / "garbage.wav"
    garbage.write_bytes(b"this is not audio")
    humming = tmp_path / "hum.wav"
    soundfile.write(humming, np.random.default_rng(1).normal(0, 0.1, 20_000), SAMPLE_RATE)
    unmeasured = [dataclasses.replace(recordings[name], num_samples=0) for name in ("speech", "noise")]
    unmeasured += [
        Material(AudioRef("garbage.wav", str(garbage), 16, "1-1"), "noise", "g", "train"),
        Material(AudioRef("hum.wav", str(humming), 16, "1-1"), "speech", "hum", "train"),
    ]

    def check_rejects(rejects):
        assert {(reject.utterance_id, reject.stage, reject.reason) for reject in rejects} == {
            ("garbage.wav", Stage.DECODE, Reason.UNSUPPORTED_FORMAT),
            ("hum.wav", Stage.REFERENCE, Reason.NOT_CLEAN),
        }

    def check_clips(rows):
        assert {row["clip_id"] for row in rows} == {f"7-{number:08d}" for number in range(6)}
        assert {row["speech_id"] for row in rows} == {"speech.flac"}
        assert {name for row in rows for name in row["noise_ids"]} <= {"noise.flac"}

    with beam.Pipeline(runner=FnApiRunner()) as root:
        measured = (
            root
            | "Material" >> beam.Create(unmeasured)
            | "Measure" >> beam.ParDo(MeasureMaterial(38.0)).with_outputs(REJECTS, main="measured")
        )
        catalog = measured.measured | "Gather" >> beam.combiners.ToList() | "Catalog" >> beam.Map(Catalog)
        made = (
            root
            | "Numbers" >> beam.Create(range(6))
            | "Make"
            >> beam.ParDo(MakeClip(OPTIONS), beam.pvalue.AsSingleton(catalog)).with_outputs(REJECTS, main="clips")
        )
        assert_that(made.clips, check_clips, label="clips")
        assert_that((measured[REJECTS], made[REJECTS]) | "AllRejects" >> beam.Flatten(), check_rejects, label="rejects")
