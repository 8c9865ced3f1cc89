"""Makes rows of the output tables (`schemas`) from scores and rejects."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from model.diagnosis import FRAME_VALUES, HEARD_CAUSES, LEAST_SPEECH, NO_CAUSE, SNR_RANGE_DB
from model.features import frame_start_s, percentiles
from transforms import telemetry
from transforms.corpus.carried import carried_value
from transforms.elements import FrameFacts, Reject, ScoredUtterance, printable
from transforms.progress_counters import progress_counter
from transforms.schemas import FRAMES, HEARD
from transforms.scoring.utterance_score import ModelInfo, Score, summarise

# Tags of the outputs of `ToRows` beside the main one.
UTTERANCE_ROWS, ANOMALY_ROWS = "utterances", "anomalies"
FRAME_FACTS = tuple(field.name for field in dataclasses.fields(FrameFacts))
# Steps of the probability of speech from 0 to 1. LEAST_SPEECH, SPEECH_THRESHOLD and CERTAIN_SPEECH are among them.
SPEECH_STEPS = 20


def utterance_row(score: Score) -> dict[str, Any]:
    """Returns the row of `UTTERANCES` for a scored utterance."""
    utterance, frame_score, anomalies = score.utterance, score.frame_score, score.anomalies
    counted_score = frame_score[utterance.frame_facts.activity.counted]
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
        "score": score.score,
        "frame_score_p10": percentiles(counted_score, [10])[0],
        "frame_score_min": float(counted_score.min()),
        "frame_score_std": float(counted_score.std()),
        "anomaly_s": sum(anomaly.end_s - anomaly.start_s for anomaly in anomalies),
        "num_anomalies": len(anomalies),
        **dataclasses.asdict(utterance.facts),
        "speech_s": score.speech_s,
        **{name: None if score.heard is None else getattr(score.heard, name) for name in HEARD},
        "flags": list(score.flags),
        "causes": list(score.causes),
        "model_id": score.model_id,
        "content_hash": utterance.content_hash,
        "fingerprint": utterance.fingerprint,
    }


def anomaly_rows(score: Score) -> list[dict[str, Any]]:
    """Returns the rows of `ANOMALIES` for a scored utterance."""
    utterance_id = score.utterance.ref.utterance_id
    return [{"utterance_id": utterance_id, **dataclasses.asdict(anomaly)} for anomaly in score.anomalies]


def reject_row(reject: Reject) -> dict[str, Any]:
    """Returns the row of `REJECTS` for a reject."""
    return {**dataclasses.asdict(reject), "uri": printable(reject.uri), "detail": printable(reject.detail)}


def frames_table(scored: Sequence[ScoredUtterance]) -> pa.Table:
    """Returns the rows of `FRAMES` for some utterances: one row per frame, in their order."""
    lengths = [len(item.frame_score) for item in scored]
    frame = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    measured = [item.utterance.frame_facts for item in scored]
    ids = pa.array([item.utterance.ref.utterance_id for item in scored], pa.string())
    return pa.table(
        {
            "utterance_id": ids.take(pa.array(np.repeat(np.arange(len(scored)), lengths))),
            "frame": frame,
            "start_s": frame_start_s(frame).astype(np.float32),
            "score": np.concatenate([item.frame_score for item in scored]),
            **{name: np.concatenate([getattr(facts, name) for facts in measured]) for name in FRAME_FACTS},
            "speech": pa.concat_arrays([_speech(item) for item in scored]),
            "cause": pa.concat_arrays([_cause(item) for item in scored]),
            **{name: pa.concat_arrays([_level(item, name) for item in scored]) for name in ("snr_db", "c50_db")},
        },
        FRAMES,
    )


def _speech(scored: ScoredUtterance) -> pa.Array:
    """Returns the column `speech` of an utterance. Rounded down, a probability stays on its side of the threshold."""
    if scored.diagnosis is None or not scored.diagnosis.hears_speech:
        return pa.nulls(len(scored.frame_score), pa.float32())
    steps = np.floor(scored.diagnosis.speech.astype(np.float64) * SPEECH_STEPS)
    return pa.array((steps / SPEECH_STEPS).astype(np.float32))


def _cause(scored: ScoredUtterance) -> pa.DictionaryArray:
    """Returns the column `cause` of an utterance, always with the same dictionary."""
    length, diagnosis = len(scored.frame_score), scored.diagnosis
    index = np.full(length, NO_CAUSE, np.int8) if diagnosis is None else diagnosis.frame_causes()
    return pa.DictionaryArray.from_arrays(pa.array(index, mask=index == NO_CAUSE), pa.array(HEARD_CAUSES))


def _level(scored: ScoredUtterance, name: str) -> pa.Array:
    """Returns the column `snr_db` or `c50_db` of an utterance. A frame without weight in their pooling is null."""
    diagnosis = scored.diagnosis
    if diagnosis is None or not diagnosis.trained.issuperset(("speech", name)):
        return pa.nulls(len(scored.frame_score), pa.float32())
    level_db = diagnosis.values[:, FRAME_VALUES.index(name)]
    if name == "snr_db":
        level_db = np.clip(level_db, *SNR_RANGE_DB)
    # The sum turns -0.0 into 0.0, which would be two values in the dictionary.
    return pa.array(np.round(level_db).astype(np.float32) + np.float32(0), mask=diagnosis.speech < LEAST_SPEECH)


class ToRows(beam.DoFn):
    """`ScoredUtterance` -> itself for `frames`, and the rows of `utterances` and `anomalies` on outputs of those names.

    Args:
        model: properties of the model.
        carry: fields of the columns of the corpus to copy into `utterances`.
        counters: folder of the run's progress counters; None to count nothing.
    """

    def __init__(self, model: ModelInfo, carry: Sequence[pa.Field] = (), counters: str | None = None) -> None:
        self.model = model
        self.carry = carry
        self.counters = counters

    def process(self, scored: ScoredUtterance) -> Iterable[Any]:
        """Makes the rows of one utterance."""
        score = summarise(scored, self.model)
        row = utterance_row(score)
        columns = scored.utterance.ref.columns
        row |= {field.name: carried_value(columns, field) for field in self.carry}
        progress_counter(self.counters).add(scored=1, audio_s=score.duration_s)
        telemetry.count("utterances")
        telemetry.count("audio_ms", round(1e3 * score.duration_s))
        telemetry.observe("score_milli", 1e3 * score.score)
        yield scored
        yield beam.pvalue.TaggedOutput(UTTERANCE_ROWS, row)
        for row in anomaly_rows(score):
            yield beam.pvalue.TaggedOutput(ANOMALY_ROWS, row)


class ToRejectRow(beam.DoFn):
    """`Reject` -> the row of `rejects`.

    Args:
        counters: folder of the run's progress counters; None to count nothing.
    """

    def __init__(self, counters: str | None = None) -> None:
        self.counters = counters

    def process(self, reject: Reject) -> Iterable[dict[str, Any]]:
        """Makes the row of one reject."""
        progress_counter(self.counters).add(rejected=1)
        telemetry.count(f"rejects_{reject.reason}")
        row = reject_row(reject)
        telemetry.log_reject(**row)
        yield row
