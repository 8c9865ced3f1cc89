"""Summaries: quantiles, bins and groups account for every utterance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.labels import LABEL_SCALES, PESQ_WB
from tests.support.outputs import scored, write_output
from transforms.analysis.queries import QueryError
from transforms.analysis.summary import BIN, MAX_GROUPS, Bin, bins, quantiles, summarise
from transforms.analysis.summary_text import histogram
from transforms.output.results import open_results

SHARES = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=1, max_size=50)


@given(shares=SHARES)
def test_quantiles_by_hours_equal_those_of_repeated_utterances(shares):
    score, seconds = (np.array(values, float) for values in zip(*shares, strict=True))
    repeated = np.repeat(score, seconds.astype(int))
    by_hours, plain = quantiles(score, seconds), quantiles(repeated, np.ones(len(repeated)))
    assert by_hours["min"] == score.min()
    assert by_hours["max"] == score.max()
    assert list(by_hours.values()) == sorted(by_hours.values())
    # A share at the end of an utterance may round to either side.
    exact = {name: value for name, value in plain.items() if name not in ("min", "max")}
    for name, value in exact.items():
        position = float(name[1:]) / 100 * len(repeated)
        if abs(position - round(position)) > 1e-9:
            assert by_hours[name] == value


def test_no_scores_have_no_quantiles():
    assert quantiles(np.empty(0), np.empty(0)) == {}


@given(shares=SHARES, scale=st.sampled_from(list(LABEL_SCALES.values())))
def test_every_score_is_in_its_bin(shares, scale):
    share, seconds = (np.array(values, float) for values in zip(*shares, strict=True))
    # As float32 in the files. The end of the scale may exceed it by rounding.
    score = (scale.low + share * scale.span).astype(np.float32).astype(float)
    histogram_bins = bins(score, seconds, scale)
    assert (histogram_bins[0].low, histogram_bins[-1].high) == (scale.low, scale.high)
    assert all(item.high - item.low <= BIN + 1e-9 for item in histogram_bins)
    assert sum(item.utterances for item in histogram_bins) == len(score)
    assert histogram_bins[0].hours_from_here == pytest.approx(seconds.sum() / 3600)
    for item in histogram_bins:
        assert item.hours_from_here == pytest.approx(seconds[score >= item.low].sum() / 3600)


def test_bars_are_proportional_to_hours_and_never_invisible():
    text = histogram([Bin(1, 2, 1, 0.001, 10.001), Bin(2, 3, 0, 0.0, 10.0), Bin(3, 4, 9, 10.0, 10.0)])
    assert [line.count("#") for line in text.splitlines()[2:]] == [1, 0, 40]


@pytest.mark.parametrize(
    ("ids", "groups"),
    [
        (["a/1", "b/1", "b/2"], {"a": 1, "b": 2}),
        (["train/a/x/1", "train/a/y/1", "train/b/1"], {"train/a": 2, "train/b": 1}),
        (["1", "2", "a/1"], {"": 2, "a": 1}),
        (["1", "2"], {}),
        (["a/1", "a/2"], {}),
        ([f"{n}/1" for n in range(MAX_GROUPS)], {str(n): 1 for n in range(MAX_GROUPS)}),
        ([f"{n}/1" for n in range(MAX_GROUPS + 1)], {}),
    ],
)
def test_groups_are_the_first_folders_at_which_the_ids_differ(tmp_path, ids, groups):
    write_output(tmp_path / "out", [scored(name, 3.0) for name in ids])
    summary = summarise(open_results(str(tmp_path / "out")))
    assert {group["group"]: group["utterances"] for group in summary.groups} == groups
    assert bool(summary.grouped_by) == bool(groups)


def test_flags_and_formats_have_the_hours_of_their_utterances(tmp_path):
    write_output(
        tmp_path / "out",
        [
            scored("a", 4.0, duration_s=8.0, clipped_ratio=0.5, bandwidth_hz=3_000.0),
            scored("b", 2.0, duration_s=4.0, clipped_ratio=0.5),
            scored("c", 3.0, format="WAV/PCM_16"),
        ],
    )
    summary = summarise(open_results(str(tmp_path / "out")))
    assert summary.scale == PESQ_WB
    flags = {(row["group"], row["utterances"], round(row["hours"] * 3600)) for row in summary.flags}
    assert flags == {("clipped", 2, 12), ("narrow_band", 1, 8)}
    causes = {(row["group"], row["utterances"], round(row["hours"] * 3600)) for row in summary.causes}
    assert causes == {("clipping", 2, 12), ("band_limit", 1, 8)}
    assert {(row["group"], row["mean_score"]) for row in summary.formats} == {("FLAC/PCM_16", 3.0), ("WAV/PCM_16", 3.0)}


@pytest.mark.parametrize("by", ["nothing", "1) FROM utterances; SELECT (1", ""])
def test_an_invalid_expression_is_an_error_and_an_empty_one_means_no_groups(tmp_path, by):
    results = open_results(str(write_output(tmp_path / "out", [scored("a", 4.0)])))
    if by:
        with pytest.raises(QueryError):
            summarise(results, by)
    else:
        assert summarise(results, by).groups == []
