"""Times of the words of an utterance, as aligners and recognisers write them.

In a table, they are the text of a column: a JSON list such as `[{"word": "hello", "start": 0.31, "end": 0.58}, ...]`. Times are
in seconds from the start of the utterance, not of its recording.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

# Names of columns with word times, in lower case; the first one that has them is used.
WORD_COLUMNS = ("words", "word_times", "word_timestamps", "word_segments", "alignment", "alignments")
# Name of the column that Lhotse's alignments and Kaldi's `ctm` become.
WORDS = WORD_COLUMNS[0]
# Words may lie outside the utterance by this much, because aligners round; more means that the times are not its own.
TOLERANCE_S = 0.25

# Half of the distance between cuts. Word times are hardly more exact.
_CUT_TOLERANCE_US = 8_000

_TEXT_KEYS = ("word", "text", "symbol")
# Keys of objects that hold the list of words, as Lhotse, NeMo, Whisper and WhisperX write them.
_LHOTSE_KEY = "word"
_LIST_KEYS = (_LHOTSE_KEY, "words", "word_segments", "segments", "chunks")
# Aligners list pauses under these names.
_PAUSES = {"", "<eps>", "<sil>"}
_DIGITS = 6


class WordTimesError(ValueError):
    """A value has no usable word times."""


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A word of an utterance.

    Attributes:
        text: the word, without blanks around it.
        start_s: start in the utterance, in seconds.
        end_s: end in the utterance, in seconds, at least `start_s`.
        score: confidence of the aligner; None if it gave none.
    """

    text: str
    start_s: float
    end_s: float
    score: float | None = None


def word_columns(names: Sequence[str]) -> list[str]:
    """Returns those of some column names that stand for word times, in the order of `WORD_COLUMNS`."""
    known = [name for name in names if name.lower() in WORD_COLUMNS]
    return sorted(known, key=lambda name: WORD_COLUMNS.index(name.lower()))


def parse_words(value: str, duration_s: float) -> list[Word]:
    """Parses the word times of an utterance.

    Args:
        value: JSON in one of these forms:

            - a list of objects with the keys `word` (or `text`, `symbol`), `start`, and `end` or `duration`; or with
              `timestamp`, a start and an end. A word without times lies between its neighbours, as WhisperX means it;
            - a list of segments with such a list under `words`, as Whisper writes it;
            - a list of lists of word, start, and end or duration, if only one of the two readings is possible;
            - an object with such a list under `word` (Lhotse, NeMo), `words`, `word_segments`, `segments` or `chunks`. Lists
              under `word` are those of Lhotse: word, start, duration and perhaps a score;
            - an object of lists `word`, `start` and `end`, as `datasets` stores them.
        duration_s: length of the utterance in seconds.

    Returns:
        Words in the order of their starts, without pauses.

    Raises:
        WordTimesError: the value has none of these forms, a time is not a number, or a word lies outside the utterance.
    """
    try:
        document = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise WordTimesError("not JSON") from error
    words = _bounded(_timed(document), duration_s)
    for word in words:
        if not -TOLERANCE_S <= word.start_s <= word.end_s <= duration_s + TOLERANCE_S:
            raise WordTimesError(
                f"the word {word.text!r} lies at {word.start_s:g} to {word.end_s:g} s of {duration_s:g} s; times must be "
                "seconds from the start of the utterance"
            )
    return sorted((word for word in words if word.text not in _PAUSES), key=lambda word: word.start_s)


def cut_tolerance_us(word: Word) -> int:
    """Returns by how much a cut may lie inside a word that it does not cut, in microseconds; less than half of the word.

    Words that follow each other without a gap can then be cut apart on a grid of 16 ms.
    """
    return min(_CUT_TOLERANCE_US, max((round(word.end_s * 1e6) - round(word.start_s * 1e6) - 1) // 2, 0))


def words_json(words: Sequence[Word]) -> str:
    """Returns words as a text for a column, in the first form that `parse_words` reads."""
    entries = []
    for word in words:
        entry: dict[str, Any] = {"word": word.text, "start": _rounded(word.start_s), "end": _rounded(word.end_s)}
        entries.append(entry if word.score is None else {**entry, "score": word.score})
    return json.dumps(entries, ensure_ascii=False)


def lhotse_alignment(words: Sequence[Word]) -> list[list[Any]]:
    """Returns words as the items of an alignment of Lhotse: symbol, start, duration and score."""
    return [[word.text, _rounded(word.start_s), _rounded(word.end_s - word.start_s), word.score] for word in words]


def _rounded(seconds: float) -> float:
    return round(seconds, _DIGITS)


# A word whose times may be missing.
_Timed = tuple[str, float | None, float | None, float | None]


def _timed(document: Any) -> list[_Timed]:
    if isinstance(document, dict):
        return _of_columns(document) if isinstance(document.get("start"), list) else _of_document(document)
    if not isinstance(document, list):
        raise WordTimesError("not a list of words")
    if any(isinstance(entry, list) for entry in document):
        return _of_lists(document)
    words: list[_Timed] = []
    for entry in document:
        if isinstance(entry, dict) and isinstance(entry.get("words"), list):
            words += _timed(entry["words"])
        else:
            words.append(_of_object(entry))
    return words


def _of_document(document: dict[str, Any]) -> list[_Timed]:
    key = next((key for key in _LIST_KEYS if isinstance(document.get(key), list)), None)
    if key is None:
        raise WordTimesError(f"an object without a list of words (under {', '.join(_LIST_KEYS)})")
    entries = document[key]
    if key == _LHOTSE_KEY and all(isinstance(entry, list) for entry in entries):
        return [_of_list(entry, ends=False) for entry in entries]
    return _timed(entries)


def _of_object(entry: Any) -> _Timed:
    if not isinstance(entry, dict):
        raise WordTimesError(f"{str(entry)[:80]!r} has no times; must be an object with word, start and end")
    text = next((entry[key] for key in _TEXT_KEYS if key in entry), None)
    if not isinstance(text, str):
        raise WordTimesError(f"an entry has no word (under {', '.join(_TEXT_KEYS)})")
    pair = entry.get("timestamp")
    start, end = pair if isinstance(pair, list) and len(pair) == 2 else (entry.get("start"), entry.get("end"))
    start_s, end_s, length_s = (_seconds(value) for value in (start, end, entry.get("duration")))
    if end_s is None and start_s is not None and length_s is not None:
        end_s = start_s + length_s
    return text.strip(), start_s, end_s, _score(entry.get("score", entry.get("probability")))


def _of_columns(document: dict[str, Any]) -> list[_Timed]:
    names = [key for key in (*_TEXT_KEYS, "start", "end", "duration") if isinstance(document.get(key), list)]
    lists = [document[name] for name in names]
    if len({len(values) for values in lists}) != 1:
        raise WordTimesError(f"the lists {', '.join(names)} differ in length")
    return [_of_object(dict(zip(names, values, strict=True))) for values in zip(*lists, strict=True)]


def _of_lists(entries: list[Any]) -> list[_Timed]:
    """Reads lists whose third item is an end or a duration. Words follow each other, which mostly leaves one reading."""
    readings = []
    for ends in (True, False):
        words = [_of_list(entry, ends) for entry in entries]
        times = [(start or 0.0, end or 0.0) for _, start, end, _ in words]
        in_order = all(start <= end for start, end in times) and all(
            first[1] <= second[0] + TOLERANCE_S for first, second in itertools.pairwise(times)
        )
        if in_order:
            readings.append(words)
    if len(readings) != 1:
        raise WordTimesError(
            "the third item of a list may be an end or a duration; write objects with word, start, end"
        )
    return readings[0]


def _of_list(entry: Any, ends: bool) -> _Timed:
    if not isinstance(entry, list) or len(entry) < 3 or not isinstance(entry[0], str):
        raise WordTimesError(f"{str(entry)[:80]} is not a list of word, start and duration")
    start, last = _seconds(entry[1]), _seconds(entry[2])
    if start is None or last is None:
        raise WordTimesError(f"the word {entry[0]!r} has no times")
    return entry[0].strip(), start, last if ends else start + last, _score(entry[3]) if len(entry) > 3 else None


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise WordTimesError(f"{str(value)[:80]!r} is not a number of seconds")
    return float(value)


def _score(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def _bounded(words: Sequence[_Timed], duration_s: float) -> list[Word]:
    """Gives words without times the whole stretch between their neighbours."""
    if words and all(start is None for _, start, _, _ in words):
        raise WordTimesError("no word has a start")
    following_s = duration_s
    following = []
    for _, start, _, _ in reversed(words):
        following.append(following_s)
        following_s = following_s if start is None else start
    bounded = []
    last_s = 0.0
    for (text, start, end, score), next_s in zip(words, reversed(following), strict=True):
        start_s = last_s if start is None else start
        bounded.append(Word(text, start_s, max(next_s, start_s) if end is None else end, score))
        last_s = max(last_s, bounded[-1].end_s) if start is not None else last_s
    return bounded
