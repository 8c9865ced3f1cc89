"""Waves and chunks contain each recording once, within their limits."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.support.decoding import noise
from tests.support.media import encode_media
from transforms.elements import AudioRef, Span
from transforms.runs.chunking import CHUNK_S, Lengths, cut_waves, recordings, suffix


def ref(name: str, size: int = 32_000, **changes) -> AudioRef:
    return AudioRef(name, f"/corpus/{name}", size, "1-1", **changes)


LENGTHS = Lengths({".flac": 16_000.0})


class TestLengths:
    def test_a_span_with_an_end_has_a_known_length(self):
        assert LENGTHS.seconds(ref("a.wav", span=Span(2.0, 5.5))) == 3.5

    def test_other_lengths_are_estimated_from_the_size(self):
        assert LENGTHS.seconds(ref("a.flac")) == 2.0
        assert LENGTHS.seconds(ref("a.FLAC", span=Span(0.5))) == 1.5
        assert LENGTHS.seconds(ref("a.xyz")) == 1.0

    def test_headers_of_the_same_suffix_give_the_rate(self, tmp_path):
        rng = np.random.default_rng(0)
        refs = []
        for i, seconds in enumerate((2, 3, 4)):
            for name, rate in (("wav", 8_000), ("flac", 16_000)):
                path = tmp_path / f"{i}.{name}"
                soundfile.write(path, rng.normal(0, 0.1, seconds * rate), rate)
                refs.append(AudioRef(path.name, str(path), path.stat().st_size, "1"))
        (tmp_path / "x.wav").write_text("no sound")
        refs.append(AudioRef("x.wav", str(tmp_path / "x.wav"), 8, "1"))
        lengths = Lengths.sampled(refs)
        for item, seconds in zip(refs, (2, 2, 3, 3, 4, 4), strict=False):
            assert lengths.seconds(item) == pytest.approx(seconds, rel=0.02)

    @pytest.mark.parametrize("seconds", [5, 120])
    @pytest.mark.parametrize("codec", [{}, {"flags": "+qscale", "global_quality": "472"}], ids=["cbr", "vbr"])
    def test_mp3_without_a_header_is_estimated_from_its_start(self, tmp_path, codec, seconds):
        path = tmp_path / "a.mp3"
        data = encode_media(noise(16_000 * seconds), 16_000, ("mp3", "libmp3lame"), {"write_xing": "0"}, **codec)
        path.write_bytes(data)
        item = AudioRef("a.mp3", str(path), len(data), "1")
        assert Lengths.sampled([item]).seconds(item) == pytest.approx(seconds, rel=0.1)

    def test_a_header_without_a_length_is_replaced_by_the_length_of_the_audio(self, tmp_path):
        path = tmp_path / "a.flac"
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 32_000), 16_000)
        data = bytearray(path.read_bytes())
        data[21] &= 0xF0  # total samples, 36 bits: 0 means unknown, as from a pipe (RFC 9639, 8.2)
        data[22:26] = bytes(4)
        path.write_bytes(data)
        item = AudioRef("a.flac", str(path), len(data), "1")
        assert Lengths.sampled([item]).seconds(item) == pytest.approx(2.0)


def test_utterances_of_a_recording_stay_together():
    spans = [Span(0, 1), Span(1, 2)]
    refs = [AudioRef(f"{uri}-{i}", uri, 1, "1", span=span) for i, span in enumerate(spans) for uri in ("/a", "/b")]
    assert [[item.uri for item in group.refs] for group in recordings(refs)] == [["/a", "/a"], ["/b", "/b"]]


@given(st.lists(st.integers(0, 200_000_000), min_size=1, max_size=60), st.floats(0.01, 3.0))
def test_waves_and_chunks_contain_each_ref_once_within_their_limits(sizes, hours):
    refs = [ref(f"{i:03d}.flac", size) for i, size in enumerate(sizes)]
    waves = cut_waves(refs, LENGTHS, hours)
    assert sorted(item.utterance_id for wave in waves for item in wave.refs) == [item.utterance_id for item in refs]
    for wave in waves:
        lengths = [[sum(map(LENGTHS.seconds, recording.refs)) for recording in chunk] for chunk in wave.chunks]
        assert wave.seconds == pytest.approx(sum(map(sum, lengths)))
        assert wave.seconds <= hours * 3600 * (1 + 1e-9) or len(wave.refs) == 1
        assert all(chunk and (sum(chunk) <= CHUNK_S * (1 + 1e-9) or len(chunk) == 1) for chunk in lengths)
        flat = [seconds for chunk in lengths for seconds in chunk]
        assert flat == sorted(flat, reverse=True)


def test_waves_follow_the_order_of_the_corpus():
    refs = [ref(f"{i:03d}.flac", 57_600_000) for i in range(10)]
    waves = cut_waves(refs, LENGTHS, 2.0)
    assert [sorted(item.utterance_id for item in wave.refs) for wave in waves] == [
        [f"{i:03d}.flac", f"{i + 1:03d}.flac"] for i in range(0, 10, 2)
    ]


@pytest.mark.parametrize(("uri", "expected"), [("/a.b/c", ""), ("gs://x/y.FLAC", ".flac"), ("/a/b.tar.gz", ".gz")])
def test_suffix(uri, expected):
    assert suffix(uri) == expected
