"""Cuts a corpus into waves, which are committed as a whole, and waves into chunks of utterances of similar length."""

from __future__ import annotations

import dataclasses
import posixpath
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from transforms.audio.sound_file import open_audio
from transforms.decoders.sound import open_sound
from transforms.elements import AudioRef, Recording
from transforms.errors import AudioFault

# Hours of audio in a wave. A killed process loses at most the work of one wave, some two minutes on two cores.
WAVE_HOURS = 20.0
# Seconds of audio in a chunk, which one worker scores: some utterances of similar length, or one long recording.
CHUNK_S = 600.0
# Number of recordings per suffix whose headers are read to estimate the length of the others.
SAMPLE = 5
# Bytes per second at 16 kHz, used if no header of the suffix can be read. USUAL_RATE is that of PCM with 16 bits.
USUAL_RATES = {".flac": 17_000.0, ".mp3": 8_000.0, ".ogg": 6_000.0, ".opus": 4_000.0}
USUAL_RATE = 32_000.0
# Seconds to decode of a recording whose header states no length.
TRIAL_S = 60
# No speech codec uses fewer bytes per second; a header that implies fewer is wrong.
LOWEST_RATE = 50.0

# Recordings that one worker takes at a time.
Chunk = tuple[Recording, ...]


class Lengths:
    """Estimates the lengths of utterances from the sizes of their files; the length of a span with an end is known.

    Args:
        bytes_per_s: bytes per second of recordings, by suffix.
    """

    def __init__(self, bytes_per_s: dict[str, float]) -> None:
        self._bytes_per_s = bytes_per_s

    @classmethod
    def sampled(cls, refs: Sequence[AudioRef]) -> Lengths:
        """Reads the headers of a few recordings of each suffix; the same refs give the same choice."""
        return cls.of_rates((ref, bytes_per_s(ref)) for ref in sample(refs))

    @classmethod
    def of_rates(cls, rates: Iterable[tuple[AudioRef, float | None]]) -> Lengths:
        """Returns the estimate from some recordings with their bytes per second; None if these are unknown."""
        by_suffix: dict[str, list[float]] = defaultdict(list)
        for ref, rate in rates:
            if rate:
                by_suffix[suffix(ref.uri)].append(rate)
        return cls({name: sum(known) / len(known) for name, known in by_suffix.items()})

    def seconds(self, ref: AudioRef) -> float:
        """Returns the estimated length of an utterance in seconds; 0 for a faulty row, which is not read."""
        if ref.fault is not None:
            return 0.0
        if ref.span.end_s is not None:
            return ref.span.end_s - ref.span.start_s
        name = suffix(ref.uri)
        recording_s = ref.size_bytes / (self._bytes_per_s.get(name) or USUAL_RATES.get(name, USUAL_RATE))
        return max(0.0, recording_s - ref.span.start_s)

    def total_s(self, refs: Iterable[AudioRef]) -> float:
        """Returns the estimated length of some utterances together, in seconds."""
        return sum(map(self.seconds, refs))


def suffix(uri: str) -> str:
    """Returns the last suffix of a file name in lower case, such as ".flac"."""
    return posixpath.splitext(uri)[1].lower()


def sample(refs: Iterable[AudioRef]) -> list[AudioRef]:
    """Returns a few recordings of each suffix; the same refs give the same choice."""
    by_suffix: dict[str, list[AudioRef]] = defaultdict(list)
    for ref in refs:
        if ref.archive is None and ref.fault is None and ref.size_bytes:
            by_suffix[suffix(ref.uri)].append(ref)
    chosen: list[AudioRef] = []
    for candidates in by_suffix.values():
        chosen += random.Random(0).sample(candidates, min(SAMPLE, len(candidates)))
    return chosen


def bytes_per_s(ref: AudioRef) -> float | None:
    """Returns the bytes per second of a recording from its header, or from its first seconds; None if it cannot be read."""
    try:
        with open_audio(ref.uri) as file, open_sound(file) as sound:
            num_samples, size_bytes = sound.frames, ref.size_bytes
            if num_samples is None:
                trial = TRIAL_S * sound.samplerate
                num_samples = len(sound.read_block(trial))
                size_bytes = file.tell() if num_samples == trial else size_bytes
            duration_s = num_samples / sound.samplerate
    except AudioFault:
        return None
    rate = size_bytes / duration_s if duration_s > 0 else 0.0
    return rate if rate > LOWEST_RATE else None


@dataclasses.dataclass(frozen=True, slots=True)
class Wave:
    """A part of a run that is committed as a whole.

    Attributes:
        chunks: its chunks.
        seconds: estimated length of its audio in seconds.
    """

    chunks: tuple[Chunk, ...]
    seconds: float

    @property
    def refs(self) -> list[AudioRef]:
        """All utterances; an archive is represented by its one ref."""
        return [ref for chunk in self.chunks for recording in chunk for ref in recording.refs]


def recordings(refs: Iterable[AudioRef]) -> list[Recording]:
    """Groups utterances by recording, so that each recording is read once."""
    by_uri: dict[str, list[AudioRef]] = defaultdict(list)
    for ref in refs:
        by_uri[ref.uri].append(ref)
    return [Recording(tuple(group)) for group in by_uri.values()]


def cut_waves(refs: Sequence[AudioRef], lengths: Lengths, hours: float = WAVE_HOURS) -> list[Wave]:
    """Cuts a corpus into waves. A recording that is longer than a wave is a wave by itself.

    Args:
        refs: utterances in the order in which to score them.
        lengths: estimated lengths.
        hours: largest length of a wave in hours of audio.

    Returns:
        Waves that contain each ref once. Within a wave the recordings are sorted by length, the longest first.
    """
    waves = []
    wave: list[Recording] = []
    wave_s = 0.0
    for recording in recordings(refs):
        seconds = lengths.total_s(recording.refs)
        if wave and wave_s + seconds > hours * 3600:
            waves.append(Wave(tuple(cut_chunks(wave, lengths)), wave_s))
            wave, wave_s = [], 0.0
        wave.append(recording)
        wave_s += seconds
    if wave:
        waves.append(Wave(tuple(cut_chunks(wave, lengths)), wave_s))
    return waves


def cut_chunks(wave: Iterable[Recording], lengths: Lengths) -> Iterator[Chunk]:
    """Sorts recordings by length, the longest first, and cuts them into chunks."""
    timed = [(lengths.total_s(recording.refs), recording) for recording in wave]
    chunk: list[Recording] = []
    chunk_s = 0.0
    for seconds, recording in sorted(timed, key=lambda item: -item[0]):
        if chunk and chunk_s + seconds > CHUNK_S:
            yield tuple(chunk)
            chunk, chunk_s = [], 0.0
        chunk.append(recording)
        chunk_s += seconds
    if chunk:
        yield tuple(chunk)
