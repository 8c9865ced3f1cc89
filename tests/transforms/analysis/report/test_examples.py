"""The examples of a report: which utterances are chosen, and what is played of them."""

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
from transforms.analysis.report.examples import (
    anomaly_drop,
    choose_examples,
    encode_clip,
    lowest_part,
    make_examples,
)
from transforms.audio.decode import read_audio
from transforms.output.results import Results, open_results


def scores_with_a_drop(level: float, bad: float) -> np.ndarray:
    return np.array([level] * 200 + [bad] * 50 + [level] * 200, np.float32)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    utterances = [scored(f"even{n}", 2.0 + n / 4) for n in range(9)]
    utterances += [scored(f"burst{n}", scores_with_a_drop(4.4, 1.2 + n / 2)) for n in range(4)]
    utterances += [scored("sag", scores_with_a_drop(2.4, 1.1))]
    return open_results(str(write_output(tmp_path_factory.mktemp("examples") / "out", utterances)))


def test_each_kind_selects_its_utterances(results):
    chosen, utterances = choose_examples(results, 2)
    assert chosen["suspicious"] == ["burst0", "burst1"]
    scores = {row["utterance_id"]: row["score"] for row in results.dataset("utterances").to_table().to_pylist()}
    ranked = sorted(scores, key=lambda name: (scores[name], name))
    assert chosen["worst"] == ranked[:2]
    assert chosen["best"] == sorted(scores, key=lambda name: (-scores[name], name))[:2]
    middle = np.median(list(scores.values()))
    distance = sorted(abs(score - middle) for score in scores.values())
    assert sorted(abs(scores[name] - middle) for name in chosen["median"]) == pytest.approx(distance[:2], abs=1e-6)
    assert {name for names in chosen.values() for name in names} <= set(utterances)


def test_the_number_of_examples_may_be_zero_or_exceed_the_utterances(results):
    assert not any(choose_examples(results, 0)[0].values())
    assert [len(names) for names in choose_examples(results, 100)[0].values()] == [5, 14, 14, 14]


def test_the_drop_is_the_distance_of_the_anomalies_from_the_rest():
    frame_score = scores_with_a_drop(4.0, 1.5)
    span = (200 * 0.016, 249 * 0.016 + 0.032)
    assert anomaly_drop(frame_score, [span]) == pytest.approx(2.5)
    assert anomaly_drop(frame_score, [(0.0, 100.0)]) == 0.0


@given(st.integers(1, 3000), st.floats(0.5, 30), st.randoms(use_true_random=False))
def test_the_lowest_part_lies_within_the_utterance_and_holds_the_lowest_frame(frames, length_s, random):
    frame_score = np.full(frames, 4.0, np.float32)
    worst = random.randrange(frames)
    frame_score[worst] = 1.0
    duration_s = (frames * 256 + 256) / 16_000
    start, end = lowest_part(frame_score, duration_s, length_s)
    assert 0 <= start < end <= duration_s + 1e-9
    assert end - start == pytest.approx(min(length_s, duration_s))
    # If a second around the lowest frame fits into the part, it lies in the part.
    if length_s > 2.1:
        assert start - 0.6 <= worst * 0.016 <= end + 0.6


def test_a_clip_holds_the_decoded_samples(samples: Path):
    decoded = read_audio(str(samples / "clean.flac"))
    clip, rate = soundfile.read(io.BytesIO(encode_clip(decoded, (1.0, 2.5))))
    assert rate == 16_000
    assert clip == pytest.approx(decoded.samples[16_000:40_000], abs=1 / 30_000)


def test_an_example_without_a_clip_has_a_reason(samples: Path, tmp_path: Path):
    uris = {"whole": samples / "clean.flac", "full": samples / "burst.flac", "missing": tmp_path / "missing.flac"}
    lengths = {name: soundfile.info(uri).duration for name, uri in uris.items() if uri.exists()} | {"missing": 4.0}
    items = [scored(name, 3.0, uri=str(uri), duration_s=lengths[name]) for name, uri in uris.items()]
    _, utterances = choose_examples(open_results(str(write_output(tmp_path / "out", items))), 3)
    part = lowest_part(utterances["whole"].frame_score, lengths["whole"], 2.0)
    max_bytes = len(encode_clip(read_audio(str(uris["whole"])), part))
    examples = make_examples(utterances, list(uris), PESQ_WB, 2.0, max_bytes)
    assert examples["whole"].clip is not None
    assert soundfile.info(io.BytesIO(examples["whole"].clip)).duration == pytest.approx(2.0)
    assert (examples["full"].clip, examples["missing"].clip) == (None, None)
    assert "--max_mb" in examples["full"].no_clip_reason
    assert "No such file" in examples["missing"].no_clip_reason
    assert all(example.light != example.dark for example in examples.values())
