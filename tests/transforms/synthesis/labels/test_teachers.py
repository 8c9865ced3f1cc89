"""Teachers rate as their packages do, alike in every process; the tests of a package are skipped without it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from tests.support.training.clip_options import OPTIONS
from transforms.synthesis.labels.teachers import dnsmos_windows, is_rated, missing_packages, rate

NAMES = ("clean", "noise_20db", "noise_10db", "noise_00db")
# Ratings of clean.flac, repeated to fill one window, by `speechmos.dnsmos.run` 0.0.1.1.
WINDOW = 144_160
CLEAN_RATINGS = {"mos_sig": 3.47392, "mos_bak": 4.10748, "mos_ovrl": 3.23297}


def needs(teacher: str) -> pytest.MarkDecorator:
    missing = missing_packages([teacher])
    return pytest.mark.skipif(bool(missing), reason=f"{teacher} is not installed: {', '.join(missing)}")


def read(samples: Path, name: str) -> np.ndarray:
    return soundfile.read(samples / f"{name}.flac", dtype="float32")[0]


@needs("dnsmos")
class TestDnsmos:
    def test_its_ratings_are_those_of_the_package(self, samples):
        assert rate(["dnsmos"], np.resize(read(samples, "clean"), WINDOW)) == pytest.approx(CLEAN_RATINGS, abs=1e-3)

    def test_noise_lowers_the_ratings_of_background_and_of_the_whole(self, samples):
        ratings = [rate(["dnsmos"], np.resize(read(samples, name), WINDOW)) for name in NAMES]
        for column in ("mos_bak", "mos_ovrl"):
            values = [rating[column] for rating in ratings]
            assert values == sorted(values, reverse=True)
            assert values[0] > values[-1] + 1.0

    @pytest.mark.parametrize("length", [4_000, WINDOW - 1, WINDOW, 160_000, 330_000])
    def test_the_code_of_the_package_gives_the_same_at_any_length(self, samples, length):
        pytest.importorskip("librosa")
        package = pytest.importorskip("speechmos.dnsmos")
        sound = np.resize(read(samples, "noise_10db"), length)
        expected = package.run(sound, SAMPLE_RATE)
        found = rate(["dnsmos"], sound)
        assert found == pytest.approx(
            {f"mos_{name}": expected[f"{name}_mos"] for name in ("sig", "bak", "ovrl")}, abs=1e-5
        )


@needs("distillmos")
class TestDistillMos:
    def test_noise_lowers_the_rating_and_the_level_does_not_change_it(self, samples):
        ratings = [rate(["distillmos"], read(samples, name))["distillmos"] for name in NAMES]
        assert ratings == sorted(ratings, reverse=True)
        soft = rate(["distillmos"], read(samples, "clean") * np.float32(0.1))["distillmos"]
        assert soft == pytest.approx(ratings[0], abs=1e-3)


@given(st.integers(1, 600_000))
@settings(max_examples=50, deadline=None)
def test_a_recording_of_any_length_has_windows_of_dnsmos(length: int) -> None:
    # Each sample is its index, so that a window shows where it starts.
    windows = list(dnsmos_windows(np.arange(length, dtype=np.float32)))
    assert windows
    for window in windows:
        assert np.array_equal(window, (window[0] + np.arange(WINDOW)) % length)
        assert length < WINDOW or window[0] % SAMPLE_RATE == 0


def test_no_samples_have_no_windows() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        next(dnsmos_windows(np.empty(0, np.float32)))


def test_a_share_of_the_clips_is_rated() -> None:
    some, more = (
        {number for number in range(2_000) if is_rated(number, options)}
        for options in (dataclasses.replace(OPTIONS, teachers=("dnsmos",), teacher_ratio=ratio) for ratio in (0.3, 0.6))
    )
    assert len(some) == pytest.approx(600, abs=80)
    assert some < more
    assert not any(is_rated(number, OPTIONS) for number in range(20))
