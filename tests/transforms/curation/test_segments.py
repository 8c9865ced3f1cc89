"""Division of an utterance into segments of speech."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.segmentation import runs_of
from transforms.corpus.word_times import Word, cut_tolerance_us
from transforms.curation.rules import SEGMENT_EDGE, SEGMENT_LONG, SEGMENT_PAUSE, SEGMENT_SHORT, TRIM
from transforms.curation.trimming.plan import SegmentLimits
from transforms.curation.trimming.segments import MAX_PAUSE, MIN_PAUSE_FRAMES, Part, find_segments

SHIFT_US = 16_000
# Lengths of speech and silence in turn, in frames.
RUNS = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 200)), min_size=1, max_size=12)


def speech_of(runs: list[tuple[int, int]], starts_silent: bool = False) -> np.ndarray:
    """Whether each frame has speech, for runs of speech and silence in turn."""
    speech = [value for run in runs for value, length in zip((True, False), run, strict=True) for _ in range(length)]
    return np.array([False] * (20 * starts_silent) + speech)


def divide(speech: np.ndarray, limits: tuple[float, float], extra_us: int = 0, **options) -> list[Part]:
    """The parts of an utterance whose frames are all equally loud."""
    duration_us = (len(speech) + 1) * SHIFT_US + extra_us
    return find_segments(speech, np.zeros(len(speech)), duration_us, SegmentLimits(*limits), **options)


def seconds(parts: list[Part]) -> list[tuple[float, float, str | None]]:
    return [(part.start_us / 1e6, part.end_us / 1e6, part.reason) for part in parts]


def tiled(cuts: list[int], duration_us: int) -> list[Word]:
    """Words that follow each other without a gap, as some recognisers write them."""
    edges = sorted({0, *(cut % duration_us for cut in cuts), duration_us})
    return [Word("w", start / 1e6, end / 1e6) for start, end in itertools.pairwise(edges)]


@settings(max_examples=300)
@given(
    RUNS,
    st.booleans(),
    st.integers(0, 15_999),
    st.tuples(st.floats(0.5, 4), st.floats(0.1, 12)),
    st.lists(st.tuples(st.integers(0, 70_000_000), st.integers(1, 6_000_000)), max_size=4),
    st.lists(st.integers(0, 100_000_000), max_size=40),
    st.integers(0, 99),
)
def test_segments_keep_all_promises(runs, starts_silent, extra_us, lengths, stretches, cuts, seed):
    speech = speech_of(runs, starts_silent)
    duration_us = (len(speech) + 1) * SHIFT_US + extra_us
    limits = SegmentLimits(lengths[0], lengths[0] + lengths[1])
    bad = [(start % duration_us, min(start % duration_us + length, duration_us)) for start, length in stretches]
    words = tiled(cuts, duration_us) if cuts else []
    level_dbfs = np.random.default_rng(seed).normal(-50, 5, len(speech))
    parts = find_segments(speech, level_dbfs, duration_us, limits, bad, words)
    # In order, without an overlap or a gap, from the start to the end: nothing is lost.
    assert [part.start_us for part in parts] == [0, *(part.end_us for part in parts[:-1])]
    assert parts[-1].end_us == duration_us
    assert all(part.start_us < part.end_us for part in parts)
    silences = [(first, end) for first, end in runs_of(~speech).tolist() if end - first >= MIN_PAUSE_FRAMES]
    for part in parts:
        if part.reason is not None:
            continue
        assert round(limits.min_s * 1e6) <= part.end_us - part.start_us <= round(limits.max_s * 1e6)
        assert all(part.end_us <= start or end <= part.start_us for start, end in bad)
        for point, time_us in ((part.start, part.start_us), (part.end, part.end_us)):
            if time_us in (0, duration_us):
                continue
            assert time_us == point * SHIFT_US
            # Frame `point - 1` has the cut inside it; a whole pause is around it.
            inside = [(first, end) for first, end in silences if first <= point - 1 < end]
            assert inside or not (speech[: point - 1].any() and speech[point:].any())
            assert not speech[point - 1]
            for word in words:
                start_us, end_us = round(word.start_s * 1e6), round(word.end_s * 1e6)
                assert not start_us + cut_tolerance_us(word) < time_us < end_us - cut_tolerance_us(word)
        if not words:
            assert all(
                end - first - 1 <= MAX_PAUSE or end > part.end or first < part.start
                for first, end in silences
                if speech[part.start : first].any() and speech[end : part.end].any()
            )
    for part in parts:
        if part.reason == SEGMENT_PAUSE:
            assert not speech[part.start : max(part.end - 1, part.start)].any()
        if part.reason == TRIM:
            assert any(
                start // SHIFT_US * SHIFT_US <= part.start_us and part.end_us <= end + SHIFT_US
                for start, end in merged(bad)
            )


def merged(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches on the grid of frames, with those joined that meet there."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if joined and start // SHIFT_US * SHIFT_US <= -(-joined[-1][1] // SHIFT_US) * SHIFT_US:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


@settings(max_examples=200)
@given(RUNS)
def test_speech_that_fits_is_never_dropped(runs):
    speech = speech_of(runs)
    parts = divide(speech, (0.5, 3.0))
    for first, end in runs_of(speech).tolist():
        before, after = speech[max(0, first - 13) : first], speech[end : end + 13]
        is_alone = not before.any() and not after.any() and len(after) == 13 and (len(before) == 13 or not first)
        if is_alone and 32 <= end - first <= 150:
            assert any(part.reason is None and part.start <= first and end + 1 <= part.end for part in parts)


def test_long_pauses_are_cut_and_short_ones_are_not():
    # 4 s of speech, 0.32 s of silence, 4 s, 1.6 s of silence, 4 s.
    parts = divide(speech_of([(250, 20), (250, 100), (250, 0)]), (3.0, 30.0))
    assert seconds(parts) == [
        (0.0, pytest.approx(8.352 + 0.224, abs=0.1), None),
        (pytest.approx(8.6, abs=0.1), pytest.approx(9.7, abs=0.1), SEGMENT_PAUSE),
        (pytest.approx(9.7, abs=0.1), 13.936, None),
    ]
    first, _, second = parts
    # 256 ms of the pause on both sides.
    assert (first.end, second.start) == (521 + 16, 620 - 16)


def test_speech_that_is_too_long_is_cut_at_its_longest_pause():
    # The second pause is the longest one; cutting at the first one would do as well for the lengths.
    parts = divide(speech_of([(250, 14), (250, 30), (250, 14), (250, 0)]), (3.0, 10.0))
    assert [part.reason for part in parts] == [None, None]
    assert parts[0].end == pytest.approx(514 + 16, abs=8)


def test_short_pauses_are_cut_where_they_are_quietest():
    speech = speech_of([(250, 24), (250, 0)])
    level_dbfs = np.where(speech, -20.0, -50.0)
    level_dbfs[262] = -70.0
    first, second = find_segments(speech, level_dbfs, 525 * SHIFT_US, SegmentLimits(3.0, 5.0))
    assert (first.end, second.start) == (263, 263)


def test_a_gap_within_a_word_is_no_pause():
    parts = divide(speech_of([(250, MIN_PAUSE_FRAMES - 1), (250, 0)]), (3.0, 5.0))
    assert seconds(parts) == [(0.0, 8.208, SEGMENT_LONG)]
    parts = divide(speech_of([(250, MIN_PAUSE_FRAMES), (250, 0)]), (3.0, 5.0))
    assert [part.reason for part in parts] == [None, None]


def test_speech_without_a_pause_is_dropped_and_the_rest_is_kept():
    # 32 s without a pause, 1 s between pauses of 2.4 s, and 4 s.
    parts = divide(speech_of([(2_000, 150), (62, 150), (250, 0)]), (3.0, 30.0))
    reasons = [part.reason for part in parts]
    assert reasons == [SEGMENT_LONG, SEGMENT_PAUSE, SEGMENT_SHORT, SEGMENT_PAUSE, None]
    assert parts[0].end_us == 2_001 * SHIFT_US


def test_short_speech_joins_its_neighbours():
    parts = divide(speech_of([(62, 60), (62, 110), (62, 0)]), (3.0, 30.0))
    assert [part.reason for part in parts] == [None]
    assert [part.reason for part in divide(speech_of([(62, 30), (62, 140), (62, 0)]), (3.0, 30.0))].count(None) == 0


def test_speech_that_a_bad_stretch_cuts_is_dropped_up_to_the_next_pause():
    # The bad stretch begins in the second speech and ends in the third one.
    speech = speech_of([(250, 20), (250, 20), (250, 20), (250, 0)])
    bad = [(400 * SHIFT_US + 5, 600 * SHIFT_US - 5)]
    parts = divide(speech, (3.0, 30.0), bad=bad)
    assert [part.reason for part in parts] == [
        *(None, SEGMENT_PAUSE, SEGMENT_EDGE, TRIM, SEGMENT_EDGE, SEGMENT_PAUSE, None),
    ]
    assert (parts[3].start, parts[3].end) == (400, 600)
    assert (parts[2].start, parts[4].end) == (270, 791)


def test_silence_is_a_pause_as_a_whole():
    assert seconds(divide(np.zeros(500, bool), (0.5, 3.0))) == [(0.0, 8.016, SEGMENT_PAUSE)]


def test_words_are_not_cut_though_a_pause_seems_to_be_in_them():
    speech = speech_of([(250, 40), (250, 40), (250, 0)])
    whole = [Word("first", 0.1, 4.1), Word("second", 4.55, 8.6), Word("third", 9.4, 13.0)]
    assert [part.reason for part in divide(speech, (3.0, 5.0), words=whole)] == [
        *(None, SEGMENT_PAUSE, None, SEGMENT_PAUSE, None),
    ]
    # The second word begins before the first pause and ends after it.
    across = [Word("first", 0.1, 3.9), Word("second", 3.9, 8.6), Word("third", 9.4, 13.0)]
    parts = divide(speech, (3.0, 5.0), words=across)
    assert [part.reason for part in parts] == [SEGMENT_LONG, SEGMENT_PAUSE, None]


def test_words_without_gaps_are_cut_where_they_meet_in_a_pause():
    speech = speech_of([(250, 40), (250, 0)])
    words = [Word("first", 0.0, 4.333), Word("second", 4.333, 8.6)]
    first, second = divide(speech, (3.0, 5.0), words=words)
    assert first.end_us == second.start_us == pytest.approx(4_333_000, abs=8_000)
