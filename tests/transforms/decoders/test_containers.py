"""Recognising further streams in an Ogg file."""

from __future__ import annotations

import io

import pytest

from transforms.decoders.containers import is_chained


def page(header_type: int, content: bytes) -> bytes:
    """Returns an Ogg page with one segment, without a valid checksum."""
    return b"OggS\0" + bytes([header_type]) + bytes(20) + bytes([1, len(content)]) + content


@pytest.mark.parametrize("length", range(65_530, 65_538))
def test_a_further_stream_is_found_at_every_place_of_a_block(length: int) -> None:
    first, second = page(2, b"head"), page(2, b"head")
    assert is_chained(io.BytesIO(first + bytes(length) + second))
    assert not is_chained(io.BytesIO(first + bytes(length) + page(4, b"end")))
