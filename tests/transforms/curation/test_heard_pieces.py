"""The values of pieces that the model hears: SNR, C50, and the lengths of music and second voices."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.diagnosis import FRAME_S, FRAME_VALUES, NO_CAUSE, RATINGS, Diagnosis
from tests.support.outputs import diagnosis_of, scored, write_output
from transforms.curation.presets.presets import choose_rules
from transforms.curation.presets.unchecked import Unchecked, check_any_applies, remark
from transforms.curation.rules import Rule, RuleError, RuleSet
from transforms.curation.selection import Selection
from transforms.curation.trimming.frames import read_parents
from transforms.curation.trimming.parent import TrimmedParent
from transforms.elements import ScoredUtterance
from transforms.output.results import open_results

# Scores of frames with an anomaly in the middle, and the frames before it.
BAD_MIDDLE = [4.0] * 200 + [1.0] * 60 + [4.0] * 200
LENGTH = len(BAD_MIDDLE)
FIRST = slice(0, 200)
LEVELS = ("snr_db", "c50_db")


def heard(diagnosis: Diagnosis, **changes: Any) -> ScoredUtterance:
    """An utterance with an anomaly in the middle, which the presets keep apart from that."""
    item = scored("u", BAD_MIDDLE, diagnosis=diagnosis, **changes)
    utterance = dataclasses.replace(item.utterance, content_hash="u", fingerprint=(7,))
    return dataclasses.replace(item, utterance=utterance)


def with_values(diagnosis: Diagnosis, frames: slice, **values: float) -> Diagnosis:
    """The same diagnosis with other values of some frames."""
    changed = diagnosis.values.copy()
    for name, value in values.items():
        changed[frames, FRAME_VALUES.index(name)] = value
    return dataclasses.replace(diagnosis, values=changed)


def pieces_of(root: Path) -> list[dict[str, Any]]:
    """The pieces of an output, as rows that rules see."""
    with Selection(open_results(str(root)), root) as selection:
        selection.trim()
        selection.apply_rules([])
        return sorted(selection.kept_table().to_pylist(), key=lambda row: row["start_s"])


def trimmed(root: Path, diagnosis: Diagnosis, **changes: Any) -> list[dict[str, Any]]:
    return pieces_of(write_output(root, [heard(diagnosis, **changes)]))


def parent_in(root: Path) -> TrimmedParent:
    """The only utterance of an output, as it is trimmed."""
    connection = open_results(str(root)).connect()
    connection.execute("CREATE TEMP TABLE wholes AS SELECT utterance_id AS parent_id FROM utterances")
    (parent,) = read_parents(connection, "wholes")
    return parent


def moving(seed: int) -> Diagnosis:
    """A diagnosis whose values move as those of speech in a noisy recording do, with three causes."""
    rng = np.random.default_rng(seed)
    spans = {name: [(start, start + 70) for start in rng.integers(0, LENGTH - 70, 2)] for name in ("music", "noise")}
    diagnosis = diagnosis_of(LENGTH, spans={**spans, "second_voice": [(30, 90)]})
    is_speech = np.sin(np.arange(LENGTH) / 9 + seed) > -0.3
    diagnosis.values[:, 0] = np.clip(is_speech + rng.normal(0, 0.05, LENGTH), 0, 1)
    for name, middle, step in (("snr_db", rng.uniform(0, 40), 2.0), ("c50_db", rng.uniform(0, 30), 1.0)):
        diagnosis.values[:, FRAME_VALUES.index(name)] = middle + np.cumsum(rng.normal(0, step, LENGTH))
    return diagnosis


@pytest.mark.parametrize("seed", range(8))
def test_a_piece_that_is_the_whole_recording_has_its_values(tmp_path: Path, seed: int) -> None:
    root = write_output(tmp_path / "out", [heard(moving(seed))])
    (row,) = pq.read_table(root / "utterances").to_pylist()
    values = parent_in(root).heard_values(slice(0, LENGTH))
    assert list(values) == ["music_s", "overlap_s", *LEVELS]
    assert row["music_s"] > 0 < row["overlap_s"]
    assert (values["music_s"], values["overlap_s"]) == pytest.approx((row["music_s"], row["overlap_s"]))
    assert values["snr_db"] == pytest.approx(row["snr_db"], abs=0.3)
    assert values["c50_db"] == pytest.approx(row["c50_db"], abs=0.5)


@pytest.mark.parametrize("seed", range(4))
def test_lengths_of_parts_add_up_to_that_of_the_recording(tmp_path: Path, seed: int) -> None:
    parent = parent_in(write_output(tmp_path / "out", [heard(moving(seed))]))
    parts = [parent.heard_values(slice(start, start + 115)) for start in range(0, LENGTH, 115)]
    for name in ("music_s", "overlap_s"):
        assert sum(part[name] for part in parts) == pytest.approx(parent.row[name], abs=1e-4)


def test_the_noisy_one_of_two_pieces_is_dropped(tmp_path: Path) -> None:
    diagnosis = with_values(diagnosis_of(LENGTH), FIRST, snr_db=8.0)
    root = write_output(tmp_path / "out", [heard(diagnosis)])
    noisy, clean = pieces_of(root)
    assert (noisy["snr_db"], clean["snr_db"]) == pytest.approx((8.0, 30.0), abs=0.1)
    assert (noisy["c50_db"], clean["c50_db"]) == pytest.approx((35.0, 35.0))
    with Selection(open_results(str(root)), tmp_path) as selection:
        selection.trim()
        selection.apply_rules(choose_rules("tts", None, None).rules)
        assert selection.kept_table()["utterance_id"].to_pylist() == [clean["utterance_id"]]
        assert {count.name for count in selection.rule_counts() if count.alone.utterances} == {"trim", "noise"}
        # A model may give ratings, but `frames` does not have them.
        assert selection.unchecked() == [Unchecked("rating", ("mos_ovrl",), 1, False, False)]


@pytest.mark.parametrize(("cause", "column"), [("music", "music_s"), ("second_voice", "overlap_s")])
def test_a_sound_goes_to_the_piece_that_has_it(tmp_path: Path, cause: str, column: str) -> None:
    first, second = trimmed(tmp_path / "out", diagnosis_of(LENGTH, spans={cause: [(300, 400)]}))
    other = {"music_s": "overlap_s", "overlap_s": "music_s"}[column]
    assert (first[column], second[column]) == (0.0, pytest.approx(100 * FRAME_S))
    assert (first[other], second[other]) == (0.0, 0.0)


def test_music_under_louder_noise_counts(tmp_path: Path) -> None:
    spans = {"music": [(0, 100), (380, 400)], "noise": [(0, 60)]}
    first, second = trimmed(tmp_path / "out", diagnosis_of(LENGTH, spans=spans))
    assert (first["music_s"], second["music_s"]) == pytest.approx((100 * FRAME_S, 20 * FRAME_S))


def test_music_under_other_causes_is_spread_evenly_over_them(tmp_path: Path) -> None:
    spans = {"music": [(0, 60)], "noise": [(0, 100), (300, 400)]}
    first, second = trimmed(tmp_path / "out", diagnosis_of(LENGTH, spans=spans))
    assert (first["music_s"], second["music_s"]) == pytest.approx((30 * FRAME_S, 30 * FRAME_S))


def test_music_is_spread_evenly_if_no_frame_names_a_cause(tmp_path: Path) -> None:
    parent = parent_in(write_output(tmp_path / "out", [heard(diagnosis_of(LENGTH, spans={"music": [(0, 230)]}))]))
    unnamed = dataclasses.replace(parent, frame_causes=np.full(LENGTH, NO_CAUSE, np.int8))
    assert unnamed.heard_values(FIRST)["music_s"] == pytest.approx(100 * FRAME_S)


def test_a_piece_has_no_more_music_than_frames(tmp_path: Path) -> None:
    parent = parent_in(write_output(tmp_path / "out", [heard(diagnosis_of(LENGTH, spans={"music": [(90, 100)]}))]))
    longer = dataclasses.replace(parent, row={**parent.row, "music_s": 50.0})
    assert longer.heard_values(FIRST)["music_s"] == 200 * FRAME_S


def test_a_piece_without_enough_speech_has_neither_snr_nor_c50(tmp_path: Path) -> None:
    diagnosis = with_values(diagnosis_of(LENGTH), slice(266, LENGTH), speech=0.3)
    first, second = trimmed(tmp_path / "out", diagnosis)
    assert second["speech_s"] < 0.1
    assert [(first[name] is None, second[name] is None) for name in LEVELS] == [(False, True)] * 2


@pytest.mark.parametrize("missing", ["speech", "music", "second_voice", *LEVELS])
def test_values_without_training_are_null(tmp_path: Path, missing: str) -> None:
    whole = diagnosis_of(LENGTH, spans={"noise": [(0, LENGTH)]})
    columns = {"speech": LEVELS, "music": ("music_s",), "second_voice": ("overlap_s",)}.get(missing, (missing,))
    for row in trimmed(tmp_path / "out", dataclasses.replace(whole, trained=whole.trained - {missing})):
        assert {name for name in ("music_s", "overlap_s", *LEVELS) if row[name] is None} == set(columns)


def test_pieces_have_no_ratings(tmp_path: Path) -> None:
    for row in trimmed(tmp_path / "out", diagnosis_of(LENGTH)):
        assert [row[name] for name in RATINGS] == [None] * 3


def test_pieces_of_an_older_output_have_neither_snr_nor_c50(tmp_path: Path) -> None:
    spans = {"music": [(300, 400)]}
    root = write_output(tmp_path / "out", [heard(diagnosis_of(LENGTH, spans=spans))])
    (path,) = (root / "frames").glob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(LEVELS), path)
    assert [[row[name] for name in LEVELS] for row in pieces_of(root)] == [[None, None]] * 2
    with Selection(open_results(str(root)), tmp_path) as selection:
        selection.trim()
        selection.apply_rules(choose_rules("tts", None, None).rules)
        unchecked = selection.unchecked()
        assert unchecked == [
            Unchecked("rating", ("mos_ovrl",), 1, False, False),
            Unchecked("noise", ("snr_db",), 1, False, False),
            Unchecked("room", ("c50_db",), 1, False, False),
        ]
        assert len(selection.kept_table()) == 1  # the other piece has music
    text = "not applied, for lack of data: rating (mos_ovrl), noise (snr_db), room (c50_db); all values are null"
    assert remark(unchecked, "net@1") == text
    rules = RuleSet("--where", (Rule("noise", "snr_db < 20"),))
    with pytest.raises(RuleError, match=r"only about snr_db; .* pieces of a corpus that an older version scored"):
        check_any_applies(rules, unchecked[1:2], "net@1")
