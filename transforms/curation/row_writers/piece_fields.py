"""Fields of the pieces of a trimmed utterance: those of its row in the corpus, without what is untrue for a piece."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping
from typing import Any

from transforms.corpus.columns import time_of
from transforms.curation.piece_texts import PieceTexts, TextState, is_text_count
from transforms.storage.text_files import as_text

# Names of lengths, with the number of their units in a second.
_LENGTHS = {"audio_duration": 1, "length_s": 1, "length_ms": 1_000}
# Names of numbers of samples and frames.
SAMPLE_COUNTS = {
    *("num_samples", "n_samples", "samples", "sample_count"),
    *("num_frames", "n_frames", "nframes", "frames", "frame_count"),
}
# Names of sampling rates, and of numbers of channels.
RATES = {"sample_rate", "sampling_rate", "samplerate", "sr"}
_CHANNEL_COUNTS = {"num_channels", "n_channels", "nchannels"}
# Names of other properties of the whole utterance that a piece does not have.
_PROPERTIES = {*SAMPLE_COUNTS, "segments", "timestamps", "chunks"}


def cut_fields(
    row: Mapping[str, Any], utterance: Mapping[str, Any], text: str | None = None
) -> tuple[dict[str, Any], TextState]:
    """Returns the fields of a row that are others for a piece, and how the piece got its text.

    Starts, ends and lengths are those of the piece. Texts and word times are cut as `PieceTexts` does; without word times they
    are null. Numbers of samples, of frames and of words are null, and so are lists of events with times. Objects and lists lose
    such fields.

    Args:
        row: fields of the utterance.
        utterance: row of a `KeptList` for the piece.
        text: name of a field that is a text, whatever its name; None if names alone tell.
    """
    length_s = round(utterance["end_s"] - utterance["start_s"], 9)
    times = {"start": utterance["start_s"], "end": utterance["end_s"], "duration": length_s}
    changed: dict[str, Any] = {}
    for name, value in row.items():
        if time := time_of(name):
            role, scale = time
            changed[name] = times[role] if scale == 1.0 else round(times[role] / scale)
        elif name.lower() in _LENGTHS:
            units = _LENGTHS[name.lower()]
            changed[name] = length_s if units == 1 else round(length_s * units)
        elif _is_untrue(name) or _is_timed(value):
            changed[name] = None
        elif isinstance(value, (dict, list)):
            cut = without_untrue(value)
            if cut != value:
                changed[name] = cut
    texts, state = cut_texts(row, utterance, text)
    return changed | texts, state


def audio_fields(row: Mapping[str, Any], utterance: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields about the audio of a row that are others for an exported file.

    Args:
        row: fields of the utterance.
        utterance: `sample_rate` and `channels` of the file, `source_rate` and `source_channels` of the recording.
    """
    rate, channels = utterance["sample_rate"], utterance["channels"]
    changed: dict[str, Any] = {}
    if rate != utterance["source_rate"]:
        changed |= {name: rate for name in row if name.lower() in RATES and row[name] is not None}
        changed |= {name: None for name in row if name.lower() in SAMPLE_COUNTS}
    if channels != utterance["source_channels"]:
        changed |= {name: channels for name in row if name.lower() in _CHANNEL_COUNTS and row[name] is not None}
    return changed


def cut_texts(
    row: Mapping[str, Any], utterance: Mapping[str, Any], text: str | None = None
) -> tuple[dict[str, Any], TextState]:
    """Returns the texts and word times of a piece, and how it got them.

    Args:
        row: fields of the utterance. Word times may be a list, or JSON.
        utterance: row of a `KeptList` for the piece.
        text: as for `cut_fields`.
    """
    texts = _texts_of(tuple(row))
    if text is not None and text in row and text not in texts.columns:
        texts = _texts_of(tuple(row), (text,))
    # A text that is a list or an object has no words that could be found.
    own = {name: as_text(value) if isinstance(value, str) or name in texts.words else "" for name, value in row.items()}
    if copies := texts.copies_in({**own, "duration_s": utterance["parent_s"]}):
        texts = _texts_of(tuple(row), (*texts.copies, *copies))
    piece = {
        **{name: own[name] for name in texts.columns},
        "duration_s": utterance["parent_s"],
        "start_us": utterance["piece_start_us"],
        "end_us": utterance["piece_end_us"],
        "is_last": utterance["piece_is_last"],
    }
    (cut,) = texts.cut([piece])
    values: dict[str, Any] = {name: cut.get(name) for name in texts.columns}
    for name in texts.words:
        if values[name] is not None and not isinstance(row[name], str):
            with contextlib.suppress(ValueError):
                values[name] = json.loads(values[name])
    return values, TextState(cut["state"])


@functools.lru_cache(maxsize=1_000)
def _texts_of(names: tuple[str, ...], copies: tuple[str, ...] = ()) -> PieceTexts:
    return PieceTexts(names, copies=copies)


@functools.lru_cache(maxsize=10_000)
def _is_untrue(name: str) -> bool:
    return name.lower() in _PROPERTIES or is_text_count(name)


def _is_length(name: str) -> bool:
    time = time_of(name)
    return time is not None and time[0] == "duration"


def _is_timed(value: Any) -> bool:
    """Returns whether a value is a list of events, such as words or turns, with times in the whole utterance.

    `datasets` stores a list of objects as an object of lists.
    """
    if isinstance(value, dict):
        return isinstance(value.get("start"), list)
    return isinstance(value, list) and bool(value) and all(map(_has_start, value))


def _has_start(event: Any) -> bool:
    if isinstance(event, list):
        return (
            len(event) > 2 and isinstance(event[0], str) and all(isinstance(time, (int, float)) for time in event[1:3])
        )
    names = event if isinstance(event, dict) else ()
    return any(name == "timestamp" or ((time := time_of(name)) is not None and time[0] == "start") for name in names)


def without_untrue(value: Any) -> Any:
    """Returns a value without the texts, word times, events, lengths and numbers inside it."""
    if isinstance(value, list):
        return [without_untrue(item) for item in value if not _has_start(item)]
    if not isinstance(value, dict):
        return value
    texts = set(_texts_of(tuple(value)).columns)
    untrue = {
        name
        for name, item in value.items()
        if name in texts or _is_untrue(name) or name.lower() in _LENGTHS or _is_length(name) or _is_timed(item)
    }
    return {name: without_untrue(item) for name, item in value.items() if name not in untrue}
