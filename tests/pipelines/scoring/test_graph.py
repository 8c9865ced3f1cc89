"""Beam's metrics agree with the output of the pipeline."""

from __future__ import annotations

import re

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from model.bundle import DEFAULT, open_bundle
from pipelines.scoring.graph import Committer, ScoreConfig, build
from tests.support.outputs import shown_frames
from tests.support.paths import ROOT
from transforms.corpus.sources import list_corpus
from transforms.elements import MIX
from transforms.output.ledger import Ledger
from transforms.output.receipts import Receipt
from transforms.runs.chunking import recordings
from transforms.runs.corpus_chunks import GivenChunks
from transforms.schemas import SCORE_TABLES
from transforms.scoring.batching import BatchLimits
from transforms.telemetry import NAMESPACE

pytestmark = pytest.mark.slow


README = ROOT / "dataflow" / "README.md"


def test_metrics_agree_with_the_receipt_and_the_tables(samples, sample_run, tmp_path):
    chunks = [tuple(recordings(list_corpus(str(samples))))]
    ledger = Ledger(str(tmp_path / "out"), tuple(SCORE_TABLES))
    config = ScoreConfig(
        corpus=GivenChunks(chunks),
        bundle=open_bundle(DEFAULT),
        model=DEFAULT,
        limits=BatchLimits(batch_size=3),
        threads=1,
        channels=MIX,
        carry=(),
        ledger=ledger,
        run_id=ledger.new_run_id(),
        committer=Committer.LAUNCHER,
        counters=str(tmp_path),
    )
    with beam.Pipeline(runner=FnApiRunner()) as root:
        build(root, config)
    found = root.result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    counters = {metric.key.metric.name: metric.committed for metric in found["counters"]}
    work = Receipt.read(ledger.receipt(config.run_id)).work
    utterances = sample_run.utterances
    assert counters == {
        "recordings": 9,
        "utterances": 8,
        "rejects_corrupt": 1,
        "audio_ms": pytest.approx(1e3 * sum(row["duration_s"] for row in utterances), abs=8),
        "frames": sum(shown_frames(samples / row["utterance_id"]) for row in utterances),
        "padding_frames": work.padded_frames - work.frames,
    }
    distributions = {metric.key.metric.name: metric.committed for metric in found["distributions"]}
    assert (distributions["batch_size"].count, distributions["batch_size"].sum) == (work.batches, 8)
    assert distributions["batch_size"].max == 3
    assert distributions["score_milli"].sum == pytest.approx(1e3 * sum(row["score"] for row in utterances), abs=8)
    for name, seconds in (("decode", work.decode_s), ("features", work.features_s), ("model", work.model_s)):
        spent = distributions[f"{name}_ms"]
        assert spent.sum == pytest.approx(1e3 * seconds, abs=spent.count)
    documented = README.read_text()
    for name in (*counters, *distributions):
        assert f"`{re.sub('^rejects_.*', 'rejects_REASON', name)}`" in documented
    assert sorted(path.rsplit("/", 2)[-2] for path in Receipt.read(ledger.receipt(config.run_id)).paths) == sorted(
        SCORE_TABLES
    )
