"""Decodes and featurizes an upload, within limits of time and length."""

from __future__ import annotations

import dataclasses
import io
import threading
import time
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image

from model.features import FeatureConfig
from pipelines.service.settings import Settings
from pipelines.service.uploads import Upload
from transforms.analysis.spectrogram_image import reduced_db
from transforms.audio.decode import decode
from transforms.elements import AudioRef, FeaturizedUtterance, printable
from transforms.errors import AudioFault, Reason, Stage
from transforms.scoring.featurize import featurize

# Dynamic range of a spectrogram image; anything lower is black.
IMAGE_RANGE_DB = 80.0


@dataclasses.dataclass(frozen=True)
class DecodedUpload:
    """A decoded recording that is ready for the model.

    Attributes:
        utterance: features of the recording.
        spectrogram_png: grey image of the spectrogram, low frequencies at the bottom; None unless requested.
    """

    utterance: FeaturizedUtterance
    spectrogram_png: bytes | None


class DecodingStoppedError(OSError):
    """Decoding was stopped because the client has disconnected."""


class _DeadlineError(OSError):
    """Decoding takes longer than the limit."""


def decode_upload(
    upload: Upload, channels: str, image: bool, features: FeatureConfig, settings: Settings, stop: threading.Event
) -> DecodedUpload:
    """Decodes and featurizes an upload.

    Args:
        upload: the upload.
        channels: channels to score: "auto", "mix", "first" or the number of a channel.
        image: whether to draw the spectrogram.
        features: feature definition of the model.
        settings: limits of the service.
        stop: event that another thread sets when the client disconnects.

    Raises:
        AudioFault: the recording cannot be decoded, with the same reason as in a corpus.
        DecodingStoppedError: `stop` was set.
    """
    name = printable(upload.name or "")
    file = _InterruptibleFile(upload.file, time.monotonic() + settings.max_decode_s, stop)
    try:
        decoded = decode(cast(BinaryIO, file), channels=channels, max_s=settings.max_audio_s)
    except _DeadlineError:
        detail = f"decoding takes longer than the limit of {settings.max_decode_s:g} s; cut the recording into parts"
        raise AudioFault(Stage.DECODE, Reason.TOO_LONG, detail) from None
    utterance = featurize(decoded, AudioRef(name, name, upload.size_bytes, ""), features)
    return DecodedUpload(utterance, _png(reduced_db(decoded.waveform)) if image else None)


class _InterruptibleFile:
    """A file whose reads fail after a deadline or a stop signal.

    A decoder cannot be interrupted, but it reads only a few kilobytes at a time.
    """

    def __init__(self, file: BinaryIO, deadline: float, stop: threading.Event) -> None:
        self._file, self._deadline, self._stop = file, deadline, stop
        self.seek, self.tell = file.seek, file.tell

    def read(self, *size: int) -> bytes:
        self._check()
        return self._file.read(*size)

    def readinto(self, buffer: Any) -> int:
        self._check()
        return self._file.readinto(buffer)  # type: ignore[attr-defined]

    def _check(self) -> None:
        if self._stop.is_set():
            raise DecodingStoppedError
        if time.monotonic() > self._deadline:
            raise _DeadlineError


def _png(level_db: np.ndarray) -> bytes:
    """Returns a spectrogram in dB [C, 257] as a PNG of C x 257 pixels, from white at its maximum to black."""
    shade = np.clip((level_db - level_db.max() + IMAGE_RANGE_DB) / IMAGE_RANGE_DB, 0, 1)
    file = io.BytesIO()
    Image.fromarray(np.round(shade.T[::-1] * 255).astype(np.uint8)).save(file, "png")
    return file.getvalue()
