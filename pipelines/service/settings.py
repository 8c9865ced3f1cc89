"""What a service takes on, and how much at a time."""

from __future__ import annotations

import dataclasses

from model.features import FRAME_SHIFT, SAMPLE_RATE
from transforms.scoring.batching import BatchLimits


@dataclasses.dataclass(frozen=True)
class Settings:
    """Limits of a service; none of them changes a score.

    Attributes:
        batch: how large a call of the model may be.
        max_wait_s: how long a recording waits for others to share its call, if the model is free.
        decoders: threads that decode short uploads; one more takes the long ones.
        max_requests: that are inside at a time, from their first byte to their answer.
        max_frames: that wait for the model at a time; a frame takes about 1 kB.
        max_upload_bytes: of a request.
        max_spool_bytes: of all uploads that are inside.
        max_files: of a request.
        max_audio_s: of a recording.
        max_decode_s: that decoding one recording may take.
        max_silence_s: that a client may keep us waiting for its next bytes.
        keys: one of them is asked for, unless there are none.
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
        """Checks that whatever is within the limits of a request can get in at all.

        Raises:
            ValueError: it cannot.
        """
        frames = int(self.max_audio_s * SAMPLE_RATE / FRAME_SHIFT)
        if frames > self.max_frames:
            raise ValueError(
                f"a recording of {self.max_audio_s:g} s has {frames} frames, and {self.max_frames} may wait at a time"
            )
        if self.max_upload_bytes > self.max_spool_bytes:
            raise ValueError(
                f"an upload may have {self.max_upload_bytes} bytes, and all that are inside {self.max_spool_bytes}"
            )
