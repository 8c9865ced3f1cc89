"""Elements of the scoring pipeline: utterances before and after each step, and rejects."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from model.activity import Activity, find_activity
from model.diagnosis import Diagnosis
from model.features import Frames
from transforms.errors import AudioFault, Reason, Stage

# Tag of a step's output for rejects.
REJECTS = "rejects"
# Values of `channels`: the mean of all channels, or the best one where they differ; always the mean; the first; or each as its
# own utterance. A number selects one channel.
AUTO, MIX, FIRST, EACH = "auto", "mix", "first", "each"


class ArchiveKind(enum.StrEnum):
    """Kind of an archive of recordings."""

    TAR = "tar"
    PARQUET = "parquet"
    ARROW = "arrow"


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A part of a recording, by default all of it.

    Attributes:
        start_s: start in seconds.
        end_s: end in seconds; None for the recording's end.
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
    r"""Returns a file name as valid Unicode: bytes that are not UTF-8 become `\xNN`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def channel_id(utterance_id: str, channel: int) -> str:
    """Returns the id of one channel of an utterance."""
    return f"{utterance_id}#ch{channel}"


def without_channel(utterance_id: str) -> str:
    """Returns the id of an utterance in the corpus: the id without `#ch0`, `#ch1` and so on."""
    return re.sub(r"#ch\d+$", "", utterance_id)


def archives_of(uri: str) -> Iterator[str]:
    """Yields the possible URIs of the archive in `ARCHIVE#MEMBER`: one for each `#`, since names may contain it, too."""
    for separator in re.finditer("#", uri):
        yield uri[: separator.start()]


class RowFault(NamedTuple):
    """Why a row of a manifest names no recording that could be read.

    Attributes:
        reason: kind of the fault.
        detail: explanation in a sentence, with the manifest and the line.
    """

    reason: Reason
    detail: str


# In the version of an archive with a manifest: whether it lists whole recordings, or spans of them.
LISTED_MARK, SPANS_MARK = "@listed-", "@spans-"


class ListedMember(NamedTuple):
    """An utterance in an archive that a manifest lists.

    Attributes:
        name: name within the archive, for the id.
        span: part of the recording.
        columns: further columns of the manifest.
    """

    name: str
    span: Span
    columns: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class AudioRef:
    """An utterance of the corpus whose recording has not been opened yet.

    Attributes:
        utterance_id: id, unique in the corpus and the same on every machine: the path relative to the corpus root, or the
            manifest's id.
        uri: path or URI of the recording, in any filesystem that Beam knows.
        size_bytes: size of the file in bytes; 0 if it cannot be read.
        source_version: size and modification time of the file, or generation of an object, with the span and the channel that
            the manifest names. It changes when one of them changes (`storage.source_versions`).
        columns: further columns of the manifest.
        span: part of the recording.
        archive: kind of the archive if the ref stands for all recordings in it, which are listed when it is read; None for
            one recording.
        channel: channel to score, from 0, named by the manifest; None to follow the options of the run.
        fault: why the row of the manifest is rejected; None for a usable one. The recording of a faulty ref is not opened; its
            uri is that of the manifest if the row names no recording.
        row: line of a span in its manifest, for the reject of a span that its recording does not have; 0 for others.
        listed: for an archive with a manifest, the utterances by the name of their member, with or without its suffix; None
            for all recordings in the archive.
        audio_root: folder of recordings of which an archive holds only the paths; empty for the folder of the archive.
    """

    utterance_id: str
    uri: str
    size_bytes: int
    source_version: str
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    span: Span = Span()
    archive: ArchiveKind | None = None
    channel: int | None = None
    fault: RowFault | None = None
    row: int = 0
    listed: Mapping[str, tuple[ListedMember, ...]] | None = None
    audio_root: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        # All refs of a corpus are pickled, and a frozen dataclass without this method takes twice as long.
        file = (self.utterance_id, self.uri, self.size_bytes, self.source_version)
        values = (*file, self.columns, self.span, self.archive, self.channel, self.fault, self.row)
        # Only archives have the others.
        return AudioRef, values if self.archive is None else (*values, self.listed, self.audio_root)


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """A file of the corpus with the utterances in it.

    Attributes:
        refs: utterances with the same URI; for an archive, a single ref for all recordings in it.
    """

    refs: tuple[AudioRef, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return Recording, (self.refs,)

    @property
    def uri(self) -> str:
        """Path or URI of the file."""
        return self.refs[0].uri

    @property
    def archive(self) -> ArchiveKind | None:
        """Kind of the archive; None if the file is one recording."""
        return self.refs[0].archive

    @property
    def is_read(self) -> bool:
        """Whether the file is opened: some utterance in it is not rejected already."""
        return any(ref.fault is None for ref in self.refs)


@dataclasses.dataclass(frozen=True, slots=True)
class Reject:
    """An input that got no score.

    Attributes:
        uri: path or URI of the recording.
        utterance_id: id of the utterance.
        source_version: version of the source, as in `AudioRef`.
        stage: step that rejected the input.
        reason: kind of the fault.
        detail: explanation in a sentence.
    """

    uri: str
    utterance_id: str
    source_version: str
    stage: Stage
    reason: Reason
    detail: str

    @classmethod
    def of(cls, ref: AudioRef, fault: AudioFault) -> Reject:
        """Returns the reject for an utterance with a fault. A span outside its recording is a fault of its row."""
        if fault.reason == Reason.OUTSIDE and ref.row:
            return cls.of_row(ref, RowFault(fault.reason, f"line {ref.row} of the manifest: {fault.detail}"))
        return cls(ref.uri, ref.utterance_id, ref.source_version, fault.stage, fault.reason, fault.detail)

    @classmethod
    def of_row(cls, ref: AudioRef, fault: RowFault) -> Reject:
        """Returns the reject for a faulty row of a manifest."""
        return cls(ref.uri, ref.utterance_id, ref.source_version, Stage.LIST, fault.reason, fault.detail)


@dataclasses.dataclass(frozen=True, slots=True)
class SignalFacts:
    """Measurements of the samples that need no model; `audio.signal_facts` defines each.

    Attributes:
        peak_dbfs: largest absolute sample of the scored channels without their DC offset, in dBFS.
        rms_dbfs: RMS level of the active part of the scored signal, in dBFS.
        clipped_ratio: share of clipped samples, 0 to 1.
        silence_ratio: share of frames more than 40 dB below the gated level, 0 to 1.
        lead_silence_s: silence before the active part, in seconds.
        trail_silence_s: silence after the active part, in seconds.
        longest_gap_s: longest silence inside the active part, in seconds.
        active_s: length of the active part without the inner part of long pauses, in seconds.
        dropouts: number of hard-edged gaps inside sound.
        dropout_s: total length of these gaps, in seconds.
        dc_offset: mean of the samples, full scale 1.0.
        bandwidth_hz: highest frequency that carries signal, in Hz, at the recording's own rate.
        noise_floor_snr_db: signal-to-noise ratio in dB, estimated from the quietest frames; None if a tenth of the active
            part is digital silence.
        hum_db: level of mains hum in dB relative to `rms_dbfs`; None without hum.
    """

    peak_dbfs: float
    rms_dbfs: float
    clipped_ratio: float
    silence_ratio: float
    lead_silence_s: float
    trail_silence_s: float
    longest_gap_s: float
    active_s: float
    dropouts: int
    dropout_s: float
    dc_offset: float
    bandwidth_hz: float
    noise_floor_snr_db: float | None
    hum_db: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class FrameFacts:
    """Measurements of each frame that need no model. The facts of any part of an utterance follow from them.

    Attributes:
        level_dbfs: RMS level of the scored signal (mono, 16 kHz, without DC offset) in dBFS, to 0.1 dB: float32 [T].
        peak_dbfs: largest absolute sample of the scored channels without their DC offset, in dBFS, to 0.1 dB: float32 [T].
        bandwidth_hz: highest frequency that carries signal, in Hz; 0 in silence: float32 [T].
        clipped: whether a sample is clipped, bool [T].
        dropout_s: length of the dropouts in the first half of the frame, in seconds: float32 [T].
    """

    level_dbfs: np.ndarray
    peak_dbfs: np.ndarray
    bandwidth_hz: np.ndarray
    clipped: np.ndarray
    dropout_s: np.ndarray

    def __len__(self) -> int:
        return len(self.level_dbfs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FrameFacts):
            return NotImplemented
        names = [field.name for field in dataclasses.fields(self)]
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]

    @property
    def power(self) -> np.ndarray:
        """Mean square of each frame: float64 [T]."""
        return np.asarray(10 ** (np.asarray(self.level_dbfs, np.float64) / 10))

    @property
    def peak(self) -> np.ndarray:
        """Largest absolute sample of each frame: float64 [T]."""
        return np.asarray(10 ** (np.asarray(self.peak_dbfs, np.float64) / 20))

    @functools.cached_property
    def activity(self) -> Activity:
        """Active and silent frames."""
        return find_activity(self.power)


@dataclasses.dataclass(frozen=True, slots=True)
class Utterance:
    """A decoded utterance, without its scores.

    Attributes:
        ref: the utterance in the corpus; if each channel is an utterance, its id contains the channel.
        duration_s: length in seconds, at the recording's own rate.
        sample_rate: sample rate of the recording in Hz.
        channels: number of channels of the recording.
        channel: scored channel, from 0; None for the mean of all.
        format: container and coding, as "FLAC/PCM_16".
        facts: measurements of the samples.
        frame_facts: measurements of each frame.
        marks: flags that the samples of the whole recording decide, such as "upsampled" or "antiphase".
        content_hash: hash of the samples of the scored channels (`duplicates.content_hash`); None if it was not computed.
        fingerprint: landmarks of the sound (`duplicates.fingerprint`): int64 [n]; None without enough sound.
    """

    ref: AudioRef
    duration_s: float
    sample_rate: int
    channels: int
    channel: int | None
    format: str
    facts: SignalFacts
    frame_facts: FrameFacts
    marks: tuple[str, ...] = ()
    content_hash: str | None = None
    fingerprint: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FeaturizedUtterance:
    """An utterance with its features, ready for the network.

    The spectrogram of a long recording is computed in parts, when the network reads them (`featurize.LongSpectrogram`).
    The time for this counts as the network's, not as `features_s`.

    Attributes:
        utterance: the decoded utterance.
        spectrogram: features of the frames that the network gets (`Activity.shown`): float32 [S, 257], S <= T.
        decode_s: seconds spent on reading, decoding, resampling and measuring.
        features_s: seconds spent on the FFTs.
        alternatives: other channels of the same recording. The channel with the best score becomes the utterance.
    """

    utterance: Utterance
    spectrogram: Frames
    decode_s: float = 0.0
    features_s: float = 0.0
    alternatives: tuple[FeaturizedUtterance, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ScoredUtterance:
    """An utterance with its scores.

    Attributes:
        utterance: the decoded utterance.
        frame_score: predicted quality of each frame on the scale of the model: float32 [T]. Long silence, which the model
            does not get, repeats the score of the frame before it.
        diagnosis: the other values of each frame [T]; None if the model gives none.
    """

    utterance: Utterance
    frame_score: np.ndarray
    diagnosis: Diagnosis | None = None
