"""Comparisons: every utterance is counted once, and the decisions add up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.labels import PSEUDO
from tests.support.outputs import rejected, scored, write_output
from transforms.analysis.comparison import (
    Comparison,
    NothingInCommonError,
    choose_thresholds,
    compare,
    decisions,
    percentile_rank,
)
from transforms.analysis.comparison_text import comparison_text
from transforms.elements import ScoredUtterance
from transforms.errors import Reason
from transforms.output.results import Results, open_results
from transforms.storage.source_versions import version_of_object, version_of_time

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40)


def with_version(item: ScoredUtterance, version: str) -> ScoredUtterance:
    ref = dataclasses.replace(item.utterance.ref, source_version=version)
    return dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, ref=ref))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> tuple[Results, Results]:
    root = tmp_path_factory.mktemp("comparison")
    a = [scored(f"u{i}", 2.0 + i / 10, duration_s=3.6) for i in range(10)]
    b = [scored(f"u{i}", 2.1 + i / 10, duration_s=3.6) for i in range(9)]
    b[8] = with_version(scored("u8", 1.3, duration_s=3.6), "2000-1.000000")
    write_output(
        root / "a",
        [*a, scored("lost in b", 3.0), scored("not in b", 3.0)],
        [rejected("never"), rejected("lost in a"), rejected("rejected in a alone")],
    )
    write_output(
        root / "b",
        [*b, scored("u9", 3.0, duration_s=3.6), scored("lost in a", 3.0), scored("not in a", 3.0)],
        [rejected("never"), rejected("lost in b", Reason.TRUNCATED)],
        model_id="other_net@ba9876543210",
    )
    return open_results(str(root / "a")), open_results(str(root / "b"))


@pytest.fixture(scope="module")
def comparison(outputs) -> Comparison:
    return compare(*outputs)


def test_an_object_listed_by_an_earlier_release_has_not_changed(tmp_path):
    now = version_of_object(5, 1_000.0, 7)
    for name, u, v in (("a", version_of_time(5, 2_000.0), version_of_time(5, 999.0)), ("b", now, now)):
        write_output(tmp_path / name, [with_version(scored("u", 2.0), u), with_version(scored("v", 2.0), v)])
    a, b = (open_results(str(tmp_path / name)) for name in "ab")
    for pair in ((a, b), (b, a)):
        joined = compare(*pair).joined
        assert joined["utterance_id"].to_pylist() == ["u", "v"]
        assert joined["changed"].to_pylist() == [False, True]


def test_every_utterance_is_counted_once(comparison):
    assert comparison.facts["counts"] == {
        "scored_in_both": 10,
        "rejected_in_both": 1,
        "scored_in_a_rejected_in_b": {"truncated": 1},
        "scored_in_b_rejected_in_a": {"corrupt": 1},
        "in_a_only": {"scored": 1, "rejected": 1},
        "in_b_only": {"scored": 1, "rejected": 0},
        "changed": 1,
    }
    assert comparison.joined["utterance_id"].to_pylist() == sorted(
        [
            *(f"u{i}" for i in range(10)),
            "lost in a",
            "lost in b",
            "never",
            "not in a",
            "not in b",
            "rejected in a alone",
        ]
    )


def test_agreement_and_difference_use_the_shared_scores(comparison):
    a, b = np.arange(2.0, 2.95, 0.1), np.array([*np.arange(2.1, 2.85, 0.1), 1.3, 3.0])
    assert comparison.facts["agreement"]["lcc"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-5)
    difference = comparison.facts["difference"]
    assert difference["of"] == "scores"
    assert difference["mean"] == pytest.approx((b - a).mean(), abs=1e-5)
    assert difference["mean_absolute"] == pytest.approx(np.abs(b - a).mean(), abs=1e-5)
    assert difference["p50"] == pytest.approx(0.1, abs=1e-5)


def test_the_largest_differences_come_first(comparison):
    first, second, *_ = comparison.worst(3)
    assert (first["utterance_id"], first["changed"]) == ("u8", True)
    assert (first["score_a"], first["score_b"]) == (pytest.approx(2.8), pytest.approx(1.3))
    assert first["difference"] == pytest.approx(-1.5, abs=1e-5)
    assert abs(second["difference"]) == pytest.approx(0.1, abs=1e-5)
    assert len(comparison.worst(100)) == 10


def test_the_default_threshold_is_the_median_of_a(comparison, outputs):
    assert comparison.thresholds == (pytest.approx(2.45), pytest.approx(2.45))
    cells = {name: cell["utterances"] for name, cell in comparison.facts["decisions"].items()}
    assert cells == {"kept_in_both": 4, "kept_in_a_only": 1, "kept_in_b_only": 1, "dropped_in_both": 4}
    assert comparison.facts["decisions"]["kept_in_both"]["hours"] == pytest.approx(4 * 3.6 / 3600)
    assert compare(*outputs, (2.5,)).thresholds == (2.5, 2.5)
    assert compare(*outputs, (2.5, 3.0)).thresholds == (2.5, 3.0)


def test_ranks_are_compared_if_the_scales_differ(outputs):
    a = outputs[0]
    record = {**outputs[1].records[0], "label_scale": PSEUDO.name}
    b = Results(outputs[1].root, (record,), outputs[1].files)
    comparison = compare(a, b)
    assert not comparison.same_scale
    assert comparison.facts["difference"]["of"] == "percentile ranks"
    # One utterance is ninth in A and last in B: 8 of 10 ranks.
    assert comparison.worst(1)[0]["difference"] == pytest.approx(-80.0)
    cells = comparison.facts["decisions"]
    assert cells["kept_in_both"]["utterances"] + cells["kept_in_b_only"]["utterances"] == 5
    text = comparison_text(comparison, 1)
    assert "label scales differ" in text
    assert "B - A in percentiles" in text


def test_an_output_agrees_with_itself(outputs):
    comparison = compare(outputs[0], outputs[0])
    assert comparison.facts["agreement"] == {"lcc": pytest.approx(1.0), "srcc": pytest.approx(1.0)}
    assert comparison.facts["difference"]["mean_absolute"] == 0
    cells = comparison.facts["decisions"]
    assert cells["kept_in_a_only"]["utterances"] == cells["kept_in_b_only"]["utterances"] == 0


def test_the_text_contains_every_part(comparison):
    text = comparison_text(comparison, 2)
    for line in (
        "scored in both: 10 utterances",
        "scored in A, rejected in B: 1 (1 truncated)",
        "scored in B, rejected in A: 1 (1 corrupt)",
        "rejected in both: 1",
        "only in A: 1 scored, 1 rejected",
        "only in B: 1 scored, 0 rejected",
        "recordings whose size or modification time changed: 1, first u8",
        "different decisions: 2 utterances (20.0%), 7.2 s",
    ):
        assert line in text
    assert text.splitlines()[-2].startswith("u8 ")
    assert "largest disagreements" not in comparison_text(comparison, 0)


def test_constant_scores_have_no_correlation(tmp_path):
    results = open_results(str(write_output(tmp_path / "out", [scored("a", 3.0), scored("b", 3.0)])))
    comparison = compare(results, results)
    assert comparison.facts["agreement"] == {"lcc": None, "srcc": None}
    assert "LCC -, SRCC -" in comparison_text(comparison, 1)


def test_outputs_of_two_corpora_are_an_error(tmp_path):
    a = write_output(tmp_path / "a", [scored("x/1", 3.0)], source="/corpus")
    b = write_output(tmp_path / "b", [scored("1", 3.0)], [rejected("x/1")], source="/corpus/x")
    with pytest.raises(NothingInCommonError, match=r"which was /corpus and /corpus/x$"):
        compare(open_results(str(a)), open_results(str(b)))


@given(pairs=PAIRS)
def test_ranks_lie_between_0_and_100_with_a_mean_of_50(pairs):
    score = np.array([first for first, _ in pairs], float)
    ranks = percentile_rank(score)
    assert (ranks > 0).all()
    assert (ranks < 100).all()
    assert ranks.mean() == pytest.approx(50)
    assert (np.sign(np.subtract.outer(score, score)) == np.sign(np.subtract.outer(ranks, ranks))).all()


@given(pairs=PAIRS, given_threshold=st.none() | st.integers(-1, 11))
def test_on_another_scale_b_keeps_as_many_as_a_up_to_ties(pairs, given_threshold):
    a, b = (np.array(scores, float) for scores in zip(*pairs, strict=True))
    of_a, of_b = choose_thresholds(a, b, () if given_threshold is None else (given_threshold,), same_scale=False)
    kept = int((a >= of_a).sum())
    assert int((b >= of_b).sum()) >= kept
    assert int((b > of_b).sum()) <= max(0, kept - (kept > 0))


@given(pairs=PAIRS)
def test_the_four_cells_hold_every_utterance_once(pairs):
    a, b = (np.array(scores) > 4 for scores in zip(*pairs, strict=True))
    seconds = np.arange(1.0, len(a) + 1)
    cells = decisions(a, b, seconds)
    assert sum(cell["utterances"] for cell in cells.values()) == len(a)
    assert sum(cell["hours"] for cell in cells.values()) == pytest.approx(seconds.sum() / 3600)
    assert cells["kept_in_both"]["utterances"] + cells["kept_in_a_only"]["utterances"] == a.sum()


def test_causes_are_counted_in_both_outputs(tmp_path):
    a = [scored("x", 2.0, clipped_ratio=0.5), scored("y", 2.0, clipped_ratio=0.5, hum_db=-10.0), scored("z", 2.0)]
    b = [scored("x", 2.0, clipped_ratio=0.5), scored("y", 2.0), scored("only in b", 2.0, hum_db=-10.0)]
    compared = compare(*(open_results(str(write_output(tmp_path / name, one))) for name, one in (("a", a), ("b", b))))
    assert compared.facts["causes"] == [
        {"cause": "clipping", "in_a": 2, "in_b": 1, "in_both": 1},
        {"cause": "hum", "in_a": 1, "in_b": 0, "in_both": 0},
    ]
    assert "clipping                   2  1     1" in comparison_text(compared, 0)
