"""Small copies of well-known corpora are listed with their texts, given as their table or as their folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.storage.local_buckets import bucket
from transforms.corpus.formats import SourceKind, source_kind
from transforms.corpus.listing import Corpus, ListingOptions
from transforms.corpus.sources import SourceError, scan_corpus
from transforms.runs.worker_listing import is_listable

# As `score` lists without --carry.
SCORE = ListingOptions(carry=frozenset(), is_strict=False)

CV_HEADER = (
    "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\taccents\tvariant\tlocale\t"
    "segment\n"
)


def scan(source: Path | str, options: ListingOptions = SCORE) -> Corpus:
    return scan_corpus(str(source), options)


def rows(corpus: Corpus, root: Path) -> list[tuple[str, str, dict[str, str]]]:
    """Id, path relative to the root and columns of each utterance; none may be faulty or missing."""
    assert not corpus.faulty
    assert all(ref.size_bytes for ref in corpus.refs)
    return [(ref.utterance_id, ref.uri.partition(f"{root}/")[2], dict(ref.columns)) for ref in corpus.refs]


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")


# --- Common Voice ------------------------------------------------------------------------------------------------------------


def cv_row(number: int, sentence: str) -> str:
    return f"speaker{number}\tcommon_voice_de_{number}.mp3\tx\t{sentence}\t\t2\t0\ttwenties\tmale\t\t\tde\t\n"


CV_ROWS = [
    ("common_voice_de_1.mp3", "clips/common_voice_de_1.mp3", {"text": '"Ja', "speaker": "speaker1"}),
    ("common_voice_de_2.mp3", "clips/common_voice_de_2.mp3", {"text": 'Nein", sagte er.', "speaker": "speaker2"}),
]


@pytest.fixture
def common_voice(tmp_path: Path) -> Path:
    root = tmp_path / "cv-corpus-17.0" / "de"
    touch(root, *(f"clips/common_voice_de_{n}.mp3" for n in (1, 2, 3)))
    validated = CV_HEADER + cv_row(1, '"Ja') + cv_row(2, 'Nein", sagte er.')
    (root / "validated.tsv").write_text(validated)
    (root / "train.tsv").write_text(CV_HEADER + cv_row(1, '"Ja'))
    (root / "other.tsv").write_text(CV_HEADER + cv_row(3, "Vielleicht"))
    (root / "clip_durations.tsv").write_text("clip\tduration[ms]\ncommon_voice_de_1.mp3\t3000\n")
    (root / "reported.tsv").write_text("sentence\tsentence_id\tlocale\treason\n")
    return root


class TestCommonVoice:
    def test_a_table_finds_its_clips_and_carries_texts_and_speakers(self, common_voice):
        corpus = scan(common_voice / "validated.tsv")
        assert rows(corpus, common_voice) == CV_ROWS
        assert corpus.carried == ("text", "speaker")
        assert not corpus.notes

    def test_other_columns_can_be_carried(self, common_voice):
        options = ListingOptions(carry=frozenset({"age", "sentence"}), is_strict=False)
        (ref,) = scan(common_voice / "train.tsv", options).refs
        assert ref.columns == {"age": "twenties", "sentence": '"Ja', "text": '"Ja', "speaker": "speaker1"}

    def test_the_folder_stands_for_the_validated_clips_and_names_the_other_tables(self, common_voice):
        corpus = scan(common_voice)
        assert rows(corpus, common_voice) == CV_ROWS
        assert corpus.notes == (
            f"{common_voice}: this is Common Voice; the clips of validated.tsv are scored; for others, give another table as "
            "--input: train.tsv, other.tsv",
        )

    def test_a_folder_without_validated_clips_says_which_table_to_give(self, common_voice):
        (common_voice / "validated.tsv").unlink()
        with pytest.raises(SourceError) as caught:
            scan(common_voice)
        assert f"--input: {common_voice}/train.tsv (or other.tsv)" in str(caught.value)

    def test_a_folder_in_a_bucket(self, common_voice):
        assert rows(scan(bucket(common_voice)), common_voice) == CV_ROWS

    def test_paths_of_the_first_releases_have_no_suffix(self, common_voice):
        (common_voice / "old.tsv").write_text("client_id\tpath\tsentence\nann\tcommon_voice_de_3\tHallo\n")
        ((_, path, columns),) = rows(scan(common_voice / "old.tsv"), common_voice)
        assert (path, columns) == ("clips/common_voice_de_3.mp3", {"text": "Hallo", "speaker": "ann"})

    @pytest.mark.parametrize("folder", ["de", "de/clips"])
    def test_the_clips_may_be_elsewhere(self, common_voice, tmp_path, folder):
        table = tmp_path / "tables" / "dev.tsv"
        table.parent.mkdir()
        table.write_text(CV_HEADER + cv_row(3, "Hallo"))
        options = ListingOptions(audio_root=str(common_voice.parent / folder), is_strict=False)
        (ref,) = scan(table, options).refs
        assert ref.uri == str(common_voice / "clips/common_voice_de_3.mp3")

    def test_a_faulty_row_costs_only_itself(self, common_voice):
        with (common_voice / "validated.tsv").open("a") as file:
            file.write("speaker3\tcommon_voice_de_3.mp3\tcut o")
        corpus = scan(common_voice / "validated.tsv")
        assert [ref.fault is None for ref in corpus.refs].count(True) == 2
        assert "line 4: the row has 3 cells, the header 13" in corpus.faulty[0].fault.detail

    def test_the_kept_utterances_are_listed_as_tsv(self, common_voice):
        assert source_kind(str(common_voice)) == source_kind(f"{common_voice}/train.tsv") == SourceKind("tsv", False)


# --- LJSpeech ----------------------------------------------------------------------------------------------------------------

LJ_TEXT = 'LJ001-0001|Printing, in "the" only|Printing, in the only\nLJ001-0002|in 1465|in fourteen sixty-five\n'


@pytest.fixture
def ljspeech(tmp_path: Path) -> Path:
    root = tmp_path / "LJSpeech-1.1"
    touch(root, "wavs/LJ001-0001.wav", "wavs/LJ001-0002.wav", "README")
    (root / "metadata.csv").write_text(LJ_TEXT)
    return root


class TestLJSpeech:
    @pytest.mark.parametrize("name", ["", "metadata.csv"])
    def test_the_table_has_no_header(self, ljspeech, name):
        corpus = scan(ljspeech / name)
        assert rows(corpus, ljspeech) == [
            (
                "LJ001-0001",
                "wavs/LJ001-0001.wav",
                {"text": 'Printing, in "the" only', "normalized_text": "Printing, in the only"},
            ),
            ("LJ001-0002", "wavs/LJ001-0002.wav", {"text": "in 1465", "normalized_text": "in fourteen sixty-five"}),
        ]
        assert corpus.carried == ("text", "normalized_text")
        assert not corpus.notes

    def test_a_table_of_two_columns_and_flac(self, tmp_path):
        touch(tmp_path, "wavs/x1.flac")
        (tmp_path / "metadata.csv").write_text("x1|good day\n")
        assert rows(scan(tmp_path), tmp_path) == [("x1", "wavs/x1.flac", {"text": "good day"})]

    def test_a_missing_recording_is_named_where_it_should_be(self, ljspeech):
        (ljspeech / "wavs/LJ001-0002.wav").unlink()
        assert scan(ljspeech / "metadata.csv").refs[1].uri == str(ljspeech / "wavs/LJ001-0002.wav")

    def test_recordings_that_the_table_does_not_name_are_scored_too(self, ljspeech):
        touch(ljspeech, "wavs/LJ001-0003.wav")
        corpus = scan(ljspeech)
        assert [ref.utterance_id for ref in corpus.refs] == ["LJ001-0001", "LJ001-0002", "wavs/LJ001-0003.wav"]
        assert corpus.notes == (f"{ljspeech}: 1 recording is in no table of the corpus, and scored without a text",)

    def test_a_line_with_other_cells_is_rejected(self, ljspeech):
        (ljspeech / "metadata.csv").write_text(LJ_TEXT + "LJ001-0003|no normalised text\n")
        assert "line 3: the row has 2 cells, the header 3" in scan(ljspeech / "metadata.csv").faulty[0].fault.detail

    def test_the_kept_utterances_are_listed_as_csv(self, ljspeech):
        assert source_kind(str(ljspeech)) == source_kind(f"{ljspeech}/metadata.csv") == SourceKind("csv", False)

    def test_a_table_with_bars_and_a_header_is_a_manifest(self, ljspeech):
        (ljspeech / "metadata.csv").write_text("file|text\nwavs/LJ001-0001.wav|x\n")
        (ref,) = scan(ljspeech / "metadata.csv").refs
        assert ref.utterance_id == "wavs/LJ001-0001.wav"


class TestFilelists:
    @pytest.mark.parametrize(
        ("line", "carried"),
        [
            ("wavs/1.wav|Good day.", {"text": "Good day."}),
            ("wavs/1.wav|12|Good day.", {"speaker": "12", "text": "Good day."}),
            ("wavs/1.wav|Good day.|good day", {"text": "Good day.", "normalized_text": "good day"}),
            ("wavs/1.wav|ann|EN|Good day.", {"speaker": "ann", "language": "EN", "text": "Good day."}),
        ],
    )
    @pytest.mark.parametrize("folder", ["", "filelists/"])
    def test_a_list_of_paths_with_texts(self, tmp_path, line, carried, folder):
        touch(tmp_path, "wavs/1.wav", f"{folder}train.txt")
        (tmp_path / folder / "train.txt").write_text(line + "\n")
        corpus = scan(tmp_path / folder / "train.txt")
        assert rows(corpus, tmp_path) == [("wavs/1.wav", "wavs/1.wav", carried)]

    def test_a_missing_recording_is_looked_for_where_the_list_says(self, tmp_path):
        (tmp_path / "train.txt").write_text("DUMMY/1.wav|Good day.\n")
        assert scan(tmp_path / "train.txt").refs[0].uri == str(tmp_path / "DUMMY/1.wav")

    def test_a_path_may_have_a_bar(self, tmp_path):
        touch(tmp_path, "a.wav|b.wav")
        (tmp_path / "list.txt").write_text("a.wav|b.wav\n")
        assert [ref.utterance_id for ref in scan(tmp_path / "list.txt").refs] == ["a.wav|b.wav"]


# --- audiofolder -------------------------------------------------------------------------------------------------------------


class TestAudioFolder:
    @pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
    @pytest.mark.parametrize("given", ["folder", "table"])
    def test_metadata_beside_the_recordings(self, tmp_path, name, given):
        touch(tmp_path, "data/1.mp3", "data/2.mp3")
        entries = [("data/1.mp3", "good day", "ann"), ("data/2.mp3", "yes, please", "bob")]
        if name == "metadata.csv":
            text = "file_name,transcription,speaker_id\n" + "".join(f'{a},"{b}",{c}\n' for a, b, c in entries)
        else:
            keys = ("file_name", "transcription", "speaker_id")
            text = "".join(json.dumps(dict(zip(keys, entry, strict=True))) + "\n" for entry in entries)
        (tmp_path / name).write_text(text)
        corpus = scan(tmp_path if given == "folder" else tmp_path / name)
        assert rows(corpus, tmp_path) == [
            (path, path, {"text": text, "speaker": speaker}) for path, text, speaker in entries
        ]
        assert corpus.carried == ("text", "speaker")

    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_other_delimiters(self, tmp_path, delimiter):
        touch(tmp_path, "1.mp3")
        (tmp_path / "metadata.csv").write_text(delimiter.join(["file_name", "text"]) + f"\n1.mp3{delimiter}a, b\n")
        assert rows(scan(tmp_path), tmp_path) == [("1.mp3", "1.mp3", {"text": "a, b"})]

    @pytest.mark.parametrize("shelf", [False, True])
    def test_splits_have_their_own_tables(self, tmp_path, shelf):
        touch(tmp_path, "train/a.wav", "test/a.wav", "test/x/b.wav", "README.md")
        (tmp_path / "train/metadata.csv").write_text("file_name,text\na.wav,one\n")
        (tmp_path / "test/metadata.jsonl").write_text('{"file_name": "x/b.wav", "text": "two"}\n')
        corpus = scan(bucket(tmp_path) if shelf else tmp_path)
        assert rows(corpus, tmp_path) == [
            ("test/a.wav", "test/a.wav", {}),
            ("test/x/b.wav", "test/x/b.wav", {"text": "two"}),
            ("train/a.wav", "train/a.wav", {"text": "one"}),
        ]
        assert "1 recording is in no table" in corpus.notes[0]

    def test_paths_with_dots_are_listed_once(self, tmp_path):
        touch(tmp_path, "a.wav")
        (tmp_path / "metadata.csv").write_text("file_name,text\n./a.wav,one\n")
        assert len(scan(tmp_path).refs) == 1

    def test_columns_can_be_chosen(self, tmp_path):
        touch(tmp_path, "a.wav")
        (tmp_path / "metadata.csv").write_text("file_name,text,spoken\na.wav,one,two\n")
        options = ListingOptions(carry=frozenset(), columns={"text": "spoken"}, is_strict=False)
        assert scan(tmp_path, options).refs[0].columns == {"text": "two"}

    @pytest.mark.parametrize("text", ["name,text\na.wav,one\n", "not a table"])
    def test_another_metadata_file_is_none(self, tmp_path, text):
        touch(tmp_path, "a.wav")
        (tmp_path / "metadata.csv").write_text(text)
        assert [ref.utterance_id for ref in scan(tmp_path).refs] == ["a.wav", "metadata.csv"]

    def test_a_folder_of_a_known_layout_is_not_listed_by_workers(self, tmp_path):
        touch(tmp_path, "a.wav")
        assert is_listable(str(tmp_path))
        (tmp_path / "metadata.csv").write_text("file_name,text\na.wav,one\n")
        assert not is_listable(str(tmp_path))


# --- VoxForge ----------------------------------------------------------------------------------------------------------------


class TestVoxForge:
    @pytest.mark.parametrize("given", ["", "ann-20240101-abc"])
    def test_prompts_are_texts(self, tmp_path, given):
        touch(tmp_path, "ann-20240101-abc/wav/a0001.wav", "ann-20240101-abc/wav/a0002.wav")
        (tmp_path / "ann-20240101-abc/etc").mkdir()
        (tmp_path / "ann-20240101-abc/etc/PROMPTS").write_text(
            "ann-20240101-abc/mfc/a0001 GOOD DAY TO YOU\nann-20240101-abc/mfc/a0002 YES\n"
        )
        corpus = scan(tmp_path / given)
        assert rows(corpus, tmp_path) == [
            (
                f"ann-20240101-abc/a000{number}",
                f"ann-20240101-abc/wav/a000{number}.wav",
                {"text": text, "speaker": "ann"},
            )
            for number, text in ((1, "GOOD DAY TO YOU"), (2, "YES"))
        ]
        assert corpus.carried == ("text", "speaker")
