"""What flows between the transforms."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from model.features import Frames
from transforms.errors import AudioFault, Reason, Stage

# Tag of the output on which the rejects of a step leave it.
REJECTS = "rejects"


# What is heard of a recording: the mean of its channels, its first, or each by itself; or the number of one.
MIX, FIRST, EACH = "mix", "first", "each"


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A part of a recording, in seconds from its start; all of it by default.

    Attributes:
        start_s: where it begins.
        end_s: where it ends; None for the recording's end.
    """

    start_s: float = 0.0
    end_s: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Span, (self.start_s, self.end_s)

    def __str__(self) -> str:
        return f"{self.start_s:g} to {'the end' if self.end_s is None else f'{self.end_s:g} s'}"


# The span of a whole recording.
WHOLE = Span()


def printable(name: str) -> str:
    r"""A file's name as valid Unicode: bytes of it that are no UTF-8 become `\xNN`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def channel_id(utterance_id: str, channel: int) -> str:
    """The id of a channel that is an utterance by itself."""
    return f"{utterance_id}#ch{channel}"


def without_channel(utterance_id: str) -> str:
    """The id without its channel: that of the utterance in the corpus."""
    return re.sub(r"#ch\d+$", "", utterance_id)


def archives_of(uri: str) -> Iterator[str]:
    """Where the archive of a member may be, whose uri is `ARCHIVE#MEMBER`: names may have that sign in them, too."""
    for found in re.finditer("#", uri):
        yield uri[: found.start()]


@dataclasses.dataclass(frozen=True, slots=True)
class AudioRef:
    """An utterance of the corpus, before anything of it was read.

    Attributes:
        utterance_id: unique in the corpus and the same on every machine: path relative to the corpus root, or the
            manifest's id.
        uri: where the recording is, in any filesystem that Beam knows.
        size_bytes: of the recording; 0 where it could not be found.
        source_version: changes when the recording does (size and time of modification).
        columns: further columns of the manifest.
        span: of the recording.
        channel: that is to be heard of it, from 0, where the corpus says so for this utterance; None leaves it to the run.
        archive: "tar" or "parquet" where this stands for all recordings in an archive, which are found when it is read.
    """

    utterance_id: str
    uri: str
    size_bytes: int
    source_version: str
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    span: Span = Span()
    archive: str | None = None
    channel: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # All refs of a corpus are pickled: so it takes half the time that a frozen dataclass takes by itself.
        return AudioRef, (
            self.utterance_id, self.uri, self.size_bytes, self.source_version,
            self.columns, self.span, self.archive, self.channel,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """A file of the corpus, and what of it is to be scored.

    Attributes:
        refs: the utterances in it, all with the same uri; for an archive one, which stands for all of them.
    """

    refs: tuple[AudioRef, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return Recording, (self.refs,)

    @property
    def uri(self) -> str:
        """Where it is."""
        return self.refs[0].uri

    @property
    def archive(self) -> str | None:
        """Which kind of archive it is; None for a recording by itself."""
        return self.refs[0].archive


@dataclasses.dataclass(frozen=True, slots=True)
class Reject:
    """An input that got no score."""

    uri: str
    utterance_id: str
    source_version: str
    stage: Stage
    reason: Reason
    detail: str

    @classmethod
    def of(cls, ref: AudioRef, fault: AudioFault) -> Reject:
        """The reject that an utterance's fault makes of it."""
        return cls(ref.uri, ref.utterance_id, ref.source_version, fault.stage, fault.reason, fault.detail)


@dataclasses.dataclass(frozen=True, slots=True)
class SignalFacts:
    """What the samples say without a model. `facts.py` defines each.

    Attributes:
        peak_dbfs: largest sample of any channel.
        rms_dbfs: over all samples of all channels.
        clipped_ratio: share of samples that sit on a clipping plateau.
        silence_ratio: share of frames more than 40 dB under the recording's gated level.
        dc_offset: mean sample, full scale 1.0.
        bandwidth_hz: highest frequency that carries anything, at the recording's own rate.
        snr_db: estimate; None where the recording has no floor to compare with.
    """

    peak_dbfs: float
    rms_dbfs: float
    clipped_ratio: float
    silence_ratio: float
    dc_offset: float
    bandwidth_hz: float
    snr_db: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance that was decoded: all that is known of it but its scores.

    Attributes:
        ref: what it is; its id tells the channel where each of a recording is an utterance.
        duration_s: of the recording at its own rate.
        sample_rate: of the recording, in Hz.
        channels: of the recording.
        channel: which is heard, from 0; None for the mean of all.
        format: container and coding, as "FLAC/PCM_16".
        facts: of the recording's samples.
    """

    ref: AudioRef
    duration_s: float
    sample_rate: int
    channels: int
    channel: int | None
    format: str
    facts: SignalFacts


@dataclasses.dataclass(frozen=True, slots=True)
class FeaturizedUtterance:
    """An utterance on its way to the network, with its spectrogram, float32 [T, 257].

    That of a long recording is computed in parts, when they are read (`featurize.LongSpectrogram`), and its `features_s`
    counts as the network's.

    Attributes:
        utterance: which.
        spectrogram: its features.
        decode_s: seconds that reading, decoding, resampling and measuring took.
        features_s: seconds that the FFTs took.
    """

    utterance: Utterance
    spectrogram: Frames
    decode_s: float = 0.0
    features_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class ScoredUtterance:
    """An utterance with its frames' scores, float32 [T]."""

    utterance: Utterance
    frame_score: np.ndarray
