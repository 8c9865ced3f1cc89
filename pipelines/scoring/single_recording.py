"""`audiosieve score FILE`: scores one recording in this process, prints its score, and writes nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from model.bundle import Bundle
from pipelines.common.errors import NOTHING_LEFT, UsageError
from pipelines.common.terminal import columns
from pipelines.scoring.options import ScoreOptions
from transforms.analysis.text_tables import score_row, score_table
from transforms.corpus.layout import MANIFEST
from transforms.elements import AudioRef, Recording, Reject
from transforms.scoring.inference import load_scorer
from transforms.scoring.recording import score_recording
from transforms.scoring.rows import utterance_row
from transforms.storage.files import absolute, has_wildcards, is_directory

# Options that have an effect only on a corpus, or on the tables of an output.
OF_CORPORA = (
    "listing",
    "carry",
    "audio_root",
    "columns",
    "strict",
    "wave_hours",
    "batch_size",
    "batch_frames",
    "recording_timeout_s",
)
_MISSING = "--output is missing; without it, only a single recording is scored"


def check_single(options: ScoreOptions, beam_arguments: Sequence[str]) -> None:
    """Checks, before anything is listed, that the options make sense without an output.

    Args:
        options: options of the command.
        beam_arguments: options for Beam.

    Raises:
        UsageError: the input is more than one recording, or there are options for Beam, which is not used.
    """
    source = absolute(options.input)
    if source and (has_wildcards(source) or MANIFEST.search(source) or is_directory(source)):
        raise UsageError(f"{_MISSING}, and {options.input} is not one")
    if beam_arguments:
        raise UsageError(f"{beam_arguments[0].partition('=')[0]} has no effect without --output")


def print_score(options: ScoreOptions, refs: Sequence[AudioRef], bundle: Bundle) -> int:
    """Scores a recording and prints a table with its score, or with a score for each channel.

    Args:
        options: options of the command.
        refs: utterances of the corpus.
        bundle: the model.

    Returns:
        The exit status: `NOTHING_LEFT` if the recording is rejected.

    Raises:
        UsageError: the corpus is more than one recording.
    """
    if len(refs) != 1 or refs[0].archive or refs[0].uri != absolute(options.input):
        raise UsageError(f"{_MISSING}, and {options.input} is not one")
    ref, scorer, rows = refs[0], load_scorer(str(bundle.path), options.threads), []
    for result in score_recording(Recording((ref,)), scorer, options.channels):
        if isinstance(result, Reject):
            print(f"audiosieve score: {options.input}: {result.reason}: {result.detail}", file=sys.stderr)
            continue
        row = utterance_row(result)
        # Each channel may be an utterance, with its number in the id.
        name = f"{options.input}{row['utterance_id'].removeprefix(ref.utterance_id)}"
        rows.append(score_row(name, row, [(bad.start_s, bad.end_s, bad.cause) for bad in result.anomalies]))
    if not rows:
        return NOTHING_LEFT
    print(score_table(rows, columns()))
    scale = bundle.label_scale
    print(f"scores of {bundle.model_id}: {scale.title}, {scale.low:g} (bad) to {scale.high:g}")
    return 0
