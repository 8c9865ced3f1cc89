"""Samples are the same in memory and on disk."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.features import frame_power, num_frames, shifted
from model.high_pass import without_dc
from transforms.audio import waveform as waveform_module
from transforms.audio.waveform import ScratchError, Waveform, mean_of_channels


def waveform_of(samples: np.ndarray, cuts: list[int]) -> Waveform:
    waveform = Waveform()
    for part in np.split(samples, sorted(min(cut, len(samples)) for cut in cuts)):
        waveform.add(part)
    waveform.end()
    return waveform


@pytest.fixture(params=["memory", "disk"])
def _storage(request, monkeypatch):
    if request.param == "disk":
        monkeypatch.setattr(waveform_module, "MEMORY_SAMPLES", 100)


@pytest.mark.usefixtures("_storage")
@pytest.mark.parametrize("length", [0, 1, 511, 512, 5_000])
@pytest.mark.parametrize("cuts", [[], [1], [600, 601, 1_000], list(range(0, 5_000, 37))])
def test_added_samples_are_read_back(length, cuts):
    samples = np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)
    waveform = waveform_of(samples, cuts)
    assert len(waveform) == length
    expected = without_dc(samples)
    np.testing.assert_allclose(waveform.read(), expected, atol=1e-6)
    np.testing.assert_array_equal(waveform.read(17, 400), waveform.read()[17:400])
    np.testing.assert_array_equal(waveform.read(4_000, 9_000), waveform.read()[4_000:9_000])
    np.testing.assert_allclose(waveform.read(), expected, atol=1e-6, err_msg="read a second time")


@given(st.integers(0, 3_000), st.lists(st.integers(0, 3_000), max_size=8))
def test_the_power_equals_that_of_all_samples_at_once(length, cuts):
    samples = np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)
    waveform = waveform_of(samples, cuts)
    expected = frame_power(shifted(without_dc(samples), waveform.grid_offset))
    np.testing.assert_allclose(waveform.power(), expected, rtol=1e-3)


@pytest.mark.usefixtures("_storage")
def test_frames_beyond_the_ends_hold_zeros(monkeypatch):
    samples = np.random.default_rng(1).normal(0, 0.1, 5_000).astype(np.float32)
    waveform = waveform_of(samples, [1_000])
    monkeypatch.setattr(waveform_module, "WHOLE_FRAMES", 3)
    assert waveform.grid_offset != 0
    count = num_frames(len(samples))
    expected = shifted(waveform.read(), waveform.grid_offset)[: 256 * count + 256]
    np.testing.assert_array_equal(waveform.read_frames(0, count), expected)
    np.testing.assert_array_equal(waveform.power(), frame_power(waveform.read_frames(0, count)))


def test_the_extremes_are_those_of_all_samples():
    waveform = waveform_of(np.array([0.1, -0.4, 0.3], np.float32), [1, 2])
    samples = waveform.read()
    assert (waveform.lowest, waveform.highest) == (samples.min(), samples.max())


def test_a_full_disk_is_not_an_error_of_the_recording(monkeypatch):
    def fail():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(waveform_module, "MEMORY_SAMPLES", 100)
    monkeypatch.setattr(waveform_module.tempfile, "TemporaryFile", fail)
    with pytest.raises(ScratchError, match=os.strerror(errno.ENOSPC)) as caught:
        waveform_of(np.zeros(200, np.float32), [])
    assert not isinstance(caught.value, OSError)


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_it_is_the_mean_of_the_channels(channels: int) -> None:
    block = np.random.default_rng(channels).uniform(-1, 1, (1000, channels)).astype(np.float32)
    mono = mean_of_channels(block)
    assert mono.dtype == np.float32
    np.testing.assert_allclose(mono, block.mean(axis=1, dtype=np.float64), atol=2e-7)
    assert np.shares_memory(mono, block) == (channels == 1)


def test_no_samples_have_no_mean() -> None:
    assert mean_of_channels(np.empty((0, 2), np.float32)).shape == (0,)
