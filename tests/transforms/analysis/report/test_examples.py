"""The examples of a report: which utterances are chosen, and what is played of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from model.labels import PESQ_WB
from tests.support.outputs import scored, write_output
from transforms.analysis.report.examples import (
    KINDS,
    choose_examples,
    encode_clip,
    lowest_part,
    make_examples,
)
from transforms.audio.decode import read_audio
from transforms.output.results import Results, open_results


def scores_with_a_drop(level: float, bad: float, frames: int = 50) -> np.ndarray:
    return np.array([level] * 200 + [bad] * frames + [level] * 200, np.float32)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    utterances = [scored(f"even{n}", 2.0 + n / 4) for n in range(9)]
    utterances += [scored(f"burst{n}", scores_with_a_drop(4.4, 1.2, 40 + 10 * n)) for n in range(4)]
    utterances += [scored("hushed", 4.64, silence_ratio=0.6), scored("silent", 1.0, silence_ratio=0.95)]
    utterances += [scored("gap", 4.3, longest_gap_s=10.0)]
    utterances += [scored("hum", 3.0, hum_db=-20.0), scored("both", 1.1, hum_db=-20.0, dropout_s=1.0)]
    return open_results(str(write_output(tmp_path_factory.mktemp("examples") / "out", utterances)))


def test_each_kind_selects_its_utterances(results):
    chosen, utterances = choose_examples(results, 2, 2.6)
    assert chosen["stretches"] == ["burst3", "burst2"], "the longest first"
    assert chosen["causes"] == ["hum", "gap", "both"], (
        "one utterance for each cause, without other causes if there is one"
    )
    assert chosen["border"] == ["even3", "even2"], "2.75 is above 2.6, and 2.5 below it"
    assert chosen["worst"] == ["even0", "even1"]
    assert chosen["best"] == ["burst0", "burst1"], "the mostly silent one, which scores best, is not worth hearing"
    names = [name for names in chosen.values() for name in names]
    assert len(set(names)) == len(names)
    assert set(names) == set(utterances)


@given(threshold=st.floats(1.0, 4.64), number=st.integers(1, 8))
@settings(max_examples=15, deadline=None)
def test_the_border_has_as_many_utterances_above_as_below(results, threshold, number):
    chosen, utterances = choose_examples(results, number, threshold)
    scores = [utterances[name].row["score"] for name in chosen["border"]]
    assert scores == sorted(scores, reverse=True)
    above = sum(score >= threshold for score in scores)
    assert above <= (number + 1) // 2
    assert len(scores) - above <= number // 2
    quiet = {name for kind in ("border", "worst", "best", "stretches") for name in chosen[kind]} & {"hushed", "silent"}
    assert not quiet


def test_the_number_of_examples_may_be_zero_or_exceed_the_utterances(results):
    assert choose_examples(results, 0, 2.6) == ({kind: [] for kind in KINDS}, {})
    chosen, utterances = choose_examples(results, 100, 2.6)
    assert set(utterances) == {*(name for names in chosen.values() for name in names)}
    assert len(utterances) >= 15


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
    _, utterances = choose_examples(open_results(str(write_output(tmp_path / "out", items))), 3, 3.0)
    part = lowest_part(utterances["whole"].frame_score, lengths["whole"], 2.0)
    max_bytes = len(encode_clip(read_audio(str(uris["whole"])), part))
    examples = make_examples(utterances, list(uris), PESQ_WB, 2.0, max_bytes)
    assert examples["whole"].clip is not None
    assert soundfile.info(io.BytesIO(examples["whole"].clip)).duration == pytest.approx(2.0)
    assert (examples["full"].clip, examples["missing"].clip) == (None, None)
    assert "--max_mb" in examples["full"].no_clip_reason
    assert "No such file" in examples["missing"].no_clip_reason
    assert [example.figure.level_db is None for example in examples.values()] == [False, False, True]
    assert not any(example.is_whole for example in examples.values())
