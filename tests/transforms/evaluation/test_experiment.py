"""The experiment's material is divided by whole groups, and each utterance is there once at each condition."""

from __future__ import annotations

import dataclasses
import types
from collections import Counter, defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import transforms.evaluation.experiment as experiment
from model.features import SAMPLE_RATE, FeatureConfig
from model.labels import PSEUDO, pseudo_score
from transforms.corpus.sources import SourceError
from transforms.elements import AudioRef
from transforms.errors import AudioFault, OutputError, Reason, Stage
from transforms.evaluation.experiment import (
    DRAWS,
    PEAK_DBFS,
    SNRS_DB,
    SplitError,
    UnmixableError,
    check_splits,
    choose,
    clip_conditions,
    divide,
    make_clips,
    material_facts,
    plan_utterance,
    score_test_clips,
    serving,
    set_ledger,
    train_and_test,
    with_dev,
    write_set,
)
from transforms.schemas import CLIPS
from transforms.synthesis.clip_plan import ClipPlan
from transforms.synthesis.materials import Catalog, Material

CONDITIONS = (None, *SNRS_DB)


def material(sizes: dict[str, int], split: str = "train", kind: str = "speech") -> list[Material]:
    """Measured material with nothing behind it: so many recordings of each group."""
    return [
        Material(
            AudioRef(f"{kind}-{group}/{n}", f"/corpus/{kind}/{group}/{n}", 1, "1-1"),
            kind,
            group,
            split,
            SAMPLE_RATE + 4_000 * n,
        )
        for group, size in sizes.items()
        for n in range(size)
    ]


def speech_and_noise() -> tuple[list[Material], list[Material]]:
    """Of all three splits."""
    speech, noise = [], []
    for number, split in enumerate(("train", "val", "test")):
        speech += material({f"speaker{number}": 3, f"other{number}": 2}, split)
        noise += material({f"rain{number}": 2, f"wind{number}": 4}, split, "noise")
    return speech, noise


def sizes_by_split(items: list[Material]) -> Counter[str]:
    return Counter(item.split for item in items)


def groups_of(items: list[Material], split: str) -> set[str]:
    return {item.group for item in items if item.split == split}


def noise_of(plan: ClipPlan) -> tuple[str, int]:
    """Which noise a noisy clip has, and from where on."""
    assert plan.noise is not None
    (segment,) = plan.noise.segments
    return segment.material.ref.utterance_id, segment.offset


class TestTrainAndTest:
    def test_what_a_manifest_keeps_apart_is_for_the_test(self, make_ref):
        refs = [make_ref(f"{n}.flac", speaker=str(n), split=("train", "val", "test")[n % 3]) for n in range(9)]
        assert [item.split for item in train_and_test(refs, "speech", None)] == ["train", "test", "test"] * 3

    @pytest.mark.parametrize("holdout", [None, 0.4])
    def test_without_a_manifest_a_share_of_the_groups_is(self, make_ref, holdout):
        found = train_and_test([make_ref(f"speaker{n % 20}/{n}.flac") for n in range(60)], "speech", holdout)
        assert set(sizes_by_split(found)) == {"train", "test"}
        assert not groups_of(found, "train") & groups_of(found, "test")


class TestServing:
    def test_what_does_not_serve_is_counted_by_reason(self, monkeypatch):
        def measured(item: Material, min_dynamic_range_db: float) -> Material:
            if item.ref.utterance_id.endswith("/0"):
                raise AudioFault(Stage.DECODE, Reason.CORRUPT, "")
            if item.group == "b" and min_dynamic_range_db > 30:
                raise AudioFault(Stage.REFERENCE, Reason.NOT_CLEAN, "")
            return dataclasses.replace(item, num_samples=7)

        monkeypatch.setattr(experiment, "measure_length", measured)
        found, refused = serving(material({"a": 3, "b": 2}), 31.0)
        assert [item.ref.utterance_id for item in found] == ["speech-a/1", "speech-a/2"]
        assert {item.num_samples for item in found} == {7}
        assert refused == {"corrupt": 2, "not_clean": 1}
        assert len(serving(material({"a": 3, "b": 2}), 30.0)[0]) == 3
        assert serving(material({"a": 1}), 0.0) == ([], {"corrupt": 1})


class TestChoose:
    speech = material({"a": 20, "b": 20}) + material({"c": 20}, "test")

    def test_the_seed_decides_and_not_the_order(self):
        found = choose(self.speech, "train", 12, 3)
        assert found == choose(self.speech[::-1], "train", 12, 3)
        assert found != choose(self.speech, "train", 12, 4)

    def test_it_is_so_many_of_the_split_each_once(self):
        found = choose(self.speech, "train", 12, 0)
        names = [item.ref.utterance_id for item in found]
        assert len(found) == len(set(names)) == 12
        assert names == sorted(names)
        assert {item.split for item in found} == {"train"}

    def test_where_there_are_fewer_it_is_all_of_them(self):
        assert len(choose(self.speech, "test", 21, 0)) == 20
        assert choose(self.speech, "val", 1, 0) == []


MANY = {f"s{n}": 1 + n % 3 for n in range(50)}


class TestWithDev:
    def test_the_seed_decides_and_not_the_order(self):
        items = material(MANY)
        chosen = [groups_of(with_dev(items, seed), "val") for seed in range(5)]
        assert chosen == [groups_of(with_dev(items[::-1], seed), "val") for seed in range(5)]
        assert len({frozenset(groups) for groups in chosen}) == 5

    def test_it_is_nearly_a_tenth_and_a_group_too_large_is_passed_over(self):
        found = with_dev(material({**MANY, "large": 40}), 0)
        assert 0.07 * 139 <= sizes_by_split(found)["val"] <= 0.1 * 139
        assert groups_of(found, "train") >= {"large"}

    def test_where_each_holds_more_than_a_tenth_it_is_the_smallest(self):
        assert groups_of(with_dev(material({"a": 3, "b": 2, "c": 4}), 0), "val") == {"b"}

    def test_the_only_group_stays_for_training(self):
        assert groups_of(with_dev(material({"a": 30}), 0), "val") == set()
        assert with_dev([], 0) == []

    @given(
        st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(1, 12), max_size=15), st.integers(0, 9)
    )
    def test_whole_groups_move_at_most_a_tenth_or_one(self, sizes, seed):
        test = material({"t": 5}, "test")
        before = material(sizes) + test
        found = with_dev(before, seed)
        # Nothing but the split of training material is another.
        assert [item.ref for item in found] == [item.ref for item in before]
        assert found[len(found) - 5 :] == test
        assert not groups_of(found, "train") & groups_of(found, "val")
        dev = groups_of(found, "val")
        assert sizes_by_split(found)["val"] <= 0.1 * sum(sizes.values()) or len(dev) == 1
        assert bool(dev) == (len(sizes) > 1)
        assert bool(groups_of(found, "train")) == bool(sizes)


class TestDivide:
    def test_it_chooses_then_takes_the_dev_groups_of_what_was_chosen(self):
        speech = material({f"s{n}": 4 for n in range(20)}) + material({"t": 9, "u": 9}, "test")
        noise = material({f"n{n}": 2 for n in range(12)}, kind="noise") + material({"o": 3}, "test", "noise")
        divided_speech, divided_noise = divide(speech, noise, {"train": 50, "test": 6}, 1)
        assert divided_speech == with_dev(choose(speech, "train", 50, 1) + choose(speech, "test", 6, 1), 1)
        assert divided_noise == with_dev(noise, 1)
        sizes = sizes_by_split(divided_speech)
        assert (sizes["train"] + sizes["val"], sizes["test"]) == (50, 6)
        assert 1 <= sizes["val"] <= 5

    def test_what_cannot_be_divided_is_refused(self):
        with pytest.raises(SplitError):
            divide(material({"a": 9}), [], {"train": 5, "test": 5}, 0)


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


class TestPlanUtterance:
    def planned(self, number: int = 4, draw: int = 4, seed: int = 9, longest_s: float = 1.1):
        speech, noise = speech_and_noise()
        catalog = Catalog([speech[2], *(item for item in noise if item.split == "train")])
        return plan_utterance(number, draw, catalog, clip_conditions(seed, longest_s))

    def test_the_clips_differ_in_nothing_but_the_snr(self):
        for draw in range(50):
            clean, *noisy = self.planned(draw=draw)
            assert clean.noise is None
            assert [plan.noise.snr_db for plan in noisy] == list(SNRS_DB)
            first = noisy[0].noise
            for plan in noisy:
                # So speech, level and all else are those of the clean clip, and the noise is always the same.
                assert dataclasses.replace(plan, clip_id=clean.clip_id, noise=None) == clean
                assert dataclasses.replace(plan.noise, snr_db=first.snr_db) == first

    def test_the_noise_is_one_over_the_whole_clip_and_there_is_nothing_besides(self):
        for draw in range(50):
            for plan in self.planned(draw=draw):
                assert (plan.variations, plan.degradations) == ((), ())
                assert PEAK_DBFS[0] <= plan.peak_dbfs <= PEAK_DBFS[1]
                if plan.noise:
                    (segment,) = plan.noise.segments
                    assert segment.variation is None
                    assert (plan.noise.start, plan.noise.length) == (0, plan.length)

    def test_of_a_long_utterance_so_much_is_taken_as_asked_for(self):
        assert {plan.length for plan in self.planned(longest_s=0.5)} == {SAMPLE_RATE // 2}
        assert {plan.length for plan in self.planned(longest_s=60.0)} == {SAMPLE_RATE + 8_000}

    def test_the_id_tells_seed_utterance_and_condition(self):
        assert [plan.clip_id for plan in self.planned(draw=77)] == [
            f"9-00000004-{condition}" for condition in ("clean", "-10dB", "-5dB", "5dB", "10dB", "20dB")
        ]

    def test_the_draw_and_the_seed_decide(self):
        assert self.planned() == self.planned()
        drawn = {noise_of(self.planned(draw=draw, seed=seed)[1]) for draw in range(3) for seed in range(3)}
        assert len(drawn) == 9

    def test_without_noise_in_the_split_there_is_nothing_to_draw(self):
        speech, noise = speech_and_noise()
        catalog = Catalog([speech[0], *(item for item in noise if item.split == "val")])
        with pytest.raises(AudioFault, match="no noise"):
            plan_utterance(0, 0, catalog, clip_conditions(0, 1.0))


@pytest.fixture
def plans_as_clips(monkeypatch):
    """Has `make_clips` yield the plans; a test may add ids of noises that cannot be mixed."""
    silent: set[str] = set()

    def made(plan, options):
        assert (plan.noise is None) == (options.clean_ratio == 1.0)
        if plan.noise and noise_of(plan)[0] in silent:
            raise AudioFault(Stage.MIX, Reason.SILENT, "nothing is heard")
        return {"plan": plan}

    monkeypatch.setattr(experiment, "make_clip", made)
    return silent


class TestMakeClips:
    def plans(self, seed: int = 1):
        return [row["plan"] for row in make_clips(*speech_and_noise(), seed, 1.0)]

    @pytest.mark.usefixtures("plans_as_clips")
    def test_every_utterance_is_there_once_at_each_condition(self):
        found = Counter(
            (plan.speech.ref.utterance_id, plan.noise.snr_db if plan.noise else None) for plan in self.plans()
        )
        ids = [item.ref.utterance_id for item in speech_and_noise()[0]]
        assert found == {(name, condition): 1 for name in ids for condition in CONDITIONS}
        assert len({plan.clip_id for plan in self.plans()}) == 6 * len(ids)

    @pytest.mark.usefixtures("plans_as_clips")
    def test_the_noise_is_of_the_utterances_split(self):
        for plan in self.plans():
            if plan.noise:
                assert plan.noise.segments[0].material.split == plan.speech.split

    @pytest.mark.usefixtures("plans_as_clips")
    def test_another_seed_draws_other_noise_for_the_same_speech(self):
        one, two = self.plans(), self.plans(2)
        assert one == self.plans()
        assert [plan.speech for plan in one] == [plan.speech for plan in two]
        assert [plan.noise for plan in one] != [plan.noise for plan in two]

    @pytest.mark.usefixtures("plans_as_clips")
    def test_utterances_draw_noise_of_their_own(self):
        noises = {noise_of(plan) for plan in self.plans() if plan.noise}
        assert len(noises) == len(speech_and_noise()[0])

    def test_where_a_noise_is_silent_another_is_drawn_for_all_conditions(self, plans_as_clips):
        before = {plan.clip_id: plan for plan in self.plans()}
        plans_as_clips.update(f"noise-{group}{n}/0" for group in ("rain", "wind") for n in range(3))
        after = {plan.clip_id: plan for plan in self.plans()}
        assert set(before) == set(after)
        of_utterance = defaultdict(set)
        for name, plan in after.items():
            if plan.noise:
                of_utterance[plan.speech.ref.utterance_id].add(noise_of(plan))
                assert noise_of(plan)[0] not in plans_as_clips
                # What needed no other draw is what it was.
                if noise_of(before[name])[0] not in plans_as_clips:
                    assert plan == before[name]
        assert all(len(noises) == 1 for noises in of_utterance.values())
        assert before != after

    def test_where_all_are_silent_it_says_for_which_utterance(self, plans_as_clips, monkeypatch):
        plans_as_clips.update(item.ref.utterance_id for item in speech_and_noise()[1] if item.split == "val")
        draws = []
        original = experiment.plan_utterance
        monkeypatch.setattr(
            experiment, "plan_utterance", lambda *arguments: draws.append(arguments[:2]) or original(*arguments)
        )
        with pytest.raises(UnmixableError, match=r"^/corpus/speech/speaker1/0: .* of the last one: .*nothing is heard"):
            self.plans()
        # The draws of one utterance are never those of another.
        assert draws[5:] == [(5, 5 + 15 * attempt) for attempt in range(DRAWS)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, make_speech) -> tuple[list[Material], list[Material]]:
    """Real files: two utterances and two noises of each split."""
    root = tmp_path_factory.mktemp("recorded")
    rng = np.random.default_rng(0)
    found: dict[str, list[Material]] = {"speech": [], "noise": []}
    for split in ("train", "val", "test"):
        for number in range(2):
            for kind, items in found.items():
                samples = make_speech(1.2, seed=number) if kind == "speech" else 0.1 * rng.standard_normal(9_000)
                file = root / f"{kind}-{split}{number}.flac"
                soundfile.write(file, samples, SAMPLE_RATE)
                ref = AudioRef(file.name, str(file), 1, "1-1")
                items.append(Material(ref, kind, f"{split}{number}", split, len(samples)))
    return found["speech"], found["noise"]


@pytest.fixture(scope="module")
def made(recorded, tmp_path_factory) -> tuple[dict, object]:
    """A set of all of them, and what `write_set` says of it."""
    folder = tmp_path_factory.mktemp("made") / "set"
    return write_set(folder, make_clips(*recorded, 5, 1.0), 8), folder


class TestWriteSet:
    def test_it_is_in_the_format_of_a_training_set(self, made):
        held, folder = made
        (file,) = set_ledger(folder).committed("clips")
        parquet = pq.ParquetFile(file)
        assert parquet.schema_arrow.equals(CLIPS)
        assert [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)] == [8, 8, 8, 8, 4]
        rows = parquet.read().to_pylist()
        assert held["clips"] == {"train": 12, "val": 12, "test": 12}
        assert held["noises"] == len({noise for row in rows for noise in row["noise_ids"]})
        for row in rows:
            assert row["pseudo"] == pytest.approx(pseudo_score(row["snr_db"]))
            assert row["pesq_wb"] is None

    def test_a_set_that_was_not_finished_is_not_there(self, recorded, tmp_path):
        def broken():
            clips = make_clips(*recorded, 5, 1.0)
            yield next(clips)
            raise UnmixableError("no more")

        with pytest.raises(UnmixableError):
            write_set(tmp_path / "set", broken(), 1)
        assert not set_ledger(tmp_path / "set").committed("clips")

    def test_where_nothing_can_be_written_it_says_so(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError):
            write_set(tmp_path / "file", iter(()), 1)


class TestScoreTestClips:
    @staticmethod
    def scorer(scored: list[int]) -> types.SimpleNamespace:
        """Says how loud a clip is, and notes how many it scored."""

        def score(spectrograms):
            scored.append(len(spectrograms))
            return [spectrogram.mean(axis=1) for spectrogram in spectrograms]

        return types.SimpleNamespace(
            score=score,
            pool=lambda frames: float(frames.mean()),
            bundle=types.SimpleNamespace(features=FeatureConfig(), label_scale=PSEUDO),
        )

    def test_the_threshold_is_of_other_clips_than_the_scores(self, made):
        scored: list[int] = []
        found = score_test_clips(made[1], self.scorer(scored))
        assert sum(scored) == 24  # none of the training clips
        assert {clip.split for clip in found.clips} == {"test"}
        assert len(found.clips) == len(found.score) == len(found.label) == 12
        assert found.label == pytest.approx([pseudo_score(clip.snr_db) for clip in found.clips])
        assert found.clean.sum() == 2
        assert found.threshold is not None

    def test_without_a_finished_set_it_says_so(self, tmp_path):
        with pytest.raises(SourceError, match="no finished labelled set"):
            score_test_clips(tmp_path, self.scorer([]))
