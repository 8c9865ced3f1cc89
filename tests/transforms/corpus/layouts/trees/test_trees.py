"""Small copies of corpora in trees of folders: LibriSpeech, Multilingual LibriSpeech, LibriTTS, VCTK and TIMIT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from transforms.corpus.formats import SourceKind, source_kind
from transforms.corpus.listing import Corpus, ListingOptions
from transforms.corpus.sources import scan_corpus
from transforms.runs.worker_listing import is_listable


def scan(source: Path | str, **options: Any) -> Corpus:
    return scan_corpus(str(source), ListingOptions(carry=frozenset(), is_strict=False, **options))


def rows(corpus: Corpus, root: Path) -> dict[str, tuple[str, str | None, str | None]]:
    """Path relative to the root, text and speaker of each utterance by id; none may be faulty or missing."""
    assert not corpus.faulty
    assert all(ref.size_bytes for ref in corpus.refs)
    return {
        ref.utterance_id: (ref.uri.removeprefix(f"{root}/"), ref.columns.get("text"), ref.columns.get("speaker"))
        for ref in corpus.refs
    }


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class TestLibriSpeech:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "LibriSpeech"
        files = {"README.TXT": "x", "SPEAKERS.TXT": "19 | F | train-clean-100\n"}
        for split, speaker, chapter in (("train-clean-100", 19, 198), ("dev-clean", 84, 121)):
            folder = f"{split}/{speaker}/{chapter}/{speaker}-{chapter}"
            files |= {f"{folder}-000{n}.flac": "audio" for n in range(2)}
            files[f"{folder}.trans.txt"] = "".join(f"{speaker}-{chapter}-000{n} TEXT OF {n}\n" for n in range(2))
        write(root, files)
        return root

    def test_hidden_files_are_no_part_of_the_corpus(self, root):
        hidden = {"19/198/._19-198.trans.txt": "\0\5 junk\n", "19/198/._19-198-0000.flac": "junk"}
        write(
            root,
            {f"{place}train-clean-100/{name}": text for place in ("", "__MACOSX/") for name, text in hidden.items()},
        )
        corpus = scan(root)
        assert not corpus.faulty
        others = {ref.utterance_id for ref in corpus.refs if "/._" in ref.uri}
        assert others == {f"{place}train-clean-100/19/198/._19-198-0000.flac" for place in ("", "__MACOSX/")}
        assert len(corpus.refs) == 4 + len(others)

    def test_the_whole_corpus(self, root):
        corpus = scan(root)
        assert rows(corpus, root) == {
            f"{speaker}-{chapter}-000{n}": (
                f"{split}/{speaker}/{chapter}/{speaker}-{chapter}-000{n}.flac",
                f"TEXT OF {n}",
                str(speaker),
            )
            for split, speaker, chapter in (("train-clean-100", 19, 198), ("dev-clean", 84, 121))
            for n in range(2)
        }
        assert corpus.carried == ("text", "speaker")
        assert not corpus.notes
        assert source_kind(str(root)) == SourceKind("jsonl", False)
        assert not is_listable(str(root))

    @pytest.mark.parametrize(
        "given", ["train-clean-100", "train-clean-100/19", "train-clean-100/19/198/19-198.trans.txt"]
    )
    def test_a_part(self, root, given):
        assert [ref.columns["text"] for ref in scan(root / given).refs] == ["TEXT OF 0", "TEXT OF 1"]

    def test_missing_and_further_recordings(self, root):
        (root / "dev-clean/84/121/84-121-0001.flac").rename(root / "dev-clean/84/121/84-121-0007.flac")
        corpus = scan(root / "dev-clean")
        assert [(ref.utterance_id, bool(ref.size_bytes)) for ref in corpus.refs] == [
            ("84-121-0000", True),
            ("84-121-0001", False),
            ("84/121/84-121-0007.flac", True),
        ]
        assert "1 recording is in no table" in corpus.notes[0]

    def test_a_tar_beside_it_is_mentioned(self, root):
        (root / "dev-clean.tar.gz").write_bytes(b"x")
        assert "1 tar is not read" in scan(root).notes[0]


class TestMls:
    @pytest.mark.parametrize("given", ["", "train", "train/transcripts.txt"])
    def test_transcripts_beside_audio(self, tmp_path, given):
        root = tmp_path / "mls_german"
        write(
            root,
            {
                "metainfo.txt": "x",
                "train/segments.txt": "10148_10119_000000\thttp://x/y.mp3\t1\t2\n",
                "train/transcripts.txt": "10148_10119_000000\tguten tag\n10148_10119_000001\tja nein\n",
                "train/audio/10148/10119/10148_10119_000000.flac": "audio",
                "train/audio/10148/10119/10148_10119_000001.flac": "audio",
            },
        )
        corpus = scan(root / given if given else root)
        assert rows(corpus, root) == {
            f"10148_10119_00000{n}": (f"train/audio/10148/10119/10148_10119_00000{n}.flac", text, "10148")
            for n, text in enumerate(("guten tag", "ja nein"))
        }
        assert corpus.carried == ("text", "speaker")

    def test_a_list_of_paths_called_transcripts_stays_one(self, tmp_path):
        write(tmp_path, {"transcripts.txt": "a.wav\n", "a.wav": "audio"})
        assert [ref.utterance_id for ref in scan(tmp_path / "transcripts.txt").refs] == ["a.wav"]


def test_libritts(tmp_path):
    root = tmp_path / "LibriTTS"
    folder = "dev-clean/84/121123"
    write(
        root,
        {
            f"{folder}/84_121123.trans.tsv": "x",
            f"{folder}/84_121123.book.tsv": "x",
            **{f"{folder}/84_121123_00000{n}_000000.wav": "audio" for n in range(3)},
            **{f"{folder}/84_121123_00000{n}_000000.normalized.txt": f"Text of {n}.\n" for n in range(2)},
            **{f"{folder}/84_121123_00000{n}_000000.original.txt": f"Text: {n}\n" for n in range(2)},
        },
    )
    corpus = scan(root)
    assert rows(corpus, root) == {
        f"84_121123_00000{n}_000000": (f"{folder}/84_121123_00000{n}_000000.wav", text, "84")
        for n, text in enumerate(("Text of 0.", "Text of 1.", ""))
    }
    assert corpus.notes == (f"{root}: 1 of 3 recordings have no text file",)


@pytest.mark.parametrize("recordings", ["wav48_silence_trimmed/p225/p225_001_mic{}.flac", "wav48/p225/p225_001.wav"])
def test_vctk(tmp_path, recordings):
    root = tmp_path / "VCTK-Corpus-0.92"
    names = sorted({recordings.format(n) for n in (1, 2)})
    write(
        root, {"speaker-info.txt": "x", "txt/p225/p225_001.txt": "Please call Stella.\n", **dict.fromkeys(names, "a")}
    )
    assert rows(scan(root), root) == {Path(name).stem: (name, "Please call Stella.", "p225") for name in names}


class TestTimit:
    @pytest.mark.parametrize("case", [str.upper, str.lower])
    def test_texts_and_word_times(self, tmp_path, case):
        root = tmp_path / "TIMIT"
        name = case("train/dr1/fcjf0/sa1")
        files = {
            f"{name}.{case('wav')}": "audio",
            f"{name}.{case('txt')}": "0 46797 She had your dark suit. \n",
            f"{name}.{case('wrd')}": "3050 5728 she\n5728 10337 had\n",
            f"{name}.{case('phn')}": "0 3050 h#\n",
        }
        write(root, {**files, case("doc/spkrinfo.txt"): "x"})
        corpus = scan(root, word_times=True)
        assert rows(corpus, root) == {name: (f"{name}.{case('wav')}", "She had your dark suit.", case("fcjf0"))}
        assert json.loads(corpus.refs[0].columns["words"])[0] == {"word": "she", "start": 0.190625, "end": 0.358}
        assert "words" not in scan(root).refs[0].columns

    def test_the_copy_with_riff_files(self, tmp_path):
        folder = "data/TRAIN/DR1/FCJF0"
        write(
            tmp_path,
            {
                f"{folder}/SA1.WAV": "sphere",
                f"{folder}/SA1.WAV.wav": "riff",
                f"{folder}/SA1.TXT": "0 46797 She had.\n",
                f"{folder}/SA1.PHN": "0 3050 h#\n",
            },
        )
        assert {ref.columns["text"] for ref in scan(tmp_path).refs} == {"She had."}
        assert len(scan(tmp_path).refs) == 2


def test_a_folder_of_recordings_with_texts_stays_one(tmp_path):
    write(tmp_path, {"a/x.wav": "audio", "a/x.txt": "text", "b/notes.TXT": "text"})
    assert [ref.utterance_id for ref in scan(tmp_path).refs] == ["a/x.txt", "a/x.wav", "b/notes.TXT"]
