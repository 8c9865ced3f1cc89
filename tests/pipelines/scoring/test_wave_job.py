"""A wave whose process died is repeated without the recording that is the cause, and with all others."""

from __future__ import annotations

import signal
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.scoring import wave_job
from pipelines.scoring.graph import Committer, ScoreConfig
from pipelines.scoring.process_pool import Death
from pipelines.scoring.wave_job import MAX_UNEXPLAINED, WaveJob
from transforms.elements import ArchiveKind, AudioRef, Recording
from transforms.errors import Reason
from transforms.output.ledger import Ledger
from transforms.runs.chunking import Wave
from transforms.runs.corpus_chunks import GivenChunks
from transforms.scoring.batching import BatchLimits
from transforms.scoring.decode_watch import DecodeWatch, Mark

NAMES = ("a", "b", "c", "d")
RECORDINGS = tuple(Recording((AudioRef(name, f"/{name}", 1, ""),)) for name in NAMES)
ARCHIVE = Recording((AudioRef("x.tar", "/x.tar", 1, "", archive=ArchiveKind.TAR),))


def job(*recordings: Recording) -> WaveJob:
    wave = Wave(((recordings or RECORDINGS)[:2], (recordings or RECORDINGS)[2:]), 4.0)
    bundle: Any = SimpleNamespace()
    config = ScoreConfig(
        corpus=GivenChunks(wave.chunks),
        bundle=bundle,
        model="",
        limits=BatchLimits(),
        threads=1,
        channels="mix",
        carry=(),
        ledger=Ledger("/out", ()),
        run_id="0",
        committer=Committer.LAUNCHER,
        watch=DecodeWatch(5.0, "/marks"),
    )
    return WaveJob(config, wave)


def death(
    uri: str | None = None, number: int = signal.SIGSEGV, is_vetting: bool = False, is_late: bool = False
) -> Death:
    return Death(-number, None if uri is None else Mark(uri, 1.0, is_vetting), is_late)


def reasons(repeated: WaveJob) -> dict[str, str]:
    return {uri: str(fault.reason) for uri, fault in repeated.config.watch.faults.items()}


def vetted(repeated: WaveJob) -> list[str]:
    return [recording.uri for recording in repeated.vetted]


def test_a_recording_that_was_decoded_at_a_crash_is_first_decoded_alone():
    repeated = job().after(death("/b"), "1")
    assert (vetted(repeated), reasons(repeated), repeated.config.run_id) == (["/b"], {}, "1")


def test_a_recording_that_crashes_alone_is_rejected():
    repeated = job().after(death("/b"), "1").after(death("/b", is_vetting=True), "2")
    assert reasons(repeated) == {"/b": Reason.CRASHED}
    assert "SIGSEGV" in repeated.config.watch.faults["/b"].detail


def test_a_recording_that_crashes_only_beside_the_network_is_rejected_the_second_time():
    repeated = job().after(death("/b"), "1").after(death("/b"), "2")
    assert reasons(repeated) == {"/b": Reason.CRASHED}


def test_a_recording_that_takes_too_long_is_rejected_at_once():
    repeated = job().after(death("/c", signal.SIGKILL, is_late=True), "1")
    assert (reasons(repeated), vetted(repeated)) == ({"/c": Reason.TIMED_OUT}, [])
    assert "5 s" in repeated.config.watch.faults["/c"].detail


def test_after_the_second_crash_of_a_wave_all_recordings_are_vetted_from_the_last_fault_on():
    repeated = job().after(death("/b"), "1").after(death("/b", is_vetting=True), "2").after(death("/d"), "3")
    assert vetted(repeated) == list(map("/{}".format, NAMES))
    repeated = repeated.after(death("/c", is_vetting=True), "4")
    assert (vetted(repeated), reasons(repeated)) == (["/c", "/d"], {"/b": "crashed", "/c": "crashed"})
    repeated = repeated.after(death("/d", signal.SIGKILL, is_vetting=True, is_late=True), "5")
    assert reasons(repeated) == {"/b": "crashed", "/c": "crashed", "/d": "timed_out"}


def test_all_recordings_are_vetted_only_once():
    repeated = job().after(death("/a"), "1").after(death("/b"), "2")
    assert vetted(repeated) == list(map("/{}".format, NAMES))
    assert vetted(repeated.after(death("/c"), "3")) == ["/c"]


def test_a_recording_of_an_archive_is_rejected_alone():
    repeated = job(ARCHIVE, *RECORDINGS).after(death("/x.tar#m.wav"), "1")
    assert vetted(repeated) == ["/x.tar"]
    repeated = repeated.after(death("/x.tar#m.wav", is_vetting=True), "2")
    assert (vetted(repeated), reasons(repeated)) == (["/x.tar"], {"/x.tar#m.wav": "crashed"})


@pytest.mark.parametrize("uri", [None, "/a"])
def test_a_process_that_is_killed_from_outside_rejects_nothing(uri):
    repeated = job()
    for number in range(1, MAX_UNEXPLAINED):
        repeated = repeated.after(death(uri, signal.SIGKILL), str(number))
        assert reasons(repeated) == {}
    with pytest.raises(BrokenProcessPool, match="SIGKILL"):
        repeated.after(death(uri, signal.SIGKILL), "9")


def test_a_recording_that_fills_the_memory_alone_is_rejected():
    repeated = job().after(death("/a", signal.SIGKILL), "1").after(death("/a", signal.SIGKILL, is_vetting=True), "2")
    assert reasons(repeated) == {"/a": Reason.CRASHED}


def test_the_vetted_recordings_are_decoded_before_the_wave_is_scored(monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(wave_job, "featurize_recording", lambda recording, *_, **_how: done.append(recording.uri) or [])
    monkeypatch.setattr(wave_job, "score_wave", lambda config: done.append(config.run_id))
    unvetted = job()
    monkeypatch.setattr(unvetted.config.bundle, "features", None, raising=False)
    unvetted.after(death("/b"), "1").run()
    assert done == ["/b", "1"]
