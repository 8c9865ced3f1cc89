"""Repeats of an experiment, summed up on constructed numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from model.bundle import NETWORK_NAMES
from model.evaluation.reproduction import (
    BASELINE,
    MEASURES,
    MISSING,
    PUBLISHED,
    SET,
    TITLES,
    Difference,
    Spread,
    differences,
    markdown,
    network_result,
    notes,
    option_changes,
    progress_text,
    results,
    seconds_left,
    spreads_as_json,
    summarise,
    time_text,
)
from model.evaluation.scored_clips import Clip, ScoredClips, Threshold
from model.frame_truth import Distortion
from model.labels import PSEUDO, pseudo_score


def values(base: float) -> dict[str, float | None]:
    return {measure: base + 0.01 * i for i, measure in enumerate(MEASURES)}


REPEATS = [
    {"quality_net": values(0.5), "lc_att": values(0.7)},
    {"quality_net": values(0.6), "lc_att": values(0.8)},
    {"quality_net": values(0.7), "lc_att": values(0.9)},
]
BOTH = ["quality_net", "lc_att"]


def row(table: str, title: str) -> list[str]:
    """Cells of the first row of a Markdown text that begins with a title."""
    line = next(line for line in table.splitlines() if line.startswith(f"| {title} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_networks_of_the_experiment_are_there() -> None:
    assert set(TITLES) <= set(NETWORK_NAMES)
    assert set(PUBLISHED) <= set(TITLES)
    assert BASELINE == "quality_net"


def test_a_spread_is_mean_and_sample_standard_deviation() -> None:
    spread = Spread.of([1.0, 2.0, 3.0])
    assert (spread.mean, spread.std, spread.repeats) == (2.0, 1.0, 3)
    assert spread.text() == "2.000 ± 1.000"
    assert spread.text("+") == "+2.000 ± 1.000"


def test_one_repeat_has_no_deviation_and_none_has_no_mean() -> None:
    assert Spread.of([0.25]).text() == "0.250"
    assert Spread.of([]) == Spread(None, None, 0)
    assert Spread.of([]).text() == MISSING


def test_what_is_not_defined_is_left_out() -> None:
    assert Spread.of([0.5, None, math.nan, 1.5]) == Spread(1.0, pytest.approx(math.sqrt(0.5)), 2)


def scored(score: list[float], threshold: float) -> ScoredClips:
    """Six clips of two speakers, clean and at two SNRs, as a network scored them."""
    conditions = [(snr_db, speaker) for speaker in "ab" for snr_db in (None, 5.0, -10.0)]
    clips = [
        Clip(
            set_name="set",
            clip_id=f"{speaker}{snr_db}",
            split="test",
            duration_s=1.0,
            labels={},
            snr_db=snr_db,
            distortions=() if snr_db is None else (Distortion("noise", "", 0.0, 1.0),),
            variation=(),
            speech_id=speaker,
            speaker=speaker,
            corpus=None,
            noise_groups=() if snr_db is None else ("rain",),
        )
        for snr_db, speaker in conditions
    ]
    label = np.array([pseudo_score(snr_db) for snr_db, _ in conditions])
    return ScoredClips(clips, np.array(score), [], label, PSEUDO, PSEUDO, Threshold(threshold, 0.9))


def test_what_a_perfect_network_reaches() -> None:
    labels = [pseudo_score(snr_db) for snr_db in (None, 5.0, -10.0)] * 2
    found = network_result(scored(labels, (labels[0] + labels[1]) / 2))
    assert found["values"] == {**dict.fromkeys((*MEASURES, "auc"), pytest.approx(1.0)), "rmse": pytest.approx(0.0)}
    assert found["threshold"]["f1"] == 0.9
    assert set(found["by_snr"]) == {"clean", "5 dB", "-10 dB"}
    assert found["by_snr"]["5 dB"] == {
        "clips": 2,
        "label_mean": pytest.approx(labels[1]),
        "score_mean": pytest.approx(labels[1]),
        "score_variance": pytest.approx(0.0),
    }
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_network_that_says_the_same_of_all_has_no_correlation() -> None:
    found = network_result(scored([0.5] * 6, 0.4))
    assert found["values"]["lcc"] is None
    # It takes all for clean, of which two are.
    assert found["values"]["precision"] == pytest.approx(1 / 3)
    assert found["values"]["recall"] == 1.0
    json.dumps(found, allow_nan=False)


def test_summarise_takes_each_measure_of_each_network_over_the_repeats() -> None:
    found = summarise(REPEATS, BOTH)
    assert found["quality_net"]["lcc"].mean == pytest.approx(0.6)
    assert found["lc_att"]["f1"].mean == pytest.approx(0.84)
    assert found["lc_att"]["f1"].std == pytest.approx(0.1)


def test_a_network_that_failed_in_a_repeat_rests_on_fewer() -> None:
    found = summarise([*REPEATS, {"quality_net": {}, "lc_att": values(0.9)}], BOTH)
    assert found["quality_net"]["lcc"].repeats == 3
    assert found["lc_att"]["lcc"].repeats == 4


def test_differences_are_taken_within_each_repeat() -> None:
    found = differences(REPEATS, BOTH)
    assert set(found) == {"lc_att"}
    # The repeats spread by 0.1, their differences not at all.
    assert found["lc_att"]["srcc"].spread.mean == pytest.approx(0.2)
    assert found["lc_att"]["srcc"].spread.std == pytest.approx(0.0, abs=1e-12)
    assert found["lc_att"]["srcc"].p_value is None
    only_one = differences([{"quality_net": values(0.5), "lc_att": {}}], BOTH)
    assert only_one["lc_att"]["lcc"] == Difference(Spread(None, None, 0), None)
    assert differences(REPEATS, ["lc_att"]) == {}


def test_the_table_stands_beside_the_published_numbers() -> None:
    table = markdown(REPEATS, BOTH, ["first note", "second note"])
    assert "over 3 repeats." in table
    assert row(table, "LC_ATT") == [
        "LC_ATT",
        "0.800 ± 0.100",
        "0.810 ± 0.100",
        "0.820 ± 0.100",
        "0.830 ± 0.100",
        "0.840 ± 0.100",
        "0.919",
        "0.914",
        "0.927",
        "0.781",
        "0.848",
    ]
    assert row(table, "Quality-Net")[-5:] == ["0.876", "0.876", "0.728", "0.777", "0.752"]
    assert "+0.200 ± 0.000" in table
    assert table.endswith("- first note\n- second note\n")


def test_a_number_that_is_not_known_is_a_dash() -> None:
    table = markdown([{"l_att_linear": values(0.5)}], ["l_att_linear"], [])
    assert row(table, "L_ATT without") == [
        "L_ATT without sigmoid",
        "0.500",
        "0.510",
        "0.520",
        "0.530",
        "0.540",
        *5 * [MISSING],
    ]
    assert "over 1 repeat." in table
    assert "Difference" not in table


def test_the_table_of_no_repeat_can_be_asked_for() -> None:
    table = markdown([], BOTH, [])
    assert "over 0 repeats" in table
    assert row(table, "LC_ATT")[1] == MISSING


def test_the_columns_of_the_table_line_up() -> None:
    lines = [line for line in markdown(REPEATS, BOTH, []).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines[:4]}) == 1


def test_plain_is_for_json() -> None:
    found = spreads_as_json(summarise(REPEATS[:1], ["lc_att"]))
    assert found["lc_att"]["lcc"] == {"mean": 0.7, "std": None, "repeats": 1}


def test_results_are_what_the_repeats_say_together() -> None:
    found = results(REPEATS, BOTH)
    assert found["repeats_finished"] == 3
    assert found["summary"]["lc_att"]["lcc"]["mean"] == pytest.approx(0.8)
    assert set(found["differences_from_baseline"]) == {"lc_att"}
    assert found["published"] == PUBLISHED
    json.dumps(found, allow_nan=False)
    assert results([], BOTH)["repeats_finished"] == 0


def test_table_3_of_the_paper_is_copied_without_an_error() -> None:
    """Typed from the paper, in the order LCC, SRCC, precision, recall, F1."""
    table_3 = {
        "quality_net": (0.876, 0.876, 0.728, 0.777, 0.752),
        "l_1dcnn": (0.858, 0.863, 0.926, 0.691, 0.792),
        "l_att": (0.892, 0.894, 0.957, 0.709, 0.815),
        "lc_att": (0.919, 0.914, 0.927, 0.781, 0.848),
    }
    assert {name: tuple(row[measure] for measure in MEASURES) for name, row in PUBLISHED.items()} == table_3


def test_the_p_value_is_that_of_students_paired_test() -> None:
    """Differences 1, 2, 3 and 4 have t = 2.5 / (1.2910 / 2) = 3.873; with 3 degrees of freedom, p is 0.0305."""
    found = Difference.of([2.0, 4.0, 6.0, None, 8.0], [1.0, 2.0, 3.0, 7.0, 4.0])
    assert found.spread == Spread(2.5, pytest.approx(1.29099, abs=1e-5), 4)
    assert found.p_value == pytest.approx(0.0305, abs=1e-4)
    assert found.text() == "+2.500 ± 1.291 (p 0.030)"
    assert Difference.of([1.0, None], [0.5, 1.0]).p_value is None


def test_the_notes_name_what_the_numbers_rest_on() -> None:
    material = {"utterances": {"train": 630, "val": 70, "test": 143}, "speakers": {"test": 12}}
    found = notes(material, ["first choice.", "second choice."], {}, quick=False)
    assert found[0] == "There are 700 training utterances and 143 test utterances of 12 other speakers."
    assert found[1].startswith("70 of the training utterances, from speakers of their own, ")
    assert found[2:4] == ["first choice.", "second choice."]
    warned = notes(material, [], {"l_att": 2, "lc_att": 1}, quick=True)
    assert "This was a quick run" in warned[0]
    assert [note.split(";")[0] for note in warned[-2:]] == [
        "L_ATT could not be trained in 2 of the repeats",
        "LC_ATT could not be trained in 1 of the repeats",
    ]


def test_changes_are_told_as_json_has_the_options() -> None:
    before = {"epochs": 2, "networks": ["l_att"], "gone": 1}
    assert option_changes(before, {"epochs": 5, "networks": ("l_att",), "new": None}) == [
        "epochs was 2, now 5",
        "gone was 1, now None",
    ]
    assert option_changes(before, before) == []


def test_the_rest_takes_as_long_as_what_is_done_took() -> None:
    done = [(SET, 10.0), ("quality_net", 100.0), ("quality_net", 200.0)]
    assert seconds_left(done, ["quality_net", SET]) == 160.0
    # Never trained yet: as the others.
    assert seconds_left(done, ["lc_att"]) == 150.0
    assert seconds_left(done, []) == 0.0
    assert seconds_left([("quality_net", 100.0)], [SET]) == 0.0
    assert seconds_left([(SET, 10.0)], ["quality_net"]) is None
    assert seconds_left([], ["quality_net"]) is None


def test_the_time_left_counts_what_runs_side_by_side() -> None:
    done = [("quality_net", 100.0)]
    # Two trainings of 100 s on two processes, of which one has run for 40 s.
    assert seconds_left(done, ["quality_net", "l_att"], 2, [("quality_net", 40.0)]) == 80.0
    # One that takes longer than estimated is nearly finished.
    assert seconds_left(done, ["quality_net"], 2, [("quality_net", 140.0)]) == 0.0
    assert progress_text(done, ["l_att", "l_att"], 2, [("l_att", 50.0)]) == "1 min so far, about 1 min left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (59.0, "59 s"),
        (61.0, "1 min"),
        (720.0, "12 min"),
        (3599.0, "1 h 00 min"),
        (11_100.0, "3 h 05 min"),
    ],
)
def test_times_are_said_for_people(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_progress_is_said_with_what_is_left_once_that_is_known() -> None:
    assert progress_text([], [SET, "l_att"]) == "0 s so far"
    assert progress_text([(SET, 20.0), ("l_att", 100.0)], ["l_att"]) == "2 min so far, about 2 min left"
