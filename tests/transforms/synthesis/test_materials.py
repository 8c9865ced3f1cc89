"""Material is assigned to disjoint splits by group, measured, and cached within a limit."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from transforms.elements import REJECTS, AudioRef, Span
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.materials import (
    Catalog,
    Material,
    MeasureMaterial,
    SampleCache,
    assign_splits,
    held_out,
    measure_length,
)


class TestAssignSplits:
    @pytest.mark.parametrize(
        ("kind", "columns", "group"),
        [
            ("speech", {"speaker": "S1", "speaker_or_class": "C1", "group": "G1"}, "S1"),
            ("speech", {"speaker": "", "speaker_or_class": "C1"}, "C1"),
            ("speech", {"group": "G1"}, "y"),
            ("noise", {"group": "G1", "speaker_or_class": "C1"}, "G1"),
            ("noise", {"speaker_or_class": "C1"}, "y"),
            ("rir", {"group": "hall", "speaker_or_class": "C1"}, "hall"),
            ("rir", {}, "y"),
        ],
    )
    def test_the_group_is_the_column_of_its_kind_or_the_first_folder_that_differs(self, make_ref, kind, columns, group):
        item, _ = assign_splits([make_ref("x/y/1/a.flac", **columns), make_ref("x/z/1/b.flac")], kind, None)
        assert (item.group, item.kind, item.num_samples) == (group, kind, 0)

    def test_without_column_and_folder_a_recording_is_its_own_group(self, make_ref):
        assert assign_splits([make_ref("a.flac")], "speech", None)[0].group == "a.flac"

    def test_the_split_comes_from_the_column(self, make_ref):
        refs = [make_ref(f"{i}.flac", speaker=str(i), split=split) for i, split in enumerate(["val", "train"] * 20)]
        assert [item.split for item in assign_splits(refs, "speech", None)] == ["val", "train"] * 20

    def test_a_given_holdout_overrides_the_column(self, make_ref):
        refs = [make_ref(f"{i}.flac", speaker=str(i), split="val") for i in range(40)]
        assert {item.split for item in assign_splits(refs, "speech", 0.0)} == {"train"}

    @pytest.mark.parametrize("holdout", [None, 0.1, 0.5])
    def test_no_group_is_in_two_splits(self, make_ref, holdout):
        refs = [make_ref(f"speaker{i % 25}/{i}.flac") for i in range(200)]
        splits: dict[str, set[str]] = {}
        for item in assign_splits(refs, "speech", holdout):
            splits.setdefault(item.group, set()).add(item.split)
        assert len(splits) == 25
        assert all(len(names) == 1 for names in splits.values())

    @pytest.mark.parametrize(("holdout", "share"), [(None, 0.1), (0.1, 0.1), (0.3, 0.3), (0.9, 0.9)])
    def test_the_share_of_groups_in_val_is_about_the_holdout(self, make_ref, holdout, share):
        refs = [make_ref(f"speaker{i}/a.flac") for i in range(2_000)]
        counts = Counter(item.split for item in assign_splits(refs, "speech", holdout))
        assert counts["val"] / 2_000 == pytest.approx(share, abs=0.03)

    def test_the_recordings_keep_their_order(self, make_ref):
        refs = [make_ref(f"{i % 3}/{i}.flac") for i in range(9)]
        assert [item.ref for item in assign_splits(refs, "noise", 0.5)] == refs


class TestHeldOut:
    groups = st.sets(st.text(max_size=5), max_size=12)

    def test_the_groups_held_out_never_change(self):
        # `printf speaker5 | sha1sum` begins with 0ba0..., which is 0.045 of the range.
        expected = {"speaker5", "speaker11", "speaker9", "speaker7", "speaker0"}
        assert held_out({f"speaker{i}" for i in range(20)}, 0.2) == expected

    @given(groups=groups)
    def test_a_share_of_0_holds_out_no_group(self, groups):
        assert held_out(groups, 0.0) == set()

    @given(groups=groups.filter(lambda groups: len(groups) > 1), share=st.floats(0.001, 0.999))
    def test_both_splits_get_one_of_two_or_more_groups(self, groups, share):
        assert 0 < len(held_out(groups, share)) < len(groups)

    @given(groups=groups, low=st.floats(0, 1), high=st.floats(0, 1))
    def test_a_larger_share_keeps_the_groups_held_out(self, groups, low, high):
        low, high = sorted((low, high))
        assert held_out(groups, low) <= held_out(groups, high)

    def test_added_groups_do_not_move_others(self):
        before = {f"speaker{i}" for i in range(100)}
        after = before | {f"new{i}" for i in range(100)}
        assert held_out(after, 0.2) & before == held_out(before, 0.2)


class TestMeasureLength:
    def item(self, path, samples, kind="speech", rate=SAMPLE_RATE) -> Material:
        soundfile.write(path, samples, rate)
        return Material(AudioRef(path.name, str(path), 1, "1-1"), kind, "g", "train")

    @pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
    def test_the_length_is_counted_at_16_khz(self, tmp_path, rate):
        samples = np.random.default_rng(0).normal(0, 0.1, 2 * rate)
        item = self.item(tmp_path / "a.wav", samples, "noise", rate)
        assert measure_length(item, 38.0) == dataclasses.replace(item, num_samples=32_000)

    @pytest.mark.parametrize(("floor_db", "clean"), [(-80.0, True), (-40.0, False)])
    def test_speech_of_low_dynamic_range_is_rejected(self, tmp_path, make_speech, floor_db, clean):
        item = self.item(tmp_path / "a.wav", make_speech(3.0, floor_db=floor_db))
        if clean:
            assert measure_length(item, 38.0).num_samples == 48_000
            return
        with pytest.raises(AudioFault, match=r"dynamic range is [0-9.]+ dB; a clean reference needs 38 dB") as caught:
            measure_length(item, 38.0)
        assert (caught.value.stage, caught.value.reason) == (Stage.REFERENCE, Reason.NOT_CLEAN)

    def test_noise_needs_no_dynamic_range(self, tmp_path):
        samples = np.random.default_rng(0).normal(0, 0.1, 8_000)
        assert measure_length(self.item(tmp_path / "a.wav", samples, "noise"), 38.0).num_samples == 8_000
        with pytest.raises(AudioFault, match="not_clean"):
            measure_length(self.item(tmp_path / "b.wav", samples, "speech"), 38.0)

    def test_an_impulse_response_needs_no_dynamic_range(self, tmp_path):
        samples = np.random.default_rng(0).normal(0, 0.1, 8_000)
        assert measure_length(self.item(tmp_path / "a.wav", samples, "rir"), 38.0).num_samples == 8_000

    def test_material_that_cannot_be_decoded_is_a_reject(self, tmp_path):
        path = tmp_path / "a.wav"
        path.write_bytes(b"not audio")
        (output,) = MeasureMaterial(38.0).process(Material(AudioRef("a.wav", str(path), 8, "1"), "noise", "g", "train"))
        assert (output.tag, output.value.reason) == (REJECTS, Reason.UNSUPPORTED_FORMAT)


class TestCatalog:
    def test_material_is_sorted_by_kind_split_and_group(self, make_ref):
        items = [
            Material(make_ref(f"{kind}-{group}-{number}"), kind, group, split, 100)
            for kind in ("speech", "noise", "rir")
            for split, groups in (("val", "c"), ("train", "ba"))
            for group in groups
            for number in (1, 0)
        ]
        catalog = Catalog(items)
        names = [[item.ref.utterance_id for item in group] for group in catalog.speech]
        assert names == [[f"speech-{group}-{number}" for number in (0, 1)] for group in "abc"]
        for kind, splits in (("noise", catalog.noise), ("rir", catalog.rirs)):
            names = {
                split: [[i.ref.utterance_id for i in group] for group in groups] for split, groups in splits.items()
            }
            assert names["train"] == [[f"{kind}-{group}-{number}" for number in (0, 1)] for group in "ab"]
            assert names["val"] == [[f"{kind}-c-0", f"{kind}-c-1"]]

    def test_missing_kinds_are_empty(self):
        assert (Catalog([]).speech, Catalog([]).noise, Catalog([]).rirs) == ([], {}, {})


class TestSampleCache:
    @pytest.fixture
    def refs(self, tmp_path) -> list[AudioRef]:
        """Four recordings of 1,000 samples, 4,000 bytes when decoded."""
        rng = np.random.default_rng(0)
        refs = []
        for number in range(4):
            path = tmp_path / f"{number}.wav"
            soundfile.write(path, rng.normal(0, 0.1, 1_000), SAMPLE_RATE)
            refs.append(AudioRef(path.name, str(path), 1, "1-1"))
        return refs

    def test_spans_of_one_recording_are_cached_separately(self, tmp_path):
        samples = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE)
        soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
        cache = SampleCache(1_000_000)
        for span in (Span(1.0, 2.0), Span(), Span(2.5)):
            read = cache.read(AudioRef("a", str(tmp_path / "a.wav"), 1, "1", span=span))
            end = None if span.end_s is None else round(span.end_s * SAMPLE_RATE)
            np.testing.assert_allclose(read, samples[round(span.start_s * SAMPLE_RATE) : end], atol=1e-7)

    def test_a_cached_recording_is_not_read_again(self, refs):
        cache = SampleCache(8_000)
        first = cache.read(refs[0])
        Path(refs[0].uri).unlink()
        assert cache.read(refs[0]) is first

    def test_the_least_recently_used_recording_is_dropped_first(self, refs):
        cache = SampleCache(8_000)
        kept = cache.read(refs[0])
        for number in (1, 0, 2):
            cache.read(refs[number])
        for ref in refs:
            Path(ref.uri).unlink()
        assert cache.read(refs[0]) is kept
        assert len(cache.read(refs[2])) == 1_000
        with pytest.raises(AudioFault, match="unreadable"):
            cache.read(refs[1])

    def test_a_recording_larger_than_the_cache_is_not_cached(self, refs):
        cache = SampleCache(3_999)
        assert np.array_equal(cache.read(refs[0]), cache.read(refs[0]))
        Path(refs[0].uri).unlink()
        with pytest.raises(AudioFault, match="unreadable"):
            cache.read(refs[0])

    def test_a_changed_recording_is_read_again(self, refs):
        cache = SampleCache(8_000)
        before = cache.read(refs[0])
        soundfile.write(refs[0].uri, np.full(700, 0.1) * np.arange(700) / 700, SAMPLE_RATE)
        assert len(cache.read(dataclasses.replace(refs[0], source_version="2-2"))) == 700
        assert len(before) == 1_000

    def test_cached_samples_are_read_only(self, refs):
        with pytest.raises(ValueError, match="read-only"):
            SampleCache(8_000).read(refs[0])[0] = 1.0

    def test_threads_share_the_cache(self, refs):
        cache = SampleCache(8_000)
        expected = [cache.read(ref).copy() for ref in refs]
        wrong = []

        def work() -> None:
            wrong.extend(n for _ in range(50) for n in range(4) if not np.array_equal(cache.read(refs[n]), expected[n]))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert cache.cached_bytes == 8_000  # full, and within the limit
