"""The numbers of a report equal those of SQL and plain Python."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.labels import PESQ_WB, PSEUDO
from tests.support.outputs import rejected, scored, write_output
from transforms import schemas
from transforms.analysis.report.numbers import FACTS, MAX_GROUPS, ReportData, report_data
from transforms.errors import Reason, Stage
from transforms.output.results import open_results


def data_of(
    rows: list[dict], carried: tuple[str, ...] = (), scale=PESQ_WB
) -> tuple[ReportData, duckdb.DuckDBPyConnection]:
    """Returns the numbers of rows of `utterances`, whose missing columns get defaults, and the connection."""
    defaults = {
        "utterance_id": "",
        "uri": "",
        "start_s": 0.0,
        "sample_rate": 16_000,
        "channels": 1,
        "format": "WAV/PCM_16",
        "size_bytes": 1,
        "source_version": "",
        "num_frames": 1,
        "frame_score_p10": 1.0,
        "frame_score_min": 1.0,
        "frame_score_std": 0.0,
        "anomaly_s": 0.0,
        "num_anomalies": 0,
        "flags": [],
        "causes": [],
        "model_id": "",
        **dict.fromkeys(FACTS, 1.0),
    }
    schema = schemas.with_carried(schemas.UTTERANCES, carried)
    connection = duckdb.connect()
    connection.register("utterances", pa.Table.from_pylist([defaults | row for row in rows], schema))
    connection.register("rejects", schemas.REJECTS.empty_table())
    return report_data(connection, carried, scale), connection


# Any scores, and for each threshold of two decimals its float32, the next lower and the next higher one.
THRESHOLDS = st.integers(100, 464).map(lambda step: np.float32(step / 100))
SCORES = st.one_of(
    st.floats(1.0, 4.625, width=32),
    THRESHOLDS.map(float),
    THRESHOLDS.map(lambda score: float(np.nextafter(score, np.float32(9)))),
    THRESHOLDS.map(lambda score: float(np.nextafter(score, np.float32(0)))),
    st.sampled_from([0.5, 4.7, -1.25]),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(SCORES, st.floats(0.032, 1000)), min_size=1, max_size=30))
def test_every_threshold_keeps_the_utterances_that_sql_keeps(pairs):
    data, connection = data_of([{"score": score, "duration_s": seconds} for score, seconds in pairs])
    steps = data.steps
    scores, lengths = np.array([score for score, _ in pairs], np.float32), np.array([seconds for _, seconds in pairs])
    for index in range(len(steps.count)):
        reached = scores >= np.float32(steps.threshold(index))
        assert steps.kept(steps.threshold(index)) == (reached.sum(), pytest.approx(lengths[reached].sum()))
    # The thresholds around the first score, compared by SQL.
    near = sorted({min(max(round(pairs[0][0] * 100) + off, steps.first), steps.first + 364) for off in (-1, 0, 1)})
    for step in near:
        (count,) = connection.execute(f"SELECT count(*) FROM utterances WHERE score >= {step / 100:.2f}").fetchone()
        assert steps.kept(step / 100)[0] == count
    assert steps.kept(steps.threshold(0)) == (data.count, pytest.approx(data.seconds))


NAMES = st.one_of(st.none(), st.sampled_from(["a", "b", '"', "'; DROP TABLE x; --", "a/b", ""]), st.text(max_size=4))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(NAMES, SCORES, st.integers(1, 5)), min_size=1, max_size=60))
def test_groups_hold_every_utterance_once(rows):
    data, _ = data_of([{"speaker": n, "score": s, "duration_s": float(d)} for n, s, d in rows], ("speaker",))
    assume(not data.texts)
    groups = data.groups["speaker"]
    assert np.array_equal(sum(group.steps.count for group in groups), data.steps.count)
    assert sum(group.steps.seconds for group in groups) == pytest.approx(data.steps.seconds)
    for group in groups:
        if not group.merged_values:
            scores = np.array([score for name, score, _ in rows if name == group.name], np.float32)
            assert group.count == len(scores)
            assert group.quantiles == pytest.approx(list(np.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95])), abs=1e-5)
    medians = [group.quantiles[2] for group in groups if not group.merged_values]
    assert medians == sorted(medians)


def test_the_smallest_groups_are_merged():
    names = [f"{n:03d}" for n in range(MAX_GROUPS + 7)]
    rows = [{"speaker": name, "score": 2.0, "duration_s": 50.0 - n / 2} for n, name in enumerate(names)] * 2
    groups = data_of(rows, ("speaker",))[0].groups["speaker"]
    assert [group.name for group in groups[:-1]] == names[:MAX_GROUPS]
    rest = groups[-1]
    assert (rest.name, rest.merged_values, rest.count) == (None, 7, 14)
    assert rest.seconds == sum(100.0 - n for n in range(MAX_GROUPS, MAX_GROUPS + 7))


SENTENCES = [f"turn the light {n} on" for n in range(40)]


@pytest.mark.parametrize(
    ("column", "values", "is_text"),
    [
        ("sentence", ["a"] * 100, True),
        ("words", ["a"] * 100, True),
        ("prompt", SENTENCES * 5, True),  # many sentences, each read by several speakers
        ("prompt", SENTENCES[:8], True),  # a small corpus, in which each utterance has its sentence
        ("take", [f"{n}" for n in range(50)], True),  # a number of its own for each utterance
        ("speaker", [f"s{n}" for n in range(40)] * 2, False),
        ("speaker", [f"s{n}" for n in range(8)], False),
        ("style", ["read in a quiet room", "spoken on the street"] * 20, False),
        ("speaker", [None] * 5, False),
    ],
)
def test_columns_of_texts_do_not_group(column, values, is_text):
    data, _ = data_of([{column: value, "score": 2.0, "duration_s": 1.0} for value in values], (column,))
    assert data.texts == ([column] if is_text else [])
    assert (column in data.groups) != is_text


def test_the_group_with_the_lowest_median_comes_first():
    scores = {"good": [4.0, 4.4], "bad": [1.0, 2.0, 4.5], "fair": [3.0]}
    rows = [{"speaker": name, "score": s, "duration_s": 1.0} for name, values in scores.items() for s in values]
    assert [group.name for group in data_of(rows, ("speaker",))[0].groups["speaker"]] == ["bad", "fair", "good"]


def test_columns_may_have_any_name_and_the_first_folder_comes_from_the_id():
    name = "a \"b\" 'c'"
    ids = ["x/1/a.wav", "x/2.wav", "y/3.wav", "loose.wav", "/x/4.wav"]
    rows = [{"utterance_id": i, "score": 2.0, "duration_s": 1.0, name: i[:1]} for i in ids]
    groups = data_of(rows, (name,))[0].groups
    assert {group.name: group.count for group in groups["first folder"]} == {"x": 3, "y": 1, None: 1}
    assert {group.name: group.count for group in groups[name]} == {"x": 2, "y": 1, "l": 1, "/": 1}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(SCORES, st.one_of(st.none(), st.floats(-1e4, 1e4, width=32), st.just(float("-inf")))),
        min_size=1,
        max_size=50,
    )
)
def test_facts_are_counted_in_bins(pairs):
    data, _ = data_of([{"score": score, "noise_floor_snr_db": snr, "duration_s": 1.0} for score, snr in pairs])
    fact = data.facts[list(FACTS).index("noise_floor_snr_db")]
    present = np.array([snr for _, snr in pairs if snr is not None and np.isfinite(snr)])
    assert fact.missing == len(pairs) - len(present)
    assert fact.density.sum() == len(present)
    assert len(fact.density) * 10 >= len(data.steps.count)
    rows = np.array([fact.density[r].sum() for r in range(len(fact.density))])
    scores = np.add.reduceat(data.steps.count, np.arange(0, len(data.steps.count), 10))
    assert (rows <= scores).all()
    if len(present):
        assert fact.quantiles == pytest.approx(
            list(np.quantile(present, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])), abs=1e-3
        )
        inner = fact.edges[1:-1]
        # A value on an edge may fall into either bin.
        width = fact.edges[1] - fact.edges[0]
        clear = np.abs(present[:, None] - inner).min(axis=1) > 1e-6 * width
        if clear.all():
            expected = np.bincount(np.searchsorted(inner, present, side="right"), minlength=len(inner) + 1)
            assert np.array_equal(fact.density.sum(axis=0), expected)


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    utterances = [
        scored("a", 4.0),
        scored("b", 2.0, clipped_ratio=0.5),
        scored("c", 3.0, clipped_ratio=0.5, bandwidth_hz=4_000.0, noise_floor_snr_db=None),
    ]
    rejects = [rejected(f"r{n}") for n in range(5)] + [rejected("silent", Reason.SILENT, Stage.FEATURIZE)]
    return write_output(tmp_path_factory.mktemp("report") / "out", utterances, rejects)


def test_causes_flags_and_rejects_are_counted(output):
    results = open_results(str(output))
    data = report_data(results.connect(), results.carried, results.label_scale)
    causes, flags = ([(g.name, g.count, g.seconds) for g in groups] for groups in (data.causes, data.flags))
    assert causes == [("clipping", 2, 8.0), ("band_limit", 1, 4.0), (None, 1, 4.0)]
    assert flags == [("clipped", 2, 8.0), ("narrow_band", 1, 4.0), (None, 1, 4.0)]
    assert data.causes[0].steps.kept(2.5) == (1, 4.0)
    assert [(reject.reason, reject.stage, reject.count) for reject in data.rejects] == [
        ("corrupt", "decode", 5),
        ("silent", "featurize", 1),
    ]
    assert data.rejects[0].examples == [("r0", "for people"), ("r1", "for people"), ("r2", "for people")]
    assert data.rejected == 6
    assert data.skipped == []


def test_files_that_are_no_recordings_are_skipped(tmp_path):
    names = [".DS_Store", "a/notes.txt", "cover.jpg", "broken.wav"]
    row = rejected("row.txt", Reason.INVALID_ROW, Stage.LIST)  # a row of a manifest is a recording, whatever its name
    results = open_results(str(write_output(tmp_path / "out", [], [*map(rejected, names), row])))
    data = report_data(results.connect(), results.carried, results.label_scale)
    assert (data.rejected, data.num_skipped) == (2, 3)
    assert {name for reject in data.skipped for name, _ in reject.examples} == set(names[:3])


def test_an_output_without_utterances_has_numbers(tmp_path):
    results = open_results(str(write_output(tmp_path / "out", [], [rejected("a")])))
    data = report_data(results.connect(), results.carried, PSEUDO)
    assert (data.count, data.seconds, data.rejected, data.causes, data.flags) == (0, 0.0, 1, [], [])
    assert len(data.steps.count) == 701
    assert all(fact.quantiles == [] and fact.missing == 0 for fact in data.facts)
