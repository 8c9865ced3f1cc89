"""The list of kept utterances: where they are in their recordings, and how long those are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.decoding import noise
from tests.support.kept_lists import list_all
from tests.support.media import encode_media
from tests.support.outputs import scored, write_output
from transforms.audio.decode import read_audio
from transforms.curation.kept_list import KeptList, ManifestError, manifest_columns, measure_recordings
from transforms.curation.rules import where
from transforms.curation.selection import Selection
from transforms.output.results import open_results


def rows(kept: KeptList, columns: str) -> list[tuple]:
    return [tuple(row.values()) for row in kept.rows(f"SELECT {columns} FROM {kept.table} ORDER BY id")]


def wav(path: Path, samples: int) -> Path:
    soundfile.write(path, np.zeros(samples, np.int16), 16_000)
    return path


def test_recordings_are_whole_and_spans_are_not(tmp_path):
    whole, span = scored("a.wav", 4.0), scored("b", 3.0, uri="/corpus/b.wav", start_s=1.5, duration_s=2.0)
    kept = list_all(tmp_path / "recordings", [whole])
    assert rows(kept, "id, path, whole, start_s, end_s, recording_s") == [
        ("a.wav", "/corpus/a.wav", True, 0.0, 4.0, 4.0)
    ]
    kept = list_all(tmp_path / "spans", [whole, span], has_spans=True)
    assert rows(kept, "id, whole, start_s, end_s, recording_s") == [
        ("a.wav", False, 0.0, 4.0, None),
        ("b", False, 1.5, 3.5, None),
    ]


def test_members_of_archives_are_whole_recordings(tmp_path):
    kept = list_all(tmp_path / "out", [scored("s.tar/x/1.wav", 4.0, uri="/data/s.tar#x/1.wav")], has_spans=True)
    assert kept.has_archives()
    assert rows(kept, "archive, member, whole, recording_s") == [("/data/s.tar", "x/1.wav", True, 4.0)]
    assert kept.unmeasured() == []
    assert not list_all(tmp_path / "files", [scored("a.wav", 4.0)]).has_archives()


def test_trimmed_spans_are_parts_of_their_recording(tmp_path):
    bad_middle = [4.0] * 200 + [1.0] * 60 + [4.0] * 200
    root = write_output(tmp_path / "out", [scored("a.wav", bad_middle), scored("b.wav", 4.0), scored("c.wav", 1.0)])
    with Selection(open_results(str(root)), tmp_path) as selection:
        selection.trim()
        selection.apply_rules(where("score > 2").rules)
        kept = selection.list_kept(has_spans=False)
        assert rows(kept, "id, path, whole, start_s, end_s, recording_s") == [
            ("a.wav#0.000-3.100", "/corpus/a.wav", False, 0.0, 3.1, 7.376),
            ("a.wav#4.288-7.376", "/corpus/a.wav", False, 4.288, 7.376, 7.376),
            ("b.wav", "/corpus/b.wav", True, 0.0, 4.0, 4.0),
        ]


def test_unknown_durations_are_read_from_the_headers(tmp_path):
    long, short = wav(tmp_path / "long.wav", 80_000), wav(tmp_path / "short.wav", 16_000)
    items = [scored(f"u{n}", 4.0, uri=str(long), start_s=1.0 + n, duration_s=0.5) for n in range(2)]
    items.append(scored("u2", 4.0, uri=str(short), start_s=0.25, duration_s=0.5))
    kept = list_all(tmp_path / "out", items, has_spans=True)
    assert kept.unmeasured() == [str(long), str(short)]
    measure_recordings(kept)
    assert rows(kept, "id, recording_s") == [("u0", 5.0), ("u1", 5.0), ("u2", 1.0)]
    assert kept.unmeasured() == []


@pytest.mark.parametrize("kind", ["m4a", "webm", "wma", "aac", ("mp3", "libmp3lame")])
def test_durations_that_no_header_states_are_measured(tmp_path, kind):
    path = tmp_path / "recording"
    path.write_bytes(encode_media(noise(5 * 16_000), 16_000, kind, {"write_xing": "0"} if kind[0] == "mp3" else {}))
    kept = list_all(tmp_path / "out", [scored("a", 4.0, uri=str(path), start_s=1.0)], has_spans=True)
    measure_recordings(kept)
    ((recording_s,),) = rows(kept, "recording_s")
    assert recording_s == pytest.approx(read_audio(str(path)).duration_s)
    assert recording_s == pytest.approx(5.0, abs=0.15)


def test_a_recording_that_cannot_be_measured_is_named(tmp_path):
    item = scored("a", 4.0, uri=str(tmp_path / "gone.wav"), start_s=1.0)
    kept = list_all(tmp_path / "out", [item], has_spans=True)
    with pytest.raises(ManifestError, match=r"gone\.wav: Lhotse cuts need the duration of the recording"):
        measure_recordings(kept)


def test_columns_with_another_meaning_in_manifests_are_left_out(tmp_path):
    assert manifest_columns(["speaker", "offset", "Audio", "text", "member"]) == ["speaker", "text", "member"]
    carry = ["speaker", "offset"]
    kept = list_all(tmp_path / "out", [scored("a", 4.0, columns={"speaker": "s", "offset": "3"})], carry)
    assert kept.columns == ["speaker"]
    assert rows(kept, '"field speaker"') == [("s",)]
