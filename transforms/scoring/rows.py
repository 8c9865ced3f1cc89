"""Scored utterances and rejects become rows of the output tables (`schemas`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from model.anomalies import Anomaly, find_anomalies
from model.features import frame_start_s
from model.pooling import Pooling, pool
from transforms import telemetry
from transforms.elements import Reject, ScoredUtterance, Utterance, printable
from transforms.progress_counters import progress_counter
from transforms.schemas import FRAMES

# Tags of the outputs of `ToRows` beside the main one.
UTTERANCE_ROWS, ANOMALY_ROWS = "utterances", "anomalies"

# Where a fact makes a score doubtful.
NEAR_SILENT_DBFS = -55.0
MOSTLY_SILENCE_RATIO = 0.8
CLIPPED_RATIO = 1e-3
DC_OFFSET = 0.01
NARROW_BAND_HZ = 5_000.0
VERY_SHORT_S = 1.0


def flags(utterance: Utterance) -> list[str]:
    """Words for what makes an utterance's score doubtful.

    near_silent: under -55 dBFS RMS. mostly_silence: over 80 % of the frames are silence. clipped: over 0.1 % of the
    samples.
    dc_offset: over 1 % of full scale. narrow_band: nothing from 5 kHz up. very_short: under 1 s.
    """
    facts = utterance.facts
    doubts = {
        "near_silent": facts.rms_dbfs < NEAR_SILENT_DBFS,
        "mostly_silence": facts.silence_ratio > MOSTLY_SILENCE_RATIO,
        "clipped": facts.clipped_ratio > CLIPPED_RATIO,
        "dc_offset": abs(facts.dc_offset) > DC_OFFSET,
        "narrow_band": facts.bandwidth_hz < NARROW_BAND_HZ,
        "very_short": utterance.duration_s < VERY_SHORT_S,
    }
    return [word for word, holds in doubts.items() if holds]


def utterance_row(
    scored: ScoredUtterance, anomalies: Sequence[Anomaly], model_id: str, pooling: Pooling
) -> dict[str, Any]:
    """The row of `UTTERANCES` for a scored utterance and its anomalies."""
    utterance, frame_score = scored.utterance, scored.frame_score
    return {
        "utterance_id": utterance.ref.utterance_id,
        "uri": printable(utterance.ref.uri),
        "start_s": utterance.ref.span.start_s,
        "duration_s": utterance.duration_s,
        "sample_rate": utterance.sample_rate,
        "channels": utterance.channels,
        "channel": utterance.channel,
        "format": utterance.format,
        "size_bytes": utterance.ref.size_bytes,
        "source_version": utterance.ref.source_version,
        "num_frames": len(frame_score),
        "score": pool(frame_score, pooling),
        "frame_score_p10": float(np.percentile(frame_score, 10)),
        "frame_score_min": float(frame_score.min()),
        "frame_score_std": float(frame_score.std()),
        "anomaly_s": sum(anomaly.end_s - anomaly.start_s for anomaly in anomalies),
        "num_anomalies": len(anomalies),
        **dataclasses.asdict(utterance.facts),
        "flags": flags(utterance),
        "model_id": model_id,
    }


def anomaly_rows(scored: ScoredUtterance, anomalies: Sequence[Anomaly]) -> list[dict[str, Any]]:
    """The rows of `ANOMALIES` for an utterance."""
    utterance_id = scored.utterance.ref.utterance_id
    return [{"utterance_id": utterance_id, **dataclasses.asdict(anomaly)} for anomaly in anomalies]


def reject_row(reject: Reject) -> dict[str, Any]:
    """The row of `REJECTS` for a reject."""
    return {**dataclasses.asdict(reject), "uri": printable(reject.uri), "detail": printable(reject.detail)}


def frames_table(scored: Sequence[ScoredUtterance]) -> pa.Table:
    """The rows of `FRAMES` for many utterances, T each, made from whole arrays."""
    lengths = [len(item.frame_score) for item in scored]
    frame = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    ids = pa.array([item.utterance.ref.utterance_id for item in scored], pa.string())
    return pa.table(
        {
            "utterance_id": ids.take(pa.array(np.repeat(np.arange(len(scored)), lengths))),
            "frame": frame,
            "start_s": frame_start_s(frame).astype(np.float32),
            "score": np.concatenate([item.frame_score for item in scored]),
        },
        FRAMES,
    )


class ToRows(beam.DoFn):
    """`ScoredUtterance` -> itself for `frames`, and the rows of `utterances` and `anomalies` on outputs of those names.

    Args:
        model_id: of the model that scored.
        scale_span: distance between the ends of its label scale.
        pooling: how it makes one score of the frames'.
        carry: columns of the corpus that go into `utterances`.
        counted_in: folder of the run's tally.
    """

    def __init__(
        self,
        model_id: str,
        scale_span: float,
        pooling: Pooling,
        carry: Sequence[str] = (),
        counted_in: str | None = None,
    ) -> None:
        self.model_id = model_id
        self.scale_span = scale_span
        self.pooling = pooling
        self.carry = carry
        self.counted_in = counted_in

    def process(self, scored: ScoredUtterance) -> Iterable[Any]:
        """Makes the rows of one utterance."""
        anomalies = find_anomalies(scored.frame_score, self.scale_span)
        row = utterance_row(scored, anomalies, self.model_id, self.pooling)
        columns = scored.utterance.ref.columns
        row |= {name: columns.get(name) for name in self.carry}
        progress_counter(self.counted_in).add(scored=1, audio_s=scored.utterance.duration_s)
        telemetry.count("utterances")
        telemetry.count("audio_ms", round(1e3 * scored.utterance.duration_s))
        telemetry.observe("score_milli", 1e3 * row["score"])
        yield scored
        yield beam.pvalue.TaggedOutput(UTTERANCE_ROWS, row)
        for row in anomaly_rows(scored, anomalies):
            yield beam.pvalue.TaggedOutput(ANOMALY_ROWS, row)


class ToRejectRow(beam.DoFn):
    """`Reject` -> the row of `rejects`.

    Args:
        counted_in: folder of the run's tally.
    """

    def __init__(self, counted_in: str | None = None) -> None:
        self.counted_in = counted_in

    def process(self, reject: Reject) -> Iterable[dict[str, Any]]:
        """Makes one row."""
        progress_counter(self.counted_in).add(rejected=1)
        telemetry.count(f"rejects_{reject.reason}")
        row = reject_row(reject)
        telemetry.log_reject(**row)
        yield row
