"""Uploads in every format are decoded within the limits of time and length."""

from __future__ import annotations

import dataclasses
import io
import threading

import pytest

from model.features import FeatureConfig
from pipelines.service.decoding import DecodedUpload, DecodingStoppedError, decode_upload
from pipelines.service.settings import Settings
from pipelines.service.uploads import Upload
from tests.support.decoding import noise
from tests.support.media import encode_media
from transforms.errors import AudioFault, Reason

KINDS = ["m4a", "aac", "wma", "webm", "oga", ("mp3", "libmp3lame"), ("wav", "pcm_s16le")]


def upload(data: bytes, *, stopped: bool = False, **limits: float) -> DecodedUpload:
    stop = threading.Event()
    if stopped:
        stop.set()
    settings = dataclasses.replace(Settings(), **limits)
    file = Upload("a", io.BytesIO(data), len(data))
    return decode_upload(file, "mix", False, FeatureConfig(), settings, stop)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def data(request) -> bytes:
    return encode_media(
        noise(20 * 16_000), 16_000, request.param, {"write_xing": "0"} if request.param[0] == "mp3" else {}
    )


def test_an_upload_is_decoded(data):
    assert upload(data).utterance.utterance.duration_s == pytest.approx(20, abs=0.15)


def test_an_upload_longer_than_the_limit_is_refused(data):
    with pytest.raises(AudioFault, match="longer than the limit of 10 s") as caught:
        upload(data, max_audio_s=10)
    assert caught.value.reason == Reason.TOO_LONG


def test_an_upload_that_takes_too_long_to_decode_is_refused(data):
    with pytest.raises(AudioFault, match="decoding takes longer than the limit of 0 s") as caught:
        upload(data, max_decode_s=0)
    assert caught.value.reason == Reason.TOO_LONG


def test_decoding_stops_when_the_client_leaves(data):
    with pytest.raises(DecodingStoppedError):
        upload(data, stopped=True)


def test_a_damaged_upload_has_the_reason_of_a_corpus():
    data = encode_media(noise(20 * 16_000), 16_000, "m4a")
    with pytest.raises(AudioFault) as caught:
        upload(data[: len(data) // 2])
    assert caught.value.reason == Reason.TRUNCATED
