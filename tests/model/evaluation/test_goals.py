"""The table of goals of a diagnostic model, on small test sets with perfect and with useless predictions."""

from __future__ import annotations

import numpy as np
import pytest

from model.diagnosis import HEARD_CAUSES, RATINGS
from model.evaluation.bootstrap import Estimate
from model.evaluation.scored_clips import Clip
from model.frame_truth import Distortion
from model.labels import PESQ_WB
from tests.benchmarks.goals import ALL, GOALS, OF_SCORES, goal_table, measure_sets
from tests.support.training.diagnosed_clips import NUM_FRAMES, diagnosis, distortion, speech
from tests.support.training.scored_clips import clip
from transforms.evaluation.labelled_clips import ClipScores

Case = tuple[Clip, ClipScores]


def case(source: Clip, name: str, score: float | np.ndarray, **values: float | np.ndarray) -> Case:
    """A clip of a set with what a model gives for it."""
    frame_score = np.broadcast_to(np.float32(score), NUM_FRAMES).astype(np.float32)
    frames = np.zeros(NUM_FRAMES, bool)
    scores = ClipScores(float(frame_score.mean()), frame_score, frames, ~frames, diagnosis(values))
    return Clip(**{**vars(source), "set_name": f"/sets/val_{name}", "clip_id": f"{name}-{source.clip_id}"}), scores


def perfect(number: int) -> list[Case]:
    """Clips of all sets by their number, with true predictions."""
    label = 1.5 + 0.15 * (number % 20)
    labels = {"pesq_wb": label}
    cases = []
    for band in (None, 5.0, 20.0, 25.0, 30.0):
        noise = () if band is None else (distortion("noise"),)
        source = speech(number, snr_db=band, distortions=noise, labels=labels)
        cases.append(case(source, "noise", label, noise=float(band is not None)))
    kind = ("hum", "codec")[number % 2]
    fault = Distortion(kind, "", 0.0, 4.0, kind, True)
    cases.append(case(speech(number, distortions=(fault,), labels=labels), "faults", label, **{kind: 1.0}))
    bad = (np.arange(NUM_FRAMES) >= 100) & (np.arange(NUM_FRAMES) < 162)
    for snr_db in (5.0, 15.0):
        burst = (distortion("noise", 1.6, 2.6),)
        source = speech(number, snr_db=snr_db, distortions=burst, labels=labels)
        cases.append(case(source, "burst", np.where(bad, 1.2, 4.4), noise=bad.astype(float)))
    cases.append(case(speech(number, labels=labels), "burst", 4.4))
    cause = HEARD_CAUSES[number % len(HEARD_CAUSES)]
    cases.append(case(speech(number, cause), "sounds", 3.0, **{cause: 1.0}))
    alone = speech(number, "music", speech=(), speaker="", noise_groups=(f"song{number}",))
    cases.append(case(alone, "sounds", 3.0, speech=0.0, music=1.0))
    for name, other in (("voice", "second_voice"), ("music", "music")):
        cases.append(case(speech(number), name, 4.0))
        cases.append(case(speech(number, other, speech_snr_db=10.0), name, 3.0, **{other: 1.0}))
    level = float(number % 30)
    source = speech(number, "noise", "reverberation", speech_snr_db=level, c50_db=level)
    cases.append(case(source, "levels", 3.0, snr_db=level, c50_db=level, noise=1.0, reverberation=1.0))
    cases.append(case(speech(number, "band_limit"), "telephone", 3.0, band_limit=1.0))
    ratings = dict.fromkeys(RATINGS, 2.0 + 0.1 * (number % 20))
    unknown = {"known": False, "names_causes": False, "speech": None, "distortions": (), "labels": {"pesq_wb": None}}
    cases.append(case(clip(number, snr_db=None, ratings=ratings, **unknown), "rated", 3.0, **ratings))
    return cases


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [one for number in range(36) for one in perfect(number)]


def cells_of(cases: list[Case], speed: float = 2500.0, above: float = 0.01) -> dict[str, list[str]]:
    """The cells of the table, by goal."""
    clips, scores = zip(*cases, strict=True)
    measures = measure_sets(PESQ_WB, clips, scores, 20)
    measures[ALL] |= {
        "above": {peer: Estimate(above, np.full(20, above)) for peer in ("silero-vad", "ten-vad")},
        "speed": Estimate(speed, np.empty(0)),
    }
    lines = goal_table("some@1", measures).splitlines()[2:]
    assert len(lines) == len(GOALS)
    return {goal.title: line.removeprefix(goal.title).split() for goal, line in zip(GOALS, lines, strict=True)}


def test_perfect_predictions_reach_every_goal(cases: list[Case]) -> None:
    found = cells_of(cases)
    assert {title: cells[-1] for title, cells in found.items()} == dict.fromkeys(found, "yes")
    assert "1.000" in found["noise: LCC of PESQ-WB"]
    assert "0.00" in found["levels: C50 from 0 to 40 dB, mean absolute error in dB"]
    assert "2500" in found["network alone, times real time on one core"]


def test_useless_predictions_reach_none(cases: list[Case]) -> None:
    """Each clip gets what the model gives for the next one but some, and hears a music that is not there."""
    useless = []
    for number, (source, _) in enumerate(cases):
        rng = np.random.default_rng(number)
        values = {name: rng.random() for name in ("speech", *HEARD_CAUSES)}
        levels = {"snr_db": 60.0, "c50_db": -20.0, **{name: 5 * rng.random() for name in RATINGS}}
        frame_score = np.where(np.arange(NUM_FRAMES) % 80 < 40, 4.5, 1.0) * (0.9 + 0.1 * rng.random())
        one = case(source, "x", frame_score, **values, **levels)[1]
        useless.append((source, one))
    found = cells_of(useless, speed=100.0, above=-0.01)
    assert {title: cells[-1] for title, cells in found.items()} == dict.fromkeys(found, "no")


@pytest.mark.parametrize("name", ["rated", "noise", "telephone"])
def test_a_goal_without_its_set_has_no_figure(cases: list[Case], name: str) -> None:
    found = cells_of([one for one in cases if not one[0].set_name.endswith(name)])
    for title, cells in found.items():
        assert (cells[-1] == "-") == title.startswith(f"{name}:"), title
    assert set(OF_SCORES) == {"noise", "faults", "burst"}
