"""Material of the experiment is split by whole groups."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import transforms.evaluation.experiment_splits as experiment_splits
from model.features import SAMPLE_RATE
from tests.support.training.materials import material, speech_and_noise
from transforms.elements import AudioRef
from transforms.errors import AudioFault, Reason, Stage
from transforms.evaluation.experiment_splits import (
    SplitError,
    check_splits,
    cut_utterances,
    draw_utterances,
    material_facts,
    measure_material,
    share_noise,
    split_material,
    train_test_material,
    with_validation,
)
from transforms.synthesis.materials import Material, read_samples


def sizes_by_split(items: list[Material]) -> Counter[str]:
    return Counter(item.split for item in items)


def groups_of(items: list[Material], split: str) -> set[str]:
    return {item.group for item in items if item.split == split}


class TestTrainTestMaterial:
    def test_what_a_manifest_keeps_apart_is_for_the_test(self, make_ref):
        refs = [make_ref(f"{n}.flac", speaker=str(n), split=("train", "val", "test")[n % 3]) for n in range(9)]
        assert [item.split for item in train_test_material(refs, "speech", None)] == ["train", "test", "test"] * 3

    @pytest.mark.parametrize("holdout", [None, 0.4])
    def test_without_a_manifest_a_share_of_the_groups_is(self, make_ref, holdout):
        found = train_test_material([make_ref(f"speaker{n % 20}/{n}.flac") for n in range(60)], "speech", holdout)
        assert set(sizes_by_split(found)) == {"train", "test"}
        assert not groups_of(found, "train") & groups_of(found, "test")


class TestMeasureMaterial:
    def test_what_does_not_serve_is_counted_by_reason(self, monkeypatch):
        def measured(item: Material, min_dynamic_range_db: float) -> Material:
            if item.ref.utterance_id.endswith("/0"):
                raise AudioFault(Stage.DECODE, Reason.CORRUPT, "")
            if item.group == "b" and min_dynamic_range_db > 30:
                raise AudioFault(Stage.REFERENCE, Reason.NOT_CLEAN, "")
            return dataclasses.replace(item, num_samples=7)

        monkeypatch.setattr(experiment_splits, "measure_length", measured)
        found, refused = measure_material(material({"a": 3, "b": 2}), 31.0)
        assert [item.ref.utterance_id for item in found] == ["speech-a/1", "speech-a/2"]
        assert {item.num_samples for item in found} == {7}
        assert refused == {"corrupt": 2, "not_clean": 1}
        assert len(measure_material(material({"a": 3, "b": 2}), 30.0)[0]) == 3
        assert measure_material(material({"a": 1}), 0.0) == ([], {"corrupt": 1})


class TestDrawUtterances:
    speech = material({"a": 20, "b": 20}) + material({"c": 20}, "test")

    def test_the_seed_decides_and_not_the_order(self):
        found = draw_utterances(self.speech, "train", 12, 3)
        assert found == draw_utterances(self.speech[::-1], "train", 12, 3)
        assert found != draw_utterances(self.speech, "train", 12, 4)

    def test_it_is_so_many_of_the_split_each_once(self):
        found = draw_utterances(self.speech, "train", 12, 0)
        names = [item.ref.utterance_id for item in found]
        assert len(found) == len(set(names)) == 12
        assert names == sorted(names)
        assert {item.split for item in found} == {"train"}

    def test_where_there_are_fewer_it_is_all_of_them(self):
        assert len(draw_utterances(self.speech, "test", 21, 0)) == 20
        assert draw_utterances(self.speech, "val", 1, 0) == []


MANY = {f"s{n}": 1 + n % 3 for n in range(50)}


class TestWithValidation:
    def test_the_seed_decides_and_not_the_order(self):
        items = material(MANY)
        chosen = [groups_of(with_validation(items, seed), "val") for seed in range(5)]
        assert chosen == [groups_of(with_validation(items[::-1], seed), "val") for seed in range(5)]
        assert len({frozenset(groups) for groups in chosen}) == 5

    def test_it_is_nearly_a_tenth_and_a_group_too_large_is_passed_over(self):
        found = with_validation(material({**MANY, "large": 40}), 0)
        assert 0.07 * 139 <= sizes_by_split(found)["val"] <= 0.1 * 139
        assert groups_of(found, "train") >= {"large"}

    def test_where_each_holds_more_than_a_tenth_it_is_the_smallest(self):
        assert groups_of(with_validation(material({"a": 3, "b": 2, "c": 4}), 0), "val") == {"b"}

    def test_the_only_group_stays_for_training(self):
        assert groups_of(with_validation(material({"a": 30}), 0), "val") == set()
        assert with_validation([], 0) == []

    @given(
        st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(1, 12), max_size=15), st.integers(0, 9)
    )
    def test_whole_groups_move_at_most_a_tenth_or_one(self, sizes, seed):
        test = material({"t": 5}, "test")
        before = material(sizes) + test
        found = with_validation(before, seed)
        # Nothing but the split of training material is another.
        assert [item.ref for item in found] == [item.ref for item in before]
        assert found[len(found) - 5 :] == test
        assert not groups_of(found, "train") & groups_of(found, "val")
        moved = groups_of(found, "val")
        assert sizes_by_split(found)["val"] <= 0.1 * sum(sizes.values()) or len(moved) == 1
        assert bool(moved) == (len(sizes) > 1)
        assert bool(groups_of(found, "train")) == bool(sizes)


class TestSplitMaterial:
    def test_utterances_are_drawn_before_validation_groups(self):
        speech = material({f"s{n}": 4 for n in range(20)}) + material({"t": 9, "u": 9}, "test")
        noise = material({f"n{n}": 2 for n in range(12)}, kind="noise") + material({"o": 3}, "test", "noise")
        divided_speech, divided_noise = split_material(speech, noise, {"train": 50, "test": 6}, 1)
        assert divided_speech == with_validation(
            draw_utterances(speech, "train", 50, 1) + draw_utterances(speech, "test", 6, 1), 1
        )
        assert divided_noise == with_validation(noise, 1)
        sizes = sizes_by_split(divided_speech)
        assert (sizes["train"] + sizes["val"], sizes["test"]) == (50, 6)
        assert 1 <= sizes["val"] <= 5

    def test_what_cannot_be_divided_is_refused(self):
        with pytest.raises(SplitError):
            split_material(material({"a": 9}), [], {"train": 5, "test": 5}, 0)


class TestCheckSplits:
    def test_all_three_may_be_small(self):
        check_splits(*speech_and_noise())

    @pytest.mark.parametrize("split", ["train", "val", "test"])
    @pytest.mark.parametrize(("kind", "groups"), [("speech", "speakers"), ("noise", "groups")])
    def test_none_may_be_missing(self, kind, groups, split):
        speech, noise = ([i for i in items if (i.kind, i.split) != (kind, split)] for items in speech_and_noise())
        with pytest.raises(SplitError, match=f"the {groups} at hand leave none for '{split}'") as caught:
            check_splits(speech, noise)
        assert caught.value.kind == kind


class TestMaterialFacts:
    def test_it_counts_by_split(self):
        facts = material_facts(*speech_and_noise())
        assert facts["utterances"] == {"train": 5, "val": 5, "test": 5}
        assert facts["speakers"] == {"train": 2, "val": 2, "test": 2}
        assert facts["noises"] == {"train": 6, "val": 6, "test": 6}
        assert facts["noise_groups"] == {"train": 2, "val": 2, "test": 2}

    def test_order_and_place_do_not_matter(self):
        speech, noise = speech_and_noise()
        moved = [
            dataclasses.replace(item, ref=dataclasses.replace(item.ref, uri="/elsewhere", source_version="2"))
            for item in speech[::-1]
        ]
        assert material_facts(moved, noise[::-1]) == material_facts(speech, noise)

    @pytest.mark.parametrize("change", [{"split": "val"}, {"group": "other"}, {"num_samples": 1}])
    def test_everything_else_does(self, change):
        speech, noise = speech_and_noise()
        whole = material_facts(speech, noise)["sha256"]
        assert material_facts([dataclasses.replace(speech[0], **change), *speech[1:]], noise)["sha256"] != whole
        assert material_facts(speech[1:], noise)["sha256"] != whole
        assert material_facts(speech, noise[1:])["sha256"] != whole


class TestCutUtterances:
    def test_the_parts_lie_side_by_side_and_a_short_rest_is_left_out(self, tmp_path, make_speech):
        samples = make_speech(3.4, seed=2)
        soundfile.write(tmp_path / "a.flac", samples, SAMPLE_RATE)
        item = Material(AudioRef("a", str(tmp_path / "a.flac"), 1, "1-1"), "speech", "s", "train", len(samples))
        found, unusable = cut_utterances([item], 1.0)
        assert not unusable
        assert [(one.ref.utterance_id, one.num_samples) for one in found] == [(f"a#{n}", SAMPLE_RATE) for n in range(3)]
        parts = np.concatenate([read_samples(one.ref) for one in found])
        assert parts == pytest.approx(samples[: 3 * SAMPLE_RATE], abs=1e-4)
        # A rest of at least half the length, and a recording that is shorter than an utterance, are kept.
        assert [one.num_samples for one in cut_utterances([item], 2.0)[0]] == [
            2 * SAMPLE_RATE,
            round(1.4 * SAMPLE_RATE),
        ]
        assert [one.num_samples for one in cut_utterances([item], 5.0)[0]] == [len(samples)]


class TestSharedNoise:
    def test_noise_in_one_collection_needs_no_groups(self):
        speech, noise = speech_and_noise()
        trained = [dataclasses.replace(item, split="train") for item in speech if item.split != "test"]
        test = [item for item in speech if item.split == "test"]
        drawn, shared = split_material([*trained, *test], share_noise(noise[:1]), {"train": 9, "test": 3}, 0)
        assert sizes_by_split(drawn).keys() == {"train", "val", "test"}
        assert [item.split for item in shared] == ["shared"]
        facts = material_facts(drawn, shared)
        assert facts["noises"] == {"shared": 1}
        assert facts["corpora"] == ["unknown"]
