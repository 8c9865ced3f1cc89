"""The mark names the recording that a process decodes, and the latest time for it, and nothing in between."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from model.features import FeatureConfig
from transforms.elements import AudioRef, FeaturizedUtterance, Recording, Reject, Span
from transforms.errors import AudioFault, Reason, Stage
from transforms.scoring.decode_watch import DecodeWatch, Mark
from transforms.scoring.featurize import Featurize


def mark(folder) -> Mark | None:
    return Mark.read(str(folder), os.getpid())


def test_a_recording_is_marked_only_while_its_next_item_is_computed(tmp_path):
    def items() -> Iterator[Mark | None]:
        yield mark(tmp_path)
        yield mark(tmp_path)

    ref = AudioRef("a", "/b\udcff\u00e9", 0, "")
    seen = []
    for item in DecodeWatch(10.0, str(tmp_path)).marked([ref], items(), is_vetting=True):
        assert mark(tmp_path) is None
        seen.append(item)
    assert mark(tmp_path) is None
    assert [(item.uri, item.is_vetting) for item in seen] == [(ref.uri, True)] * 2


def test_the_time_between_items_does_not_count(tmp_path):
    def items() -> Iterator[float]:
        for _ in range(2):
            yield mark(tmp_path).deadline_s - time.monotonic()

    left = []
    for item in DecodeWatch(10.0, str(tmp_path)).marked([AudioRef("a", "/a", 0, "")], items()):
        left.append(item)
        time.sleep(0.5)
    assert left[1] == pytest.approx(left[0], abs=0.3)


def test_the_mark_is_cleared_after_an_error(tmp_path):
    def items() -> Iterator[int]:
        yield 1
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        list(DecodeWatch(10.0, str(tmp_path)).marked([AudioRef("a", "/a", 0, "")], items()))
    assert mark(tmp_path) is None


def test_a_mark_that_is_not_written_yet_names_nothing(tmp_path):
    assert mark(tmp_path) is None
    (tmp_path / str(os.getpid())).touch()
    assert mark(tmp_path) is None


def test_the_limit_grows_with_the_file_and_its_spans():
    watch = DecodeWatch(10.0)
    assert watch.limit_s([AudioRef("a", "/a", 0, "")]) == 10
    assert watch.limit_s([AudioRef("a", "/a", 1_000_000_000, "")]) == 10_010
    spans = [AudioRef("a", "/a", 0, "", span=Span(i, i + 100.0)) for i in range(50)]
    assert watch.limit_s(spans) == 10 + 500
    assert watch.limit_s([AudioRef("a", "gs://x/a", 0, "")]) > 300


def test_a_known_recording_is_rejected_and_not_opened(samples):
    uris = [samples / name for name in ("clean.flac", "burst.flac")]
    refs = [AudioRef(uri.name, str(uri), uri.stat().st_size, "") for uri in uris]
    watch = DecodeWatch(faults={refs[0].uri: AudioFault(Stage.DECODE, Reason.CRASHED, "SIGSEGV")})
    done = list(Featurize(FeatureConfig(), watch=watch).process([Recording((ref,)) for ref in refs]))
    assert isinstance(done[0].value, Reject)
    assert (done[0].value.utterance_id, done[0].value.reason) == ("clean.flac", Reason.CRASHED)
    assert isinstance(done[1], FeaturizedUtterance)
