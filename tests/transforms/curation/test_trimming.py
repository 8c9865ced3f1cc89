"""Trimming: the spans that are left of utterances, and those that are removed."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.anomalies import find_anomalies
from model.labels import PESQ_WB
from model.pooling import pool
from tests.support.outputs import diagnosis_of, scored, write_output
from transforms.audio.signal_facts import facts_of
from transforms.curation.selection import Selection
from transforms.curation.trimming.plan import TrimError, TrimPlan
from transforms.elements import FrameFacts, ScoredUtterance
from transforms.marks import UNLIKE, VOICE_PER_CHANNEL
from transforms.output.results import open_results

# Lengths of good and bad stretches in turn, in frames.
STRETCHES = st.lists(st.integers(10, 300), min_size=1, max_size=9)


def frames_of(stretches: list[int], starts_bad: bool, seed: int) -> np.ndarray:
    scores = [np.full(length, 1.2 if (place + starts_bad) % 2 else 4.0) for place, length in enumerate(stretches)]
    noise = np.random.default_rng(seed).normal(0, 0.05, sum(stretches))
    return (np.concatenate(scores) + noise).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Trimmed:
    """The result of trimming.

    Attributes:
        candidates: rows of `utterances` that rules would decide on.
        removed: rows of removed spans, as in dropped.parquet.
    """

    candidates: list[dict]
    removed: list[dict]


def trim(root: Path, **options) -> Trimmed:
    """Trims the utterances of an output."""
    with Selection(open_results(str(root)), root) as selection:
        selection.trim(TrimPlan(**options))
        selection.apply_rules([])
        candidates = sorted(selection.kept_table().to_pylist(), key=lambda row: row["start_s"])
        selection.write_dropped(root / "dropped.parquet")
        return Trimmed(candidates, pq.read_table(root / "dropped.parquet").to_pylist())


def trimmed(root: Path, utterances, **options) -> Trimmed:
    return trim(write_output(root, utterances), **options)


def parent_of(row: dict) -> str:
    return row["utterance_id"].partition("#")[0]


def place_us(row: dict, parent_start_s: float) -> tuple[int, int]:
    """Start and end in the parent, in microseconds."""
    start_s = row["start_s"] - parent_start_s
    return round(start_s * 1e6), round((start_s + row["duration_s"]) * 1e6)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(STRETCHES, st.booleans(), st.integers(0, 99)), min_size=1, max_size=3),
    st.floats(0.1, 3),
    st.floats(0, 0.5),
    st.floats(0, 0.0159),
)
def test_spans_have_no_anomalies_and_meet_the_removed_ones(parts, min_s, pad_s, extra_s):
    frames = {f"u{place}": frames_of(*part) for place, part in enumerate(parts)}
    utterances = [
        scored(name, found, start_s=2.5 * place, duration_s=((len(found) - 1) * 256 + 512) / 16_000 + extra_s)
        for place, (name, found) in enumerate(frames.items())
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = trimmed(Path(folder) / "out", utterances, min_s=min_s, pad_s=pad_s)
    candidates = {row["utterance_id"]: row for row in found.candidates}
    assert len(candidates) == len(found.candidates)
    for place, (name, frame_score) in enumerate(frames.items()):
        length_s = utterances[place].utterance.duration_s
        anomalies = find_anomalies(frame_score, PESQ_WB.span)
        kept = [place_us(row, 2.5 * place) for row in found.candidates if parent_of(row) == name]
        rest = [place_us(row, 2.5 * place) for row in found.removed if parent_of(row) == name]
        if not anomalies:
            assert kept == [(0, round(length_s * 1e6))]
            assert not rest
            assert candidates[name]["duration_s"] == pytest.approx(length_s)
            continue
        # Kept and removed spans meet, from the start to the end.
        ends = [0]
        for start, end in sorted(kept + rest):
            assert start == ends[-1] < end
            ends.append(end)
        assert ends[-1] == round(length_s * 1e6)
        for start, end in kept:
            assert end - start >= round(min_s * 1e6)
            assert start % 16_000 == 0
            assert all(
                end <= (anomaly.start_s - pad_s) * 1e6 + 1 or start >= (anomaly.end_s + pad_s) * 1e6 - 1
                for anomaly in anomalies
            )
        # Every long enough stretch is kept, except for less than a frame shift at its start.
        edges = [0.0, *(t for anomaly in anomalies for t in (anomaly.start_s - pad_s, anomaly.end_s + pad_s)), length_s]
        for start_s, end_s in zip(edges[::2], edges[1::2], strict=True):
            if end_s - start_s >= min_s + 0.02:
                assert any(start_s - 1e-4 <= start / 1e6 <= start_s + 0.0161 for start, _ in kept)


def test_a_span_is_an_utterance_of_its_own(tmp_path):
    found = frames_of([300, 60, 200], False, 1)
    root = write_output(tmp_path / "out", [scored("u", found, start_s=10.0, dc_offset=0.25, hum_db=-20.0)])
    first, second = trim(root).candidates
    (whole,) = pq.read_table(root / "utterances").to_pylist()
    assert first["utterance_id"] == f"u#0.000-{first['duration_s']:.3f}"
    assert (first["start_s"], second["start_s"] + second["duration_s"]) == pytest.approx(
        (10.0, 10.0 + whole["duration_s"])
    )
    for row in (first, second):
        begin = round((row["start_s"] - 10.0) / 0.016)
        inside = found[begin : begin + row["num_frames"]]
        # The scores of two frames next to the cut saw what was cut off.
        away = inside[:-2] if row is first else inside[2:]
        assert row["num_frames"] == 1 + int((row["duration_s"] - 0.032 + 1e-6) / 0.016)
        assert row["score"] == pytest.approx(pool(away), abs=1e-5)
        assert row["frame_score_p10"] == pytest.approx(np.percentile(away, 10), abs=1e-5)
        assert row["frame_score_min"] == away.min()
        assert row["frame_score_std"] == pytest.approx(away.std(), abs=1e-5)
        assert (row["anomaly_s"], row["num_anomalies"], row["flags"], row["causes"]) == (0, 0, [], ["hum"])
        for name in ("uri", "dc_offset", "source_version", "model_id", "format", "channel"):
            assert row[name] == pytest.approx(whole[name])
        assert row["hum_db"] + row["rms_dbfs"] == pytest.approx(whole["hum_db"] + whole["rms_dbfs"], abs=1e-4)


def measured(item: ScoredUtterance, **changes: np.ndarray) -> ScoredUtterance:
    """The same utterance with other measurements of its frames, and the facts that follow from them."""
    frames = dataclasses.replace(item.utterance.frame_facts, **changes)
    share = float(frames.clipped.mean())
    facts = facts_of(frames, dc_offset=0.0, hum_dbfs=None, clipped_per_frame=0.25 if share else 0.0)
    return dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, frame_facts=frames, facts=facts))


def test_the_facts_of_a_span_are_measured_on_it(tmp_path):
    found = frames_of([200, 60, 200], False, 1)
    place = np.arange(len(found))
    last = place >= 260
    moving = -(place % 20 // 4)
    item = measured(
        scored("u", found),
        level_dbfs=np.where(place < 60, -90, np.where(last, -30, -20) + moving).astype(np.float32),
        peak_dbfs=(np.where(last, -15, -6) + moving).astype(np.float32),
        bandwidth_hz=np.where(last, 3_400, 7_900).astype(np.float32),
        clipped=(place % 20 == 0) & ~last,
        dropout_s=np.where(place == 300, 0.0625, 0).astype(np.float32),
    )
    first, second = trimmed(tmp_path / "out", [item], pad_s=0.0).candidates
    for row, frames in ((first, slice(0, first["num_frames"])), (second, slice(-second["num_frames"], None))):
        whole = item.utterance.frame_facts
        part = FrameFacts(*(getattr(whole, field.name)[frames] for field in dataclasses.fields(FrameFacts)))
        facts = dataclasses.asdict(facts_of(part, dc_offset=0.0, hum_dbfs=None, clipped_per_frame=0.25))
        assert facts.pop("hum_db") is row["hum_db"] is None
        assert {name: row[name] for name in facts} == pytest.approx(facts, rel=1e-5)
    assert (first["peak_dbfs"], first["lead_silence_s"]) == pytest.approx((-6.0, 60 * 0.016))
    assert (first["flags"], first["causes"]) == (["clipped"], ["clipping"])
    assert (second["peak_dbfs"], second["bandwidth_hz"], second["lead_silence_s"]) == pytest.approx((-15.0, 3_400, 0.0))
    assert (second["flags"], second["causes"]) == (["narrow_band"], ["dropouts", "band_limit"])
    assert (second["dropouts"], second["dropout_s"]) == (1, 0.0625)


@pytest.mark.parametrize("level", [-200.0, -70.0], ids=["digital silence", "a quiet room"])
def test_a_span_of_silence_is_removed(tmp_path, level):
    found = frames_of([200, 60, 200, 60, 100], False, 1)
    place = np.arange(len(found))
    is_quiet = (place >= 260) & (place < 460)
    level_dbfs = np.where(is_quiet, level - place % 7 // 2, -20 - place % 20 // 4).astype(np.float32)
    result = trimmed(tmp_path / "out", [measured(scored("u", found), level_dbfs=level_dbfs)])
    first, last = (place_us(row, 0.0) for row in result.candidates)
    assert [place_us(row, 0.0) for row in result.removed] == [(first[1], last[0])]


def test_a_span_without_speech_is_flagged(tmp_path):
    found = frames_of([200, 60, 200], False, 1)
    item = scored("u", found)
    level_dbfs = np.where(np.arange(len(found)) < 260, item.utterance.frame_facts.level_dbfs, -25).astype(np.float32)
    first, hum = trimmed(tmp_path / "out", [measured(item, level_dbfs=level_dbfs)]).candidates
    assert (first["flags"], hum["flags"]) == ([], ["no_speech"])


def test_marks_of_the_recording_are_those_of_its_spans(tmp_path):
    item = scored("u", frames_of([200, 60, 200], False, 1))
    marks = ("upsampled", "antiphase", UNLIKE, VOICE_PER_CHANNEL)
    item = dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, marks=marks))
    for row in trimmed(tmp_path / "out", [item]).candidates:
        assert row["flags"] == ["upsampled", "antiphase", UNLIKE]
        assert row["causes"] == ["channel", "second_voice"]


def test_pieces_have_the_speech_and_the_main_causes_of_their_frames(tmp_path):
    # Half of the second piece has speech.
    spans = {"reverberation": [(0, 460)], "noise": [(195, 265), (400, 460)], "hum": [(450, 455)]}
    diagnosis = diagnosis_of(460, spans=spans)
    diagnosis.values[360:, 0] = 0.3
    item = scored("u", frames_of([200, 60, 200], False, 1), diagnosis=diagnosis, clipped_ratio=0.0)
    first, second = trimmed(tmp_path / "out", [item]).candidates
    assert (first["flags"], first["causes"], second["causes"]) == ([], ["reverberation"], ["reverberation", "noise"])
    assert first["speech_s"] == pytest.approx(first["num_frames"] * 0.016)
    frames_with_speech = 360 - round(second["start_s"] / 0.016)
    assert second["speech_s"] == pytest.approx(frames_with_speech * 0.016)


def test_pieces_have_the_causes_that_a_model_hears_without_hearing_speech(tmp_path):
    whole = diagnosis_of(460, speech=0.0, spans={"reverberation": [(0, 460)], "hum": [(0, 460)]})
    diagnosis = dataclasses.replace(whole, trained=frozenset({"reverberation"}))
    item = scored("u", frames_of([200, 60, 200], False, 1), diagnosis=diagnosis)
    for row in trimmed(tmp_path / "out", [item]).candidates:
        assert (row["flags"], row["causes"], row["speech_s"]) == ([], ["reverberation"], row["active_s"])


@pytest.mark.parametrize("elsewhere", [0.0, 0.75])
def test_a_piece_with_speech_of_a_recording_without_enough_has_no_flag(tmp_path, elsewhere):
    diagnosis = diagnosis_of(2_060, speech=elsewhere)
    diagnosis.values[:80, 0] = 1.0
    item = scored("u", frames_of([200, 60, 1_800], False, 1), diagnosis=diagnosis, active_s=32.96)
    first, second = trimmed(tmp_path / "out", [item]).candidates
    assert (first["flags"], second["flags"]) == ([], ["no_speech"])


def test_a_piece_in_which_speech_is_nowhere_certain_has_the_flag(tmp_path):
    diagnosis = diagnosis_of(460)
    diagnosis.values[260:, 0] = 0.75
    item = scored("u", frames_of([200, 60, 200], False, 1), diagnosis=diagnosis)
    first, second = trimmed(tmp_path / "out", [item]).candidates
    assert (first["flags"], second["flags"]) == ([], ["no_speech"])
    assert second["speech_s"] > 3.0


def test_a_second_voice_that_is_only_heard_is_no_voice_of_another_channel(tmp_path):
    diagnosis = diagnosis_of(460, spans={"second_voice": [(0, 200)]})
    first, second = trimmed(
        tmp_path / "out", [scored("u", frames_of([200, 60, 200], False, 1), diagnosis=diagnosis)]
    ).candidates
    assert (first["causes"], second["causes"]) == (["second_voice"], [])


def test_frames_without_measurements_are_refused(tmp_path):
    root = write_output(tmp_path / "out", [scored("u", frames_of([200, 60, 200], False, 1))])
    (path,) = (root / "frames").glob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["level_dbfs"]), path)
    with pytest.raises(TrimError, match="an older version scored the corpus"):
        trim(root)


def test_a_short_span_is_flagged(tmp_path):
    utterance = scored("u", frames_of([60, 60, 200], False, 1))
    short, long = trimmed(tmp_path / "out", [utterance], min_s=0.5, pad_s=0.0).candidates
    assert (short["flags"], long["flags"]) == (["very_short"], [])


def test_spans_are_pooled_as_the_model_does(tmp_path):
    frame_score = frames_of([300, 60, 200], False, 3)
    item = scored("u", frame_score)
    root = write_output(tmp_path / "out", [item])
    (path,) = (root / "utterances").glob("*.parquet")
    _rescore(path, {"u": pool(frame_score, "pesq")})
    first, _ = trim(root).candidates
    assert first["score"] == pytest.approx(pool(frame_score[: first["num_frames"] - 2], "pesq"), abs=1e-5)


def test_scores_that_are_not_pooled_from_the_frames_are_refused(tmp_path):
    root = write_output(tmp_path / "out", [scored("u", frames_of([300, 60, 200], False, 3))])
    (path,) = (root / "utterances").glob("*.parquet")
    _rescore(path, {"u": 1.0})
    with pytest.raises(TrimError, match=r"differ by 2\.\d+ from every known pooling"):
        trim(root)


def _rescore(path: Path, scores: dict[str, float]) -> None:
    table = pq.read_table(path)
    column = pa.array([scores[name] for name in table["utterance_id"].to_pylist()], pa.float32())
    pq.write_table(table.set_column(table.schema.names.index("score"), table.schema.field("score"), column), path)


@pytest.mark.parametrize("missing", ["some frames", "all frames"])
def test_missing_frames_are_refused(tmp_path, missing):
    root = write_output(tmp_path / "out", [scored("u", frames_of([300, 60, 200], False, 3)), scored("v", 4.0)])
    (path,) = (root / "frames").glob("*.parquet")
    table = pq.read_table(path)
    last = 500 if missing == "some frames" else 0
    pq.write_table(table.filter((table["frame"].to_numpy() < last) | (table["utterance_id"].to_numpy() == "v")), path)
    with pytest.raises(TrimError, match="some are missing in `frames`"):
        trim(root)


def test_an_id_that_is_taken_is_refused(tmp_path):
    utterance = scored("u", frames_of([300, 60, 200], False, 1))
    taken = trimmed(tmp_path / "first", [utterance]).candidates[0]["utterance_id"]
    with pytest.raises(TrimError, match=f"would create an utterance '{taken}'"):
        trimmed(tmp_path / "out", [utterance, scored(taken, 4.0)])


def test_an_utterance_without_good_spans_is_removed_whole(tmp_path):
    result = trimmed(tmp_path / "out", [scored("u", frames_of([40, 60, 50], False, 1)), scored("v", 4.0)])
    assert [row["utterance_id"] for row in result.candidates] == ["v"]
    (removed,) = result.removed
    assert (removed["utterance_id"], place_us(removed, 0.0)) == ("u", (0, 2_416_000))
