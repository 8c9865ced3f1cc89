"""`audiosieve score`: a corpus -> per-utterance and per-frame quality in Parquet."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.ml.inference.base import RunInference

from model.anomalies import find_anomalies
from model.bundle import DEFAULT, Bundle, bundled_names, open_bundle
from pipelines.options import Parser, UsageError, beam_options, command, parse
from transforms import schemas
from transforms.batching import BatchByLength, BatchLimits
from transforms.featurize import Featurize, featurize
from transforms.incremental import done_recordings, outstanding
from transforms.ledger import Ledger, OutputError, count_rows
from transforms.records import REJECTS, AudioFault, AudioRef, Reject
from transforms.score import ScorerHandler, SplitResults, score_batch
from transforms.sinks import WriteTable
from transforms.sources import absolute, list_corpus
from transforms.tables import ANOMALY_ROWS, UTTERANCE_ROWS, ToRows, frames_table, reject_row, utterance_row


@dataclasses.dataclass
class ScoreConfig:
    """A scoring job.

    Attributes:
        refs: the utterances to score.
        bundle: the model.
        limits: of the batches.
        threads: of TensorFlow in each process.
        ledger: where the tables go.
        run_id: of this run.
    """

    refs: list[AudioRef]
    bundle: Bundle
    limits: BatchLimits
    threads: int
    ledger: Ledger
    run_id: str


def build(root: beam.Pipeline, config: ScoreConfig) -> None:
    """Spread the refs; then, without another shuffle: featurize, batch by length, score, write."""
    featurized = (
        root
        | "Corpus" >> beam.Create(config.refs)
        | "Spread" >> beam.Reshuffle()
        | "Featurize" >> beam.ParDo(Featurize(config.bundle.features)).with_outputs(REJECTS, main="featurized")
    )
    results = (
        featurized.featurized
        | "BatchByLength" >> beam.ParDo(BatchByLength(config.limits))
        | "Score" >> RunInference(ScorerHandler(str(config.bundle.path), config.threads))
        | "SplitResults" >> beam.ParDo(SplitResults()).with_outputs(REJECTS, main="scored")
    )
    rows = results.scored | "ToRows" >> beam.ParDo(
        ToRows(config.bundle.model_id, config.bundle.label_scale.span, config.bundle.pooling)
    ).with_outputs(UTTERANCE_ROWS, ANOMALY_ROWS, main="frames")
    rejects = (
        (featurized[REJECTS], results[REJECTS]) | "Rejects" >> beam.Flatten() | "RejectRow" >> beam.Map(reject_row)
    )

    rows[UTTERANCE_ROWS] | "WriteUtterances" >> _write("utterances", config)
    rows[ANOMALY_ROWS] | "WriteAnomalies" >> _write("anomalies", config)
    rejects | "WriteRejects" >> _write("rejects", config)
    rows.frames | "WriteFrames" >> _write("frames", config, to_table=frames_table, count_rows=_num_frames)


def _num_frames(scored: Any) -> int:
    return len(scored.frame_score)


def _write(table: str, config: ScoreConfig, **how: Any) -> WriteTable:
    metadata = {
        "audiosieve.run_id": config.run_id,
        "audiosieve.model_id": config.bundle.model_id,
        "audiosieve.label_scale": config.bundle.label_scale.name,
        "audiosieve.features": json.dumps(config.bundle.features.as_dict()),
    }
    schema = schemas.SCORE_TABLES[table].with_metadata(metadata)
    return WriteTable(config.ledger.prefix(table, config.run_id), schema, **how)


@command("score")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, scores what is new or changed, and says what was done."""
    started = time.monotonic()
    options, beam_arguments = parse(_parser(), argv)
    bundle = open_bundle(options.model)
    limits = _limits(options)
    runner, pipeline_options = beam_options(beam_arguments)
    refs = list_corpus(options.input)
    if options.dry_run:
        return _dry_run(refs, bundle, options.threads)
    if not options.output:
        raise UsageError("--output is missing; --dry_run does without")
    output = absolute(options.output)
    _check_apart(options, output, refs)
    ledger = Ledger(output, tuple(schemas.SCORE_TABLES))
    ledger.check_writable()
    _refuse_other_models(ledger, bundle)
    ledger.remove_debris()
    done = done_recordings(ledger)
    todo, stale = outstanding(refs, done)
    if gone := len(done.keys() - {ref.utterance_id for ref in refs}):
        print(
            f"{gone} utterances of earlier runs are not in {options.input} any more; their rows stay", file=sys.stderr
        )
    counts = {"listed": len(refs), "scored": 0, "rejected": 0, "skipped": len(refs) - len(todo)}
    if not todo:
        print(_summary(counts, 0.0, 0.0, options.output))
        return 0

    config = ScoreConfig(todo, bundle, limits, options.threads, ledger, ledger.new_run_id())
    print(f"scoring {len(todo)} utterances with {bundle.model_id} ...", file=sys.stderr)
    with beam.Pipeline(runner=runner, options=pipeline_options) as root:
        build(root, config)
    counts, audio_s = _count(config, counts)
    replaced = ledger.rewrite_without(config.run_id, stale)
    seconds = time.monotonic() - started
    ledger.commit(config.run_id, _record(options, beam_arguments, bundle, counts, audio_s, seconds), replaced)
    print(_summary(counts, audio_s, seconds, options.output))
    return 0


def _check_apart(options: argparse.Namespace, output: str, refs: Sequence[AudioRef]) -> None:
    inside = Path(output).resolve().is_relative_to(Path(absolute(options.input)).resolve())
    if inside or any(ref.uri.startswith(f"{output}/") for ref in refs):
        raise UsageError(f"--output {output} lies in --input: its tables would be taken for recordings")


def _refuse_other_models(ledger: Ledger, bundle: Bundle) -> None:
    others = {record["model_id"] for record in ledger.records("score")} - {bundle.model_id}
    if others:
        raise OutputError(
            f"{ledger.root}: holds scores of {sorted(others)[0]}, and {bundle.model_id} is asked for; "
            "scores of two models do not mix, choose another --output"
        )


def _count(config: ScoreConfig, counts: dict[str, int]) -> tuple[dict[str, int], float]:
    """Counts what was written, and ends the job where that is not what was asked for.

    Returns:
        The counts, and the seconds of audio that were scored.
    """
    ledger = config.ledger
    files = ledger.written(config.run_id)
    scored, rejected, frames = (count_rows(ledger, table, files) for table in ("utterances", "rejects", "frames"))
    audio_s, num_frames = 0.0, 0
    utterance_files = [name for name in files if name.startswith("utterances/")]
    for batch in ledger.rows("utterances", ["duration_s", "num_frames"], utterance_files):
        audio_s += pc.sum(batch["duration_s"]).as_py() or 0.0
        num_frames += pc.sum(batch["num_frames"]).as_py() or 0
    if scored + rejected != len(config.refs) or frames != num_frames:
        raise RuntimeError(
            f"{len(config.refs)} utterances went in, {scored} scores and {rejected} rejects came out, with {frames} of "
            f"{num_frames} frames; rows were lost, so nothing is committed. Run it again, and report this"
        )
    return {**counts, "scored": scored, "rejected": rejected}, audio_s


def _record(
    options: argparse.Namespace,
    beam_arguments: Sequence[str],
    bundle: Bundle,
    counts: dict[str, int],
    audio_s: float,
    seconds: float,
) -> dict[str, Any]:
    packages = ("audiosieve", "apache-beam", "tensorflow", "numpy", "pyarrow", "soundfile", "soxr")
    return {
        "job": "score",
        "options": {**vars(options), "beam": list(beam_arguments)},
        "model_id": bundle.model_id,
        "bundle_hash": bundle.hash,
        "label_scale": bundle.label_scale.name,
        "counts": counts,
        "audio_s": round(audio_s, 3),
        "timings": {"total_s": round(seconds, 3)},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _summary(counts: dict[str, int], audio_s: float, seconds: float, output: str) -> str:
    text = f"{counts['scored']} scored, {counts['rejected']} rejected, {counts['skipped']} skipped as already done"
    if counts["scored"]:
        text += f"; {audio_s / 3600:.2f} h of audio in {seconds:.1f} s, {audio_s / seconds:.0f} x real time"
    return f"{text}; the tables are in {output}"


def _dry_run(refs: Sequence[AudioRef], bundle: Bundle, threads: int) -> int:
    """Scores the first utterance that can be scored, in this process, and prints its row."""
    scorer = ScorerHandler(str(bundle.path), threads).load_model()
    scale = bundle.label_scale
    print(f"{len(refs)} utterances, {sum(ref.size_bytes for ref in refs) / 1e6:.1f} MB")
    print(f"model {bundle.model_id}: {scale.title}, {scale.low:g} to {scale.high:g}")
    for ref in refs:
        try:
            result = score_batch([featurize(ref, bundle.features)], scorer)[0]
        except AudioFault as fault:
            result = Reject.of(ref, fault)
        if isinstance(result, Reject):
            print(f"rejected {ref.utterance_id}: {result.stage}, {result.reason}: {result.detail}")
            continue
        anomalies = find_anomalies(result.frame_score, bundle.label_scale.span)
        row = pa.Table.from_pylist(
            [utterance_row(result, anomalies, bundle.model_id, bundle.pooling)], schemas.UTTERANCES
        )
        for name, value in row.to_pylist()[0].items():
            print(f"  {name:<16} {value}")
        return 0
    print("no utterance could be scored", file=sys.stderr)
    return 1


def _limits(options: argparse.Namespace) -> BatchLimits:
    for name in ("batch_size", "batch_frames", "threads"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    return BatchLimits(batch_size=options.batch_size, batch_frames=options.batch_frames)


def _parser() -> Parser:
    parser = Parser("score", "Score a corpus. Beam's own options are taken too, as --direct_num_workers=2 or --runner.")
    add = parser.add_argument
    add(
        "--input", required=True, help="a directory, a glob, an audio file, or a manifest CSV (path, and optionally id)"
    )
    add("--output", help="folder for the tables; run again with the same one, only what is new or changed is scored")
    add("--model", default=DEFAULT, help=f"a bundled model ({', '.join(bundled_names())}) or the folder of a bundle")
    add("--dry_run", action="store_true", help="score one utterance here, print its row, write nothing")
    add("--batch_size", type=int, default=BatchLimits().batch_size, help="utterances in a batch at most")
    add("--batch_frames", type=int, default=BatchLimits().batch_frames, help="padded frames in a batch at most")
    add("--threads", type=int, default=1, help="threads of TensorFlow in each process")
    return parser
