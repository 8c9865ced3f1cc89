"""Reads a recording at the sampling rate of its source, where the decoder returns another."""

from __future__ import annotations

import numpy as np
import soxr

from transforms.decoders.closing import Closing
from transforms.decoders.media_sound import MediaSound


class ResampledSound(Closing):
    """A recording at a lower rate than that of its decoder; see `transforms.decoders.sound.Sound`.

    FFmpeg decodes Opus at 48 kHz only. libsndfile decodes it at the rate of the source, which the header states. So the same
    stream has the same rate in Ogg and in WebM, and its bandwidth is compared with the rate of the source.

    Args:
        sound: the recording at the rate of the decoder.
        rate: sampling rate of the source in Hz, a divisor of that of the decoder.
    """

    def __init__(self, sound: MediaSound, rate: int) -> None:
        self._sound, self._ratio = sound, sound.samplerate // rate
        self._resampler = soxr.ResampleStream(sound.samplerate, rate, sound.channels, dtype="float32")
        self._rest = np.empty((0, sound.channels), np.float32)
        self._is_ended = False
        self._read = 0
        self.samplerate, self.channels = rate, sound.channels
        self.format, self.subtype = sound.format, sound.subtype
        self.frames: int | None = None
        self.bits: int | None = None
        self.is_seekable = False

    def close(self) -> None:
        """Frees the decoder; the file stays open."""
        self._sound.close()

    def read_block(self, length: int, dtype: str = "float32") -> np.ndarray:
        """Reads the next samples: [at most `length`, channels]; fewer only at the end of the stream.

        Raises:
            AudioFault: the recording is damaged.
            OSError: the file cannot be read.
        """
        while len(self._rest) < length and not self._is_ended:
            block = self._sound.read_block(length * self._ratio)
            self._read += len(block)
            self._is_ended = len(block) < length * self._ratio
            resampled = self._resampler.resample_chunk(np.ascontiguousarray(block), last=self._is_ended)
            self._rest = np.concatenate([self._rest, resampled.reshape(-1, self.channels)])
        samples, self._rest = self._rest[:length], self._rest[length:]
        return samples.astype(dtype, copy=False)

    def seek_to(self, sample: int) -> int:
        """Raises an error, because FFmpeg does not seek to exact samples."""
        raise NotImplementedError(f"cannot seek to sample {sample}")

    def truncation(self, position: int) -> str | None:
        """Returns why the recording is incomplete if it ends here; None if it is complete."""
        del position  # in samples of the source
        return self._sound.truncation(self._read)
