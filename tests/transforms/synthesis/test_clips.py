"""A clip is decided by the seed, its number and the material alone; no speaker and no noise is in two splits."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE, num_frames
from model.labels import PESQ_NB, PESQ_WB, PSEUDO
from transforms.audio.decode import decode
from transforms.elements import REJECTS, AudioRef, Reject
from transforms.errors import AudioFault, Reason, Stage
from transforms.schemas import CLIPS
from transforms.synthesis.clips import (
    ClipOptions,
    ClipPlan,
    MakeClip,
    NoisePiece,
    NoisePlan,
    encode_flac,
    make_clip,
    plan_clip,
)
from transforms.synthesis.degradation_kinds import parse_degradations
from transforms.synthesis.degradations import Clipping, Codec, Dropouts, Reverb
from transforms.synthesis.materials import Catalog, Material, MeasureMaterial
from transforms.synthesis.mix import power
from transforms.synthesis.rooms import RecordedRoom
from transforms.synthesis.speech_variation import Equalizer, Expander, play, samples_needed

OPTIONS = ClipOptions(
    seed=7,
    snr_db=((-5.0, 5.0), (20.0, 20.0)),
    clean_ratio=0.25,
    duration_s=(1.0, 2.0),
    peak_dbfs=(-12.0, -3.0),
    labels=(PSEUDO,),
)
# All that can be done to a clip.
RICH = dataclasses.replace(
    OPTIONS,
    noises=(1, 3),
    partial_ratio=0.5,
    partial_s=(0.3, 0.6),
    variation_ratio=0.5,
    speed_ratio=0.5,
    expander_ratio=0.3,
    fault_ratio=0.5,
    max_faults=3,
    faults=parse_degradations("all"),
)
NUMBERS = range(200)


def listed() -> list[Material]:
    """Measured material with nothing behind it: enough for plans."""
    items = []
    for split, speakers, groups in (("train", "abcde", "xyz"), ("val", "fg", "uv")):
        for speaker in speakers:
            for number in range(1 if speaker in "ab" else 6):
                ref = AudioRef(f"{speaker}/{number}.flac", f"/speech/{speaker}/{number}.flac", 1, "1-1")
                items.append(Material(ref, "speech", speaker, split, SAMPLE_RATE * (1 + number)))
        for kind, names in (("noise", groups), ("rir", groups[:2])):
            for group in names:
                for number in range(3):
                    ref = AudioRef(f"{kind}-{group}/{number}.flac", f"/{kind}/{group}/{number}.flac", 1, "1-1")
                    items.append(Material(ref, kind, group, split, 5_000 * (1 + number)))
    return items


def planned(options: ClipOptions = OPTIONS, items: list[Material] | None = None, numbers=NUMBERS) -> list:
    catalog = Catalog(listed() if items is None else items)
    return [plan_clip(number, catalog, options) for number in numbers]


class TestPlanClip:
    @pytest.mark.parametrize("options", [OPTIONS, RICH])
    def test_it_is_the_same_every_time(self, options):
        assert planned(options) == planned(options)

    @given(st.permutations(listed()))
    def test_the_order_of_the_catalog_does_not_matter(self, items):
        assert planned(RICH, items=items, numbers=range(5)) == planned(RICH, numbers=range(5))

    def test_a_clip_does_not_depend_on_how_many_others_are_made(self):
        assert planned(numbers=[150]) == [planned()[150]]

    def test_different_numbers_are_different_clips(self):
        plans = planned()
        assert len({plan.clip_id for plan in plans}) == len(plans)
        drawn = {(plan.speech.ref.utterance_id, plan.speech_offset, plan.length, plan.peak_dbfs) for plan in plans}
        assert len(drawn) == len(plans)

    def test_another_seed_is_another_set(self):
        other = planned(dataclasses.replace(OPTIONS, seed=8))
        assert all(one.peak_dbfs != two.peak_dbfs for one, two in zip(planned(), other, strict=True))
        assert {plan.clip_id for plan in other}.isdisjoint(plan.clip_id for plan in planned())

    def test_clip_ids_sort_by_number(self):
        ids = [plan.clip_id for plan in planned()]
        assert ids == sorted(ids)
        assert ids[12] == "7-00000012"

    def test_speech_noise_and_rooms_come_from_one_split(self):
        pairs = Counter()
        split = {item.ref.utterance_id: item.split for item in listed()}
        for plan in planned(RICH, numbers=range(600)):
            for piece in plan.noise.pieces if plan.noise else ():
                pairs["noise", plan.speech.split, piece.material.split] += 1
            for fault in plan.faults:
                if isinstance(fault, Reverb) and isinstance(fault.room, RecordedRoom):
                    pairs["rir", plan.speech.split, split[fault.room.ref.utterance_id]] += 1
        assert set(pairs) == {(kind, name, name) for kind in ("noise", "rir") for name in ("train", "val")}

    def test_kinds_are_not_mixed_up(self):
        for plan in planned(RICH):
            assert plan.speech.kind == "speech"
            assert all(piece.material.kind == "noise" for piece in (plan.noise.pieces if plan.noise else ()))

    def test_speakers_are_drawn_alike_however_much_there_is_of_them(self):
        drawn = Counter(plan.speech.group for plan in planned(numbers=range(1_400)))
        assert set(drawn) == set("abcdefg")
        assert all(140 <= count <= 260 for count in drawn.values())  # 200 each, within 4.6 sigma

    def test_all_that_is_drawn_is_in_its_range(self):
        for plan in planned():
            assert 0 < plan.length <= plan.speech.num_samples - plan.speech_offset
            assert plan.length <= 2.0 * SAMPLE_RATE
            assert plan.speech_offset >= 0
            assert -12.0 <= plan.peak_dbfs <= -3.0
            assert (plan.faults, plan.variations) == ((), ())
            if plan.noise:
                (piece,) = plan.noise.pieces
                assert 0 <= piece.offset < piece.material.num_samples
                assert -5.0 <= plan.noise.snr_db <= 5.0 or plan.noise.snr_db == 20.0
                assert (plan.noise.start, plan.noise.length) == (0, plan.length)

    def test_as_many_noises_as_asked_over_all_or_a_part(self):
        noises = [(plan.noise, plan.length) for plan in planned(RICH, numbers=range(400)) if plan.noise]
        assert {len(noise.pieces) for noise, _ in noises} == {1, 2, 3}
        partial = [(noise, length) for noise, length in noises if noise.length < length]
        assert len(partial) / len(noises) == pytest.approx(0.5, abs=0.1)
        for noise, length in partial:
            assert 0.3 <= noise.length / SAMPLE_RATE <= 0.6
            assert 0 <= noise.start <= length - noise.length
            assert all(-3.0 <= piece.level_db <= 3.0 for piece in noise.pieces)

    def test_a_part_that_is_longer_than_the_clip_is_all_of_it(self):
        long = dataclasses.replace(RICH, partial_ratio=1.0, partial_s=(60.0, 90.0))
        assert all(plan.noise.length == plan.length for plan in planned(long) if plan.noise)

    @pytest.mark.parametrize(("name", "field"), [("fault_ratio", "faults"), ("variation_ratio", "variations")])
    @pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
    def test_the_share_of_clips_that_have_it(self, name, field, ratio):
        plans = planned(dataclasses.replace(RICH, expander_ratio=0.0, **{name: ratio}), numbers=range(400))
        assert np.mean([bool(getattr(plan, field)) for plan in plans]) == pytest.approx(
            ratio, abs=0.08 * (0 < ratio < 1)
        )

    def test_more_of_one_thing_changes_nothing_of_another(self):
        for changes in ({"fault_ratio": 1.0}, {"variation_ratio": 1.0}):
            others = planned(dataclasses.replace(RICH, **changes))
            kept = {"fault_ratio": "variations", "variation_ratio": "faults"}[next(iter(changes))]
            for one, two in zip(planned(RICH), others, strict=True):
                for field in ("speech", "speech_offset", "length", "noise", "peak_dbfs", kept):
                    assert getattr(one, field) == getattr(two, field)

    def test_an_expander_comes_first_and_leaves_all_else_as_drawn(self):
        def first(plan):
            return [item for item in plan.variations if isinstance(item, Expander)]

        without = planned(dataclasses.replace(RICH, expander_ratio=0.0))
        for one, two in zip(planned(dataclasses.replace(RICH, expander_ratio=1.0)), without, strict=True):
            assert first(one) == [one.variations[0]]
            assert dataclasses.replace(one, variations=one.variations[1:]) == two

    def test_speech_at_another_speed_leaves_all_else_as_drawn(self):
        """The speech that it is and what is done to it; its length, and so the place of its noise, may differ."""
        for one, two in zip(planned(RICH), planned(dataclasses.replace(RICH, speed_ratio=0.0)), strict=True):
            assert two.speed == 1.0
            for field in ("speech", "variations", "faults"):
                assert getattr(one, field) == getattr(two, field)
            if one.speed == 1.0:
                assert one == two

    def test_the_speed_is_as_often_up_as_down_and_never_asks_for_more_speech_than_there_is(self):
        plans = planned(dataclasses.replace(RICH, speed_ratio=1.0, duration_s=(1.0, 30.0)), numbers=range(400))
        speeds = np.array([plan.speed for plan in plans])
        assert speeds.min() >= 1 / 1.2
        assert speeds.max() <= 1.2
        assert np.mean(speeds > 1) == pytest.approx(0.5, abs=0.08)
        for plan in plans:
            assert plan.length * plan.speed <= plan.speech.num_samples - plan.speech_offset
            assert plan.length > 0

    def test_of_the_rooms_half_are_recorded_where_there_are_any(self):
        options = dataclasses.replace(RICH, fault_ratio=1.0, faults=parse_degradations("reverb"))
        for kinds, share in (({"speech", "noise", "rir"}, 0.5), ({"speech", "noise"}, 0.0)):
            items = [item for item in listed() if item.kind in kinds]
            rooms = [plan.faults[0].room for plan in planned(options, items)]
            assert np.mean([isinstance(room, RecordedRoom) for room in rooms]) == pytest.approx(share, abs=0.1)

    def test_each_snr_range_is_drawn_as_often(self):
        snrs = [plan.noise.snr_db for plan in planned(numbers=range(800)) if plan.noise]
        assert np.mean(np.array(snrs) == 20.0) == pytest.approx(0.5, abs=0.08)

    @pytest.mark.parametrize(("clean_ratio", "low", "high"), [(0.0, 0, 0), (0.25, 30, 70), (1.0, 200, 200)])
    def test_the_share_of_clean_clips(self, clean_ratio, low, high):
        plans = planned(dataclasses.replace(OPTIONS, clean_ratio=clean_ratio))
        clean = [plan for plan in plans if plan.noise is None]
        assert low <= len(clean) <= high

    def test_speech_shorter_than_the_clip_is_taken_whole(self):
        plans = planned(dataclasses.replace(OPTIONS, duration_s=(3.0, 3.0)))
        short = [plan for plan in plans if plan.speech.num_samples < 3 * SAMPLE_RATE]
        assert short
        assert all((plan.speech_offset, plan.length) == (0, plan.speech.num_samples) for plan in short)
        assert {plan.length for plan in plans if plan not in short} == {3 * SAMPLE_RATE}

    def test_without_speech_there_is_nothing_to_draw(self):
        with pytest.raises(AudioFault, match="no speech is left"):
            planned(items=[item for item in listed() if item.kind == "noise"])

    def test_without_noise_in_a_split_only_clean_clips_can_be_made(self):
        items = [item for item in listed() if (item.kind, item.split) != ("noise", "val")]
        with pytest.raises(AudioFault, match="no noise is left to draw from in the split 'val'"):
            planned(items=items)
        assert len(planned(dataclasses.replace(OPTIONS, clean_ratio=1.0), items)) == len(NUMBERS)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, make_speech) -> dict[str, Material]:
    """Real files of measured material by name; `noise` is shorter than any clip."""
    root = tmp_path_factory.mktemp("shelf")
    sounds = {
        "speech": make_speech(3.0),
        "noise": np.random.default_rng(0).normal(0, 0.1, 6_000).astype(np.float32),
        "late": np.concatenate([np.zeros(SAMPLE_RATE, np.float32), make_speech(1.0)]),
    }
    found = {}
    for name, samples in sounds.items():
        soundfile.write(root / f"{name}.flac", samples, SAMPLE_RATE)
        ref = AudioRef(f"{name}.flac", str(root / f"{name}.flac"), 1, "1-1")
        kind = "noise" if name == "noise" else "speech"
        found[name] = Material(ref, kind, f"{name}-group", "train", len(samples))
    return found


def doing(*labels, **changes) -> ClipOptions:
    """Options with which to make a planned clip."""
    return dataclasses.replace(OPTIONS, labels=labels or (PSEUDO,), **changes)


def samples_of(row: dict, column: str = "audio") -> np.ndarray:
    return decode(io.BytesIO(row[column])).samples


@pytest.fixture(scope="module")
def plans(shelf) -> tuple[ClipPlan, ClipPlan]:
    """A noisy and a clean clip of real files."""
    catalog = Catalog([shelf["speech"], shelf["noise"]])
    some = [plan_clip(number, catalog, OPTIONS) for number in range(30)]
    return next(plan for plan in some if plan.noise), next(plan for plan in some if plan.noise is None)


class TestMakeClip:
    def test_its_bytes_are_the_same_every_time(self, plans):
        for plan in plans:
            assert make_clip(plan, doing()) == make_clip(plan, doing())

    def test_its_audio_is_16_khz_mono_16_bit_flac_of_the_planned_length(self, plans):
        for plan in plans:
            row = make_clip(plan, doing())
            found = decode(io.BytesIO(row["audio"]))
            assert (found.format, found.sample_rate, found.channels) == ("FLAC/PCM_16", SAMPLE_RATE, 1)
            assert len(found.samples) == plan.length
            assert row["duration_s"] == pytest.approx(plan.length / SAMPLE_RATE)
            assert found.facts.peak_dbfs == pytest.approx(plan.peak_dbfs, abs=0.01)

    @pytest.mark.parametrize("speed", [1 / 1.2, 1.1])
    def test_speech_at_another_speed_is_heard_so_and_said_so(self, plans, shelf, speed):
        plan = dataclasses.replace(plans[1], speed=speed, speech_offset=1_000, length=16_000, variations=(), faults=())
        row = make_clip(plan, doing())
        speech = soundfile.read(shelf[plan.speech.ref.utterance_id.removesuffix(".flac")].ref.uri, dtype="float32")[0]
        expected = play(speech[1_000 : 1_000 + samples_needed(16_000, speed)], speed, 16_000)
        assert np.corrcoef(samples_of(row), expected)[0, 1] > 0.999
        assert row["variation"] == [f"speed {speed:.2f}"]

    def test_an_expander_works_on_the_speech_and_is_named(self, plans):
        expander = Expander(-30.0, 0.01, -40.0)
        plain, expanded = (
            make_clip(dataclasses.replace(plans[1], variations=some, faults=()), doing()) for some in ((), (expander,))
        )
        assert expanded["variation"] == [expander.detail]
        quiet = [np.percentile(np.abs(samples_of(row)), 20) for row in (plain, expanded)]
        assert quiet[1] < 0.3 * quiet[0]

    def test_a_row_fits_the_schema(self, plans):
        rows = [make_clip(plan, doing()) for plan in plans]
        assert all([name for name in CLIPS.names if name in row] == list(row) for row in rows)
        assert all(CLIPS.field(name).nullable for row in rows for name in set(CLIPS.names) - set(row))
        table = pa.Table.from_pylist(rows, CLIPS)
        table.validate(full=True)
        assert not any(table[field.name].null_count for field in CLIPS if not field.nullable)

    def test_a_noisy_clip_says_what_it_is_made_of(self, plans):
        row = make_clip(plans[0], doing())
        assert (row["speech_id"], row["speaker"]) == ("speech.flac", "speech-group")
        assert (row["noise_ids"], row["noise_groups"]) == (["noise.flac"], ["noise-group"])
        assert (row["split"], row["seed"], row["clip_id"]) == ("train", 7, plans[0].clip_id)
        assert (row["snr_db"], row["peak_dbfs"]) == (plans[0].noise.snr_db, plans[0].peak_dbfs)
        assert (row["corpus"], row["reference"], row["variation"]) == (None, None, [])
        (distortion,) = row["distortions"]
        assert distortion == {"kind": "noise", "detail": "noise.flac", "start_s": 0.0, "end_s": row["duration_s"]}
        assert row["pseudo"] == pytest.approx(np.clip((row["snr_db"] + 15) / 5, 1, 8))

    def test_a_clean_clip_has_no_noise_and_the_best_label(self, plans):
        row = make_clip(plans[1], doing())
        assert (row["noise_ids"], row["noise_groups"], row["snr_db"], row["pseudo"]) == ([], [], None, 8.0)
        assert row["distortions"] == []

    def test_a_clean_clip_is_the_planned_piece_of_the_speech(self, plans):
        plan = plans[1]
        speech = soundfile.read(plan.speech.ref.uri)[0][plan.speech_offset : plan.speech_offset + plan.length]
        samples = samples_of(make_clip(plan, doing()))
        np.testing.assert_allclose(samples, speech * np.abs(samples).max() / np.abs(speech).max(), atol=2e-4)

    def test_a_clip_that_is_almost_noise_is_the_noise_from_its_offset_on_begun_again_where_it_ends(self, plans):
        (piece,) = plans[0].noise.pieces
        pieces = (dataclasses.replace(piece, offset=4_321),)
        plan = dataclasses.replace(plans[0], noise=dataclasses.replace(plans[0].noise, pieces=pieces, snr_db=-60.0))
        noise = soundfile.read(piece.material.ref.uri)[0]
        expected = np.tile(noise, 1 + (4_321 + plan.length) // len(noise))[4_321 : 4_321 + plan.length]
        samples = samples_of(make_clip(plan, doing()))
        assert np.corrcoef(samples, expected)[0, 1] > 0.999

    def test_only_the_labels_that_were_asked_for_are_given(self, plans):
        row = make_clip(plans[0], dataclasses.replace(OPTIONS, labels=()))
        assert {"pseudo", "pesq_wb", "pesq_nb"}.isdisjoint(row)

    def test_pesq_labels_fall_with_the_noise(self, plans):
        pytest.importorskip("pesq")
        noisy, clean = (make_clip(plan, doing(PESQ_WB, PSEUDO)) for plan in plans)
        assert clean["pesq_wb"] == pytest.approx(4.64, abs=0.01)
        assert 1.0 <= noisy["pesq_wb"] < 4.0
        assert "pesq_nb" not in noisy

    def test_with_wide_band_pesq_comes_the_truth_of_every_frame(self, plans):
        pytest.importorskip("pesq")
        noisy, clean = (make_clip(plan, doing(PESQ_WB)) for plan in plans)
        for row, plan in ((noisy, plans[0]), (clean, plans[1])):
            for column in ("disturbance", "asymmetric_disturbance"):
                assert len(row[column]) == num_frames(plan.length)
        assert max(clean["disturbance"]) < 0.5 < np.mean(noisy["disturbance"])
        without = make_clip(plans[0], doing(PESQ_NB))
        assert (without["disturbance"], without["asymmetric_disturbance"]) == (None, None)

    def test_labels_that_do_not_agree_are_a_fault(self, plans):
        pytest.importorskip("pesq")
        with pytest.raises(AudioFault, match="labels_disagree"):
            make_clip(plans[0], doing(PESQ_WB, max_disagreement=-1.0))

    def test_labels_can_be_made_again_from_the_stored_reference(self, plans):
        pytest.importorskip("pesq")
        from transforms.synthesis.pesq_labels import pesq

        for plan in plans:
            row = make_clip(plan, doing(PESQ_WB, keep_reference=True))
            reference = samples_of(row, "reference")
            assert len(reference) == plan.length
            assert 20 * np.log10(np.abs(reference).max()) == pytest.approx(-1.0, abs=0.01)
            assert pesq(reference, samples_of(row), PESQ_WB) == pytest.approx(row["pesq_wb"], abs=0.02)

    def test_noise_of_a_part_is_there_alone_at_its_snr(self, plans):
        noise = dataclasses.replace(plans[0].noise, start=5_000, length=8_000, snr_db=3.0)
        row = make_clip(dataclasses.replace(plans[0], noise=noise), doing(keep_reference=True))
        degraded, reference = samples_of(row).astype(np.float64), samples_of(row, "reference").astype(np.float64)
        outside = np.r_[0:5_000, 13_000 : len(degraded)]
        reference *= np.dot(degraded[outside], reference[outside]) / np.dot(reference[outside], reference[outside])
        added = degraded - reference
        assert np.abs(added[outside]).max() < 3 / 32_768
        assert 10 * np.log10(power(reference) / power(added[5_000:13_000])) == pytest.approx(3.0, abs=0.05)
        assert [(d["start_s"], d["end_s"]) for d in row["distortions"]] == [(5_000 / SAMPLE_RATE, 13_000 / SAMPLE_RATE)]
        assert row["snr_db"] == 3.0
        # Over the whole clip the noise has less power, and the pseudo-score is of that.
        assert row["pseudo"] == pytest.approx((3.0 + 10 * np.log10(plans[0].length / 8_000) + 15) / 5)

    def test_several_noises_have_the_snr_together(self, plans, shelf):
        pieces = tuple(NoisePiece(shelf["noise"], offset, level, None) for offset, level in ((0, 2.0), (3_000, -2.0)))
        plan = dataclasses.replace(plans[0], noise=NoisePlan(pieces, 0, plans[0].length, 6.0))
        row = make_clip(plan, doing(keep_reference=True))
        assert row["noise_ids"] == ["noise.flac", "noise.flac"]
        assert [distortion["kind"] for distortion in row["distortions"]] == ["noise", "noise"]
        degraded, reference = samples_of(row).astype(np.float64), samples_of(row, "reference").astype(np.float64)
        clean = samples_of(make_clip(dataclasses.replace(plan, noise=None), doing(keep_reference=True)), "reference")
        assert np.array_equal(reference, clean)
        # What is not the reference is the noise, whatever gain both have.
        gain = np.dot(degraded, reference) / np.dot(reference, reference)
        assert 10 * np.log10(power(gain * reference) / power(degraded - gain * reference)) == pytest.approx(
            6.0, abs=0.5
        )

    def test_faults_are_done_after_the_noise_and_said_in_the_row(self, plans):
        faults = (Clipping(12.0), Dropouts(((0.5, 0.1),)))
        row = make_clip(dataclasses.replace(plans[0], faults=faults), doing())
        kinds = [distortion["kind"] for distortion in row["distortions"]]
        assert kinds[0] == "noise"
        assert kinds[-1] == "dropouts"
        assert set(kinds[1:-1]) == {"clipping"}
        assert row["pseudo"] is None
        samples = samples_of(row)
        gap = row["distortions"][-1]
        start, end = (round(gap[name] * SAMPLE_RATE) for name in ("start_s", "end_s"))
        assert not samples[start + 16 : end - 16].any()
        # The ceiling is where the peak was asked for.
        assert np.mean(np.abs(samples) > 0.99 * np.abs(samples).max()) > 0.001
        assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(plans[0].peak_dbfs, abs=0.01)

    def test_the_room_comes_before_the_noise(self, plans, tmp_path):
        response = np.zeros(4_000)
        response[[10, 3_000]] = 0.5, 0.4
        soundfile.write(tmp_path / "echo.wav", response, SAMPLE_RATE)
        reverb = Reverb(RecordedRoom(AudioRef("echo.wav", str(tmp_path / "echo.wav"), 1, "1")))
        loud = dataclasses.replace(plans[0].noise, snr_db=-60.0)
        plain, echoed = (
            samples_of(make_clip(dataclasses.replace(plans[0], noise=loud, faults=faults), doing()))
            for faults in ((), (reverb,))
        )
        assert np.corrcoef(plain, echoed)[0, 1] > 0.9999
        row = make_clip(dataclasses.replace(plans[0], faults=(reverb,)), doing())
        assert [distortion["kind"] for distortion in row["distortions"]] == ["reverb", "noise"]

    def test_speech_is_varied_in_reference_and_clip_alike(self, plans):
        pytest.importorskip("pesq")
        varied = Equalizer((6.0, -6.0, 6.0, -6.0, 6.0, -6.0, 6.0))
        plain, other = (
            make_clip(dataclasses.replace(plans[1], variations=v), doing(PESQ_WB, keep_reference=True))
            for v in ((), (varied,))
        )
        assert other["pesq_wb"] == pytest.approx(4.64, abs=0.01)
        assert other["variation"] == [varied.detail]
        assert other["distortions"] == []
        assert np.corrcoef(samples_of(plain, "reference"), samples_of(other, "reference"))[0, 1] < 0.99
        assert np.corrcoef(samples_of(other), samples_of(other, "reference"))[0, 1] > 0.99999

    def test_the_corpus_is_the_manifests(self, plans):
        plan = plans[1]
        ref = dataclasses.replace(plan.speech.ref, columns={"corpus": "vctk"})
        row = make_clip(dataclasses.replace(plan, speech=dataclasses.replace(plan.speech, ref=ref)), doing())
        assert row["corpus"] == "vctk"

    def test_any_plan_can_be_made_and_says_where_everything_is(self, shelf):
        pytest.importorskip("pyroomacoustics")
        catalog = Catalog([shelf["speech"], shelf["noise"]])
        kinds = Counter()
        for number in range(60):
            plan = plan_clip(number, catalog, RICH)
            row = make_clip(plan, RICH)
            assert len(samples_of(row)) == plan.length
            assert make_clip(plan, RICH) == row
            for distortion in row["distortions"]:
                assert 0 <= distortion["start_s"] < distortion["end_s"] <= row["duration_s"]
            kinds.update({distortion["kind"] for distortion in row["distortions"]})
            assert {fault.KIND for fault in plan.faults} <= set(kinds)
            assert (row["pseudo"] is None) == bool(plan.faults)
        assert {name for name, _ in RICH.faults} | {"noise"} == set(kinds)

    def test_a_codec_on_a_clean_clip_is_no_clean_clip(self, plans):
        pytest.importorskip("pesq")
        from transforms.synthesis.codecs import Coding

        plan = dataclasses.replace(plans[1], faults=(Codec(Coding("gsm", 8_000)),))
        row = make_clip(plan, doing(PESQ_WB))
        assert row["snr_db"] is None
        assert row["pesq_wb"] < 4.0

    def test_speech_that_is_silent_where_it_was_drawn_is_a_fault(self, plans, shelf):
        for plan in plans:
            silent = dataclasses.replace(plan, speech=shelf["late"], speech_offset=100, length=8_000)
            with pytest.raises(AudioFault) as caught:
                make_clip(silent, doing())
            assert (caught.value.stage, caught.value.reason) == (Stage.MIX, Reason.SILENT)

    def test_material_that_is_gone_is_a_reject_under_the_clips_id(self, shelf, tmp_path):
        gone = dataclasses.replace(
            shelf["speech"], ref=dataclasses.replace(shelf["speech"].ref, uri=str(tmp_path / "gone.flac"))
        )
        (output,) = MakeClip(dataclasses.replace(OPTIONS, clean_ratio=1.0)).process(3, Catalog([gone]))
        assert output.tag == REJECTS
        assert isinstance(output.value, Reject)
        assert (output.value.utterance_id, output.value.uri) == ("7-00000003", str(tmp_path / "gone.flac"))
        assert (output.value.stage, output.value.reason) == (Stage.READ, Reason.UNREADABLE)

    def test_it_says_how_far_it_is(self, shelf, monkeypatch, capsys):
        catalog = Catalog([shelf["speech"], shelf["noise"]])
        make = MakeClip(OPTIONS)
        list(make.process(0, catalog))
        monkeypatch.setattr("transforms.progress.EVERY_S", 0.0)
        list(make.process(1, catalog))
        assert capsys.readouterr().err == "2 clips are made in this process\n"

    def test_flac_holds_16_bit_samples_exactly(self):
        samples = np.random.default_rng(0).integers(-32_768, 32_768, 3_000) / np.float32(32_768)
        samples[:2] = -1.0, 32_767 / 32_768
        assert np.array_equal(soundfile.read(io.BytesIO(encode_flac(samples)), dtype="float32")[0], samples)


def test_in_a_pipeline_bad_material_is_rejected_and_the_rest_makes_clips(shelf, tmp_path):
    garbage = tmp_path / "garbage.wav"
    garbage.write_bytes(b"this is no sound")
    humming = tmp_path / "hum.wav"
    soundfile.write(humming, np.random.default_rng(1).normal(0, 0.1, 20_000), SAMPLE_RATE)
    unmeasured = [dataclasses.replace(shelf[name], num_samples=0) for name in ("speech", "noise")]
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
