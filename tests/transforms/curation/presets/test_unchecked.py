"""Rules that an output has no data for are found, and nothing else is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from model.diagnosis import FRAME_VALUES, HEARD_CAUSES
from tests.support.curated import utterance, write_curated
from tests.support.outputs import GOOD, diagnosis_of, scored, write_output
from transforms.curation.kept_utterances import kept_utterances
from transforms.curation.presets.unchecked import OF_DIAGNOSIS, ONLY_HEARD, Unchecked, remark
from transforms.curation.rules import Rule, RuleError, where
from transforms.curation.selection import Selection
from transforms.marks import VOICE_PER_CHANNEL
from transforms.output.results import Results, open_results
from transforms.scoring.verdicts import causes

BAD_MIDDLE = [4.2] * 100 + [1.0] * 60 + [4.2] * 100


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """An output of a model without a diagnosis."""
    return open_results(str(write_curated(tmp_path_factory.mktemp("plain") / "out", diagnosed=False)))


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """An output of a model with a diagnosis, in which one utterance has no speech and so no SNR."""
    root = write_curated(tmp_path_factory.mktemp("heard") / "out", diagnosed=True)
    return open_results(str(write_output(root, [utterance("wind", heard={"speech": 0.0})])))


def unchecked(results: Results, folder: Path, *conditions: str) -> list[Unchecked]:
    with Selection(results, folder) as selection:
        selection.apply_rules([Rule(f"r{number}", condition) for number, condition in enumerate(conditions)])
        return selection.unchecked()


@pytest.mark.parametrize("column", sorted(OF_DIAGNOSIS))
def test_a_column_of_the_diagnosis_is_missed(column: str, plain: Results, heard: Results, tmp_path: Path) -> None:
    condition = f"{column.upper()} < -100 -- score"
    assert unchecked(plain, tmp_path, condition) == [Unchecked("r0", (column,), 5, False, True)]
    found = unchecked(heard, tmp_path, condition)
    assert found == ([Unchecked("r0", (column,), 1, True, False)] if column in ("snr_db", "c50_db") else [])


@pytest.mark.parametrize("cause", HEARD_CAUSES)
def test_a_cause_that_only_a_model_hears_is_missed(cause: str, plain: Results, heard: Results, tmp_path: Path) -> None:
    found = unchecked(plain, tmp_path, f"list_contains(causes, '{cause}')")
    assert bool(found) == (cause in ONLY_HEARD)
    assert unchecked(heard, tmp_path, f"list_contains(causes, '{cause}')") == []


def test_no_sample_proves_the_causes_that_only_a_model_hears() -> None:
    worst = dataclasses.replace(GOOD, dropout_s=3.0, hum_db=0.0, longest_gap_s=9.0)
    proven = causes(worst, ["clipped", "narrow_band", "antiphase"], [VOICE_PER_CHANNEL])
    assert set(HEARD_CAUSES) - set(proven) == ONLY_HEARD


@pytest.mark.parametrize(
    "condition",
    [
        "score < 2",
        "score < 2 -- snr_db",
        "utterance_id = 'snr_db < 2'",
        "coalesce(snr_db, noise_floor_snr_db) < 2",
        "hum_db > -10",
        "channel = 1",
        "copy_of IS NOT NULL",
        "list_contains(causes, 'clipping')",
        "utterance_id = 'noise'",
    ],
)
def test_rules_with_data_are_not_named(condition: str, plain: Results, tmp_path: Path) -> None:
    assert unchecked(plain, tmp_path, condition) == []


def test_utterances_that_another_rule_drops_are_not_counted(heard: Results, tmp_path: Path) -> None:
    assert unchecked(heard, tmp_path, "snr_db < 0", "utterance_id = 'wind'") == []


def test_pieces_lack_the_ratings(tmp_path: Path) -> None:
    made = utterance("whole")
    cut = scored("cut", BAD_MIDDLE)
    cut = dataclasses.replace(
        cut,
        utterance=dataclasses.replace(cut.utterance, content_hash="cut", fingerprint=None),
        diagnosis=diagnosis_of(len(BAD_MIDDLE)),
    )
    results = open_results(str(write_output(tmp_path / "out", [made, cut])))
    with Selection(results, tmp_path) as selection:
        selection.trim()
        selection.apply_rules([Rule("rating", "mos_ovrl < 3"), Rule("low", "score < 2")])
        found = selection.unchecked()
    assert found == [Unchecked("rating", ("mos_ovrl",), 2, True, False)]
    assert remark(found, "net@1") == "rating could not check 2 kept utterances, for which mos_ovrl is null"


def test_a_diagnosis_without_ratings_refuses_rules_that_are_only_about_ratings(tmp_path: Path) -> None:
    heard = utterance("whole")
    assert heard.diagnosis is not None
    diagnosis = dataclasses.replace(
        heard.diagnosis, trained=frozenset(FRAME_VALUES) - {"mos_sig", "mos_bak", "mos_ovrl"}
    )
    results = open_results(str(write_output(tmp_path / "out", [dataclasses.replace(heard, diagnosis=diagnosis)])))
    with pytest.raises(RuleError, match="only about mos_ovrl; all values are null, because only whole utterances have"):
        kept_utterances(results, where="mos_ovrl >= 3")
    with pytest.warns(UserWarning, match=r"for lack of data: rating \(mos_ovrl\); all values are null$"):
        assert kept_utterances(results, preset="tts")["utterance_id"].to_pylist() == ["whole"]


def test_the_python_api_warns_and_refuses(plain: Results, heard: Results) -> None:
    with pytest.warns(UserWarning, match=r"not applied, for lack of data: .*noise \(snr_db\), .*codec \(causes\)"):
        kept = kept_utterances(plain, preset="tts")
    assert kept["utterance_id"].to_pylist() == ["clean", "roomy"]
    assert kept_utterances(heard, preset="emilia", where="utterance_id <> 'wind'")["utterance_id"].to_pylist() == [
        "clean",
        "clipped",
    ]
    with pytest.raises(RuleError, match="the preset emilia needs mos_ovrl, which is null for all utterances"):
        kept_utterances(plain, preset="emilia")
    with pytest.raises(
        RuleError, match="would keep all utterances unchecked, because the rules are only about mos_ovrl"
    ):
        kept_utterances(plain, where="mos_ovrl >= 3")
    with pytest.raises(ValueError, match="preset is 'tss'; must be one of tts, asr"):
        kept_utterances(plain, preset="tss")


def test_a_column_that_does_not_exist_cannot_be_required(plain: Results, tmp_path: Path) -> None:
    rules = dataclasses.replace(where("score > 1"), requires=("mos",))
    with Selection(plain, tmp_path) as selection, pytest.raises(RuleError, match="--where needs the column mos, which"):
        selection.check_data(rules)
