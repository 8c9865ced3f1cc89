"""Each utterance of the experiment is there once at each condition."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import transforms.evaluation.experiment as experiment
from model.features import SAMPLE_RATE
from model.labels import pseudo_score
from tests.support.training.materials import speech_and_noise
from transforms.elements import AudioRef
from transforms.errors import AudioFault, OutputError, Reason, Stage
from transforms.evaluation.experiment import (
    DRAWS,
    PEAK_DBFS,
    SNRS_DB,
    UnmixableError,
    clip_conditions,
    make_clips,
    make_example,
    plan_utterance,
    set_ledger,
    write_set,
)
from transforms.evaluation.experiment_splits import share_noise
from transforms.schemas import CLIPS
from transforms.synthesis.clip_plan import ClipPlan
from transforms.synthesis.flac import decode_flac
from transforms.synthesis.materials import Catalog, Material

CONDITIONS = (None, *SNRS_DB)


def noise_of(plan: ClipPlan) -> tuple[str, int]:
    """Which noise a noisy clip has, and from where on."""
    assert plan.noise is not None
    (segment,) = plan.noise.segments
    return segment.material.ref.utterance_id, segment.offset


class TestPlanUtterance:
    def planned(self, number: int = 4, draw: int = 4, seed: int = 9, max_duration_s: float = 1.1):
        speech, noise = speech_and_noise()
        catalog = Catalog([speech[2], *(item for item in noise if item.split == "train")])
        return plan_utterance(number, draw, catalog, clip_conditions(seed, max_duration_s))

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
        assert {plan.length for plan in self.planned(max_duration_s=0.5)} == {SAMPLE_RATE // 2}
        assert {plan.length for plan in self.planned(max_duration_s=60.0)} == {SAMPLE_RATE + 8_000}

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
        with pytest.raises(
            UnmixableError,
            match=r"^/corpus/speech/speaker1/0: cannot be mixed with 20 drawn noises; the last one: .*nothing is heard",
        ):
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


class TestMakeExample:
    def test_the_noise_covers_frames_37_to_87_of_a_test_utterance(self, recorded, make_speech, tmp_path):
        speech, noise = recorded
        file = tmp_path / "long.flac"
        soundfile.write(file, make_speech(2.0, seed=5), SAMPLE_RATE)
        long = Material(AudioRef("long.flac", str(file), 1, "1-1"), "speech", "test9", "test", 2 * SAMPLE_RATE)
        row = make_example([*speech, long], noise, 1, 3.0)
        assert (row["speech_id"], row["split"]) == ("long.flac", "test")
        (distortion,) = row["distortions"]
        assert (distortion["start_s"], distortion["end_s"]) == pytest.approx((37 * 0.016, 88 * 0.016))
        clip, reference = decode_flac(row["audio"]), decode_flac(row["reference"])
        start, end = 37 * 256, 88 * 256
        # A reference is stored with a gain of its own.
        gain = np.dot(clip[:start], reference[:start]) / np.dot(reference[:start], reference[:start])
        difference = np.abs(clip - gain * reference)
        assert max(difference[:start].max(), difference[end:].max()) < 4 * 2**-15
        assert difference[start:end].max() > 0.01

    def test_in_a_short_utterance_it_covers_the_middle_third(self, recorded):
        (distortion,) = make_example(*recorded, 1, 1.0)["distortions"]
        assert (distortion["start_s"], distortion["end_s"]) == pytest.approx((20 * 0.016, 40 * 0.016))


class TestSharedNoise:
    @pytest.mark.usefixtures("plans_as_clips")
    def test_every_split_draws_from_all_noise(self):
        speech, noise = speech_and_noise()
        of_split = defaultdict(set)
        for seed in range(12):
            for row in make_clips(speech, share_noise(noise), seed, 1.0):
                if row["plan"].noise:
                    of_split[row["plan"].speech.split].add(noise_of(row["plan"])[0].split("/")[0])
        groups = {f"noise-{item.group}" for item in noise}
        assert dict(of_split) == {"train": groups, "val": groups, "test": groups}
