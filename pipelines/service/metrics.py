"""What a service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

# Of each counter the time when it began: nobody asks for it.
disable_created_metrics()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_COUNTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one service: a registry of its own, so that several can be in one process."""

    def __init__(self, model_id: str) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.requests = Counter(
            "audiosieve_requests", "Requests by path and status", ["path", "status"], registry=registry
        )
        self.recordings = Counter(
            "audiosieve_recordings",
            "Recordings by what became of them: scored, or a reason",
            ["result"],
            registry=registry,
        )
        self.audio_seconds = Counter("audiosieve_audio_seconds", "Seconds of audio scored", registry=registry)
        self.inside = Gauge(
            "audiosieve_requests_inside", "Scoring requests between first byte and answer", registry=registry
        )
        self.queue = Gauge("audiosieve_queue_recordings", "Recordings that wait for the model", registry=registry)
        self.queue_frames = Gauge("audiosieve_queue_frames", "Frames that wait for the model", registry=registry)
        self.batch = Histogram("audiosieve_batch_recordings", "Recordings in a call of the model", buckets=_COUNTS,
            registry=registry)  # fmt: skip
        self.padding = Histogram("audiosieve_batch_padding_ratio", "Share of the frames of a call that are padding",
            buckets=(0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75), registry=registry)  # fmt: skip

        def seconds(name: str, text: str) -> Histogram:
            return Histogram(f"audiosieve_{name}_seconds", text, buckets=_SECONDS, registry=registry)

        self.request_seconds = seconds("request", "Scoring requests, from the first byte to the answer")
        self.decode_seconds = seconds("decode", "Recordings: decoding and features, with the wait for a thread")
        self.wait_seconds = seconds("wait", "Recordings: between features and a call of the model")
        self.model_seconds = seconds("model", "Calls of the model")
        Gauge("audiosieve_model_info", "The model", ["model_id"], registry=registry).labels(model_id).set(1)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
