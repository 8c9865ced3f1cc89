"""Selections with segments: the utterances of an output are divided, and every part is kept or dropped for a reason."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.outputs import write_output
from tests.support.talks import TALK, talk
from transforms.corpus.word_times import Word, words_json
from transforms.curation.rules import (
    SEGMENT_EDGE,
    SEGMENT_LONG,
    SEGMENT_PAUSE,
    SEGMENT_REASONS,
    SEGMENT_SHORT,
    TRIM,
)
from transforms.curation.selection import Selection
from transforms.curation.trimming.plan import SegmentLimits, TrimPlan
from transforms.output.results import open_results

LIMITS = SegmentLimits(3.0, 30.0)


class Segmented:
    """The rows of kept.parquet and dropped.parquet after `--segment`, and the counts of the command."""

    def __init__(
        self, root: Path, utterances, limits: SegmentLimits = LIMITS, plan: TrimPlan | None = None, carry=()
    ) -> None:
        write_output(root, utterances, carry=carry)
        with Selection(open_results(str(root)), root) as selection:
            selection.trim(plan, limits)
            selection.apply_rules([])
            selection.write_kept(root / "kept.parquet")
            selection.write_dropped(root / "dropped.parquet")
            self.counts = {count.name: count.matches for count in selection.rule_counts()}
            self.kept_amount, self.dropped_amount = selection.kept(), selection.dropped()
            self.scored_amount = selection.scored()
            self.texts = selection.piece_texts()
        self.kept = sorted(pq.read_table(root / "kept.parquet").to_pylist(), key=lambda row: row["start_s"])
        self.dropped = sorted(pq.read_table(root / "dropped.parquet").to_pylist(), key=lambda row: row["start_s"])

    @property
    def reasons(self) -> list[str]:
        return [reason for row in self.dropped for reason in row["rules"]]


def spans_us(rows: list[dict], name: str) -> list[tuple[int, int]]:
    """Start and end of the rows of an utterance in microseconds."""
    return sorted(
        (round(row["start_s"] * 1e6), round((row["start_s"] + row["duration_s"]) * 1e6))
        for row in rows
        if row["utterance_id"].partition("#")[0] == name
    )


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(1, 900), st.integers(1, 250)), min_size=1, max_size=8),
            st.lists(st.tuples(st.integers(0, 3_000), st.integers(20, 300)), max_size=3),
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ),
    st.floats(0.5, 4),
    st.floats(1, 20),
)
def test_every_second_is_kept_once_or_dropped_for_one_reason(parts, min_s, longer_s):
    utterances = [
        talk(f"u{place}", runs, bad=[(start, start + length) for start, length in bad], hears=hears, duration_s=None)
        for place, (runs, bad, hears) in enumerate(parts)
    ]
    limits = SegmentLimits(min_s, min_s + longer_s)
    with tempfile.TemporaryDirectory() as folder:
        result = Segmented(Path(folder) / "out", utterances, limits)
        found = Path(folder) / "out" / "anomalies"
        anomalies = pq.read_table(found).to_pylist() if found.exists() else []
    active_of = {item.utterance.ref.utterance_id: item.utterance.frame_facts.activity.active for item in utterances}
    for item in utterances:
        name, length_us = item.utterance.ref.utterance_id, round(item.utterance.duration_s * 1e6)
        rows = sorted(spans_us(result.kept, name) + spans_us(result.dropped, name))
        edges = [0]
        for start, end in rows:
            assert start == pytest.approx(edges[-1], abs=2)
            edges.append(end)
        assert edges[-1] == pytest.approx(length_us, abs=2)
    for row in result.kept:
        assert limits.min_s - 1e-5 <= row["duration_s"] <= limits.max_s + 1e-5
        assert row["trimmed"] == ("#" in row["utterance_id"])
        name, start_s = row["utterance_id"].partition("#")[0], row["start_s"]
        for anomaly in anomalies:
            if anomaly["utterance_id"] == name:
                end_s = start_s + row["duration_s"]
                active = active_of[name][round(anomaly["start_s"] / 0.016) : round(anomaly["end_s"] / 0.016) - 1]
                # A segment has up to 256 ms of a long silence, and keeps 0.1 s away from other anomalies.
                overlap_s = 0.256 if len(active) > 250 and not active.any() else -0.1
                assert (
                    min(end_s - anomaly["start_s"], anomaly["end_s"] - start_s)
                    <= overlap_s + 0.02 * (overlap_s > 0) + 1e-4
                )
    assert all(len(row["rules"]) == 1 for row in result.dropped)
    assert set(result.reasons) <= {TRIM, *SEGMENT_REASONS}
    for reason, amount in result.counts.items():
        rows = [row for row in result.dropped if row["rules"] == [reason]]
        assert amount.utterances == len(rows)
        assert amount.seconds == pytest.approx(sum(row["duration_s"] for row in rows), abs=1e-4)
    total = result.kept_amount.seconds + sum(amount.seconds for amount in result.counts.values())
    assert total == pytest.approx(result.scored_amount.seconds, abs=1e-4)
    assert result.dropped_amount.seconds == pytest.approx(total - result.kept_amount.seconds, abs=1e-4)


@pytest.mark.parametrize("hears", [False, True])
def test_a_talk_becomes_utterances_that_end_in_pauses(tmp_path, hears):
    result = Segmented(tmp_path / "out", [talk("talk", hears=hears)])
    assert {row["trimmed"] for row in result.kept} == {True}
    frames = [
        (round(row["start_s"] / 0.016), round((row["start_s"] + row["duration_s"]) / 0.016)) for row in result.kept
    ]
    # 5.6 + 8 s, 12.8 + 9.6 s and 23.36 s; the 1.6 s between long pauses are too short.
    assert frames == [(0, 917), (984, 2_447), (2_894, 4_371)]
    assert result.reasons == [SEGMENT_PAUSE, SEGMENT_PAUSE, SEGMENT_SHORT, SEGMENT_PAUSE]
    assert result.kept[0]["longest_gap_s"] == pytest.approx(0.0 if hears else 0.8)


def test_the_network_decides_where_speech_is(tmp_path):
    # By its level, all of it is active; without the network, there is no pause in it.
    hears = Segmented(tmp_path / "hears", [talk("u", [(600, 60), (1_600, 0)], hears=True)])
    assert [row["rules"] for row in hears.dropped] == [[SEGMENT_PAUSE]]
    assert len(hears.kept) == 2
    deaf = Segmented(tmp_path / "deaf", [talk("u", [(2_260, 0)])])
    assert (deaf.kept, deaf.reasons) == ([], [SEGMENT_LONG])


def test_utterances_within_the_limits_stay_whole_and_short_ones_are_dropped_whole(tmp_path):
    items = [
        talk("good", [(300, 100), (300, 0)]),
        talk("short", [(100, 0)]),
        talk("cut", [(100, 30), (40, 0)], bad=[(20, 60)]),
    ]
    result = Segmented(tmp_path / "out", items)
    assert [(row["utterance_id"], row["trimmed"]) for row in result.kept] == [("good", False)]
    assert sorted((row["utterance_id"], *row["rules"]) for row in result.dropped) == [
        ("cut", SEGMENT_SHORT),
        ("short", SEGMENT_SHORT),
    ]
    assert all(row["score"] is not None for row in result.dropped)


def test_speech_between_a_bad_stretch_and_a_pause_is_dropped_apart(tmp_path):
    runs = [(400, 30), (400, 30), (400, 0)]
    result = Segmented(tmp_path / "out", [talk("u", runs, bad=[(500, 700)])])
    assert result.reasons == [SEGMENT_PAUSE, SEGMENT_EDGE, TRIM, SEGMENT_EDGE, SEGMENT_PAUSE]
    assert len(result.kept) == 2
    assert result.kept[0]["num_anomalies"] == result.kept[1]["num_anomalies"] == 0


def test_segments_have_the_words_inside_them(tmp_path):
    # A word for each half second of speech.
    words, edges = [], np.cumsum([0, *(length for run in TALK for length in run)]) * 0.016
    for start, end in zip(edges[:-1:2], edges[1::2], strict=True):
        words += [
            Word(f"w{len(words) + place}", t, t + 0.4) for place, t in enumerate(np.arange(start, end - 0.5, 0.5))
        ]
    text = " ".join(word.text.upper() for word in words)
    item = talk("talk", columns={"text": text, "words": words_json(words)})
    result = Segmented(tmp_path / "out", [item], carry=["text", "words"])
    assert result.texts == {"words": 3}
    kept = [word for row in result.kept for word in row["text"].split()]
    short = [word.text.upper() for word in words if 40.9 < word.start_s < 42.6]
    assert Counter(kept + short) == Counter(text.split())
    for row in result.kept:
        times = json.loads(row["words"])
        assert [entry["word"].upper() for entry in times] == row["text"].split()
        assert 0 <= times[0]["start"] <= times[-1]["end"] <= row["duration_s"]


def test_no_word_is_cut(tmp_path):
    # Its only word lies across the only pause.
    item = talk("u", [(1_000, 50), (1_000, 0)], columns={"words": words_json([Word("long", 15.0, 18.0)])})
    result = Segmented(tmp_path / "out", [item], carry=["words"])
    assert (result.kept, result.reasons) == ([], [SEGMENT_LONG])
    again = talk("u", [(1_000, 50), (1_000, 0)])
    assert len(Segmented(tmp_path / "again", [again]).kept) == 2


def test_remarks_between_long_silences_are_segments(tmp_path):
    item = talk("u", [(300, 300), (300, 260), (300, 0)])
    result = Segmented(tmp_path / "out", [item])
    assert pq.read_table(tmp_path / "out" / "anomalies").num_rows == 2
    assert len(result.kept) == 3
    assert set(result.reasons) == {SEGMENT_PAUSE}


def test_a_silent_dropout_is_no_pause(tmp_path):
    item = talk("u", [(400, 100), (400, 0)])
    frames = item.utterance.frame_facts
    dropout_s = np.zeros(len(frames), np.float32)
    dropout_s[400:500] = 0.016
    utterance = dataclasses.replace(item.utterance, frame_facts=dataclasses.replace(frames, dropout_s=dropout_s))
    result = Segmented(tmp_path / "out", [dataclasses.replace(item, utterance=utterance)])
    assert TRIM in result.reasons
    assert SEGMENT_PAUSE not in result.reasons


def test_other_stretches_than_anomalies_are_cut_out(tmp_path):
    item = talk("u", [(400, 30), (400, 30), (400, 0)], bad=[(450, 650)], bad_score=3.0)
    result = Segmented(tmp_path / "out", [item], plan=TrimPlan(anomalies=False, below=3.5))
    assert result.reasons.count(TRIM) == 1
    assert len(result.kept) == 2


def test_an_utterance_may_become_segments_without_a_rest(tmp_path):
    # A pause that is cut once; nothing of the utterance is dropped.
    result = Segmented(tmp_path / "out", [talk("u", [(1_500, 20), (1_500, 0)])])
    assert result.dropped == []
    assert [row["trimmed"] for row in result.kept] == [True, True]
    assert result.kept_amount.seconds == pytest.approx(result.scored_amount.seconds)


def test_segments_without_a_sound_are_dropped_as_pauses(tmp_path):
    # The model hears speech in digital silence.
    item = talk("u", [(1_500, 60), (500, 0)], hears=True)
    frames = item.utterance.frame_facts
    level_dbfs = np.where(np.arange(len(frames)) < 1_530, frames.level_dbfs, -200).astype(np.float32)
    frames = dataclasses.replace(frames, level_dbfs=level_dbfs)
    item = dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, frame_facts=frames))
    result = Segmented(tmp_path / "out", [item])
    assert len(result.kept) == 1
    assert result.reasons == [SEGMENT_PAUSE, SEGMENT_PAUSE]
    total = result.kept_amount.seconds + result.dropped_amount.seconds
    assert total == pytest.approx(result.scored_amount.seconds)
