"""The plan of a clip depends only on the seed, its number, the material and the options; splits are never mixed."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from tests.support.training.clip_options import ALL_OPTIONS, OPTIONS, RICH_OPTIONS
from transforms.elements import AudioRef
from transforms.errors import AudioFault
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.clip_plan import NEVER_PARTIAL, ClipPlan, plan_clip
from transforms.synthesis.degradations.kinds import parse_degradations
from transforms.synthesis.degradations.partial import Partial
from transforms.synthesis.degradations.recording import Reverb
from transforms.synthesis.materials import Catalog, Material
from transforms.synthesis.no_speech import NoiseFloor
from transforms.synthesis.rooms import RecordedRoom
from transforms.synthesis.speech_variation import Expander

NUMBERS = range(200)


def all_material() -> list[Material]:
    """Measured material without files, which is enough for plans."""
    items = []
    for split, speakers, groups in (("train", "abcde", "xyz"), ("val", "fg", "uv")):
        for speaker in speakers:
            for number in range(1 if speaker in "ab" else 6):
                ref = AudioRef(f"{speaker}/{number}.flac", f"/speech/{speaker}/{number}.flac", 1, "1-1")
                items.append(Material(ref, "speech", speaker, split, SAMPLE_RATE * (1 + number)))
        for kind, names in (("noise", groups), ("music", groups), ("rir", groups[:2])):
            for group in names:
                for number in range(3):
                    ref = AudioRef(f"{kind}-{group}/{number}.flac", f"/{kind}/{group}/{number}.flac", 1, "1-1")
                    items.append(Material(ref, kind, group, split, 5_000 * (1 + number)))
    return items


def make_plans(options: ClipOptions = OPTIONS, items: list[Material] | None = None, numbers=NUMBERS) -> list[ClipPlan]:
    catalog = Catalog(all_material() if items is None else items)
    return [plan_clip(number, catalog, options) for number in numbers]


class TestPlanClip:
    @pytest.mark.parametrize("options", [OPTIONS, ALL_OPTIONS, RICH_OPTIONS])
    def test_a_plan_is_reproducible(self, options):
        assert make_plans(options) == make_plans(options)

    @given(st.permutations(all_material()))
    def test_the_order_of_the_material_does_not_matter(self, items):
        assert make_plans(RICH_OPTIONS, items=items, numbers=range(5)) == make_plans(RICH_OPTIONS, numbers=range(5))

    def test_a_clip_does_not_depend_on_the_number_of_clips(self):
        assert make_plans(numbers=[150]) == [make_plans()[150]]

    def test_different_numbers_give_different_clips(self):
        plans = make_plans()
        assert len({plan.clip_id for plan in plans}) == len(plans)
        drawn = {(plan.speech.ref.utterance_id, plan.speech_offset, plan.length, plan.peak_dbfs) for plan in plans}
        assert len(drawn) == len(plans)

    def test_another_seed_gives_another_set(self):
        other = make_plans(dataclasses.replace(OPTIONS, seed=8))
        assert all(plan.peak_dbfs != other.peak_dbfs for plan, other in zip(make_plans(), other, strict=True))
        assert {plan.clip_id for plan in other}.isdisjoint(plan.clip_id for plan in make_plans())

    def test_clip_ids_sort_by_number(self):
        ids = [plan.clip_id for plan in make_plans()]
        assert ids == sorted(ids)
        assert ids[12] == "7-00000012"

    def test_speech_noise_and_rooms_come_from_one_split(self):
        pairs = Counter()
        split = {item.ref.utterance_id: item.split for item in all_material()}
        for plan in make_plans(RICH_OPTIONS, numbers=range(600)):
            for sound in filter(None, (plan.noise, plan.music, plan.second_voice)):
                for segment in sound.segments:
                    pairs[segment.material.kind, plan.speech.split, segment.material.split] += 1
            for degradation in plan.degradations:
                if isinstance(degradation, Reverb) and isinstance(degradation.room, RecordedRoom):
                    pairs["rir", plan.speech.split, split[degradation.room.ref.utterance_id]] += 1
        kinds = ("noise", "music", "speech", "rir")
        assert set(pairs) == {(kind, name, name) for kind in kinds for name in ("train", "val")}

    def test_sounds_are_drawn_from_their_kinds(self):
        for plan in make_plans(RICH_OPTIONS):
            sounds = (plan.noise, "noise"), (plan.music, "music"), (plan.second_voice, "speech")
            assert plan.speech.kind == "speech"
            assert all(segment.material.kind == kind for sound, kind in sounds if sound for segment in sound.segments)

    def test_new_sounds_do_not_change_the_other_draws(self):
        options = dataclasses.replace(RICH_OPTIONS, no_speech_ratio=0.0, partial_degradation_ratio=0.0)
        for plan, other in zip(make_plans(options), make_plans(ALL_OPTIONS), strict=True):
            assert dataclasses.replace(plan, music=None, second_voice=None) == other

    def test_a_second_voice_is_another_speaker_within_the_recording(self):
        voices = [(plan, plan.second_voice) for plan in make_plans(RICH_OPTIONS) if plan.second_voice]
        assert len(voices) / len(NUMBERS) == pytest.approx(0.5 * 0.6, abs=0.1)
        for plan, voice in voices:
            (segment,) = voice.segments
            assert segment.material.group != plan.speech.group
            assert 0 <= segment.offset <= segment.material.num_samples - voice.length
            assert 0 <= voice.start <= plan.length - voice.length
            assert 0.0 <= voice.snr_db <= 20.0

    def test_a_single_speaker_has_no_second_voice(self):
        items = [item for item in all_material() if item.kind != "speech" or item.group == "a"]
        plans = make_plans(dataclasses.replace(RICH_OPTIONS, second_voice_ratio=1.0), items)
        assert not any(plan.second_voice for plan in plans)

    def test_clips_without_speech_have_a_single_sound_and_no_room(self):
        plans = [plan for plan in make_plans(RICH_OPTIONS, numbers=range(400)) if not plan.has_speech]
        assert len(plans) / 400 == pytest.approx(0.4, abs=0.08)
        found = Counter()
        for plan in plans:
            (sound,) = filter(None, (plan.noise, plan.music, plan.quiet))
            kinds = [item.KIND for item in plan.degradations]
            is_floor = isinstance(sound, NoiseFloor)
            name = "noise" if plan.noise else "music" if plan.music else sound.KIND + " hum" * ("hum" in kinds)
            found[name] += 1
            assert "reverb" not in kinds
            assert plan.second_voice is None
            assert plan.variations == ()
            assert (plan.peak_dbfs < -50.0) == (is_floor and not kinds)
        assert set(found) == {"noise", "music", "tones", "noise_floor", "noise_floor hum"}

    def test_without_music_no_clip_is_music(self):
        items = [item for item in all_material() if item.kind != "music"]
        plans = make_plans(dataclasses.replace(RICH_OPTIONS, music_ratio=0.0, no_speech_ratio=1.0), items)
        assert all(plan.music is None for plan in plans)

    def test_a_share_of_the_degradations_covers_a_part(self):
        plans = make_plans(dataclasses.replace(RICH_OPTIONS, no_speech_ratio=0.0, degradation_ratio=1.0))
        shown = [(plan, item) for plan in plans for item in plan.degradations if item.KIND not in NEVER_PARTIAL]
        parts = [(plan, item) for plan, item in shown if isinstance(item, Partial)]
        assert len(parts) / len(shown) == pytest.approx(0.5, abs=0.1)
        for plan, part in parts:
            assert 0 <= part.start < part.end <= plan.length
            assert 0.3 <= (part.end - part.start) / SAMPLE_RATE <= 0.6
        assert not any(isinstance(item, Partial) for plan in make_plans(ALL_OPTIONS) for item in plan.degradations)

    def test_speakers_are_drawn_equally_often_whatever_their_amount_of_speech(self):
        drawn = Counter(plan.speech.group for plan in make_plans(numbers=range(1_400)))
        assert set(drawn) == set("abcdefg")
        assert all(140 <= count <= 260 for count in drawn.values())  # 200 each, within 4.6 sigma

    def test_all_drawn_values_are_in_their_ranges(self):
        for plan in make_plans():
            assert 0 < plan.length <= plan.speech.num_samples - plan.speech_offset
            assert plan.length <= 2.0 * SAMPLE_RATE
            assert plan.speech_offset >= 0
            assert -12.0 <= plan.peak_dbfs <= -3.0
            assert (plan.degradations, plan.variations) == ((), ())
            if plan.noise:
                (segment,) = plan.noise.segments
                assert 0 <= segment.offset < segment.material.num_samples
                assert -5.0 <= plan.noise.snr_db <= 5.0 or plan.noise.snr_db == 20.0
                assert (plan.noise.start, plan.noise.length) == (0, plan.length)

    def test_the_number_and_the_extent_of_noises_follow_the_options(self):
        noises = [(plan.noise, plan.length) for plan in make_plans(ALL_OPTIONS, numbers=range(400)) if plan.noise]
        assert {len(noise.segments) for noise, _ in noises} == {1, 2, 3}
        partial = [(noise, length) for noise, length in noises if noise.length < length]
        assert len(partial) / len(noises) == pytest.approx(0.5, abs=0.1)
        for noise, length in partial:
            assert 0.3 <= noise.length / SAMPLE_RATE <= 0.6
            assert 0 <= noise.start <= length - noise.length
            assert all(-3.0 <= segment.level_db <= 3.0 for segment in noise.segments)

    def test_a_part_longer_than_the_clip_covers_it_whole(self):
        long = dataclasses.replace(ALL_OPTIONS, partial_ratio=1.0, partial_s=(60.0, 90.0))
        assert all(plan.noise.length == plan.length for plan in make_plans(long) if plan.noise)

    @pytest.mark.parametrize(
        ("name", "field"), [("degradation_ratio", "degradations"), ("variation_ratio", "variations")]
    )
    @pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
    def test_the_share_of_clips_with_a_step_follows_its_ratio(self, name, field, ratio):
        plans = make_plans(dataclasses.replace(ALL_OPTIONS, expander_ratio=0.0, **{name: ratio}), numbers=range(400))
        assert np.mean([bool(getattr(plan, field)) for plan in plans]) == pytest.approx(
            ratio, abs=0.08 * (0 < ratio < 1)
        )

    def test_one_ratio_does_not_change_the_other_draws(self):
        for changes in ({"degradation_ratio": 1.0}, {"variation_ratio": 1.0}):
            others = make_plans(dataclasses.replace(ALL_OPTIONS, **changes))
            kept = {"degradation_ratio": "variations", "variation_ratio": "degradations"}[next(iter(changes))]
            for plan, other in zip(make_plans(ALL_OPTIONS), others, strict=True):
                for field in ("speech", "speech_offset", "length", "noise", "peak_dbfs", kept):
                    assert getattr(plan, field) == getattr(other, field)

    def test_an_expander_comes_first_and_does_not_change_the_other_draws(self):
        def expanders(plan):
            return [item for item in plan.variations if isinstance(item, Expander)]

        without = make_plans(dataclasses.replace(ALL_OPTIONS, expander_ratio=0.0))
        for plan, other in zip(make_plans(dataclasses.replace(ALL_OPTIONS, expander_ratio=1.0)), without, strict=True):
            assert expanders(plan) == [plan.variations[0]]
            assert dataclasses.replace(plan, variations=plan.variations[1:]) == other

    def test_the_speed_does_not_change_the_other_draws(self):
        """The recording and its degradations stay the same. The length, and so the position of the noise, may differ."""
        for plan, other in zip(
            make_plans(ALL_OPTIONS), make_plans(dataclasses.replace(ALL_OPTIONS, speed_ratio=0.0)), strict=True
        ):
            assert other.speed == 1.0
            for field in ("speech", "variations", "degradations"):
                assert getattr(plan, field) == getattr(other, field)
            if plan.speed == 1.0:
                assert plan == other

    def test_speeds_are_balanced_and_need_no_more_speech_than_the_recording_has(self):
        plans = make_plans(
            dataclasses.replace(ALL_OPTIONS, speed_ratio=1.0, duration_s=(1.0, 30.0)), numbers=range(400)
        )
        speeds = np.array([plan.speed for plan in plans])
        assert speeds.min() >= 1 / 1.2
        assert speeds.max() <= 1.2
        assert np.mean(speeds > 1) == pytest.approx(0.5, abs=0.08)
        for plan in plans:
            assert plan.length * plan.speed <= plan.speech.num_samples - plan.speech_offset
            assert plan.length > 0

    def test_half_of_the_rooms_are_recorded_if_there_are_any(self):
        options = dataclasses.replace(ALL_OPTIONS, degradation_ratio=1.0, degradations=parse_degradations("reverb"))
        for kinds, share in (({"speech", "noise", "rir"}, 0.5), ({"speech", "noise"}, 0.0)):
            items = [item for item in all_material() if item.kind in kinds]
            rooms = [plan.degradations[0].room for plan in make_plans(options, items)]
            assert np.mean([isinstance(room, RecordedRoom) for room in rooms]) == pytest.approx(share, abs=0.1)

    def test_snr_ranges_are_drawn_equally_often(self):
        snrs = [plan.noise.snr_db for plan in make_plans(numbers=range(800)) if plan.noise]
        assert np.mean(np.array(snrs) == 20.0) == pytest.approx(0.5, abs=0.08)

    @pytest.mark.parametrize(("clean_ratio", "low", "high"), [(0.0, 0, 0), (0.25, 30, 70), (1.0, 200, 200)])
    def test_the_share_of_clean_clips_follows_its_ratio(self, clean_ratio, low, high):
        plans = make_plans(dataclasses.replace(OPTIONS, clean_ratio=clean_ratio))
        clean = [plan for plan in plans if plan.noise is None]
        assert low <= len(clean) <= high

    def test_speech_shorter_than_the_clip_is_used_whole(self):
        plans = make_plans(dataclasses.replace(OPTIONS, duration_s=(3.0, 3.0)))
        short = [plan for plan in plans if plan.speech.num_samples < 3 * SAMPLE_RATE]
        assert short
        assert all((plan.speech_offset, plan.length) == (0, plan.speech.num_samples) for plan in short)
        assert {plan.length for plan in plans if plan not in short} == {3 * SAMPLE_RATE}

    def test_a_catalog_without_speech_is_a_fault(self):
        with pytest.raises(AudioFault, match="there is no speech to draw from"):
            make_plans(items=[item for item in all_material() if item.kind == "noise"])

    def test_a_noisy_clip_in_a_split_without_noise_is_a_fault(self):
        items = [item for item in all_material() if (item.kind, item.split) != ("noise", "val")]
        with pytest.raises(AudioFault, match="there is no noise to draw from in the split 'val'"):
            make_plans(items=items)
        assert len(make_plans(dataclasses.replace(OPTIONS, clean_ratio=1.0), items)) == len(NUMBERS)
