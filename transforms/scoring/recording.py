"""Scores one recording in this process: featurize, call the model, summarise.

The scoring pipeline and the service do the same with batches between the steps: they call `featurize` before the model
call and `summarise` after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from transforms.audio.span_reader import Decoded
from transforms.elements import AUTO, AudioRef, FeaturizedUtterance, Recording, Reject
from transforms.errors import AudioFault
from transforms.scoring.featurize import featurize, featurize_recording
from transforms.scoring.inference import score_batch
from transforms.scoring.utterance_score import ModelInfo, Score, summarise

if TYPE_CHECKING:
    from model.inference.scorer import Scorer


# Ref of audio that belongs to no corpus. The score does not depend on it.
NO_REF = AudioRef("", "", 0, "")


def score_decoded(decoded: Decoded, scorer: Scorer, ref: AudioRef = NO_REF) -> Score:
    """Scores decoded audio.

    Args:
        decoded: decoded audio.
        scorer: loaded model.
        ref: utterance in the corpus; empty by default.

    Raises:
        AudioFault: the audio cannot be scored.
    """
    return _score(featurize(decoded, ref, scorer.bundle.features), scorer)


def score_recording(recording: Recording, scorer: Scorer, channels: str = AUTO) -> Iterator[Score | Reject]:
    """Decodes and scores the utterances of a recording or of an archive, one by one.

    Args:
        recording: recording or archive.
        scorer: loaded model.
        channels: channels to score: "auto", "mix", "first", "each", or the number of one channel, from 0.

    Yields:
        The score of each utterance, or the reason why it has none.

    Raises:
        ScratchError: the temporary file of a long recording cannot be written.
    """
    for featurized in featurize_recording(recording, scorer.bundle.features, channels):
        if isinstance(featurized, Reject):
            yield featurized
            continue
        try:
            yield _score(featurized, scorer)
        except AudioFault as fault:
            yield Reject.of(featurized.utterance.ref, fault)


def _score(featurized: FeaturizedUtterance, scorer: Scorer) -> Score:
    (result,) = score_batch([featurized], scorer)
    return summarise(result, ModelInfo.of(scorer.bundle))
