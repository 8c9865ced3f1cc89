"""Options of `audiosieve serve`, and the limits of one service process."""

from __future__ import annotations

import dataclasses

from model.features import FRAME_SHIFT, SAMPLE_RATE
from transforms.scoring.batching import BatchLimits


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """Options of `audiosieve serve`.

    Attributes:
        host: address to listen on.
        port: port to listen on, 0 to 65535; 0 for any free port.
        model: name or folder of a model.
        workers: number of service processes, at least 1; more than one run behind nginx.
        rate: requests per second that nginx accepts from one address, at least 0; 0 for no limit.
        threads: TensorFlow threads in each process, at least 1.
        decoders: decoding threads in each process, at least 1.
        max_wait_ms: longest wait for other recordings to batch with, 0 to 10000 milliseconds.
        batch_size: largest number of recordings in a batch, at least 1.
        batch_frames: largest number of padded frames in a batch, at least 1.
        queue: largest number of open requests in a process, at least 1.
        queue_frames: largest number of frames in a process, at least 1.
        max_mb: largest request in MiB, over 0.
        max_s: longest recording in seconds, over 0.
        max_silence_s: longest pause of an upload in seconds, over 0.
        min_kb_s: lowest mean rate of an upload in kB/s, at least 0; 0 for no limit.
        hosts: names of the service in lower case, which clients and pages may use.
    """

    host: str
    port: int
    model: str
    workers: int
    rate: int
    threads: int
    decoders: int
    max_wait_ms: float
    batch_size: int
    batch_frames: int
    queue: int
    queue_frames: int
    max_mb: float
    max_s: float
    max_silence_s: float
    min_kb_s: float
    hosts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Limits of a service; none of them changes a score.

    Attributes:
        batch: largest size of a model call.
        max_wait_s: longest time that a recording waits for others to batch with while the model is idle, in seconds.
        decoders: number of threads that decode small uploads; one more thread decodes large ones.
        max_requests: largest number of open requests, from first byte to response.
        max_frames: largest number of frames from decoding to score; a frame takes about 1 kB.
        max_upload_bytes: largest body of a request, in bytes.
        max_spool_bytes: largest size of all uploads together, in bytes.
        max_files: largest number of files in a form.
        max_audio_s: longest recording, in seconds.
        max_decode_s: longest time to decode a recording, in seconds.
        max_silence_s: longest pause of an upload, in seconds.
        min_upload_rate: lowest mean rate of an upload after its first `max_silence_s`, in bytes per second; 0 for no limit.
        hosts: names of the service, in lower case.
        keys: API keys, one of which a client must send; empty to accept all requests.
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
    min_upload_rate: float = 16_000.0
    hosts: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks that the service, if it is empty, accepts a request within the limits of a request.

        Raises:
            ValueError: the longest recording or the largest upload exceeds the capacity of the service.
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

    @classmethod
    def from_options(cls, options: ServeOptions, keys: tuple[str, ...]) -> Settings:
        """Returns the limits that the options of the command set.

        Args:
            options: options of the command.
            keys: accepted keys of clients.

        Raises:
            ValueError: the longest recording has more frames than the service may hold.
        """
        max_upload_bytes = int(options.max_mb * (1 << 20))
        return cls(
            batch=BatchLimits(batch_size=options.batch_size, batch_frames=options.batch_frames),
            max_wait_s=options.max_wait_ms / 1000,
            decoders=options.decoders,
            max_requests=options.queue,
            max_frames=options.queue_frames,
            max_upload_bytes=max_upload_bytes,
            max_spool_bytes=max(cls.max_spool_bytes, max_upload_bytes),
            max_audio_s=options.max_s,
            max_silence_s=options.max_silence_s,
            min_upload_rate=1000 * options.min_kb_s,
            hosts=options.hosts,
            keys=keys,
        )
