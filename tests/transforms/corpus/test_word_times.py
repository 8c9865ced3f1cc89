"""Word times in the forms that aligners and recognisers write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from transforms.corpus.word_times import (
    Word,
    WordTimesError,
    lhotse_alignment,
    parse_words,
    word_columns,
    words_json,
)

HELLO = [Word("hello", 0.25, 0.5), Word("big", 1.0, 1.25), Word("world", 1.5, 2.0)]
PLAIN = [{"word": word.text, "start": word.start_s, "end": word.end_s} for word in HELLO]


@pytest.mark.parametrize(
    "value",
    [
        PLAIN,
        list(reversed(PLAIN)),
        [{"text": f" {word.text}", "timestamp": [word.start_s, word.end_s]} for word in HELLO],
        [{"symbol": word.text, "start": word.start_s, "duration": word.end_s - word.start_s} for word in HELLO],
        [{"id": 0, "start": 0, "end": 3, "text": "...", "words": PLAIN[:1]}, {"id": 1, "words": PLAIN[1:]}],
        {"text": "hello big world", "segments": [{"text": "...", "words": PLAIN}], "language": "en"},
        {"word_segments": PLAIN},
        {"word": PLAIN, "segment": [{"segment": "hello big world", "start": 0.25, "end": 2.0}]},
        {"word": [[word.text, word.start_s, word.end_s - word.start_s, None] for word in HELLO], "phone": []},
        [[word.text, word.start_s, word.end_s] for word in HELLO],
        [[word.text, word.start_s, word.end_s - word.start_s] for word in HELLO],
        {key: [entry[key] for entry in PLAIN] for key in ("word", "start", "end")},
        [{"word": "", "start": 0.0, "end": 0.25}, *PLAIN, {"word": "<eps>", "start": 2.0, "end": 3.0}],
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_forms_that_are_read(value: Any):
    assert parse_words(json.dumps(value), 3.0) == HELLO


def test_what_is_written_is_read_again():
    words = [Word("\u00fcber", 0.0, 0.125, 0.5), *HELLO]
    text = words_json(words)
    assert parse_words(text, 3.0) == words
    assert json.loads(text)[0] == {"word": "\u00fcber", "start": 0.0, "end": 0.125, "score": 0.5}
    assert parse_words(json.dumps({"word": lhotse_alignment(words)}), 3.0) == words


def test_a_word_without_times_lies_between_its_neighbours():
    entries = [{"word": "a"}, {"word": "b", "start": 1.0, "end": 1.5}, {"word": "c"}, {"word": "d"}]
    entries += [{"word": "e", "start": 2.0, "end": 2.5}, {"word": "f"}]
    assert [(word.text, word.start_s, word.end_s) for word in parse_words(json.dumps(entries), 3.0)] == [
        ("a", 0.0, 1.0),
        ("b", 1.0, 1.5),
        ("c", 1.5, 2.0),
        ("d", 1.5, 2.0),
        ("e", 2.0, 2.5),
        ("f", 2.5, 3.0),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hello big world", "not JSON"),
        ("7", "not a list of words"),
        ('{"hello": 1}', "an object without a list of words"),
        ('["hello", "big"]', "'hello' has no times"),
        ('[{"start": 0.1, "end": 0.2}]', "an entry has no word"),
        ('[{"word": "hello"}]', "no word has a start"),
        ('[{"word": "hello", "start": "0.1", "end": 0.2}]', "'0.1' is not a number of seconds"),
        ('[{"word": "hello", "start": NaN, "end": 0.2}]', "'nan' is not a number of seconds"),
        ('[{"word": "hello", "start": true, "end": 0.2}]', "'True' is not a number of seconds"),
        ('[{"word": "hello", "start": 0.5, "end": 0.2}]', "lies at 0.5 to 0.2 s of 3 s"),
        ('[{"word": "hello", "start": 310, "end": 580}]', "lies at 310 to 580 s of 3 s"),
        ('[{"word": "hello", "start": -1, "end": 1}]', "lies at -1 to 1 s of 3 s"),
        ('[["hello", 0.1, 0.4]]', "may be an end or a duration"),
        ('[["hello", 0.1]]', "is not a list of word, start and duration"),
        ('{"word": ["a", "b"], "start": [0.1], "end": [0.2]}', "differ in length"),
        ("[" * 100_000, "not JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_values_that_are_refused(value: str, message: str):
    with pytest.raises(WordTimesError, match=message):
        parse_words(value, 3.0)


def test_the_columns_of_word_times():
    assert word_columns(["text", "Alignment", "speaker", "words", "num_words"]) == ["words", "Alignment"]
