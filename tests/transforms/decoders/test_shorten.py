"""NIST SPHERE files that are compressed with shorten, as in TIMIT and TED-LIUM, are decoded exactly."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tests.support.decoding import fault_of, speech_like
from tests.support.sphere import sphere
from transforms.decoders import media_sound
from transforms.decoders.sound import open_sound
from transforms.errors import Reason

SAMPLES = (speech_like(2.3, 16_000).reshape(-1) * 20_000).astype(np.int16)


@pytest.mark.parametrize("is_compressed", [False, True])
def test_the_samples_are_exact(is_compressed):
    with open_sound(io.BytesIO(sphere(SAMPLES, 16_000, is_compressed))) as sound:
        assert (sound.samplerate, sound.channels, sound.frames) == (16_000, 1, len(SAMPLES))
        assert sound.format == "NIST"
        assert np.array_equal(sound.read_block(len(SAMPLES) + 1, "int16")[:, 0], SAMPLES)


@pytest.mark.parametrize("kept", [0.98, 0.5, 0.02])
def test_a_truncated_file_is_a_fault(kept):
    data = sphere(SAMPLES, 16_000, is_compressed=True)
    assert fault_of(data[: int(len(data) * kept)]).reason == Reason.TRUNCATED


def test_without_ffmpeg_the_fault_names_the_extra(monkeypatch):
    monkeypatch.setattr(media_sound, "is_installed", lambda: False)
    fault = fault_of(sphere(SAMPLES, 16_000, is_compressed=True))
    assert fault.reason == Reason.UNSUPPORTED_FORMAT
    assert "It is compressed NIST SPHERE" in fault.detail
    assert media_sound.INSTALL in fault.detail
