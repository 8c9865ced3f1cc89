"""Manifests that list the recordings of tars: tarred manifests of NeMo, and Shar of Lhotse."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import WAV, write_tar
from tests.support.storage.local_buckets import bucket
from transforms.corpus.archives.reading import members
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
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


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
        with pytest.raises(SourceError, match="no tars such as"):
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


# --- Shar --------------------------------------------------------------------------------------------------------------------


def cut(number: int) -> dict[str, Any]:
    """A cut as Lhotse writes it, whose recording is a placeholder."""
    recording = {
        "id": f"rec-{number}",
        "sources": [{"type": "shar", "channels": [0], "source": ""}],
        "sampling_rate": 16_000,
        "num_samples": 32_000,
        "duration": 2.0,
        "channel_ids": [0],
    }
    supervision = {
        "id": "s",
        "recording_id": "r",
        "start": 0.0,
        "duration": 2.0,
        "text": f"text {number}",
        "speaker": "ann",
    }
    supervision["alignment"] = {"word": [["text", 0.1, 0.4, None]]}
    return {
        "id": f"cut.{number}",
        "start": 0,
        "duration": 2.0,
        "channel": 0,
        "supervisions": [supervision],
        "recording": recording,
        "type": "MonoCut",
    }


def write_shard(folder: Path, shard: int, numbers: list[int]) -> None:
    lines = "".join(json.dumps(cut(number)) + "\n" for number in numbers)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"cuts.{shard:06d}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    entries: list[tuple[str, Any]] = []
    for number in numbers:
        recording = json.dumps(cut(number)["recording"]).encode()
        entries += [(f"cut.{number}.flac", b"fLaC" + str(number).encode()), (f"cut.{number}.json", recording)]
    write_tar(folder / f"recording.{shard:06d}.tar", *entries)


def texts(corpus: Corpus) -> dict[str, tuple[object, str | None]]:
    return {name: (content, columns.get("text")) for name, (content, columns) in contents(corpus).items()}


SHAR = {
    "recording.000000.tar/cut.0": (b"fLaC0", "text 0"),
    "recording.000000.tar/cut.1": (b"fLaC1", "text 1"),
    "recording.000001.tar/cut.2": (b"fLaC2", "text 2"),
}


class TestShar:
    @pytest.fixture
    def shar(self, tmp_path: Path) -> Path:
        write_shard(tmp_path / "shar", 0, [0, 1])
        write_shard(tmp_path / "shar", 1, [2])
        return tmp_path / "shar"

    @pytest.mark.parametrize("shelf", [False, True])
    def test_a_folder_is_read_with_its_texts(self, shar, shelf):
        corpus = scan(bucket(shar) if shelf else shar)
        assert texts(corpus) == SHAR
        assert corpus.carried == ("text", "speaker")
        assert not corpus.notes

    def test_one_shard(self, shar):
        assert set(texts(scan(shar / "cuts.000001.jsonl.gz"))) == {"recording.000001.tar/cut.2"}

    def test_word_times_can_be_carried(self, shar):
        found = [member for ref in scan(shar, word_times=True).refs for member, _ in members(ref)]
        assert len(found) == len(SHAR)
        assert all(json.loads(member.columns["words"])["word"] for member in found)

    def test_folders_of_splits_have_their_own_ids(self, tmp_path):
        for split in ("train", "dev"):
            write_shard(tmp_path / split, 0, [0])
        assert set(texts(scan(tmp_path))) == {f"{split}/recording.000000.tar/cut.0" for split in ("train", "dev")}

    def test_a_missing_tar_costs_only_its_cuts(self, shar):
        (shar / "recording.000001.tar").unlink()
        assert texts(scan(shar)) == {**SHAR, "recording.000001.tar/cut.2": ("unreadable", "text 2")}

    def test_the_audio_of_another_field_is_mentioned(self, shar):
        write_tar(shar / "target_recording.000000.tar", ("cut.0.flac", b"fLaC0"))
        assert "to score that of target_recording" in scan(shar).notes[0]

    def test_cuts_without_a_tar_stay_a_manifest(self, shar):
        for number in (0, 1):
            (shar / f"recording.00000{number}.tar").unlink()
        assert scan(shar / "cuts.000000.jsonl.gz").faulty
