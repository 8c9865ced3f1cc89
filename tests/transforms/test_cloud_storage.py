"""Cloud Storage over HTTP, against an emulator in a process of its own."""

from __future__ import annotations

from apache_beam.io.filesystems import FileSystems

from tests.emulator import Bucket


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
