"""A corpus is cut into waves, and waves into chunks: bounded work, committed as a whole, of utterances of like length."""

from __future__ import annotations

import dataclasses
import posixpath
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from transforms.audio.sound_file import open_audio, open_sound
from transforms.elements import AudioRef, Recording
from transforms.errors import AudioFault

# Of a wave: what is lost at most when the process is killed. On two cores two minutes' work or so.
WAVE_HOURS = 20.0
# Of a chunk, which one worker takes at a time: some utterances of like length, or one long one.
CHUNK_S = 600.0
# Recordings whose headers are looked at, of each kind, to guess how long the others are.
SAMPLE = 5
# Bytes a second where no header of the kind could be read, as those of 16 kHz and 16 bits; of other kinds, no coding.
USUAL_RATES = {".flac": 17_000.0, ".mp3": 8_000.0, ".ogg": 6_000.0, ".opus": 4_000.0}
USUAL_RATE = 32_000.0
# No speech is coded in fewer bytes a second; a header that says so is wrong.
LOWEST_RATE = 50.0


class Lengths:
    """Guesses how long recordings are from their sizes; spans that have an end are known.

    Args:
        bytes_per_s: of recordings by the suffix of their names.
    """

    def __init__(self, bytes_per_s: dict[str, float]) -> None:
        self._bytes_per_s = bytes_per_s

    @classmethod
    def sampled(cls, refs: Sequence[AudioRef]) -> Lengths:
        """Looks at the headers of a few recordings of each suffix; always of the same ones."""
        by_suffix: dict[str, list[AudioRef]] = defaultdict(list)
        for ref in refs:
            if ref.archive is None and ref.size_bytes:
                by_suffix[suffix(ref.uri)].append(ref)
        rates = {}
        for name, there in by_suffix.items():
            found = [rate for ref in random.Random(0).sample(there, min(SAMPLE, len(there))) if (rate := _rate(ref))]
            if found:
                rates[name] = sum(found) / len(found)
        return cls(rates)

    def seconds(self, ref: AudioRef) -> float:
        """How long an utterance is likely to be."""
        if ref.span.end_s is not None:
            return ref.span.end_s - ref.span.start_s
        kind = suffix(ref.uri)
        whole = ref.size_bytes / (self._bytes_per_s.get(kind) or USUAL_RATES.get(kind, USUAL_RATE))
        return max(0.0, whole - ref.span.start_s)


def suffix(uri: str) -> str:
    """The last suffix of a file's name, in small letters: ".flac"."""
    return posixpath.splitext(uri)[1].lower()


def _rate(ref: AudioRef) -> float | None:
    """Bytes a second of a recording, by its header."""
    try:
        with open_audio(ref.uri) as file, open_sound(file) as sound:
            duration_s = sound.frames / sound.samplerate
    except AudioFault:
        return None
    rate = ref.size_bytes / duration_s if duration_s > 0 else 0.0
    return rate if rate > LOWEST_RATE else None  # a FLAC from a pipe says that it goes on for ever


@dataclasses.dataclass(frozen=True, slots=True)
class Wave:
    """A part of a run, committed as a whole.

    Attributes:
        chunks: of recordings, each for one worker at a time.
        seconds: of audio, as guessed.
    """

    chunks: tuple[tuple[Recording, ...], ...]
    seconds: float

    @property
    def refs(self) -> list[AudioRef]:
        """All utterances in it; archives by the ref that stands for them."""
        return [ref for chunk in self.chunks for recording in chunk for ref in recording.refs]


def recordings(refs: Iterable[AudioRef]) -> list[Recording]:
    """Utterances of the same recording together, so that it is read once."""
    by_uri: dict[str, list[AudioRef]] = defaultdict(list)
    for ref in refs:
        by_uri[ref.uri].append(ref)
    return [Recording(tuple(group)) for group in by_uri.values()]


def cut_waves(refs: Sequence[AudioRef], lengths: Lengths, hours: float = WAVE_HOURS) -> list[Wave]:
    """Cuts a corpus into waves of about so many hours of audio; of a recording that is longer, one is a wave by itself.

    Args:
        refs: the utterances, in the order in which they shall be done.
        lengths: how long they are.
        hours: of a wave at most, if it holds more than one recording.

    Returns:
        Waves that hold each ref once. In each the recordings are sorted by length, the longest first.
    """
    waves = []
    held: list[tuple[float, Recording]] = []
    total = 0.0
    for recording in recordings(refs):
        seconds = sum(map(lengths.seconds, recording.refs))
        if held and total + seconds > hours * 3600:
            waves.append(_wave(held))
            held, total = [], 0.0
        held.append((seconds, recording))
        total += seconds
    if held:
        waves.append(_wave(held))
    return waves


def _wave(held: list[tuple[float, Recording]]) -> Wave:
    return Wave(tuple(cut_chunks(held)), sum(seconds for seconds, _ in held))


def cut_chunks(held: Iterable[tuple[float, Recording]]) -> Iterator[tuple[Recording, ...]]:
    """Sorts recordings by their seconds, the longest first, and cuts them into chunks."""
    chunk: list[Recording] = []
    filled = 0.0
    for seconds, recording in sorted(held, key=lambda item: -item[0]):
        if chunk and filled + seconds > CHUNK_S:
            yield tuple(chunk)
            chunk, filled = [], 0.0
        chunk.append(recording)
        filled += seconds
    if chunk:
        yield tuple(chunk)
