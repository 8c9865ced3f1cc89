"""Cloud Storage over HTTP, against an emulator in a process of its own."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import ROOT
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import CUT, RESET, Fault, Proxy, first
from transforms.storage.gcs.client import BufferedFile, client


@given(
    st.integers(0, 40),
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.integers(-10, 50), st.integers(-1, 50))),
)
def test_a_buffered_file_reads_like_the_file(size: int, buffer_size: int, moves: list) -> None:
    content = bytes(range(size))
    expected, found = io.BytesIO(content), BufferedFile(io.BytesIO(content), size, buffer_size)
    for whence, place, amount in moves:
        if whence is not None and (whence or place >= 0):
            # BytesIO raises where BufferedFile stays at the start.
            target = {0: 0, 1: expected.tell(), 2: size}[whence] + place
            assert found.seek(place, whence) == expected.seek(max(0, target))
        assert found.read(amount) == expected.read(amount)
        assert found.tell() == expected.tell()


def in_a_new_process(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_elements_of_the_pipeline_load_no_beam() -> None:
    in_a_new_process("import sys, transforms.elements; assert 'apache_beam' not in sys.modules")


def test_only_an_explicit_call_patches_beam() -> None:
    in_a_new_process(
        "from apache_beam.io.gcp import gcsio\n"
        "from transforms.storage.gcs.client import CloudStorage, patch_beam\n"
        "assert gcsio.GcsIO is not CloudStorage\n"
        "patch_beam(); patched = vars(gcsio).copy(); patch_beam()\n"
        "assert gcsio.GcsIO is CloudStorage and vars(gcsio) == patched\n"
    )


def test_beam_writes_lists_reads_renames_and_deletes(bucket: Bucket) -> None:
    place = bucket / "a/b c.bin"
    with FileSystems.create(place) as file:
        file.write(b"0123456789")
    assert [found.path for found in FileSystems.match([bucket / "**"])[0].metadata_list] == [place]
    with FileSystems.open(place) as file:
        file.seek(4)
        assert file.read(3) == b"456"
    FileSystems.rename([place], [bucket / "new"])
    assert not FileSystems.exists(place)
    assert bucket.read("new") == b"0123456789"
    FileSystems.delete([bucket / "new"])
    assert bucket.names() == []


@pytest.mark.usefixtures("proxy")
def test_the_client_uses_the_options_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has none on its command line. The proxy has an address for which no client exists yet."""
    monkeypatch.setattr(FileSystems, "_pipeline_options", PipelineOptions(["--project=told"]))
    assert client().project == "told"


@pytest.mark.parametrize("fault", [429, 503, RESET, CUT])
def test_transient_failures_are_retried(bucket: Bucket, proxy: Proxy, fault: Fault) -> None:
    again = first(1, fault)
    # Unlike the real storage, the emulator forgets an upload whose last answer was lost.
    proxy.fail = lambda call: None if fault == CUT and call.kind == "part" else again(call)
    place, content = bucket / "a.bin", bytes(range(256)) * 4096 * 20
    with FileSystems.create(place) as file:
        file.write(content)
    assert bucket.read("a.bin") == content
    assert FileSystems.exists(place)
    (found,) = FileSystems.match([bucket / "*"])[0].metadata_list
    assert (found.path, found.size_in_bytes) == (place, len(content))
    with FileSystems.open(place) as file:
        file.seek(18 << 20)
        assert file.read(1 << 20) == content[18 << 20 : 19 << 20]
        file.seek(0)
        assert file.read() == content
    FileSystems.copy([place], [bucket / "b.bin"])
    assert bucket.read("b.bin") == content
    FileSystems.rename([place], [bucket / "c.bin"])
    assert bucket.names() == ["b.bin", "c.bin"]
    assert bucket.read("c.bin") == content
    FileSystems.delete([bucket / "b.bin", bucket / "c.bin"])
    assert bucket.names() == []
    assert {"list", "stat", "read", "start", "part", "copy", "batch"} <= set(proxy.counts)
