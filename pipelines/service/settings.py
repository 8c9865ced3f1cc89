"""Limits of the service."""

from __future__ import annotations

import dataclasses

from model.features import FRAME_SHIFT, SAMPLE_RATE
from transforms.scoring.batching import BatchLimits


@dataclasses.dataclass(frozen=True)
class Settings:
    """Limits of a service; none of them changes a score.

    Attributes:
        batch: largest size of a model call.
        max_wait_s: longest time that a recording waits for others to batch with while the model is idle, in seconds.
        decoders: threads that decode small uploads; one more thread decodes large ones.
        max_requests: most requests between their first byte and their response.
        max_frames: most frames that wait for the model; a frame takes about 1 kB.
        max_upload_bytes: largest body of a request, in bytes.
        max_spool_bytes: most bytes of all uploads together.
        max_files: most files of a form.
        max_audio_s: longest recording, in seconds.
        max_decode_s: longest time to decode a recording, in seconds.
        max_silence_s: longest time without a byte of an upload, in seconds.
        keys: API keys, of which a client must send one; empty if the service is open.
    """

    batch: BatchLimits = dataclasses.field(default_factory=BatchLimits)
    max_wait_s: float = 0.005
    decoders: int = 2
    max_requests: int = 256
    max_frames: int = 524_288
    max_upload_bytes: int = 256 << 20
    max_spool_bytes: int = 2048 << 20
    max_files: int = 32
    max_audio_s: float = 3600.0
    max_decode_s: float = 120.0
    max_silence_s: float = 30.0
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks that a request within its own limits fits into the empty service.

        Raises:
            ValueError: it does not.
        """
        frames = int(self.max_audio_s * SAMPLE_RATE / FRAME_SHIFT)
        if frames > self.max_frames:
            raise ValueError(
                f"a recording of {self.max_audio_s:g} s has {frames} frames; the queue holds only {self.max_frames}"
            )
        if self.max_upload_bytes > self.max_spool_bytes:
            raise ValueError(
                f"an upload may have {self.max_upload_bytes} bytes; all uploads together only {self.max_spool_bytes}"
            )
