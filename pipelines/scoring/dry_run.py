"""`audiosieve score --dry_run`: what is in a corpus, what a row looks like, and how long the whole would take here."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from model.anomalies import find_anomalies
from model.bundle import Bundle
from transforms import schemas
from transforms.elements import MIX, AudioRef, Recording, Reject, ScoredUtterance
from transforms.runs.chunking import Lengths, suffix
from transforms.scoring.featurize import featurize_recording
from transforms.scoring.inference import ScorerHandler, score_batch
from transforms.scoring.rows import utterance_row

# Seconds of audio that are scored to guess the speed, after a first batch that starts everything.
TRIED_S = 120.0


def preview(refs: Sequence[AudioRef], bundle: Bundle, threads: int, processes: int | None, channels: str = MIX) -> int:
    """Scores a few utterances in this process and prints what was found; nothing is written.

    Args:
        refs: the corpus.
        bundle: the model.
        threads: of TensorFlow.
        processes: processes of a run on this machine, for the estimate of its time; None for another runner.
        channels: which are heard.

    Returns:
        The exit status: 1 where nothing could be scored.
    """
    lengths = Lengths.sampled(refs)
    seconds = sum(map(lengths.seconds, refs))
    kinds = Counter(ref.archive or suffix(ref.uri) or "no suffix" for ref in refs)
    print(f"{len(refs):,} utterances, {sum({ref.uri: ref.size_bytes for ref in refs}.values()) / 1e6:,.1f} MB")
    print(f"by kind: {', '.join(f'{count:,} {kind}' for kind, count in kinds.most_common(8))}")
    print(f"about {seconds / 3600:,.2f} h of audio, by the sizes of the files and some of their headers")
    scale = bundle.label_scale
    print(f"model {bundle.model_id}: {scale.title}, {scale.low:g} to {scale.high:g}")
    scorer = ScorerHandler(str(bundle.path), threads).load_model()
    first, audio_s, spent = None, 0.0, 0.0
    for ref in refs:
        started = time.perf_counter()
        items = []
        for found in featurize_recording(Recording((ref,)), bundle.features, channels):
            if isinstance(found, Reject):
                print(f"rejected {found.utterance_id}: {found.stage}, {found.reason}: {found.detail}")
            else:
                items.append(found)
                if ref.archive:
                    break
        results = score_batch(items, scorer)
        scored = [result for result in results if isinstance(result, ScoredUtterance)]
        if first is None:
            first = next(iter(scored), None)
            continue
        spent += time.perf_counter() - started
        audio_s += sum(result.utterance.duration_s for result in scored)
        if audio_s > TRIED_S:
            break
    if first is None:
        print("no utterance could be scored", file=sys.stderr)
        return 1
    anomalies = find_anomalies(first.frame_score, scale.span)
    row = pa.Table.from_pylist([utterance_row(first, anomalies, bundle.model_id, bundle.pooling)], schemas.UTTERANCES)
    for name, value in row.to_pylist()[0].items():
        print(f"  {name:<16} {value}")
    if spent and processes is not None:
        guess = seconds / (audio_s / spent) / processes
        print(
            f"one by one, {audio_s / spent:,.0f} x real time here; all of it would take {guess / 60:,.1f} min at most "
            f"in {processes} processes, batches make it faster"
        )
    return 0
