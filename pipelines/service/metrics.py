"""Prometheus metrics of the service."""

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

# Leave out the creation time of each counter: it would double the number of lines.
disable_created_metrics()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_COUNTS = (1, 2, 4, 8, 16, 32, 64)
_RATIOS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)


class Metrics:
    """The metrics of one service, in a registry of their own, so that a process can run several services."""

    def __init__(self, model_id: str) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.requests = self._counter("requests", "Requests by path and status", "path", "status")
        self.recordings = self._counter(
            "recordings", "Recordings by result: scored, or the reason of a fault", "result"
        )
        self.audio_seconds = self._counter("audio_seconds", "Seconds of audio scored")
        self.inside = self._gauge("requests_inside", "Scoring requests between first byte and response")
        self.queue = self._gauge("queue_recordings", "Recordings that wait for the model")
        self.queue_frames = self._gauge("queue_frames", "Frames that wait for the model")
        self.batch = self._histogram("batch_recordings", "Recordings of a model call", _COUNTS)
        self.padding = self._histogram("batch_padding_ratio", "Share of padding in the frames of a model call", _RATIOS)
        self.request_seconds = self._histogram("request_seconds", "Scoring requests, from first byte to response")
        self.decode_seconds = self._histogram(
            "decode_seconds", "Decoding and features of a recording, with the wait for a thread"
        )
        self.wait_seconds = self._histogram("wait_seconds", "Time between features and model call of a recording")
        self.model_seconds = self._histogram("model_seconds", "Model calls")
        self._gauge("model_info", "The model", "model_id").labels(model_id).set(1)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"audiosieve_{name}", description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"audiosieve_{name}", description, labels, registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"audiosieve_{name}", description, buckets=buckets, registry=self.registry)

    def text(self) -> bytes:
        """Returns all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
