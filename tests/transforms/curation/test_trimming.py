"""What is left of utterances when their anomalies are cut off."""

from __future__ import annotations

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
from tests.support.outputs import scored, write_output
from transforms.curation.trimming import TrimError, trim
from transforms.output.results import open_results
from transforms.scoring.rows import utterance_row

# Good and bad stretches in turn, in frames.
STRETCHES = st.lists(st.integers(10, 300), min_size=1, max_size=9)


def frames_of(stretches: list[int], starts_bad: bool, seed: int) -> np.ndarray:
    scores = [np.full(length, 1.2 if (place + starts_bad) % 2 else 4.0) for place, length in enumerate(stretches)]
    noise = np.random.default_rng(seed).normal(0, 0.05, sum(stretches))
    return (np.concatenate(scores) + noise).astype(np.float32)


def trimmed(root: Path, utterances, **options):
    connection = open_results(str(write_output(root, utterances))).connect()
    trim(connection, **options)
    return connection


def rows(connection, table: str) -> list[dict]:
    return connection.sql(f"FROM {table}").to_arrow_table().to_pylist()


@settings(max_examples=40)
@given(
    st.lists(st.tuples(STRETCHES, st.booleans(), st.integers(0, 99)), min_size=1, max_size=3),
    st.floats(0.1, 3),
    st.floats(0, 0.5),
    st.floats(0, 0.0159),
)
def test_spans_are_good_and_with_the_rest_they_are_all(parts, min_s, pad_s, beyond_s):
    frames = {f"u{place}": frames_of(*part) for place, part in enumerate(parts)}
    utterances = [
        scored(name, found, start_s=2.5 * place, duration_s=((len(found) - 1) * 256 + 512) / 16_000 + beyond_s)
        for place, (name, found) in enumerate(frames.items())
    ]
    with tempfile.TemporaryDirectory() as folder:
        connection = trimmed(Path(folder) / "out", utterances, min_s=min_s, pad_s=pad_s)
        listed = rows(connection, "entries")
        spans, cut_off = rows(connection, "spans"), rows(connection, "cut_off")
    entries = {row["utterance_id"]: row for row in listed}
    assert len(entries) == len(listed)
    for place, (name, found) in enumerate(frames.items()):
        length_s = utterances[place].utterance.duration_s
        anomalies = find_anomalies(found, PESQ_WB.span)
        mine = sorted((span["start_us"], span["end_us"]) for span in spans if span["parent_id"] == name)
        rest = sorted((piece["start_us"], piece["end_us"]) for piece in cut_off if piece["parent_id"] == name)
        if not anomalies:
            assert not mine
            assert not rest
            assert entries[name]["duration_s"] == pytest.approx(length_s)
            continue
        # They meet end to end, from the start to the end.
        ends = [0]
        for start, end in sorted(mine + rest):
            assert start == ends[-1] < end
            ends.append(end)
        assert ends[-1] == round(length_s * 1e6)
        for start, end in mine:
            assert end - start >= round(min_s * 1e6)
            assert start % 16_000 == 0
            assert all(
                end <= (anomaly.start_s - pad_s) * 1e6 + 1 or start >= (anomaly.end_s + pad_s) * 1e6 - 1
                for anomaly in anomalies
            )
        # Nothing that is long enough is thrown away, but for what is lost between two frames.
        edges = [0.0, *(t for anomaly in anomalies for t in (anomaly.start_s - pad_s, anomaly.end_s + pad_s)), length_s]
        for start_s, end_s in zip(edges[::2], edges[1::2], strict=True):
            if end_s - start_s >= min_s + 0.02:
                assert any(start_s - 1e-4 <= start / 1e6 <= start_s + 0.0161 for start, _ in mine)


def test_a_span_is_an_utterance_of_its_own(tmp_path):
    found = frames_of([300, 60, 200], False, 1)
    utterance = scored("u", found, start_s=10.0, clipped_ratio=0.5, snr_db=None)
    connection = trimmed(tmp_path / "out", [utterance])
    (anomaly,) = find_anomalies(found, PESQ_WB.span)
    first, second = sorted(rows(connection, "entries"), key=lambda row: row["start_s"])
    whole = utterance_row(utterance, [anomaly], "some_net@0123456789ab", "mean")
    assert first["utterance_id"] == f"u#0.000-{first['duration_s']:.3f}"
    assert (first["start_s"], second["start_s"] + second["duration_s"]) == pytest.approx(
        (10.0, 10.0 + whole["duration_s"])
    )
    for row in (first, second):
        begin = round((row["start_s"] - 10.0) / 0.016)
        inside = found[begin : begin + row["num_frames"]]
        assert row["num_frames"] == 1 + int((row["duration_s"] - 0.032 + 1e-6) / 0.016)
        assert row["score"] == pytest.approx(pool(inside), abs=1e-5)
        assert row["frame_score_p10"] == pytest.approx(np.percentile(inside, 10), abs=1e-5)
        assert row["frame_score_min"] == inside.min()
        assert row["frame_score_std"] == pytest.approx(inside.std(), abs=1e-5)
        assert (row["anomaly_s"], row["num_anomalies"], row["flags"]) == (0, 0, ["clipped"])
        for name in ("uri", "snr_db", "clipped_ratio", "source_version", "model_id", "format", "channel"):
            assert row[name] == pytest.approx(whole[name])


def test_a_short_span_is_said_to_be_short(tmp_path):
    connection = trimmed(tmp_path / "out", [scored("u", frames_of([60, 60, 200], False, 1))], min_s=0.5, pad_s=0.0)
    short, long = sorted(rows(connection, "entries"), key=lambda row: row["start_s"])
    assert (short["flags"], long["flags"]) == (["very_short"], [])


def test_spans_are_pooled_as_the_model_does(tmp_path):
    frame_score = frames_of([300, 60, 200], False, 3)
    item = scored("u", frame_score)
    root = write_output(tmp_path / "out", [item])
    (path,) = (root / "utterances").glob("*.parquet")
    _rescore(path, {"u": pool(frame_score, "pesq")})
    connection = open_results(str(root)).connect()
    trim(connection)
    first = min(rows(connection, "entries"), key=lambda row: row["start_s"])
    assert first["score"] == pytest.approx(pool(frame_score[: first["num_frames"]], "pesq"), abs=1e-5)


def test_scores_that_are_not_of_the_frames_are_refused(tmp_path):
    root = write_output(tmp_path / "out", [scored("u", frames_of([300, 60, 200], False, 3))])
    (path,) = (root / "utterances").glob("*.parquet")
    _rescore(path, {"u": 1.0})
    with pytest.raises(TrimError, match="not pooled from its frames in a way that is known"):
        trim(open_results(str(root)).connect())


def _rescore(path: Path, scores: dict[str, float]) -> None:
    table = pq.read_table(path)
    column = pa.array([scores[name] for name in table["utterance_id"].to_pylist()], pa.float32())
    pq.write_table(table.set_column(table.schema.names.index("score"), table.schema.field("score"), column), path)


def test_frames_that_are_missing_are_told(tmp_path):
    item = scored("u", frames_of([300, 60, 200], False, 3))
    root = write_output(tmp_path / "out", [item])
    (path,) = (root / "frames").glob("*.parquet")
    table = pq.read_table(path)
    pq.write_table(table.filter(table["frame"].to_numpy() < 500), path)
    with pytest.raises(TrimError):
        trim(open_results(str(root)).connect())


def test_an_id_that_is_taken_is_told(tmp_path):
    found = frames_of([300, 60, 200], False, 1)
    root = tmp_path / "out"
    name = next(row["utterance_id"] for row in rows(trimmed(tmp_path / "first", [scored("u", found)]), "spans"))
    with pytest.raises(TrimError, match="which is there already"):
        trimmed(root, [scored("u", found), scored(name, 4.0)])


def test_what_has_no_good_span_is_cut_off_as_it_is(tmp_path):
    connection = trimmed(tmp_path / "out", [scored("u", frames_of([40, 60, 50], False, 1)), scored("v", 4.0)])
    assert [row["utterance_id"] for row in rows(connection, "entries")] == ["v"]
    ((piece),) = rows(connection, "cut_off")
    assert (piece["utterance_id"], piece["start_us"], piece["end_us"]) == ("u", 0, 2_416_000)
