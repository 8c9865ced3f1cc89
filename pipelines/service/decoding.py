"""An upload decoded and featurized, within limits of time and length."""

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

# What lies further under the loudest point of a picture is black.
PICTURE_DB = 80.0


@dataclasses.dataclass(frozen=True)
class DecodedUpload:
    """A recording on its way to the model.

    Attributes:
        item: its features.
        picture: its spectrogram, a grey PNG, low frequencies at the bottom; None unless asked for.
    """

    item: FeaturizedUtterance
    picture: bytes | None


class StoppedError(OSError):
    """Nobody waits for the recording any more."""


class _LateError(OSError):
    """Decoding took too long."""


def decode_upload(
    upload: Upload, channels: str, picture: bool, features: FeatureConfig, settings: Settings, stop: threading.Event
) -> DecodedUpload:
    """Decodes an upload.

    Args:
        upload: what came.
        channels: which are heard: "mix", "first", or the number of one.
        picture: whether its spectrogram is asked for.
        features: of the model.
        settings: the limits.
        stop: set by another thread when nobody waits for it any more.

    Raises:
        AudioFault: it cannot be heard; the same faults as in a corpus.
        StoppedError: `stop` was set.
    """
    name = printable(upload.name or "")
    file = _Watched(upload.file, time.monotonic() + settings.max_decode_s, stop)
    try:
        decoded = decode(cast(BinaryIO, file), channels=channels, max_s=settings.max_audio_s)
    except _LateError:
        detail = f"decoding it takes more than {settings.max_decode_s:g} s; cut it"
        raise AudioFault(Stage.DECODE, Reason.TOO_LONG, detail) from None
    item = featurize(decoded, AudioRef(name, name, upload.size_bytes, ""), features)
    return DecodedUpload(item, _picture(reduced_db(decoded.waveform)) if picture else None)


class _Watched:
    """A file that can be read only as long as there is time, and somebody who waits.

    libsndfile cannot be interrupted, but it comes here for every few kilobytes.
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
            raise StoppedError
        if time.monotonic() > self._deadline:
            raise _LateError


def _picture(level_db: np.ndarray) -> bytes:
    """A spectrogram in dB [C, 257] as a PNG of C x 257 points: white is its loudest, black `PICTURE_DB` under that."""
    shade = np.clip((level_db - level_db.max() + PICTURE_DB) / PICTURE_DB, 0, 1)
    drawn = io.BytesIO()
    Image.fromarray(np.round(shade.T[::-1] * 255).astype(np.uint8)).save(drawn, "png")
    return drawn.getvalue()
