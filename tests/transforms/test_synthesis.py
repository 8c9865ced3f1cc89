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

from model.features import SAMPLE_RATE
from model.labels import PESQ_WB, PSEUDO
from transforms.decode import decode
from transforms.records import REJECTS, AudioFault, AudioRef, Reason, Reject, Stage
from transforms.schemas import CLIPS
from transforms.synthesis import (
    Catalog,
    ClipOptions,
    MakeClip,
    Material,
    MeasureMaterial,
    encode_flac,
    held_out,
    make_clip,
    materials,
    measure,
    plan_clip,
)

OPTIONS = ClipOptions(
    seed=7,
    snr_db=((-5.0, 5.0), (20.0, 20.0)),
    clean_ratio=0.25,
    duration_s=(1.0, 2.0),
    peak_dbfs=(-12.0, -3.0),
    labels=(PSEUDO,),
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
        for group in groups:
            for number in range(3):
                ref = AudioRef(f"{group}/{number}.flac", f"/noise/{group}/{number}.flac", 1, "1-1")
                items.append(Material(ref, "noise", group, split, 5_000 * (1 + number)))
    return items


def planned(options: ClipOptions = OPTIONS, items: list[Material] | None = None, numbers=NUMBERS) -> list:
    catalog = Catalog(listed() if items is None else items)
    return [plan_clip(number, catalog, options) for number in numbers]


class TestMaterials:
    @pytest.mark.parametrize(
        ("kind", "columns", "group"),
        [
            ("speech", {"speaker": "S1", "speaker_or_class": "C1", "group": "G1"}, "S1"),
            ("speech", {"speaker": "", "speaker_or_class": "C1"}, "C1"),
            ("speech", {"group": "G1"}, "y"),
            ("noise", {"group": "G1", "speaker_or_class": "C1"}, "G1"),
            ("noise", {"speaker_or_class": "C1"}, "y"),
        ],
    )
    def test_the_group_is_the_column_of_its_kind_else_the_first_folder_that_differs(
        self, make_ref, kind, columns, group
    ):
        item, _ = materials([make_ref("x/y/1/a.flac", **columns), make_ref("x/z/1/b.flac")], kind, None)
        assert (item.group, item.kind, item.num_samples) == (group, kind, 0)

    def test_without_column_and_folder_a_recording_is_its_own_group(self, make_ref):
        assert materials([make_ref("a.flac")], "speech", None)[0].group == "a.flac"

    def test_the_split_is_the_columns(self, make_ref):
        refs = [make_ref(f"{i}.flac", speaker=str(i), split=split) for i, split in enumerate(["val", "train"] * 20)]
        assert [item.split for item in materials(refs, "speech", None)] == ["val", "train"] * 20

    def test_a_holdout_that_is_asked_for_wins_over_the_column(self, make_ref):
        refs = [make_ref(f"{i}.flac", speaker=str(i), split="val") for i in range(40)]
        assert {item.split for item in materials(refs, "speech", 0.0)} == {"train"}

    @pytest.mark.parametrize("holdout", [None, 0.1, 0.5])
    def test_no_group_is_in_two_splits(self, make_ref, holdout):
        refs = [make_ref(f"speaker{i % 25}/{i}.flac") for i in range(200)]
        splits: dict[str, set[str]] = {}
        for item in materials(refs, "speech", holdout):
            splits.setdefault(item.group, set()).add(item.split)
        assert len(splits) == 25
        assert all(len(found) == 1 for found in splits.values())

    @pytest.mark.parametrize(("holdout", "share"), [(None, 0.1), (0.1, 0.1), (0.3, 0.3), (0.9, 0.9)])
    def test_the_share_of_groups_in_val_is_about_the_holdout(self, make_ref, holdout, share):
        refs = [make_ref(f"speaker{i}/a.flac") for i in range(2_000)]
        found = Counter(item.split for item in materials(refs, "speech", holdout))
        assert found["val"] / 2_000 == pytest.approx(share, abs=0.03)

    def test_the_recordings_keep_their_order(self, make_ref):
        refs = [make_ref(f"{i % 3}/{i}.flac") for i in range(9)]
        assert [item.ref for item in materials(refs, "noise", 0.5)] == refs


class TestHeldOut:
    groups = st.sets(st.text(max_size=5), max_size=12)

    def test_it_is_the_same_in_every_process_and_release(self):
        # `printf speaker5 | sha1sum` begins with 0ba0..., which is 0.045 of the range.
        expected = {"speaker5", "speaker11", "speaker9", "speaker7", "speaker0"}
        assert held_out({f"speaker{i}" for i in range(20)}, 0.2) == expected

    @given(groups=groups)
    def test_a_share_of_0_holds_nothing_out(self, groups):
        assert held_out(groups, 0.0) == set()

    @given(groups=groups.filter(lambda groups: len(groups) > 1), share=st.floats(0.001, 0.999))
    def test_of_two_groups_or_more_both_splits_get_one(self, groups, share):
        assert 0 < len(held_out(groups, share)) < len(groups)

    @given(groups=groups, low=st.floats(0, 1), high=st.floats(0, 1))
    def test_a_larger_share_takes_no_group_back(self, groups, low, high):
        low, high = sorted((low, high))
        assert held_out(groups, low) <= held_out(groups, high)

    def test_groups_that_are_added_move_no_other(self):
        before = {f"speaker{i}" for i in range(100)}
        after = before | {f"new{i}" for i in range(100)}
        assert held_out(after, 0.2) & before == held_out(before, 0.2)


class TestPlanClip:
    def test_it_is_the_same_every_time(self):
        assert planned() == planned()

    @given(st.permutations(listed()))
    def test_the_order_of_the_catalog_does_not_matter(self, items):
        assert planned(items=items, numbers=range(5)) == planned(numbers=range(5))

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

    def test_speech_and_noise_come_from_one_split(self):
        pairs = Counter((plan.speech.split, plan.noise.split) for plan in planned() if plan.noise)
        assert set(pairs) == {("train", "train"), ("val", "val")}
        assert min(pairs.values()) > 10

    def test_kinds_are_not_mixed_up(self):
        for plan in planned():
            assert plan.speech.kind == "speech"
            assert plan.noise is None or plan.noise.kind == "noise"

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
            if plan.noise:
                assert 0 <= plan.noise_offset < plan.noise.num_samples
                assert -5.0 <= plan.snr_db <= 5.0 or plan.snr_db == 20.0

    def test_each_snr_range_is_drawn_as_often(self):
        snrs = [plan.snr_db for plan in planned(numbers=range(800)) if plan.noise]
        assert np.mean(np.array(snrs) == 20.0) == pytest.approx(0.5, abs=0.08)

    @pytest.mark.parametrize(("clean_ratio", "low", "high"), [(0.0, 0, 0), (0.25, 30, 70), (1.0, 200, 200)])
    def test_the_share_of_clean_clips(self, clean_ratio, low, high):
        plans = planned(dataclasses.replace(OPTIONS, clean_ratio=clean_ratio))
        clean = [plan for plan in plans if plan.noise is None]
        assert low <= len(clean) <= high
        assert all((plan.snr_db, plan.noise_offset) == (None, 0) for plan in clean)
        assert all(plan.snr_db is not None for plan in plans if plan.noise)

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


@pytest.fixture(scope="module")
def plans(shelf) -> tuple:
    """A noisy and a clean clip of real files."""
    catalog = Catalog([shelf["speech"], shelf["noise"]])
    some = [plan_clip(number, catalog, OPTIONS) for number in range(30)]
    return next(plan for plan in some if plan.noise), next(plan for plan in some if plan.noise is None)


class TestMakeClip:
    def test_its_bytes_are_the_same_every_time(self, plans):
        for plan in plans:
            assert make_clip(plan, (PSEUDO,)) == make_clip(plan, (PSEUDO,))

    def test_its_audio_is_16_khz_mono_16_bit_flac_of_the_planned_length(self, plans):
        for plan in plans:
            row = make_clip(plan, (PSEUDO,))
            found = decode(io.BytesIO(row["audio"]))
            assert (found.format, found.sample_rate, found.channels) == ("FLAC/PCM_16", SAMPLE_RATE, 1)
            assert len(found.samples) == plan.length
            assert row["duration_s"] == pytest.approx(plan.length / SAMPLE_RATE)
            assert found.facts.peak_dbfs == pytest.approx(plan.peak_dbfs, abs=0.01)

    def test_a_row_fits_the_schema(self, plans):
        rows = [make_clip(plan, (PSEUDO,)) for plan in plans]
        assert all(set(row) <= set(CLIPS.names) for row in rows)
        assert all(CLIPS.field(name).nullable for row in rows for name in set(CLIPS.names) - set(row))
        table = pa.Table.from_pylist(rows, CLIPS)
        table.validate(full=True)
        assert not any(table[field.name].null_count for field in CLIPS if not field.nullable)

    def test_a_noisy_clip_says_what_it_is_made_of(self, plans):
        row = make_clip(plans[0], (PSEUDO,))
        assert (row["speech_id"], row["speaker"]) == ("speech.flac", "speech-group")
        assert (row["noise_id"], row["noise_group"]) == ("noise.flac", "noise-group")
        assert (row["split"], row["seed"], row["clip_id"]) == ("train", 7, plans[0].clip_id)
        assert row["snr_db"] == plans[0].snr_db
        assert row["pseudo"] == pytest.approx(np.clip((row["snr_db"] + 15) / 5, 1, 8))

    def test_a_clean_clip_has_no_noise_and_the_best_label(self, plans):
        row = make_clip(plans[1], (PSEUDO,))
        assert (row["noise_id"], row["noise_group"], row["snr_db"], row["pseudo"]) == (None, None, None, 8.0)

    def test_a_clean_clip_is_the_planned_piece_of_the_speech(self, plans):
        plan = plans[1]
        speech = soundfile.read(plan.speech.ref.uri)[0][plan.speech_offset : plan.speech_offset + plan.length]
        samples = decode(io.BytesIO(make_clip(plan, (PSEUDO,))["audio"])).samples
        np.testing.assert_allclose(samples, speech * np.abs(samples).max() / np.abs(speech).max(), atol=2e-4)

    def test_a_clip_that_is_almost_noise_is_the_noise_from_its_offset_on_begun_again_where_it_ends(self, plans):
        plan = dataclasses.replace(plans[0], snr_db=-60.0, noise_offset=4_321)
        noise = soundfile.read(plan.noise.ref.uri)[0]
        expected = np.tile(noise, 1 + (4_321 + plan.length) // len(noise))[4_321 : 4_321 + plan.length]
        samples = decode(io.BytesIO(make_clip(plan, (PSEUDO,))["audio"])).samples
        assert np.corrcoef(samples, expected)[0, 1] > 0.999

    def test_only_the_labels_that_were_asked_for_are_given(self, plans):
        assert {"pseudo", "pesq_wb", "pesq_nb"}.isdisjoint(make_clip(plans[0], ()))

    def test_pesq_labels_fall_with_the_noise(self, plans):
        pytest.importorskip("pesq")
        noisy, clean = (make_clip(plan, (PESQ_WB, PSEUDO)) for plan in plans)
        assert clean["pesq_wb"] == pytest.approx(4.64, abs=0.01)
        assert 1.0 <= noisy["pesq_wb"] < 4.0
        assert "pesq_nb" not in noisy

    def test_speech_that_is_silent_where_it_was_drawn_is_a_fault(self, plans, shelf):
        for plan in plans:
            silent = dataclasses.replace(plan, speech=shelf["late"], speech_offset=100, length=8_000)
            with pytest.raises(AudioFault) as caught:
                make_clip(silent, (PSEUDO,))
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

    def test_flac_holds_16_bit_samples_exactly(self):
        samples = np.random.default_rng(0).integers(-32_768, 32_768, 3_000) / np.float32(32_768)
        samples[:2] = -1.0, 32_767 / 32_768
        assert np.array_equal(soundfile.read(io.BytesIO(encode_flac(samples)), dtype="float32")[0], samples)


class TestMeasure:
    def item(self, path, samples, kind="speech", rate=SAMPLE_RATE) -> Material:
        soundfile.write(path, samples, rate)
        return Material(AudioRef(path.name, str(path), 1, "1-1"), kind, "g", "train")

    @pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
    def test_the_length_is_counted_at_16_khz(self, tmp_path, rate):
        samples = np.random.default_rng(0).normal(0, 0.1, 2 * rate)
        item = self.item(tmp_path / "a.wav", samples, "noise", rate)
        assert measure(item, 38.0) == dataclasses.replace(item, num_samples=32_000)

    @pytest.mark.parametrize(("floor_db", "clean"), [(-80.0, True), (-40.0, False)])
    def test_speech_of_low_dynamic_range_is_no_reference(self, tmp_path, make_speech, floor_db, clean):
        item = self.item(tmp_path / "a.wav", make_speech(3.0, floor_db=floor_db))
        if clean:
            assert measure(item, 38.0).num_samples == 48_000
            return
        with pytest.raises(AudioFault, match=r"dynamic range is [0-9.]+ dB; a clean reference needs 38 dB") as caught:
            measure(item, 38.0)
        assert (caught.value.stage, caught.value.reason) == (Stage.REFERENCE, Reason.NOT_CLEAN)

    def test_noise_needs_no_dynamic_range(self, tmp_path):
        samples = np.random.default_rng(0).normal(0, 0.1, 8_000)
        assert measure(self.item(tmp_path / "a.wav", samples, "noise"), 38.0).num_samples == 8_000
        with pytest.raises(AudioFault, match="not_clean"):
            measure(self.item(tmp_path / "b.wav", samples, "speech"), 38.0)


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
        assert {row["noise_id"] for row in rows} <= {"noise.flac", None}

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
