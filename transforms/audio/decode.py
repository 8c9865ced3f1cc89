"""Decodes recordings, or spans of them, to mono samples at 16 kHz."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from transforms.audio.channel_relations import ChannelChoice
from transforms.audio.sound_file import open_audio
from transforms.audio.span_reader import Decoded, SpanReader
from transforms.decoders.sound import Sound, open_sound
from transforms.elements import AUTO, EACH, FIRST, MIX, WHOLE, Span
from transforms.errors import AudioFault, Reason, Stage

# Limits of a block in memory at the recording's own rate: seconds, and samples of all channels together.
BLOCK_S = 30
BLOCK_SAMPLES = 1 << 24
# Speech recordings are shorter. The limit also keeps a decompression bomb from filling the disk.
MAX_S = 24 * 3600
# Shortest gap between spans that is worth a seek.
MIN_SEEK_S = 5.0


class DecodedSpan(NamedTuple):
    """The result of decoding one span and channel.

    Attributes:
        span_index: position of the span in the caller's list.
        channel: number of the channel, from 0; None for the mean of all.
        result: the decoded span, or its fault.
    """

    span_index: int
    channel: int | None
    result: Decoded | AudioFault


def read_audio(uri: str, span: Span = WHOLE, keep_dc: bool = False) -> Decoded:
    """Opens and decodes the recording at `uri`, or a span of it, as one signal. `keep_dc` is that of `decode_spans`.

    Raises:
        AudioFault: the recording cannot be opened, read or decoded.
        ScratchError: the temporary file of a long recording cannot be written.
    """
    with open_audio(uri) as file:
        return decode(file, span, keep_dc=keep_dc)


def decode(
    file: BinaryIO,
    span: Span = WHOLE,
    channels: str = AUTO,
    max_s: float | None = None,
    keep_dc: bool = False,
) -> Decoded:
    """Decodes a recording, or a span of it, to one signal. The arguments are those of `decode_spans`, without "each".

    Raises:
        AudioFault: the recording cannot be decoded.
        OSError: the file cannot be read.
        ScratchError: the temporary file of a long recording cannot be written.
    """
    (decoded,) = decode_spans(file, [span], channels, max_s, keep_dc)
    if isinstance(decoded.result, AudioFault):
        raise decoded.result
    return decoded.result


def decode_spans(
    file: BinaryIO,
    spans: Sequence[Span] = (WHOLE,),
    channels: str | Sequence[str] = AUTO,
    max_s: float | None = None,
    keep_dc: bool = False,
) -> Iterator[DecodedSpan]:
    """Decodes spans of a recording in one pass, in any format that libsndfile or FFmpeg reads, and resamples them with soxr.

    Args:
        file: a seekable file. Its content decides the format, not its name.
        spans: parts of the recording; they may overlap.
        channels: "auto" for the mean of all, or for one channel where they differ (`channel_relations`); "mix" for the mean,
            "first", "each" for every channel by itself, or the number of one channel, from 0. One value for all spans, or one
            value per span. "auto" reads a span a second time if its channels differ.
        max_s: longest span in seconds; `MAX_S` by default.
        keep_dc: whether to keep the DC offset of the samples, as material for synthesis does.

    Yields:
        One result per span, or per span and channel for "each", as soon as its last sample is read. A span fails if it lies
        outside the recording, is too short, too long, not finite or silent, or if the recording is damaged within it.

    Raises:
        AudioFault: no span can be decoded: the file is empty, in an unsupported format, shorter than its header states, or
            lacks the channel.
        OSError: the file cannot be read; the recording itself may be valid.
        ScratchError: the temporary file of a long recording cannot be written.
    """
    selections = [channels] * len(spans) if isinstance(channels, str) else channels
    max_duration_s = MAX_S if max_s is None else max_s

    def first_readers(sound: Sound) -> list[SpanReader]:
        return [
            SpanReader(index, span, channel, sound, max_duration_s, selection in (AUTO, MIX), keep_dc)
            for index, (span, selection) in enumerate(zip(spans, selections, strict=True))
            for channel in _channel_numbers(selection, sound.channels)
        ]

    choices: dict[int, ChannelChoice] = {}
    for reader in _read(file, first_readers):
        choice = reader.choice()
        if choice.candidates and selections[reader.span_index] == AUTO:
            choices[reader.span_index] = choice
        else:
            yield DecodedSpan(reader.span_index, reader.channel, reader.result())
    if choices:
        yield from _decode_candidates(file, spans, choices, max_duration_s, keep_dc)


def _decode_candidates(
    file: BinaryIO, spans: Sequence[Span], choices: dict[int, ChannelChoice], max_duration_s: float, keep_dc: bool
) -> Iterator[DecodedSpan]:
    """Decodes the candidate channels of spans. Yields one result per span: the first candidate, with the others."""

    def readers(sound: Sound) -> list[SpanReader]:
        return [
            SpanReader(index, spans[index], channel, sound, max_duration_s, keep_dc=keep_dc)
            for index, choice in choices.items()
            for channel in choice.candidates
        ]

    results: dict[int, dict[int | None, Decoded | AudioFault]] = {index: {} for index in choices}
    for reader in _read(file, readers):
        candidates, of_span = choices[reader.span_index].candidates, results[reader.span_index]
        of_span[reader.channel] = reader.result()
        if len(of_span) == len(candidates):
            ordered = [of_span[channel] for channel in candidates]
            del results[reader.span_index]  # frees the waveforms once they are yielded
            yield DecodedSpan(reader.span_index, None, _best_first(ordered, choices[reader.span_index].flags))


def _best_first(results: Sequence[Decoded | AudioFault], flags: tuple[str, ...]) -> Decoded | AudioFault:
    """Returns the first decoded channel with the others as alternatives; the fault of the first if none is decoded."""
    decoded = [
        dataclasses.replace(result, measured=result.measured.with_marks(flags))
        for result in results
        if isinstance(result, Decoded)
    ]
    return dataclasses.replace(decoded[0], alternatives=tuple(decoded[1:])) if decoded else results[0]


def _read(file: BinaryIO, make_readers: Callable[[Sound], list[SpanReader]]) -> Iterator[SpanReader]:
    """Yields the readers of a recording, each once it has all of its samples or a fault."""
    remaining: list[SpanReader] | None = None
    seeking = True
    while remaining is None or remaining:
        with open_sound(file) as sound:
            if remaining is None:
                remaining = sorted(make_readers(sound), key=lambda reader: reader.start)[::-1]
            try:
                yield from _read_blocks(sound, remaining, seeking)
            except _SeekFailedError:
                seeking = False


def _channel_numbers(selection: str, count: int) -> list[int | None]:
    """Returns the selected channels of a recording with `count` channels; None stands for their mean."""
    if selection in (AUTO, MIX):
        return [None]
    if selection == EACH:
        return list(range(count))
    channel = 0 if selection == FIRST else int(selection)
    if channel >= count:
        detail = f"channel {channel} (counted from 0) does not exist; the recording has {count}"
        raise AudioFault(Stage.DECODE, Reason.NO_CHANNEL, detail)
    return [channel]


class _SeekFailedError(Exception):
    """The decoder cannot seek to the next span. Reading from the start may still reach it."""


def _read_blocks(sound: Sound, waiting: list[SpanReader], seeking: bool) -> Iterator[SpanReader]:
    """Reads a recording in blocks up to the last span, and yields each reader once it has all of its samples.

    Args:
        sound: the recording at its start.
        waiting: readers by start in descending order. Each is removed when its first sample is read.
        seeking: whether to seek over long gaps between spans, if the format is seekable.

    Raises:
        _SeekFailedError: a seek failed; `waiting` holds all readers that are not yielded yet.
        OSError: the file cannot be read.
    """
    block_length = max(1, min(BLOCK_S * sound.samplerate, BLOCK_SAMPLES // sound.channels))
    seeking = seeking and sound.is_seekable
    active: list[SpanReader] = []
    position, is_last = 0, False
    while not is_last and (active or waiting):
        if seeking and not active and waiting[-1].start > position + MIN_SEEK_S * sound.samplerate:
            try:
                position = sound.seek_to(waiting[-1].start)
            except AudioFault as error:
                raise _SeekFailedError from error
        try:
            block = sound.read_block(block_length)
        except AudioFault as error:
            place = (
                f"after {position} samples" if sound.frames is None else f"after {position} of {sound.frames} samples"
            )
            fault = AudioFault(error.stage, error.reason, f"{place}: {error.detail}")
            yield from _with_fault([*active, *waiting], fault)
            waiting.clear()
            return
        is_last = len(block) < block_length
        while waiting and (is_last or waiting[-1].start < position + len(block)):
            active.append(waiting.pop())
        for reader in active:
            reader.add(block, position)
        position += len(block)
        if is_last and (detail := sound.truncation(position)):
            fault = AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
            yield from _with_fault([reader for reader in active if reader.end is None or reader.end > position], fault)
            active = [reader for reader in active if reader.end is not None and reader.end <= position]
        yield from (reader for reader in active if is_last or reader.is_complete(position))
        active = [reader for reader in active if not (is_last or reader.is_complete(position))]


def _with_fault(readers: Sequence[SpanReader], fault: AudioFault) -> Iterator[SpanReader]:
    """Yields readers whose remaining samples cannot be read. Sets their fault, unless they have one already."""
    for reader in readers:
        reader.fault = reader.fault or fault
        yield reader
