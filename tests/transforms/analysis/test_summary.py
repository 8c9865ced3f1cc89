"""Quantiles and bins account for everything; groups are the folders in which ids differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.labels import LABEL_SCALES, PESQ_WB
from tests.support.outputs import scored, write_output
from transforms.analysis.queries import QueryError
from transforms.analysis.summary import BIN, MOST_GROUPS, Bin, bins, quantiles, summarise
from transforms.analysis.summary_text import histogram
from transforms.output.results import open_results

SHARES = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=1, max_size=50)


@given(shares=SHARES)
def test_a_quantile_by_hours_is_that_of_as_many_utterances_of_one_length(shares):
    score, seconds = (np.array(each, float) for each in zip(*shares, strict=True))
    repeated = np.repeat(score, seconds.astype(int))
    by_hours, plain = quantiles(score, seconds), quantiles(repeated, np.ones(len(repeated)))
    assert by_hours["min"] == score.min()
    assert by_hours["max"] == score.max()
    assert list(by_hours.values()) == sorted(by_hours.values())
    # A share that falls on the very end of an utterance may round to either side of it.
    exact = {name: value for name, value in plain.items() if name not in ("min", "max")}
    for name, value in exact.items():
        at = float(name[1:]) / 100 * len(repeated)
        if abs(at - round(at)) > 1e-9:
            assert by_hours[name] == value


def test_no_scores_have_no_quantiles():
    assert quantiles(np.empty(0), np.empty(0)) == {}


@given(shares=SHARES, scale=st.sampled_from(list(LABEL_SCALES.values())))
def test_every_score_is_in_the_one_bin_that_holds_it(shares, scale):
    share, seconds = (np.array(each, float) for each in zip(*shares, strict=True))
    # As the files hold them; the scale's end rounded to 32 bits may lie over it.
    score = (scale.low + share * scale.span).astype(np.float32).astype(float)
    found = bins(score, seconds, scale)
    assert (found[0].low, found[-1].high) == (scale.low, scale.high)
    assert all(each.high - each.low <= BIN + 1e-9 for each in found)
    assert sum(each.utterances for each in found) == len(score)
    assert found[0].hours_from_here == pytest.approx(seconds.sum() / 3600)
    for each in found:
        assert each.hours_from_here == pytest.approx(seconds[score >= each.low].sum() / 3600)


def test_a_bar_is_as_long_as_its_hours_and_shows_the_least():
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
        ([f"{n}/1" for n in range(MOST_GROUPS)], {str(n): 1 for n in range(MOST_GROUPS)}),
        ([f"{n}/1" for n in range(MOST_GROUPS + 1)], {}),
    ],
)
def test_groups_are_the_first_folders_in_which_the_ids_differ(tmp_path, ids, groups):
    write_output(tmp_path / "out", [scored(name, 3.0) for name in ids])
    found = summarise(open_results(str(tmp_path / "out")))
    assert {group["group"]: group["utterances"] for group in found.groups} == groups
    assert bool(found.grouped_by) == bool(groups)


def test_hours_of_flags_and_formats_are_those_of_their_utterances(tmp_path):
    write_output(
        tmp_path / "out",
        [
            scored("a", 4.0, duration_s=8.0, clipped_ratio=0.5, bandwidth_hz=3_000.0),
            scored("b", 2.0, duration_s=4.0, clipped_ratio=0.5),
            scored("c", 3.0, format="WAV/PCM_16"),
        ],
    )
    found = summarise(open_results(str(tmp_path / "out")))
    assert found.scale == PESQ_WB
    measured = {(row["group"], row["utterances"], round(row["hours"] * 3600)) for row in found.flags}
    assert measured == {("clipped", 2, 12), ("narrow_band", 1, 8)}
    assert {(row["group"], row["mean_score"]) for row in found.formats} == {("FLAC/PCM_16", 3.0), ("WAV/PCM_16", 3.0)}


@pytest.mark.parametrize("by", ["nothing", "1) FROM utterances; SELECT (1", ""])
def test_an_expression_that_is_none_is_refused_or_means_no_groups(tmp_path, by):
    results = open_results(str(write_output(tmp_path / "out", [scored("a", 4.0)])))
    if by:
        with pytest.raises(QueryError):
            summarise(results, by)
    else:
        assert summarise(results, by).groups == []
