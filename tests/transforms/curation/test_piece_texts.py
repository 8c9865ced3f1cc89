"""The texts of pieces are the words inside them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.outputs import scored, write_output
from transforms.corpus.word_times import Word, cut_tolerance_us, parse_words, words_json
from transforms.curation.piece_texts import PieceTexts, TextState, text_columns
from transforms.curation.selection import Selection
from transforms.output.results import open_results

# Frame scores of 10 s with anomalies in the middle; the pieces are 0 to 3.1 s, 4.288 to 6.3 s and 7.488 to 9.968 s.
BAD_TWICE = [4.0] * 200 + [1.0] * 60 + [4.0] * 140 + [1.0] * 60 + [4.0] * 162
DURATION_S = (len(BAD_TWICE) - 1) * 0.016 + 0.032
PIECES_S = [(0.0, 3.1), (4.288, 6.3), (7.488, DURATION_S)]

# The words at 3 s and at 6.28 s are cut.
WORDS = [
    Word("der", 0.0, 0.5),
    Word("gro\u00dfe", 1.0, 1.5),
    Word("hund", 2.9, 3.2),
    Word("lief", 4.3, 4.8),
    Word("weg", 5.0, 5.5),
    Word("und", 6.2, 6.31),
    Word("kam", 8.0, 8.5),
    Word("wieder", 9.0, 9.98),
]
TEXT = "\u201eDer GROSSE Hund\u201c lief weg - und kam wieder."


def cut(columns: dict[str, str]) -> list[dict]:
    """The pieces of an utterance with these columns, and how they got their texts."""
    with tempfile.TemporaryDirectory() as folder:
        item = scored("u", BAD_TWICE, columns=columns)
        root = write_output(Path(folder) / "out", [item], carry=list(columns))
        with Selection(open_results(str(root)), Path(folder)) as selection:
            selection.trim()
            selection.apply_rules([])
            states = selection.piece_texts()
            rows = sorted(selection.kept_table().to_pylist(), key=lambda row: row["start_s"])
    assert sum(states.values()) == len(rows)
    return [{name: row[name] for name in ("start_s", "duration_s", *columns)} | {"states": states} for row in rows]


def test_pieces_get_their_stretches_of_the_text():
    pieces = cut({"text": TEXT, "words": words_json(WORDS), "speaker": "a"})
    assert [piece["text"] for piece in pieces] == ["\u201eDer GROSSE", "lief weg", "kam wieder."]
    assert {piece["speaker"] for piece in pieces} == {"a"}
    assert pieces[0]["states"] == {TextState.WORDS: 3}
    assert json.loads(pieces[1]["words"]) == [
        {"word": "lief", "start": 0.012, "end": 0.512},
        {"word": "weg", "start": 0.712, "end": 1.212},
    ]
    # The utterance ends within its last word.
    assert json.loads(pieces[2]["words"])[-1] == {"word": "wieder", "start": 1.512, "end": round(DURATION_S - 7.488, 6)}


def test_every_text_with_these_words_is_cut_and_any_other_is_lost():
    columns = {
        "transcript": TEXT,
        "normalized_text": "der grosse hund lief weg und kam wieder",
        "translation": "The dog",
    }
    pieces = cut({**columns, "sentence_id": "7", "Word_Times": words_json(WORDS)})
    assert [piece["transcript"] for piece in pieces] == ["\u201eDer GROSSE", "lief weg", "kam wieder."]
    assert [piece["normalized_text"] for piece in pieces] == ["der grosse", "lief weg", "kam wieder"]
    assert [piece["translation"] for piece in pieces] == [None] * 3
    assert [piece["sentence_id"] for piece in pieces] == ["7"] * 3


def test_a_column_with_the_words_of_a_text_is_a_text_whatever_its_name():
    columns = {"text": TEXT, "target": TEXT.lower(), "label": "dog", "speaker": TEXT, "words": words_json(WORDS)}
    pieces = cut(columns)
    assert [piece["target"] for piece in pieces] == ["\u201eder grosse", "lief weg", "kam wieder."]
    assert [piece["label"] for piece in pieces] == ["dog"] * 3
    assert [piece["speaker"] for piece in pieces] == [TEXT] * 3
    assert [piece["target"] for piece in cut({"text": TEXT, "target": TEXT})] == [None] * 3


def test_a_text_without_blanks_is_cut_between_letters():
    words = [Word("\u4f60\u597d", 1.0, 2.0), Word("\u4e16\u754c", 5.0, 6.0), Word("\u518d\u89c1", 8.0, 9.0)]
    pieces = cut({"text": "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u518d\u89c1\u3002", "words": words_json(words)})
    assert [piece["text"] for piece in pieces] == ["\u4f60\u597d\uff0c", "\u4e16\u754c\uff01", "\u518d\u89c1\u3002"]


def test_words_replace_a_text_that_has_other_words():
    columns = {"sentence": "It cost 20 dollars.", "text": "", "words": words_json([Word("twenty", 5.0, 6.0)])}
    pieces = cut(columns)
    assert [piece["sentence"] for piece in pieces] == [None, "twenty", None]
    assert pieces[0]["states"] == {TextState.OTHER_WORDS: 1, TextState.NO_WORD_INSIDE: 2}


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({"text": TEXT}, TextState.NO_TIMES),
        ({"text": TEXT, "words": ""}, TextState.NO_TIMES),
        ({"text": TEXT, "words": "der grosse hund"}, TextState.BAD_TIMES),
        ({"text": TEXT, "words": '[{"word": "der", "start": 100, "end": 101}]'}, TextState.BAD_TIMES),
        ({"text": " ", "speaker": "a"}, TextState.NO_TEXT),
        ({"speaker": "a"}, TextState.NO_TEXT),
    ],
    ids=str,
)
def test_a_piece_without_word_times_has_no_text(columns, state):
    pieces = cut(columns)
    assert len(pieces) == 3
    assert [(piece.get("text"), piece.get("words")) for piece in pieces] == [(None, None)] * 3
    assert pieces[0]["states"] == {state: 3}


def test_usable_word_times_are_preferred():
    pieces = cut({"text": TEXT, "words": "8", "alignment": words_json(WORDS)})
    assert [piece["text"] for piece in pieces] == ["\u201eDer GROSSE", "lief weg", "kam wieder."]
    assert [piece["words"] for piece in pieces] == [None] * 3


TOKENS = st.text(st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Po", "Sm"]), min_size=1, max_size=6)


@st.composite
def sentences(draw) -> list[Word]:
    """Distinct words in order, which may touch but do not overlap."""
    texts = draw(st.lists(TOKENS, max_size=12, unique=True))
    times = sorted(draw(st.lists(st.integers(0, 9_968), min_size=2 * len(texts), max_size=2 * len(texts))))
    return [Word(text, times[2 * n] / 1e3, times[2 * n + 1] / 1e3) for n, text in enumerate(texts)]


def _is_inside(word: Word, start_s: float, end_s: float) -> bool:
    """Whether a word lies in a piece, but for the part of it that a cut may take."""
    begin_us, last_us = round(word.start_s * 1e6), round(word.end_s * 1e6)
    tolerance_us = cut_tolerance_us(word)
    return round(start_s * 1e6) <= begin_us + tolerance_us and last_us - tolerance_us <= round(end_s * 1e6)


@given(sentences())
@example([Word("0", 7.48, 7.497)])
def test_each_word_is_in_the_piece_that_it_lies_in_and_in_no_other(words):
    utterance = {
        "text": " ".join(word.text for word in words),
        "words": words_json(words),
        "duration_s": DURATION_S,
    }
    places = [
        {"start_us": round(start_s * 1e6), "end_us": round(end_s * 1e6), "is_last": end_s == DURATION_S}
        for start_s, end_s in PIECES_S
    ]
    pieces = list(PieceTexts(["text", "words"]).cut([utterance | place for place in places]))
    used: set[str] = set()
    for piece, (start_s, end_s) in zip(pieces, PIECES_S, strict=True):
        inside = [word for word in words if _is_inside(word, start_s, end_s)]
        found = parse_words(piece["words"], end_s - start_s)
        assert [word.text for word in found] == [word.text for word in inside]
        for word, parent in zip(found, inside, strict=True):
            assert 0 <= word.start_s <= word.end_s <= end_s - start_s + 1e-6
            tolerance_s = cut_tolerance_us(parent) / 1e6 + 2e-6
            assert word.start_s + start_s == pytest.approx(parent.start_s, abs=tolerance_s)
            assert word.end_s + start_s == pytest.approx(parent.end_s, abs=tolerance_s)
        assert piece.get("text", "").split() == [word.text for word in inside]
        assert not used & {word.text for word in inside}
        used |= {word.text for word in inside}


def test_which_columns_are_texts():
    texts = (
        "text Text raw_transcript normalizedText text-pc sentence translation_de TRANSCRIPTION source_text pred_text"
    )
    assert set(text_columns(texts.split())) == set(texts.split())
    assert text_columns(["norm_text", "sentence", "text"]) == ["text", "sentence", "norm_text"]
    further = "wrd captions subtitles prompts hyp phoneme pinyin normalized normalized_text"
    assert set(text_columns(further.split())) == set(further.split())
    others = "sentence_id text_length text_lang num_sentences context speaker text_source text.wer normalized_gain"
    assert text_columns(others.split()) == []
