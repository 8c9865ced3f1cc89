"""`--trim` by score and by cause."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.anomalies import stretches_below, stretches_of
from model.diagnosis import ALL_VALUES
from model.labels import PESQ_WB, PSEUDO
from tests.support.outputs import write_output
from tests.support.talks import talk
from transforms.curation.selection import Selection
from transforms.curation.trimming.plan import TrimError, TrimPlan, parse_trim
from transforms.output.results import open_results

EVEN = [(1_200, 0)]


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("anomalies", TrimPlan()),
        ("score < 2.5", TrimPlan(anomalies=False, below=2.5)),
        ("Score<2", TrimPlan(anomalies=False, below=2.0)),
        ("noise,hum,noise", TrimPlan(anomalies=False, causes=("noise", "hum"))),
        ("music, anomalies, score < .5", TrimPlan(causes=("music",), below=0.5)),
    ],
)
def test_what_is_cut_is_parsed_and_written_back(text, plan):
    assert parse_trim(text) == plan
    assert parse_trim(str(plan)) == plan


@pytest.mark.parametrize(
    "text", ["", "noises", "silence", "score > 2", "score <= 2", "score < two", "score < 2 or 1", "score < 1,score < 2"]
)
def test_what_cannot_be_cut_is_refused_with_the_valid_names(text):
    with pytest.raises(
        ValueError, match=r"is unknown, choose from anomalies, 'score < NUMBER' \(once\) and the causes noise,"
    ):
        parse_trim(text)


@pytest.mark.parametrize(
    ("below", "amount"), [(1.0, "nothing"), (PESQ_WB.low, "nothing"), (4.7, "everything")], ids=str
)
def test_a_value_outside_the_scale_is_refused(below, amount):
    with pytest.raises(TrimError, match=rf"cuts {amount}: the scores are on pesq-wb, from .* to "):
        TrimPlan(below=below).check_scale(PESQ_WB)
    TrimPlan(below=4.7).check_scale(PSEUDO)


def removed(root, items, plan: TrimPlan) -> list[tuple[int, int]]:
    """First frame and end of the removed spans of the only utterance, without a margin."""
    write_output(root, items)
    with Selection(open_results(str(root)), root) as selection:
        selection.trim(plan)
        selection.apply_rules([])
        selection.write_dropped(root / "dropped.parquet")
    rows = pq.read_table(root / "dropped.parquet").to_pylist()
    return sorted(
        (round(row["start_s"] / 0.016), round((row["start_s"] + row["duration_s"]) / 0.016) - 1) for row in rows
    )


def of(text: str) -> TrimPlan:
    plan = parse_trim(text)
    return TrimPlan(plan.anomalies, plan.causes, plan.below, pad_s=0.0)


def test_stretches_below_a_score_are_cut(tmp_path):
    # No anomaly: only a little worse.
    item = talk("u", EVEN, bad=[(300, 400), (410, 500), (800, 812)], bad_score=3.6)
    assert removed(tmp_path / "out", [item], of("anomalies")) == []
    # The gap of 10 frames is cut, too; the brief dip is not.
    ((start, end),) = removed(tmp_path / "below", [item], of("score < 3.8"))
    assert (start, end) == (pytest.approx(300, abs=2), pytest.approx(500, abs=2))
    assert removed(tmp_path / "lower", [item], of("score < 3.5")) == []


def test_stretches_with_a_cause_are_cut(tmp_path):
    causes = {"noise": [(200, 300)], "music": [(600, 700), (900, 905)], "hum": [(1_000, 1_100)]}
    item = talk("u", EVEN, hears=True, causes=causes)
    assert removed(tmp_path / "music", [item], of("music")) == [(600, 700)]
    assert removed(tmp_path / "both", [item], of("noise,hum")) == [(200, 300), (1_000, 1_100)]
    assert removed(tmp_path / "none", [item], of("codec")) == []


def test_anomalies_are_cut_by_their_cause(tmp_path):
    # Half of the anomaly has noise, in too many short parts for a stretch.
    causes = {"noise": [(start, start + 5) for start in range(400, 500, 10)]}
    item = talk("u", EVEN, bad=[(400, 500)], hears=True, causes=causes)
    whole = removed(tmp_path / "anomalies", [item], of("anomalies"))
    assert removed(tmp_path / "noise", [item], of("noise")) == whole != []
    assert removed(tmp_path / "hum", [item], of("hum")) == []
    assert removed(tmp_path / "all", [item], of("hum,anomalies")) == whole


def test_a_cause_needs_a_diagnosis(tmp_path):
    with pytest.raises(
        TrimError, match=r"--trim noise: the model that scored the corpus has no diagnosis, so it hears no"
    ):
        removed(tmp_path / "out", [talk("u", EVEN)], of("noise"))


def test_a_cause_needs_a_model_that_was_trained_on_it(tmp_path):
    item = talk("u", EVEN, hears=True)
    item = dataclasses.replace(item, diagnosis=dataclasses.replace(item.diagnosis, trained=ALL_VALUES - {"music"}))
    with pytest.raises(
        TrimError, match="--trim music: the model that scored the corpus was not trained on music; score with"
    ):
        removed(tmp_path / "out", [item], of("music"))
    assert removed(tmp_path / "noise", [item], of("noise")) == []


def test_every_run_of_18_bad_frames_is_in_a_stretch():
    generator = np.random.default_rng(3)
    for _ in range(200):
        bad = np.repeat(generator.random(30) < 0.5, generator.integers(1, 40, 30))
        silent = np.repeat(generator.random(30) < 0.2, generator.integers(1, 40, 30))[: len(bad)]
        silent = np.pad(silent, (0, len(bad) - len(silent)))
        stretches = stretches_of(bad, silent)
        inside = np.zeros(len(bad), bool)
        for start, end in stretches:
            assert np.count_nonzero(~silent[start:end]) >= 18
            assert bad[start]
            assert bad[end - 1]
            assert not inside[start:end].any()
            inside[start:end] = True
        audible, run = np.flatnonzero(~silent), 0
        for frame in audible.tolist():
            run = run + 1 if bad[frame] else 0
            assert run < 18 or inside[frame]


def test_silent_frames_are_not_judged():
    scores = np.full(300, 4.0)
    scores[100:200] = 1.0
    assert stretches_below(scores, 2.0, np.zeros(300, bool)) == [(100, 200)]
    assert stretches_below(scores, 2.0, scores < 2) == []
    assert stretches_below(scores, 2.0, np.ones(300, bool)) == []
