"""The recordings that a report shows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from model.labels import PESQ_WB
from tests.support.outputs import scored, write_output
from transforms.analysis.report.examples import bad_drop, choose, cut, lowest_part, show
from transforms.audio.decode import read_audio
from transforms.output.results import Results, open_results


def with_a_bad_part(level: float, bad: float) -> np.ndarray:
    return np.array([level] * 200 + [bad] * 50 + [level] * 200, np.float32)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    utterances = [scored(f"even{n}", 2.0 + n / 4) for n in range(9)]
    utterances += [scored(f"burst{n}", with_a_bad_part(4.4, 1.2 + n / 2)) for n in range(4)]
    utterances += [scored("sag", with_a_bad_part(2.4, 1.1))]
    return open_results(str(write_output(tmp_path_factory.mktemp("examples") / "out", utterances)))


def test_each_kind_has_its_own(results):
    chosen, found = choose(results, 2)
    assert chosen["suspicious"] == ["burst0", "burst1"]
    scores = {row["utterance_id"]: row["score"] for row in results.dataset("utterances").to_table().to_pylist()}
    ranked = sorted(scores, key=lambda name: (scores[name], name))
    assert chosen["worst"] == ranked[:2]
    assert chosen["best"] == sorted(scores, key=lambda name: (-scores[name], name))[:2]
    middle = np.median(list(scores.values()))
    distance = sorted(abs(score - middle) for score in scores.values())
    assert sorted(abs(scores[name] - middle) for name in chosen["median"]) == pytest.approx(distance[:2], abs=1e-6)
    assert {name for names in chosen.values() for name in names} <= set(found)


def test_none_may_be_asked_for_and_more_than_there_are(results):
    assert not any(choose(results, 0)[0].values())
    assert [len(names) for names in choose(results, 100)[0].values()] == [5, 14, 14, 14]


def test_a_drop_is_from_the_rest_to_the_anomalies():
    frame_score = with_a_bad_part(4.0, 1.5)
    span = (200 * 0.016, 249 * 0.016 + 0.032)
    assert bad_drop(frame_score, [span]) == pytest.approx(2.5)
    assert bad_drop(frame_score, [(0.0, 100.0)]) == 0.0


@given(st.integers(1, 3000), st.floats(0.5, 30), st.randoms(use_true_random=False))
def test_the_lowest_part_is_a_part_and_holds_the_lowest(frames, length_s, random):
    frame_score = np.full(frames, 4.0, np.float32)
    worst = random.randrange(frames)
    frame_score[worst] = 1.0
    duration_s = (frames * 256 + 256) / 16_000
    start, end = lowest_part(frame_score, duration_s, length_s)
    assert 0 <= start < end <= duration_s + 1e-9
    assert end - start == pytest.approx(min(length_s, duration_s))
    # Where a second around it fits, the lowest second is in the part.
    if length_s > 2.1:
        assert start - 0.6 <= worst * 0.016 <= end + 0.6


def test_a_clip_is_what_was_heard(samples: Path):
    decoded = read_audio(str(samples / "clean.flac"))
    clip, rate = soundfile.read(io.BytesIO(cut(decoded, (1.0, 2.5))))
    assert rate == 16_000
    assert clip == pytest.approx(decoded.samples[16_000:40_000], abs=1 / 30_000)


def test_what_cannot_be_played_says_why(samples: Path, tmp_path: Path):
    uris = {"here": samples / "clean.flac", "full": samples / "burst.flac", "gone": tmp_path / "gone.flac"}
    lengths = {name: soundfile.info(uri).duration for name, uri in uris.items() if uri.exists()} | {"gone": 4.0}
    items = [scored(name, 3.0, uri=str(uri), duration_s=lengths[name]) for name, uri in uris.items()]
    _, found = choose(open_results(str(write_output(tmp_path / "out", items))), 3)
    room = len(cut(read_audio(str(uris["here"])), lowest_part(found["here"].frame_score, lengths["here"], 2.0)))
    shown = show(found, list(uris), PESQ_WB, 2.0, room)
    assert shown["here"].clip is not None
    assert soundfile.info(io.BytesIO(shown["here"].clip)).duration == pytest.approx(2.0)
    assert (shown["full"].clip, shown["gone"].clip) == (None, None)
    assert "--max_mb" in shown["full"].silent
    assert "No such file" in shown["gone"].silent
    assert all(example.light != example.dark for example in shown.values())
