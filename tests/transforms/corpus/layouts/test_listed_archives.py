"""Manifests that list the recordings of tars: tarred manifests of NeMo, and Shar of Lhotse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import WAV, write_tar
from tests.support.storage.local_buckets import bucket
from transforms.corpus.archives import members
from transforms.corpus.listing import Corpus, ListingOptions
from transforms.corpus.sources import SourceError, scan_corpus
from transforms.elements import Span
from transforms.errors import AudioFault


def scan(source: Path | str, **options: Any) -> Corpus:
    return scan_corpus(str(source), ListingOptions(carry=frozenset(), is_strict=False, **options))


def contents(corpus: Corpus) -> dict[str, tuple[object, dict[str, str]]]:
    """Content, or reason of the fault, and columns of each recording by id."""
    read: dict[str, tuple[object, dict[str, str]]] = {}
    for ref in corpus.refs:
        if ref.fault is None:
            for member, content in members(ref):
                found = content.reason if isinstance(content, AudioFault) else content.read()
                read[member.utterance_id] = (found, dict(member.columns))
    return read


def write_lines(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def nemo_row(number: int, shard: int | None = 0, **more: Any) -> dict[str, Any]:
    row = {"audio_filepath": f"utt{number}.wav", "duration": 2.0, "text": f"text {number}", "speaker": "ann", **more}
    return row if shard is None else {**row, "shard_id": shard}


def columns(number: int) -> dict[str, str]:
    return {"text": f"text {number}", "speaker": "ann"}


@pytest.fixture
def nemo(tmp_path: Path) -> Path:
    write_tar(tmp_path / "audio_0.tar", ("utt0.wav", WAV + b"0"), ("utt1.wav", WAV + b"1"))
    write_tar(tmp_path / "audio_1.tar", ("utt2.wav", WAV + b"2"), ("unlisted.wav", WAV))
    write_lines(tmp_path / "tarred_audio_manifest.json", nemo_row(0), nemo_row(1), nemo_row(2, shard=1))
    return tmp_path


NEMO = {
    "audio_0.tar/utt0.wav": (WAV + b"0", columns(0)),
    "audio_0.tar/utt1.wav": (WAV + b"1", columns(1)),
    "audio_1.tar/utt2.wav": (WAV + b"2", columns(2)),
}


class TestNemo:
    @pytest.mark.parametrize("shelf", [False, True])
    @pytest.mark.parametrize("given", ["", "tarred_audio_manifest.json"])
    def test_members_have_the_texts_of_the_manifest(self, nemo, given, shelf):
        source = str(nemo / given)
        corpus = scan(bucket(source) if shelf else source)
        assert contents(corpus) == NEMO
        assert corpus.carried == ("text", "speaker")

    def test_tars_may_be_elsewhere(self, nemo, tmp_path):
        (tmp_path / "x").mkdir()
        (nemo / "tarred_audio_manifest.json").rename(tmp_path / "x/train.json")
        assert contents(scan(tmp_path / "x/train.json", audio_root=str(nemo))) == NEMO
        (nemo / "audio_0.tar").rename(nemo / "other.tar")
        (nemo / "audio_1.tar").rename(nemo / "more.tar")
        with pytest.raises(SourceError, match="no tars such as audio_0.tar"):
            scan(tmp_path / "x/train.json")

    @pytest.mark.parametrize("has_shard", [True, False])
    def test_one_manifest_for_each_tar(self, nemo, has_shard):
        (nemo / "tarred_audio_manifest.json").unlink()
        folder = nemo / "sharded_manifests"
        write_lines(folder / "manifest_0.json", *(nemo_row(n, 0 if has_shard else None) for n in (0, 1)))
        write_lines(folder / "manifest_1.json", nemo_row(2, 1 if has_shard else None))
        assert contents(scan(nemo)) == NEMO

    def test_faulty_rows_cost_only_themselves(self, nemo):
        with (nemo / "tarred_audio_manifest.json").open("a") as file:
            file.write("{broken\n")
            for row in (nemo_row(5, shard=7), nemo_row(6, shard=None), nemo_row(0), nemo_row(7, offset=-1)):
                file.write(json.dumps(row) + "\n")
        corpus = scan(nemo)
        assert contents(corpus) == NEMO
        assert sorted(ref.fault.detail.partition(": ")[2][:39] for ref in corpus.faulty) == [
            "it is not JSON (Expecting property name",
            "offset is -1; must not be negative",
            "the row has no shard_id; must be the nu",
            "the utterance 'utt0.wav' occurs twice i",
            "there is no tar of shard 7; its name mu",
        ]

    def test_a_missing_member_and_a_damaged_tar_are_rejects(self, nemo):
        with (nemo / "tarred_audio_manifest.json").open("a") as file:
            file.write(json.dumps(nemo_row(9)) + "\n")
        tar = nemo / "audio_1.tar"
        tar.write_bytes(tar.read_bytes()[:520])
        read = contents(scan(nemo))
        assert read["audio_0.tar/utt9.wav"] == ("unreadable", columns(9))
        assert read["audio_1.tar/utt2.wav"] == ("corrupt", columns(2))

    def test_an_offset_is_a_span_of_its_member(self, nemo):
        rows = [nemo_row(0, offset=0.5), nemo_row(0, audio_filepath="utt0-sub1.wav", offset=3.1), nemo_row(1)]
        write_lines(nemo / "tarred_audio_manifest.json", *rows)
        (ref,) = scan(nemo).refs
        read = [(member.utterance_id, member.span, content.read()) for member, content in members(ref)]
        assert read == [
            ("audio_0.tar/utt0.wav", Span(0.5, 2.5), WAV + b"0"),
            ("audio_0.tar/utt0-sub1.wav", Span(3.1, 5.1), WAV + b"0"),
            ("audio_0.tar/utt1.wav", Span(), WAV + b"1"),
        ]

    def test_a_corrected_manifest_changes_the_version(self, nemo):
        before = [ref.source_version for ref in scan(nemo).refs]
        assert [ref.source_version for ref in scan(nemo).refs] == before
        with (nemo / "tarred_audio_manifest.json").open("a") as file:
            file.write(json.dumps(nemo_row(9, shard=1)) + "\n")
        after = [ref.source_version for ref in scan(nemo).refs]
        assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]

    def test_a_usual_manifest_beside_tars_stays_one(self, nemo):
        (nemo / "a.wav").write_bytes(WAV)
        write_lines(nemo / "train.json", {"audio_filepath": "a.wav", "duration": 1.0, "text": "x"})
        assert [ref.utterance_id for ref in scan(nemo / "train.json").refs] == ["a.wav"]
