"""From an `AudioRef` to a spectrogram, in one step: samples never leave the function that decoded them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from model.features import FeatureConfig, FeatureError, spectrogram
from transforms.decode import read_audio
from transforms.records import REJECTS, AudioFault, AudioRef, FeaturizedUtterance, Reason, Reject, Stage, Utterance


def featurize(ref: AudioRef, config: FeatureConfig) -> FeaturizedUtterance:
    """Reads, decodes and transforms one utterance.

    Raises:
        AudioFault: it cannot be read or decoded, or it gives no features.
    """
    audio = read_audio(ref.uri)
    try:
        features = spectrogram(audio.samples, config)
    except FeatureError as error:
        raise AudioFault(Stage.FEATURIZE, Reason.SILENT, str(error)) from error
    utterance = Utterance(
        ref=ref,
        duration_s=audio.duration_s,
        sample_rate=audio.sample_rate,
        channels=audio.channels,
        format=audio.format,
        facts=audio.facts,
    )
    return FeaturizedUtterance(utterance, features)


class Featurize(beam.DoFn):
    """`AudioRef` -> `FeaturizedUtterance`, or a `Reject` on the output `REJECTS`."""

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config

    def process(self, ref: AudioRef) -> Iterable[Any]:
        """Featurizes one utterance."""
        try:
            yield featurize(ref, self.config)
        except AudioFault as fault:
            beam.metrics.Metrics.counter("rejects", fault.reason).inc()
            yield beam.pvalue.TaggedOutput(REJECTS, Reject.of(ref, fault))
