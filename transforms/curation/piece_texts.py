"""Texts of the pieces that trimming leaves of an utterance: the words whose times lie inside the piece, or none."""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from transforms.corpus.columns import ID_COLUMNS, RESERVED_NAMES, SPEAKER_COLUMNS, normalised
from transforms.corpus.word_times import Word, WordTimesError, cut_tolerance_us, parse_words, word_columns, words_json
from transforms.curation.duckdb_rows import batches_of, quoted
from transforms.schemas import is_json
from transforms.storage.text_files import as_text

# A column is a text if a part of its name is one of these words.
_TEXT_PARTS = {
    *("text", "texts", "txt", "transcript", "transcripts", "transcription", "transcriptions", "sentence", "sentences"),
    *("translation", "translations", "utterance", "utterances", "hypothesis", "hypotheses", "hyp", "prompt", "prompts"),
    *("orthography", "lyric", "lyrics", "caption", "captions", "subtitle", "subtitles", "wrd", "verbatim"),
    *("transliteration", "romanization", "pinyin", "phoneme", "phonemes", "phones", "ipa"),
}
# Names that are texts only as a whole: `normalized`, but not `normalized_gain`.
_TEXT_NAMES = {"normalized", "normalised", "trans"}
# It is none if its name ends with one of the first words, or begins with one of the second ones.
_LAST_PARTS = {
    *("id", "ids", "lang", "language", "locale", "domain", "length", "len", "count", "number", "duration", "source"),
    *("path", "file", "url", "score", "wer", "cer"),
}
_FIRST_PARTS = {"num", "number", "n", "count"}
# Units and names of the number of words of a text.
_TEXT_UNITS = {"word", "words", "char", "chars", "character", "characters", "token", "tokens"}
_COUNTS = {"length", "len", "count", "number"}
# Columns that get the words if no text of the utterance has exactly these words, most fitting first.
_PREFERRED = ("text", "transcript", "transcription", "sentence")
_NO_TEXTS = {*RESERVED_NAMES, *ID_COLUMNS, *SPEAKER_COLUMNS}
_SEPARATOR = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")
# Utterances can have long texts.
_ROWS_AT_A_TIME = 1_000


class TextState(enum.StrEnum):
    """How a piece got its text, or lost it.

    Attributes:
        WORDS: It has the words inside it, as the text of the utterance writes them.
        OTHER_WORDS: It has the words inside it. The text of the utterance has other words.
        NO_WORD_INSIDE: It has no text, because no whole word lies inside it.
        NO_TIMES: It has no text, because the utterance has no word times.
        BAD_TIMES: It has no text, because the word times of the utterance cannot be used.
        NO_TEXT: The utterance has no text.
    """

    WORDS = "words"
    OTHER_WORDS = "other_words"
    NO_WORD_INSIDE = "no_word_inside"
    NO_TIMES = "no_times"
    BAD_TIMES = "bad_times"
    NO_TEXT = "no_text"


def text_columns(names: Sequence[str]) -> list[str]:
    """Returns those of some column names that stand for what is said, most fitting first.

    A name is split at every character but letters and digits, and at capitals. `text`, `raw_transcript` and `normalizedText`
    are texts; `text_length` and `sentence_id` are not.
    """
    known = [name for name in names if _is_text(name)]
    return sorted(
        known, key=lambda name: _PREFERRED.index(name.lower()) if name.lower() in _PREFERRED else len(_PREFERRED)
    )


def is_text_count(name: str) -> bool:
    """Returns whether a column name stands for the number of words or letters of a text, as `text_length` or `num_words`."""
    parts = _parts(name)
    is_count = bool(parts) and (parts[-1] in _COUNTS or parts[0] in _FIRST_PARTS)
    return is_count and bool((_TEXT_PARTS | _TEXT_UNITS) & set(parts))


def may_be_text(name: str) -> bool:
    """Returns whether a column may be a text: not one that names the recording, the utterance or the speaker."""
    return normalised(name) not in _NO_TEXTS


def copies_of_texts(
    connection: duckdb.DuckDBPyConnection, carried: Sequence[str], fields: Sequence[pa.Field]
) -> list[str]:
    """Returns the carried columns that are no texts by their names, but in most utterances say the same as one.

    Args:
        connection: DuckDB over an output.
        carried: carried columns of the output.
        fields: their types.
    """
    known = PieceTexts(carried, fields)
    are_texts = {field.name for field in fields if pa.types.is_string(field.type)}
    texts = [name for name in known.texts if name in are_texts]
    others = [name for name in carried if name in are_texts and name not in known.columns and may_be_text(name)]
    if not texts or not others:
        return []
    said = ", ".join(map(_letters_sql, texts))
    counts = ", ".join(
        f"count_if({_letters_sql(name)} IN ({said})) * 2 > count({_letters_sql(name)})" for name in others
    )
    (row,) = connection.execute(f"SELECT {counts} FROM utterances").fetchall()
    return [name for name, is_copy in zip(others, row, strict=True) if is_copy]


def _letters_sql(name: str) -> str:
    return rf"nullif(regexp_replace(lower({quoted(name)}), '[^\p{{L}}\p{{N}}]', '', 'g'), '')"


def _parts(name: str) -> list[str]:
    return [part.lower() for part in _SEPARATOR.split(name) if part]


def _is_text(name: str) -> bool:
    parts = _parts(name)
    if len(parts) == 1 and parts[0] in _TEXT_NAMES:
        return True
    return bool(_TEXT_PARTS & set(parts)) and parts[-1] not in _LAST_PARTS and parts[0] not in _FIRST_PARTS


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece of an utterance.

    Attributes:
        start_us: start in the utterance, in microseconds.
        end_us: end in the utterance, in microseconds.
        is_last: whether it ends where the utterance ends.
    """

    start_us: int
    end_us: int
    is_last: bool


class PieceTexts:
    """Cuts the carried texts and word times of pieces.

    Attributes:
        columns: names of the columns that pieces do not inherit: first texts, then words.
        texts: names of the texts.
        words: names of the columns with word times.
        copies: names of the texts that their names do not tell.
        schema: `utterance_id` of a piece, `state` (a `TextState`), and these columns.

    Args:
        carried: carried columns of an output.
        fields: their types; by default those of texts. A text that is neither a text nor JSON is null for a piece.
        copies: names of columns that are texts, too, for example because their values say the same as one.
    """

    def __init__(self, carried: Sequence[str], fields: Sequence[pa.Field] = (), copies: Sequence[str] = ()) -> None:
        self.words = word_columns(carried)
        self.copies = tuple(copies)
        self.texts = [*text_columns([name for name in carried if name not in self.words]), *copies]
        self.columns = [*self.texts, *self.words]
        own = {field.name: field for field in fields if field.name in self.columns}
        types = [(name, own[name].type if name in own else pa.string()) for name in self.columns]
        self.schema = pa.schema([("utterance_id", pa.string()), ("state", pa.string()), *types])
        self._json = {name for name, field in own.items() if is_json(field)}
        self._untyped = {name for name, kind in types if not pa.types.is_string(kind)}

    def rows(self, connection: duckdb.DuckDBPyConnection, spans: str) -> Iterator[dict[str, Any]]:
        """Cuts the texts of all pieces.

        Args:
            connection: DuckDB over an output.
            spans: name of the table of good spans (`trimming.good_spans`).

        Yields:
            The row of `schema` of each piece; a column that is left out is null.
        """
        columns = "".join(f", utterances.{quoted(name)}" for name in self.columns)
        query = f"""
            SELECT spans.utterance_id, spans.parent_id, spans.start_us, spans.end_us, spans.is_last, duration_s{columns}
            FROM {spans} AS spans JOIN utterances ON utterances.utterance_id = spans.parent_id
            ORDER BY spans.parent_id, spans.start_us
        """
        rows = itertools.chain.from_iterable(
            batch.to_pylist() for batch in batches_of(connection, query, _ROWS_AT_A_TIME)
        )
        for _, of_parent in itertools.groupby(rows, key=lambda row: row["parent_id"]):
            pieces = [{**row, **{name: self._text_of(name, row[name]) for name in self.columns}} for row in of_parent]
            for row, cut in zip(pieces, self.cut(pieces), strict=True):
                cells = {name: self._value_of(name, text) for name, text in cut.items()}
                yield {"utterance_id": row["utterance_id"], **cells}

    def copies_in(self, row: Mapping[str, str]) -> list[str]:
        """Returns the columns of an utterance that say the same as one of its texts, or as its words.

        Args:
            row: `duration_s` and all columns, as texts.
        """
        said = {_letters_of(row[name]) for name in self.texts}
        said.add(_letters_of("".join(word.text for word in self._words_of(row)[0] or ())))
        others = [name for name in row if name not in self.columns and name != "duration_s"]
        return [name for name in others if may_be_text(name) and (_letters_of(row[name]) or None) in said]

    def words_of(self, row: Mapping[str, Any]) -> list[Word]:
        """Returns the words of an utterance.

        Args:
            row: `duration_s` and `words` of its row of `utterances`.

        Returns:
            The words; empty if it has no usable word times.
        """
        return self._words_of({**row, **{name: self._text_of(name, row[name]) for name in self.words}})[0] or []

    def _text_of(self, name: str, value: Any) -> str:
        """Returns the value of a column as a text; empty for a value that is none."""
        if value is None or name in self._untyped:
            return ""
        if name not in self._json:
            return str(value)
        value = json.loads(value)
        return value if isinstance(value, str) else as_text(value) if name in self.words else ""

    def _value_of(self, name: str, text: str) -> Any:
        if name in self._untyped:
            return None
        return json.dumps(text, ensure_ascii=False) if name in self._json and name not in self.words else text

    def cut(self, pieces: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, str]]:
        """Cuts the texts of the pieces of one utterance.

        Args:
            pieces: rows with `start_us`, `end_us` and `is_last` of the piece, and `duration_s` and `columns` of the utterance.

        Yields:
            `state` and the columns of each piece; a column that is left out is null.
        """
        parent = pieces[0]
        texts = {name: parent[name] for name in self.texts if parent[name] and parent[name].strip()}
        words, column = self._words_of(parent)
        if words is None:
            state = TextState.NO_TIMES if texts else TextState.NO_TEXT
            if any(parent[name] for name in self.words):
                state = TextState.BAD_TIMES
            yield from ({"state": state} for _ in pieces)
            return
        stretches = {name: found for name, text in texts.items() if (found := _stretches(text, words))}
        for row in pieces:
            piece = Piece(row["start_us"], row["end_us"], row["is_last"])
            inside = [place for place, word in enumerate(words) if lies_inside(word, piece)]
            cut = {column: words_json([_moved(words[place], piece) for place in inside])}
            if not inside:
                state = TextState.NO_WORD_INSIDE if texts else TextState.NO_TEXT
            elif stretches or not texts:
                state = TextState.WORDS if texts else TextState.NO_TEXT
                cut |= {name: _text_of(texts[name], found, inside) for name, found in stretches.items()}
            else:
                state = TextState.OTHER_WORDS
                cut[next(iter(texts))] = " ".join(words[place].text for place in inside)
            yield {**cut, "state": state}

    def _words_of(self, parent: Mapping[str, Any]) -> tuple[list[Word] | None, str]:
        """Returns the words of an utterance and the column that has them; None if it has no usable word times."""
        for name in self.words:
            if parent[name]:
                try:
                    return parse_words(parent[name], parent["duration_s"]), name
                except WordTimesError:
                    continue
        return None, ""


def lies_inside(word: Word, piece: Piece) -> bool:
    """Whether a whole word lies in a piece, within `cut_tolerance_us`.

    Where the utterance itself begins or ends, nothing was cut.
    """
    tolerance_us = cut_tolerance_us(word)
    start_us, end_us = round(word.start_s * 1e6) + tolerance_us, round(word.end_s * 1e6) - tolerance_us
    begins = start_us >= piece.start_us or (not piece.start_us and end_us >= 0)
    ends = end_us <= piece.end_us or (piece.is_last and start_us <= piece.end_us)
    return begins and ends


def _moved(word: Word, piece: Piece) -> Word:
    """Returns a word with its times in the piece."""
    length_s = (piece.end_us - piece.start_us) / 1e6
    start_s, end_s = (min(max(time_s - piece.start_us / 1e6, 0.0), length_s) for time_s in (word.start_s, word.end_s))
    return dataclasses.replace(word, start_s=start_s, end_s=end_s)


def _stretches(text: str, words: Sequence[Word]) -> list[tuple[int, int]] | None:
    """Returns the place of each word in a text, with the punctuation around it; None if it has other words.

    Case, punctuation and blanks are ignored, so that "hello" has the stretch of "Hello,".
    """
    tokens = list(re.finditer(r"\S+", text))
    if len(tokens) == len(words) and all(
        _letters_of(token[0]) == _letters_of(word.text) for token, word in zip(tokens, words, strict=True)
    ):
        return [token.span() for token in tokens]
    letters = [(place, letter) for place, character in enumerate(text) for letter in _letters(character)]
    cores: list[tuple[int, int]] = []
    used = 0
    for word in words:
        expected = _letters_of(word.text)
        if "".join(letter for _, letter in letters[used : used + len(expected)]) != expected:
            return None
        begin = letters[used][0] if used < len(letters) else len(text)
        cores.append((begin, letters[used + len(expected) - 1][0] + 1 if expected else begin))
        used += len(expected)
    if used != len(letters):
        return None
    begins, ends = [0], []
    for (_, end), (begin, _) in itertools.pairwise(cores):
        # The text between two words belongs to the first one up to a blank, and to the second one from the last blank on.
        between = text[end:begin]
        ends.append(end + len(between.split(None, 1)[0]) if between[:1].strip() else end)
        has_blank = any(character.isspace() for character in between)
        begins.append(begin - len(between.rsplit(None, 1)[-1]) if has_blank and between[-1:].strip() else begin)
    return list(zip(begins, [*ends, len(text)], strict=True)) if cores else []


def _letters_of(text: str) -> str:
    return "".join(map(_letters, text))


@functools.lru_cache(maxsize=10_000)
def _letters(character: str) -> str:
    """Returns a character without case and compatibility forms; empty for punctuation, symbols and blanks."""
    folded = unicodedata.normalize("NFKD", character.casefold())
    return "".join(part for part in folded if unicodedata.category(part)[0] not in "PSZC")


def _text_of(text: str, stretches: Sequence[tuple[int, int]], inside: Sequence[int]) -> str:
    """Returns the stretches of some words. Those of neighbouring words keep what is between them."""
    runs: list[list[int]] = []
    for place in inside:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return " ".join(text[stretches[first][0] : stretches[last][1]].strip() for first, last in runs)
