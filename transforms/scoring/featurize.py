"""Decodes utterances and computes their spectrograms in one step, so that samples never cross a shuffle."""

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
    NUM_BINS,
    WHOLE_FRAMES,
    FeatureConfig,
    FeatureError,
    Frames,
    level_of,
    spectrogram,
)
from transforms import telemetry
from transforms.audio.decode import decode_spans
from transforms.audio.prefetch import open_ahead
from transforms.audio.sound_file import open_audio
from transforms.audio.span_reader import Decoded
from transforms.audio.waveform import Waveform
from transforms.corpus.archives.reading import members
from transforms.duplicates.fingerprint import fingerprint, middle
from transforms.elements import (
    AUTO,
    EACH,
    REJECTS,
    AudioRef,
    FeaturizedUtterance,
    Recording,
    Reject,
    Utterance,
    channel_id,
)
from transforms.errors import AudioFault, Reason, Stage
from transforms.scoring.decode_watch import NO_WATCH, DecodeWatch
from transforms.scoring.work_ahead import work_ahead

# Frames that are computed ahead of the network: as many as `BatchLimits.pool_frames`, so that the next pool is ready when the
# network has scored one. They take 33 MB.
AHEAD_FRAMES = 32_768


class LongSpectrogram:
    """The spectrogram of some frames of a long recording, computed part by part on access.

    Args:
        waveform: mono samples at 16 kHz.
        config: feature definition.
        level: level of the whole recording, by which the features are scaled.
        shown: whether each frame of the recording is one of the frames, bool [T].
    """

    def __init__(self, waveform: Waveform, config: FeatureConfig, level: float, shown: np.ndarray) -> None:
        self._waveform, self._config, self._level = waveform, config, level
        self._positions = np.flatnonzero(shown).astype(np.int32)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, part: slice) -> np.ndarray:
        positions = self._positions[part]
        if not len(positions):
            return np.empty((0, NUM_BINS), np.float32)
        # Runs of adjacent frames, so that no silence between them is read.
        runs = np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)
        return np.concatenate([self._frames(int(run[0]), int(run[-1])) for run in runs])

    def _frames(self, first: int, last: int) -> np.ndarray:
        samples = self._waveform.read_frames(first, last + 1)
        return spectrogram(samples, self._config, self._level)


def featurize(decoded: Decoded, ref: AudioRef, config: FeatureConfig) -> FeaturizedUtterance:
    """Computes the features of the frames of an utterance that the network gets.

    Args:
        decoded: audio of the utterance.
        ref: utterance in the corpus.
        config: feature definition.

    Raises:
        AudioFault: the audio is silent.
    """
    waveform, measured = decoded.waveform, decoded.measured
    activity = measured.frame_facts.activity
    features: Frames
    try:
        level = level_of(waveform.power()[activity.counted], config)
        count = len(activity.shown)
        part = middle(count)
        if count > WHOLE_FRAMES:
            features = LongSpectrogram(waveform, config, level, activity.shown)
            in_middle = spectrogram(waveform.read_frames(part.start, part.stop), config, level)
        else:
            in_all = spectrogram(waveform.read_frames(0, count), config, level)
            features, in_middle = in_all[activity.shown], in_all[part]
    except FeatureError as error:
        raise AudioFault(Stage.FEATURIZE, Reason.SILENT, str(error)) from error
    utterance = Utterance(
        ref=ref,
        duration_s=decoded.duration_s,
        sample_rate=decoded.sample_rate,
        channels=decoded.channels,
        channel=decoded.channel,
        format=decoded.format,
        facts=measured.facts,
        frame_facts=measured.frame_facts,
        marks=measured.marks,
        content_hash=measured.content_hash,
        fingerprint=fingerprint(in_middle, config, part.start),
    )
    alternatives = tuple(featurize(other, ref, config) for other in decoded.alternatives)
    return FeaturizedUtterance(utterance, features, alternatives=alternatives)


def featurize_recording(
    recording: Recording,
    config: FeatureConfig,
    channels: str = AUTO,
    opened: AbstractContextManager[BinaryIO] | None = None,
    watch: DecodeWatch = NO_WATCH,
    is_vetting: bool = False,
) -> Iterator[FeaturizedUtterance | Reject]:
    """Decodes the utterances of a recording, or of all recordings of an archive, and computes their features.

    Args:
        recording: the recording or archive.
        config: feature definition.
        channels: channels to decode (`decode.decode_spans`); "each" adds `#ch0`, `#ch1` and so on to the ids.
        opened: context manager of the recording's file; None to open the file here.
        watch: watch that marks the recording, or each recording of the archive, and knows those that must not be decoded.
        is_vetting: see `decode_watch.Mark`.

    Yields:
        The features of each utterance, or the reason why it has none.

    Raises:
        ScratchError: the temporary file of a long recording cannot be written.
    """

    def featurized(
        refs: Sequence[AudioRef], file: AbstractContextManager[BinaryIO]
    ) -> Iterable[FeaturizedUtterance | Reject]:
        if fault := watch.faults.get(refs[0].uri):
            return [Reject.of(ref, fault) for ref in refs]
        return watch.marked(refs, _featurize_file(refs, file, config, channels), is_vetting)

    if recording.archive is None:
        for ref in recording.refs:
            if ref.fault is not None:
                yield Reject.of_row(ref, ref.fault)
        refs = [ref for ref in recording.refs if ref.fault is None]
        if refs:
            yield from featurized(refs, opened or open_audio(recording.uri))
        return
    if fault := watch.faults.get(recording.uri):
        yield Reject.of(recording.refs[0], fault)
        return
    for ref, file in watch.marked(recording.refs, members(recording.refs[0]), is_vetting):
        if isinstance(file, AudioFault):
            yield Reject.of(ref, file)
        else:
            yield from featurized([ref], contextlib.nullcontext(file))


def _featurize_file(
    refs: Sequence[AudioRef], opened: AbstractContextManager[BinaryIO], config: FeatureConfig, channels: str
) -> Iterator[FeaturizedUtterance | Reject]:
    missing = set(range(len(refs)))
    try:
        with opened as file:
            selected = [channels if ref.channel is None else str(ref.channel) for ref in refs]
            started = time.perf_counter()
            for index, channel, decoded in decode_spans(file, [ref.span for ref in refs], selected):
                missing.discard(index)
                decode_s = time.perf_counter() - started
                ref = _channel_ref(refs[index], channel) if selected[index] == EACH else refs[index]
                yield _featurize_or_reject(decoded, ref, config, decode_s)
                started = time.perf_counter()
    except AudioFault as fault:
        for index in sorted(missing):
            yield Reject.of(refs[index], fault)


def _channel_ref(ref: AudioRef, channel: int | None) -> AudioRef:
    """Returns the ref of a channel that is its own utterance."""
    return dataclasses.replace(ref, utterance_id=channel_id(ref.utterance_id, channel or 0))


def _featurize_or_reject(
    decoded: Decoded | AudioFault, ref: AudioRef, config: FeatureConfig, decode_s: float
) -> FeaturizedUtterance | Reject:
    if isinstance(decoded, AudioFault):
        return Reject.of(ref, decoded)
    started = time.perf_counter()
    try:
        featurized = featurize(decoded, ref, config)
    except AudioFault as fault:
        return Reject.of(ref, fault)
    return dataclasses.replace(featurized, decode_s=decode_s, features_s=time.perf_counter() - started)


class NeverEncoded(beam.coders.Coder):
    """Coder that refuses to encode: spectrograms are far larger than recordings and must not leave their process.

    Runners ask coders for the size of some elements, so `estimate_size` works without encoding.
    """

    def encode(self, value: Any) -> bytes:
        """Refuses to encode.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"a {type(value).__name__} must stay in its process: no shuffle is allowed between decoding and scoring"
        )

    def decode(self, encoded: bytes) -> Any:  # noqa: ARG002 -- Beam's signature
        """Refuses to decode, because `encode` encodes nothing.

        Raises:
            TypeError: always.
        """
        raise TypeError("a spectrogram was never encoded")

    def estimate_size(self, value: FeaturizedUtterance) -> int:
        """Returns the size of the spectrogram in bytes."""
        return 4 * NUM_BINS * len(value.spectrogram)

    def is_deterministic(self) -> bool:
        """Returns False."""
        return False


beam.coders.registry.register_coder(FeaturizedUtterance, NeverEncoded)


@beam.typehints.with_output_types(FeaturizedUtterance)
class Featurize(beam.DoFn):
    """Chunks of `Recording`s -> `FeaturizedUtterance`s, and `Reject`s on the output `REJECTS`.

    Args:
        config: feature definition.
        channels: channels to decode.
        watch: watch that marks the recordings, and knows those that must not be decoded.
    """

    def __init__(self, config: FeatureConfig, channels: str = AUTO, watch: DecodeWatch = NO_WATCH) -> None:
        self.config = config
        self.channels = channels
        self.watch = watch

    def process(self, chunk: Sequence[Recording]) -> Iterable[Any]:
        """Featurizes the recordings of a chunk one after the other, while the network scores those before."""
        telemetry.count("recordings", len(chunk))
        with contextlib.closing(work_ahead(self._results(chunk), _num_frames, AHEAD_FRAMES)) as results:
            for result in results:
                if isinstance(result, Reject):
                    yield beam.pvalue.TaggedOutput(REJECTS, result)
                else:
                    telemetry.observe("decode_ms", 1e3 * result.decode_s)
                    telemetry.observe("features_ms", 1e3 * result.features_s)
                    yield result

    def _results(self, chunk: Sequence[Recording]) -> Iterator[FeaturizedUtterance | Reject]:
        for recording, file in open_ahead(chunk):
            yield from featurize_recording(recording, self.config, self.channels, file, self.watch)


def _num_frames(result: FeaturizedUtterance | Reject) -> int:
    return 0 if isinstance(result, Reject) else len(result.spectrogram)
