"""The Beam pipeline of `audiosieve score`, from chunks of recordings to tables in Parquet."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from model.bundle import Bundle
from transforms import schemas, telemetry
from transforms.elements import REJECTS
from transforms.output.ledger import Ledger
from transforms.output.parquet_sink import WriteTable
from transforms.output.receipts import GatherReceipt, Receipt
from transforms.runs.commit import Commit
from transforms.scoring.batching import BatchByLength, BatchLimits
from transforms.scoring.decode_watch import NO_WATCH, DecodeWatch
from transforms.scoring.featurize import Featurize
from transforms.scoring.inference import WORK, ScorerHandler, SplitResults
from transforms.scoring.rows import ANOMALY_ROWS, UTTERANCE_ROWS, ToRejectRow, ToRows, frames_table
from transforms.scoring.utterance_score import ModelInfo


class Committer(enum.Enum):
    """Party that commits the output of a pipeline: the process that started it, or its own last step."""

    LAUNCHER = enum.auto()
    PIPELINE = enum.auto()


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """A scoring pipeline: a job on another runner, or a wave of a local run.

    Attributes:
        corpus: transform that reads the corpus: root -> `CorpusChunks`.
        bundle: the model.
        model: name or folder from which the workers load the model.
        limits: limits of a batch.
        threads: TensorFlow threads in each process, at least 1.
        channels: channels to score.
        carry: columns of the corpus to copy into `utterances`.
        ledger: ledger of the output.
        run_id: id of the run.
        committer: party that commits the run. For the launcher, the pipeline writes a receipt.
        counters: local folder for the progress counters of each process; None for no counters.
        log_level: level of the log of a local run.
        watch: watch over the decoding.
    """

    corpus: beam.PTransform
    bundle: Bundle
    model: str
    limits: BatchLimits
    threads: int
    channels: str
    carry: tuple[str, ...]
    ledger: Ledger
    run_id: str
    committer: Committer
    counters: str | None = None
    log_level: str = "error"
    watch: DecodeWatch = NO_WATCH

    @property
    def schemas(self) -> dict[str, pa.Schema]:
        """Schemas of the tables, with the run and the model in their metadata."""
        metadata = {
            "audiosieve.run_id": self.run_id,
            "audiosieve.model_id": self.bundle.model_id,
            "audiosieve.label_scale": self.bundle.label_scale.name,
            "audiosieve.features": json.dumps(self.bundle.features.as_dict()),
        }
        tables = dict(schemas.SCORE_TABLES)
        tables["utterances"] = schemas.with_carried(tables["utterances"], self.carry)
        return {name: schema.with_metadata(metadata) for name, schema in tables.items()}


def build(root: beam.Pipeline, config: ScoreConfig) -> None:
    """Adds the steps: read chunks, featurize, batch by length, score, write, commit. Only chunks and receipts are shuffled."""
    bundle = config.bundle
    corpus = root | "Corpus" >> config.corpus
    featurized = corpus.chunks | "Featurize" >> beam.ParDo(
        Featurize(bundle.features, config.channels, config.watch)
    ).with_outputs(REJECTS, main="featurized")
    results = (
        featurized.featurized
        | "BatchByLength" >> beam.ParDo(BatchByLength(config.limits))
        | "Score" >> RunInference(ScorerHandler(config.model, config.threads, bundle.hash))
        | "SplitResults" >> beam.ParDo(SplitResults()).with_outputs(REJECTS, WORK, main="scored")
    )
    rows = results.scored | "ToRows" >> beam.ParDo(
        ToRows(ModelInfo.of(bundle), config.carry, config.counters)
    ).with_outputs(UTTERANCE_ROWS, ANOMALY_ROWS, main="frames")
    rejects = (
        (featurized[REJECTS], results[REJECTS])
        | "Rejects" >> beam.Flatten()
        | "RejectRow" >> beam.ParDo(ToRejectRow(config.counters))
    )
    written = [
        rows[UTTERANCE_ROWS]
        | "WriteUtterances" >> _write("utterances", config, sort_by=schemas.SORTED_BY["utterances"]),
        rows[ANOMALY_ROWS] | "WriteAnomalies" >> _write("anomalies", config),
        rejects | "WriteRejects" >> _write("rejects", config),
        rows.frames | "WriteFrames" >> _write("frames", config, to_table=frames_table, count_rows=_num_frames),
        results[WORK],
        *corpus.receipts,
    ]
    receipt = written | "Written" >> beam.Flatten() | "Receipt" >> GatherReceipt()
    if config.committer is Committer.PIPELINE:
        receipt | "Commit" >> beam.ParDo(Commit(config.ledger, config.run_id, config.schemas))
    else:
        receipt | "LeaveReceipt" >> beam.Map(Receipt.write, config.ledger.receipt(config.run_id))


def _num_frames(scored: Any) -> int:
    return len(scored.frame_score)


def _write(table: str, config: ScoreConfig, **options: Any) -> WriteTable:
    return WriteTable(config.ledger.prefix(table, config.run_id), config.schemas[table], **options)


def score_wave(config: ScoreConfig) -> None:
    """Runs the pipeline of a wave in this process, without the commit."""
    telemetry.show_log(config.log_level)
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as root:
        build(root, config)
