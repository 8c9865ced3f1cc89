"""`audiosieve score --dry_run`: prints the size of a corpus, the row of one utterance, and the estimated time of a run."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from model.bundle import Bundle
from pipelines.common.errors import NOTHING_LEFT
from pipelines.common.wording import counted, counted_inputs, most_first
from transforms import schemas
from transforms.durations import duration_text
from transforms.elements import AUTO, AudioRef, Recording, Reject
from transforms.runs.chunking import Lengths, suffix
from transforms.scoring.inference import load_scorer
from transforms.scoring.recording import score_recording
from transforms.scoring.rows import utterance_row
from transforms.scoring.utterance_score import Score

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

# Length of the audio to score for the estimate of the speed, in seconds.
TRIAL_S = 120.0


def preview(refs: Sequence[AudioRef], bundle: Bundle, threads: int, processes: int | None, channels: str = AUTO) -> int:
    """Scores a few utterances in this process and prints a summary of the corpus; writes nothing.

    Args:
        refs: utterances of the corpus.
        bundle: the model.
        threads: TensorFlow threads.
        processes: processes of a run on this machine, for the estimate of its time; None for another runner.
        channels: channels to score.

    Returns:
        The exit status: 1 if no utterance could be scored, `NOTHING_LEFT` if all rows of the corpus are faulty.
    """
    lengths = Lengths.sampled(refs)
    corpus_s = sum(map(lengths.seconds, refs))
    usable = [ref for ref in refs if ref.fault is None]
    kinds = Counter(ref.archive or suffix(ref.uri) or "no suffix" for ref in usable)
    print(f"{counted_inputs(usable)}, {sum({ref.uri: ref.size_bytes for ref in usable}.values()) / 1e6:,.1f} MB")
    if text := faulty_rows(refs):
        print(f"{text}; they would become rejects")
    if not usable:
        print("audiosieve score: no row of the corpus can be used", file=sys.stderr)
        return NOTHING_LEFT
    print(f"by format: {', '.join(f'{count:,} {kind}' for kind, count in most_first(kinds)[:8])}")
    print(f"about {duration_text(corpus_s)} of audio, estimated from file sizes and the headers of a sample")
    scale = bundle.label_scale
    print(f"model {bundle.model_id}: {scale.title}, {scale.low:g} to {scale.high:g}")
    trial = _score_trial(usable, load_scorer(str(bundle.path), threads), channels)
    if trial is None:
        print("no utterance could be scored", file=sys.stderr)
        return 1
    row = pa.Table.from_pylist([utterance_row(trial.first)], schemas.UTTERANCES)
    for name, value in row.to_pylist()[0].items():
        print(f"  {name:<16} {value}")
    # A single score gives no speed to extrapolate.
    if trial.audio_s and processes is not None:
        speed = trial.audio_s / trial.elapsed_s
        cores = counted(processes, "process", "processes")
        print(
            f"{speed:,.0f} x real time for single utterances; the whole corpus would take at most "
            f"{duration_text(corpus_s / speed / processes)} with {cores}, since batches are faster"
        )
    return 0


def faulty_rows(refs: Sequence[AudioRef]) -> str:
    """Returns a sentence about the faulty rows of a corpus, with their reasons and the first one; empty if there are none."""
    faults = [ref.fault for ref in refs if ref.fault is not None]
    if not faults:
        return ""
    reasons = ", ".join(
        f"{count:,} {reason}" for reason, count in most_first(Counter(fault.reason for fault in faults))
    )
    rows = "1 row of the corpus is" if len(faults) == 1 else f"{len(faults):,} rows of the corpus are"
    return f"{rows} faulty ({reasons}), as {faults[0].detail}"


@dataclasses.dataclass(frozen=True)
class _Trial:
    """Result of scoring a few utterances.

    Attributes:
        first: score of the first utterance.
        audio_s: length of the further scored utterances, in seconds.
        elapsed_s: time to score them, in seconds.
    """

    first: Score
    audio_s: float
    elapsed_s: float


def _score_trial(refs: Sequence[AudioRef], scorer: Scorer, channels: str) -> _Trial | None:
    """Scores utterances until `TRIAL_S` of audio is scored, and prints rejects; returns None if none has a score."""
    first: Score | None = None
    audio_s, elapsed_s = 0.0, 0.0
    for ref in refs:
        started = time.perf_counter()
        scores = []
        for result in score_recording(Recording((ref,)), scorer, channels):
            if isinstance(result, Reject):
                print(f"rejected {result.utterance_id}: {result.stage}, {result.reason}: {result.detail}")
                continue
            scores.append(result)
            if ref.archive:
                break  # an archive may hold many hours
        if first is None:
            # The first call of the model is slow, so it does not count.
            first = next(iter(scores), None)
            continue
        elapsed_s += time.perf_counter() - started
        audio_s += sum(score.duration_s for score in scores)
        if audio_s > TRIAL_S:
            break
    return None if first is None else _Trial(first, audio_s, elapsed_s)
