"""From an `AudioRef` to a spectrogram, in one step: samples never leave the function that decoded them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO

import apache_beam as beam
import numpy as np

from model.features import (
    FRAME_LENGTH,
    FRAME_SHIFT,
    NUM_BINS,
    WHOLE_FRAMES,
    FeatureConfig,
    FeatureError,
    Frames,
    level_of,
    num_frames,
    spectrogram,
)
from transforms import telemetry
from transforms.audio.decode import decode_spans
from transforms.audio.prefetch import opened
from transforms.audio.sound_file import open_audio
from transforms.audio.span_reader import Decoded
from transforms.audio.waveform import Waveform
from transforms.corpus.archives import members
from transforms.elements import (
    EACH,
    MIX,
    REJECTS,
    AudioRef,
    FeaturizedUtterance,
    Recording,
    Reject,
    Utterance,
    channel_id,
)
from transforms.errors import AudioFault, Reason, Stage


class LongSpectrogram:
    """The spectrogram [T, 257] of a long recording, of which parts are computed when they are asked for."""

    def __init__(self, waveform: Waveform, config: FeatureConfig, level: float) -> None:
        self._waveform, self._config, self._level = waveform, config, level
        self._frames = num_frames(len(waveform))

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, part: slice) -> np.ndarray:
        first, last, _ = part.indices(self._frames)
        if last <= first:
            return np.empty((0, NUM_BINS), np.float32)
        samples = self._waveform.read(first * FRAME_SHIFT, (last - 1) * FRAME_SHIFT + FRAME_LENGTH)
        return spectrogram(samples, self._config, self._level)


def featurize(decoded: Decoded, ref: AudioRef, config: FeatureConfig) -> FeaturizedUtterance:
    """The features of what was heard of an utterance.

    Raises:
        AudioFault: it gives none.
    """
    waveform = decoded.waveform
    features: Frames
    try:
        level = level_of(waveform.power, config)
        if num_frames(len(waveform)) > WHOLE_FRAMES:
            features = LongSpectrogram(waveform, config, level)
        else:
            features = spectrogram(waveform.read(), config, level)
    except FeatureError as error:
        raise AudioFault(Stage.FEATURIZE, Reason.SILENT, str(error)) from error
    utterance = Utterance(
        ref=ref,
        duration_s=decoded.duration_s,
        sample_rate=decoded.sample_rate,
        channels=decoded.channels,
        channel=decoded.channel,
        format=decoded.format,
        facts=decoded.facts,
    )
    return FeaturizedUtterance(utterance, features)


def featurize_recording(
    recording: Recording,
    config: FeatureConfig,
    channels: str = MIX,
    opened: AbstractContextManager[BinaryIO] | None = None,
) -> Iterator[FeaturizedUtterance | Reject]:
    """Reads, decodes and transforms all utterances of a recording, or of all recordings in an archive.

    Args:
        recording: where they are.
        config: of the features.
        channels: which are heard (`decode.decode_spans`); with "each", ids get `#ch0`, `#ch1` and so on.
        opened: its file, where it is at hand.

    Yields:
        Each utterance, or why there is nothing of it.
    """
    if recording.archive is None:
        yield from _featurize_file(recording.refs, opened or open_audio(recording.uri), config, channels)
        return
    for ref, file in members(recording.refs[0]):
        if isinstance(file, AudioFault):
            yield Reject.of(ref, file)
        else:
            yield from _featurize_file([ref], contextlib.nullcontext(file), config, channels)


def _featurize_file(
    refs: Sequence[AudioRef], opened: AbstractContextManager[BinaryIO], config: FeatureConfig, channels: str
) -> Iterator[FeaturizedUtterance | Reject]:
    missing = set(range(len(refs)))
    try:
        with opened as file:
            asked = [channels if ref.channel is None else str(ref.channel) for ref in refs]
            started = time.perf_counter()
            for place, channel, heard in decode_spans(file, [ref.span for ref in refs], asked):
                missing.discard(place)
                decode_s = time.perf_counter() - started
                yield _featurize_or_reject(heard, _heard_of(refs[place], channel, asked[place]), config, decode_s)
                started = time.perf_counter()
    except AudioFault as fault:
        for place in sorted(missing):
            yield Reject.of(refs[place], fault)


def _heard_of(ref: AudioRef, channel: int | None, channels: str) -> AudioRef:
    """The utterance that was heard: where each channel is one by itself, with an id of its own."""
    if channels != EACH:
        return ref
    return dataclasses.replace(ref, utterance_id=channel_id(ref.utterance_id, channel or 0))


def _featurize_or_reject(
    heard: Decoded | AudioFault, ref: AudioRef, config: FeatureConfig, decode_s: float
) -> FeaturizedUtterance | Reject:
    if isinstance(heard, AudioFault):
        return Reject.of(ref, heard)
    started = time.perf_counter()
    try:
        featurized = featurize(heard, ref, config)
    except AudioFault as fault:
        return Reject.of(ref, fault)
    return dataclasses.replace(featurized, decode_s=decode_s, features_s=time.perf_counter() - started)


class NeverEncoded(beam.coders.Coder):
    """The coder of what must stay in the process where it was made: spectrograms are far larger than recordings.

    Runners ask coders for the size of some elements, and would otherwise encode these to learn it.
    """

    def encode(self, value: Any) -> bytes:
        """Not to be asked for.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"a {type(value).__name__} stays in its process: nothing may shuffle between decoding and scores"
        )

    def decode(self, encoded: bytes) -> Any:  # noqa: ARG002 -- Beam's signature
        """Nothing is ever encoded.

        Raises:
            TypeError: always.
        """
        raise TypeError("a spectrogram was never encoded")

    def estimate_size(self, value: FeaturizedUtterance) -> int:
        """Bytes of its spectrogram."""
        return 4 * NUM_BINS * len(value.spectrogram)

    def is_deterministic(self) -> bool:
        """No."""
        return False


beam.coders.registry.register_coder(FeaturizedUtterance, NeverEncoded)


@beam.typehints.with_output_types(FeaturizedUtterance)
class Featurize(beam.DoFn):
    """Chunks of `Recording`s -> `FeaturizedUtterance`s, and `Reject`s on the output `REJECTS`.

    Args:
        config: of the features.
        channels: which are heard.
    """

    def __init__(self, config: FeatureConfig, channels: str = MIX) -> None:
        self.config = config
        self.channels = channels

    def process(self, chunk: Sequence[Recording]) -> Iterable[Any]:
        """Featurizes what is in some recordings, one after the other."""
        for recording, file in opened(chunk):
            telemetry.count("recordings")
            for found in featurize_recording(recording, self.config, self.channels, file):
                if isinstance(found, Reject):
                    yield beam.pvalue.TaggedOutput(REJECTS, found)
                else:
                    telemetry.observe("decode_ms", 1e3 * found.decode_s)
                    telemetry.observe("features_ms", 1e3 * found.features_s)
                    yield found
