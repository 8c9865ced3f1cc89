"""The pipeline of `audiosieve score`: chunks of recordings -> tables of scores in Parquet."""

from __future__ import annotations

import dataclasses
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
from transforms.runs.plan import WritePlan
from transforms.runs.worker_listing import ListCorpus
from transforms.scoring.batching import BatchByLength, BatchLimits
from transforms.scoring.featurize import Featurize
from transforms.scoring.inference import WORK, ScorerHandler, SplitResults
from transforms.scoring.rows import ANOMALY_ROWS, UTTERANCE_ROWS, ToRejectRow, ToRows, frames_table
from transforms.scoring.utterance_score import ModelInfo


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """A scoring job, or a wave of one.

    Attributes:
        corpus: gives the chunks of recordings to score, each for one worker at a time.
        bundle: the model.
        model: how workers find it.
        limits: of the batches.
        threads: of TensorFlow in each process.
        channels: of the recordings, which are heard.
        carry: columns of the corpus that go into `utterances`.
        ledger: where the tables go.
        run_id: of this run.
        counted_in: folder in which each process of a local run counts what it did. Such a run leaves a receipt for whoever
            started it; elsewhere, where this is None, the pipeline itself commits what it did.
        log_level: of the log of a local run.
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
    counted_in: str | None = None
    log_level: str = "error"

    @property
    def schemas(self) -> dict[str, pa.Schema]:
        """Of the tables, with what is to be known of them in their metadata."""
        metadata = {
            "audiosieve.run_id": self.run_id,
            "audiosieve.model_id": self.bundle.model_id,
            "audiosieve.label_scale": self.bundle.label_scale.name,
            "audiosieve.features": json.dumps(self.bundle.features.as_dict()),
        }
        tables = dict(schemas.SCORE_TABLES)
        tables["utterances"] = schemas.with_carried(tables["utterances"], self.carry)
        return {name: schema.with_metadata(metadata) for name, schema in tables.items()}

    @property
    def receipt(self) -> str:
        """Path of the receipt of a local run."""
        return self.ledger.beside_record(self.run_id, ".receipt")


def build(root: beam.Pipeline, config: ScoreConfig) -> None:
    """Spread the chunks; then, without another shuffle: featurize, batch by length, score, write. At last, commit."""
    bundle = config.bundle
    corpus = root | "Corpus" >> config.corpus
    chunks = corpus.chunks if isinstance(config.corpus, ListCorpus) else corpus
    spread = chunks | "Spread" >> beam.Reshuffle()
    featurized = spread | "Featurize" >> beam.ParDo(Featurize(bundle.features, config.channels)).with_outputs(
        REJECTS, main="featurized"
    )
    results = (
        featurized.featurized
        | "BatchByLength" >> beam.ParDo(BatchByLength(config.limits))
        | "Score" >> RunInference(ScorerHandler(config.model, config.threads, bundle.hash))
        | "SplitResults" >> beam.ParDo(SplitResults()).with_outputs(REJECTS, WORK, main="scored")
    )
    rows = results.scored | "ToRows" >> beam.ParDo(
        ToRows(ModelInfo.of(bundle), config.carry, config.counted_in)
    ).with_outputs(UTTERANCE_ROWS, ANOMALY_ROWS, main="frames")
    rejects = (
        (featurized[REJECTS], results[REJECTS])
        | "Rejects" >> beam.Flatten()
        | "RejectRow" >> beam.ParDo(ToRejectRow(config.counted_in))
    )
    written = [
        rows[UTTERANCE_ROWS]
        | "WriteUtterances" >> _write("utterances", config, sort_by=schemas.SORTED_BY["utterances"]),
        rows[ANOMALY_ROWS] | "WriteAnomalies" >> _write("anomalies", config),
        rejects | "WriteRejects" >> _write("rejects", config),
        rows.frames | "WriteFrames" >> _write("frames", config, to_table=frames_table, count_rows=_num_frames),
        results[WORK],
    ]
    if isinstance(config.corpus, ListCorpus):
        written += [corpus.work, spread | "WritePlan" >> WritePlan(config.ledger, config.run_id)]
    receipt = written | "Written" >> beam.Flatten() | "Receipt" >> GatherReceipt()
    if config.counted_in:
        receipt | "LeaveReceipt" >> beam.Map(Receipt.write, config.receipt)
    else:
        receipt | "Commit" >> beam.ParDo(Commit(config.ledger, config.run_id, config.schemas))


def _num_frames(scored: Any) -> int:
    return len(scored.frame_score)


def _write(table: str, config: ScoreConfig, **how: Any) -> WriteTable:
    return WriteTable(config.ledger.prefix(table, config.run_id), config.schemas[table], **how)


def score_wave(config: ScoreConfig) -> None:
    """Runs a wave of a local run to its end in this process; nothing of it is committed."""
    telemetry.show_log(config.log_level)
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as root:
        build(root, config)
