"""The parts of the comparison of trainings on selections of a corpus: pool, selections, mixtures, measures and tables."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from model.features import SAMPLE_RATE
from model.frame_truth import Distortion
from tests.benchmarks.downstream.__main__ import parse
from tests.benchmarks.downstream.experiment import run
from tests.benchmarks.downstream.judging import MEASURES, paired_difference, si_sdr
from tests.benchmarks.downstream.mixing import BATCH, CROP, draw_batch, long_signal, mix, power
from tests.benchmarks.downstream.pool import CLEAN, LONGEST_S, PoolClip, draft_clips
from tests.benchmarks.downstream.report import as_json, compare, markdown, means
from tests.benchmarks.downstream.selection import (
    ARMS,
    RANDOM,
    Piece,
    by_rating,
    contents,
    oracle,
    preset_first,
    shuffled,
    take,
    whole,
)
from tests.support.paths import ROOT
from transforms.elements import AudioRef
from transforms.synthesis.materials import SPEECH, Material

RNG = np.random.default_rng(0)


def noise(start_s: float, end_s: float) -> Distortion:
    return Distortion("noise", "rain", start_s, end_s, "noise", True)


# Every other clip is clean; the others have noise over a growing part.
CLIPS = [
    PoolClip(f"clip{number}", 4.0 + number % 5, (noise(0.0, 1.0 + number / 10),) if number % 2 else ())
    for number in range(40)
]
TOTAL_S = sum(clip.duration_s for clip in CLIPS)

SPEECH_OF_POOL = [
    Material(AudioRef(f"speech{number}", f"{number}.flac", 1, ""), SPEECH, f"s{number}", "train", seconds * SAMPLE_RATE)
    for number, seconds in enumerate((3, 4, 5, 6, 12))
]


class TestPool:
    def test_half_of_the_hours_are_spoiled(self) -> None:
        drafts = draft_clips(SPEECH_OF_POOL, 0.1)
        hours = {True: 0.0, False: 0.0}
        for draft in drafts:
            is_clean = (draft.options.clean_ratio, draft.options.degradation_ratio, draft.options.music_ratio) == (
                1,
                0,
                0,
            )
            hours[is_clean] += min(LONGEST_S, draft.speech.num_samples / SAMPLE_RATE) / 3600
        assert sum(hours.values()) == pytest.approx(0.1, abs=LONGEST_S / 3600)
        assert hours[True] == pytest.approx(hours[False], abs=LONGEST_S / 3600)

    def test_each_recording_is_used_as_it_is_once_and_then_at_other_speeds(self) -> None:
        drafts = draft_clips(SPEECH_OF_POOL, 0.02)
        assert [draft.number for draft in drafts] == list(range(len(drafts)))
        assert {draft.speech.group for draft in drafts[:5]} == {item.group for item in SPEECH_OF_POOL}
        assert [draft.options.speed_ratio for draft in drafts] == [0.0] * 5 + [1.0] * (len(drafts) - 5)
        assert len(drafts) > 5

    def test_clean_clips_have_nothing_added(self) -> None:
        assert (CLEAN.clean_ratio, CLEAN.degradation_ratio, CLEAN.music_ratio, CLEAN.variation_ratio) == (1, 0, 0, 0)

    def test_spoiled_seconds_count_once_and_only_inside_the_part(self) -> None:
        clip = PoolClip("a", 9.0, (noise(1.0, 3.0), noise(2.0, 4.0), noise(2.5, 3.5), noise(6.0, 7.0)))
        assert clip.spoiled_s(0.0, 9.0) == pytest.approx(4.0)
        assert clip.spoiled_s(3.5, 6.5) == pytest.approx(1.0)
        assert clip.spoiled_s(4.0, 6.0) == 0.0


class TestSelections:
    def test_all_have_the_same_seconds(self) -> None:
        seconds = TOTAL_S / 3
        for order in ([whole(clip) for clip in shuffled(CLIPS, 1)], oracle(CLIPS, 1), [whole(clip) for clip in CLIPS]):
            taken = take(order, seconds)
            assert sum(piece.duration_s for piece in taken) == pytest.approx(seconds)
            assert taken[:-1] == order[: len(taken) - 1]

    def test_the_last_piece_is_cut(self) -> None:
        assert take([Piece("a", 0.0, 4.0), Piece("b", 1.0, 5.0)], 5.5) == [Piece("a", 0.0, 4.0), Piece("b", 1.0, 2.5)]

    def test_too_short_a_list_is_refused(self) -> None:
        with pytest.raises(SystemExit, match=r"1\.0 s less than the 5\.0 s"):
            take([Piece("a", 0.0, 4.0)], 5.0)

    def test_the_oracle_takes_no_spoiled_clip_while_there_are_clean_ones(self) -> None:
        clean = {clip.clip_id: clip for clip in CLIPS if clip.clean}
        clean_s = sum(clip.duration_s for clip in clean.values())
        order = oracle(CLIPS, 3)
        assert {piece.clip_id for piece in take(order, clean_s)} == set(clean)
        assert [piece.clip_id for piece in order[len(clean) :]] != [clip.clip_id for clip in CLIPS if not clip.clean]
        assert order[-1].clip_id == max(CLIPS, key=lambda clip: clip.spoiled_s(0, 9) / clip.duration_s).clip_id
        # The clean clips are in the same order as in the random selection.
        in_random = [clip.clip_id for clip in shuffled(CLIPS, 3) if clip.clean]
        assert [piece.clip_id for piece in order[: len(clean)]] == in_random

    def test_the_best_rated_come_first(self) -> None:
        ratings = {clip.clip_id: float(number % 7) for number, clip in enumerate(CLIPS)}
        found = [ratings[piece.clip_id] for piece in by_rating(CLIPS, ratings)]
        assert found == sorted(ratings.values(), reverse=True)

    def test_what_the_preset_drops_comes_last(self) -> None:
        a, b, c, d = (Piece(name, 0.0, 1.0) for name in "abcd")
        assert preset_first([(3.0, a), (4.0, b)], [(4.5, c), (3.0, a), (4.6, d), (4.0, b)]) == [b, a, d, c]

    def test_contents(self) -> None:
        clips = {"a": PoolClip("a", 8.0, ()), "b": PoolClip("b", 8.0, (noise(0.0, 2.0),))}
        found = contents([Piece("a", 0.0, 6.0), Piece("b", 1.0, 3.0)], clips)
        assert found == pytest.approx({"hours": 8 / 3600, "in_spoiled_clips": 0.25, "spoiled_seconds": 0.125})


class TestMixing:
    def test_the_snr_is_exact(self) -> None:
        speech, added = RNG.normal(size=(2, 8_000)).astype(np.float32)
        found = mix(speech, added, 7.0) - speech
        assert 10 * np.log10(power(speech) / power(found)) == pytest.approx(7.0, abs=1e-3)

    def test_parts_of_a_long_signal_have_the_same_power(self) -> None:
        signal = long_signal([0.01 * RNG.normal(size=1_000), 0.5 * RNG.normal(size=3_000)])
        assert power(signal[:1_000]) == pytest.approx(power(signal[1_000:])) == pytest.approx(1.0)

    def test_all_arms_have_the_same_noise(self) -> None:
        added = RNG.normal(size=CROP * 3).astype(np.float16)
        one, other = RNG.normal(size=(2, CROP * 2)).astype(np.float32)

        def drawn(speech: np.ndarray, seed: int, step: int) -> np.ndarray:
            mixtures, targets = draw_batch(speech, added, seed, step)
            assert mixtures.shape == targets.shape == (BATCH, CROP)
            assert np.mean(mixtures**2, axis=1) == pytest.approx(1.0, rel=1e-3)
            alone = mixtures - targets
            return alone / np.sqrt(np.mean(alone**2, axis=1, keepdims=True))

        assert np.abs(drawn(one, 0, 5) - drawn(other, 0, 5)).max() < 1e-2
        for seed, step in ((1, 5), (0, 6)):
            assert np.abs(drawn(one, 0, 5) - drawn(one, seed, step)).max() > 1


class TestMeasures:
    def test_si_sdr_is_that_of_its_definition(self) -> None:
        phase = np.arange(1_600) / 1_600 * 2 * np.pi
        reference, distortion = np.sin(10 * phase), np.cos(25 * phase)
        for gain in (0.1, 1.0, -3.0):
            expected = 10 * np.log10(gain**2 / 0.05**2)
            assert si_sdr(reference, gain * reference + 0.05 * distortion) == pytest.approx(expected)

    def test_si_sdr_depends_neither_on_level_nor_on_offset(self) -> None:
        reference, estimate = RNG.normal(size=(2, 4_000))
        estimate = reference + 0.3 * estimate
        assert si_sdr(reference, 0.2 * estimate + 0.1) == pytest.approx(si_sdr(reference, estimate))
        assert si_sdr(5 * reference, estimate) == pytest.approx(si_sdr(reference, estimate))

    def test_a_constant_difference_has_no_spread(self) -> None:
        baseline = RNG.normal(size=(3, 20))
        found = paired_difference(baseline + 0.25, baseline, [f"s{n % 7}" for n in range(20)])
        assert found.value == pytest.approx(0.25)
        assert found.interval == pytest.approx((0.25, 0.25))

    def test_seeds_and_speakers_spread(self) -> None:
        by_seed = np.repeat([[0.0], [1.0], [2.0]], 12, axis=1)
        by_speaker = np.tile(np.arange(12) % 4, (3, 1))
        for values in (by_seed, by_speaker):
            low, high = paired_difference(values, np.zeros((3, 12)), [f"s{n % 4}" for n in range(12)]).interval
            assert low < values.mean() < high

    def test_the_spread_is_over_seeds(self) -> None:
        mean, deviation = means(np.array([[1.0, 3.0, np.nan], [2.0, 6.0, np.nan]]))
        assert (mean, deviation) == pytest.approx((3.0, np.sqrt(2.0)))
        assert means(np.array([[1.0, 2.0]])) == (1.5, None)


SPEAKERS = ("a", "a", "b", "c")
HELD = {arm: {"hours": 0.4, "in_spoiled_clips": 0.5, "spoiled_seconds": 0.37} for arm in ARMS}
NOISY = {name: np.full((1, 4), 1.5) for name in MEASURES}
MEASURED = {
    arm: {name: 2.0 + 0.5 * place + np.repeat([[0.0], [0.2]], 4, axis=1) for name in MEASURES}
    for place, arm in enumerate(ARMS)
}


class TestReport:
    def test_the_text(self) -> None:
        text = markdown(HELD, NOISY, MEASURED, SPEAKERS, ["A note."])
        assert "| `random` | 0.40 | 50.0% | 37.0% |" in text
        assert "| noisy input | 1.50 | 1.50 | 1.50 |" in text
        assert "| `random` | 2.10 ± 0.14 | 2.10 ± 0.14 | 2.10 ± 0.14 |" in text
        assert f"| `enhancement` |{' +0.500 [+0.500, +0.500] |' * 3}" in text
        assert f"| `oracle` |{' +2.000 [+2.000, +2.000] |' * 3}" in text
        assert text.endswith("\n\nA note.\n")

    def test_clips_without_a_rating_are_left_out(self) -> None:
        unrated = {"DNSMOS": np.where(np.arange(4) < 3, 1.0, np.nan)}
        arms = {arm: row | {name: row[name] * mask for name, mask in unrated.items()} for arm, row in MEASURED.items()}
        found = compare(arms, SPEAKERS)
        assert RANDOM not in found
        assert found["oracle"]["DNSMOS"].value == pytest.approx(2.0)

    def test_the_figures_for_programs(self) -> None:
        found = as_json(HELD, NOISY, MEASURED, SPEAKERS)
        assert found["measures"]["noisy input"]["PESQ"] == {"mean": 1.5, "std": None}
        assert found["differences"]["DNSMOS"]["SI-SDR"] == pytest.approx({"value": 1.5, "low": 1.5, "high": 1.5})


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_target_needs_the_corpus() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "AUDIOSIEVE_CORPUS"}
    done = subprocess.run(
        ["make", "bench-downstream"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "AUDIOSIEVE_CORPUS" in done.stderr


def small_manifest(corpus: Path, folder: Path) -> Path:
    """The first usable recordings of each kind and split of the corpus."""
    with (corpus / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = []
    for kind, split, count in (
        ("speech", "train", 12),
        ("speech", "val", 3),
        ("noise", "train", 4),
        ("noise", "val", 3),
        ("music", "train", 2),
        ("rir", "train", 2),
    ):
        found = [row for row in rows if (row["kind"], row["split"]) == (kind, split) and float(row["duration_s"]) <= 9]
        if kind == "speech":
            # Of several corpora, because the first ones are of one speaker.
            found = [row for row in found if float(row["dynamic_range_db"]) >= 43 and float(row["duration_s"]) >= 4]
        chosen += [{**row, "path": str(corpus / row["path"])} for row in found[:: max(1, len(found) // count)][:count]]
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)
    return folder / "manifest.csv"


@pytest.mark.slow
def test_the_whole_experiment(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [str(small_manifest(corpus, tmp_path)), str(out), "--seeds", "1", "--hours", "0.02"]
    words += ["--steps", "2", "--test_clips", "2", "--rated", "1"]
    run(parse(words))
    figures = json.loads((out / "downstream.json").read_text(encoding="utf-8"))
    assert list(figures["contents"]) == list(ARMS)
    hours = [held["hours"] for held in figures["contents"].values()]
    assert hours == pytest.approx([hours[0]] * len(ARMS))
    assert figures["contents"]["oracle"]["in_spoiled_clips"] == 0 < figures["contents"][RANDOM]["in_spoiled_clips"]
    assert all(np.isfinite(row["PESQ"]["mean"]) for row in figures["measures"].values())
    # The same command continues the run and trains only what is missing.
    results = sorted((out / "results").iterdir())
    times = [path.stat().st_mtime_ns for path in results]
    results[0].unlink()
    run(parse(words))
    assert [path.stat().st_mtime_ns for path in results[1:]] == times[1:]
    assert results[0].stat().st_mtime_ns > max(times)
    with pytest.raises(SystemExit, match="other settings"):
        run(parse([*words, "--steps", "3"]))
