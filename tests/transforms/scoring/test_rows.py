"""Rows of the output tables: every column there, every value where it belongs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.anomalies import Anomaly, find_anomalies
from model.diagnosis import FRAME_VALUES, SPEECH_THRESHOLD
from model.labels import PESQ_WB
from tests.support.outputs import diagnosis_of
from tests.support.outputs import scored as scored_frames
from transforms import schemas
from transforms.elements import Reject, ScoredUtterance
from transforms.errors import Reason, Stage
from transforms.scoring.rows import (
    ANOMALY_ROWS,
    UTTERANCE_ROWS,
    ToRows,
    anomaly_rows,
    frames_table,
    reject_row,
    utterance_row,
)
from transforms.scoring.utterance_score import ModelInfo, Score, summarise

SCORES = np.array([4.0, 3.0, 2.0, 1.0, 3.5], np.float32)
MODEL = ModelInfo("m@1", PESQ_WB, "mean")


def row_of(scored: ScoredUtterance, *anomalies: Anomaly) -> dict:
    return utterance_row(with_anomalies(scored, *anomalies))


def with_anomalies(scored: ScoredUtterance, *anomalies: Anomaly) -> Score:
    return dataclasses.replace(summarise(scored, MODEL), anomalies=anomalies)


@pytest.fixture
def scored(make_utterance):
    def make(utterance_id="a.wav", frame_score=SCORES, **facts):
        return ScoredUtterance(
            make_utterance(utterance_id, num_frames=len(frame_score), **facts), np.asarray(frame_score, np.float32)
        )

    return make


class TestUtteranceRow:
    def test_it_has_the_columns_of_the_schema_in_their_order(self, scored):
        assert list(row_of(scored())) == schemas.UTTERANCES.names

    def test_what_is_known_of_the_utterance(self, scored, make_ref):
        row = row_of(scored("x/a.wav", duration_s=0.5, noise_floor_snr_db=12.5))
        ref = make_ref("x/a.wav")
        assert (row["utterance_id"], row["uri"]) == ("x/a.wav", ref.uri)
        assert (row["size_bytes"], row["source_version"]) == (ref.size_bytes, ref.source_version)
        assert (row["duration_s"], row["sample_rate"], row["channels"]) == (0.5, 16_000, 1)
        assert (row["format"], row["model_id"], row["flags"]) == ("WAV/PCM_16", "m@1", ["very_short"])

    def test_the_facts_are_under_their_own_names(self, scored):
        item = scored(peak_dbfs=-1.5, noise_floor_snr_db=12.5)
        row = row_of(item)
        assert {name: row[name] for name in item.utterance.facts.__slots__} == dataclasses.asdict(item.utterance.facts)

    def test_the_hash_and_the_fingerprint_are_those_of_the_utterance(self, scored):
        item = scored("a.wav")
        utterance = dataclasses.replace(item.utterance, content_hash="ab", fingerprint=(1 << 39, 7))
        table = pa.Table.from_pylist([row_of(dataclasses.replace(item, utterance=utterance))], schemas.UTTERANCES)
        assert table.select(["content_hash", "fingerprint"]).to_pylist() == [
            {"content_hash": "ab", "fingerprint": [1 << 39, 7]}
        ]

    def test_what_the_model_hears_is_under_its_own_names(self, scored):
        heard = {"c50_db": 20.5, "mos_sig": 3.25, "mos_bak": 2.5, "mos_ovrl": 2.25}
        diagnosis = diagnosis_of(5, spans={"music": [(0, 5)], "second_voice": [(3, 5)]}, snr_db=10.0, **heard)
        row = row_of(dataclasses.replace(scored(active_s=3.5, noise_floor_snr_db=40.0), diagnosis=diagnosis))
        assert row["active_s"] == 3.5
        assert (row["speech_s"], row["music_s"], row["overlap_s"]) == pytest.approx((0.08, 0.08, 0.032))
        # 80 ms are too little speech for an SNR.
        assert (row["snr_db"], row["c50_db"], row["noise_floor_snr_db"]) == (None, None, 40.0)
        assert {name: row[name] for name in ("mos_sig", "mos_bak", "mos_ovrl")} == {
            name: heard[name] for name in ("mos_sig", "mos_bak", "mos_ovrl")
        }

    def test_the_statistics_of_the_frames(self, scored):
        row = row_of(scored())
        assert row["num_frames"] == 5
        assert row["score"] == pytest.approx(2.7)
        assert row["frame_score_min"] == 1.0
        assert row["frame_score_p10"] == pytest.approx(1.4)
        assert row["frame_score_std"] == pytest.approx(np.std([4, 3, 2, 1, 3.5]))

    def test_the_anomalies_are_counted_and_summed(self, scored):
        anomalies = [Anomaly(1.0, 1.5, 2.0, 1.0), Anomaly(3.0, 3.25, 2.0, 1.5)]
        row = row_of(scored(), *anomalies)
        assert (row["num_anomalies"], row["anomaly_s"]) == (2, 0.75)

    def test_without_anomalies_there_are_zeros(self, scored):
        row = row_of(scored())
        assert (row["num_anomalies"], row["anomaly_s"]) == (0, 0)

    def test_rows_become_a_table_of_the_schema_without_a_null_where_none_belongs(self, scored):
        rows = [
            row_of(scored("a.wav", noise_floor_snr_db=None)),
            row_of(scored("b.wav", [2.0], bandwidth_hz=3_000), Anomaly(0.0, 0.5, 1.0, 1.0)),
        ]
        table = pa.Table.from_pylist(rows, schemas.UTTERANCES)
        table.validate(full=True)
        nulls = {name for name in table.column_names if table[name].null_count}
        assert nulls == {"noise_floor_snr_db", "hum_db", "channel", "content_hash", "fingerprint", *schemas.HEARD}
        assert table["flags"].to_pylist() == [[], ["narrow_band"]]


class TestOtherRows:
    def test_anomalies_have_a_row_each_under_the_schemas_columns(self, scored):
        rows = anomaly_rows(
            with_anomalies(scored("x"), Anomaly(1.0, 1.5, 2.0, 1.0), Anomaly(3.0, 3.25, 2.5, 1.5, "hum"))
        )
        assert pa.Table.from_pylist(rows, schemas.ANOMALIES).to_pylist() == [
            {"utterance_id": "x", "start_s": 1.0, "end_s": 1.5, "mean_score": 2.0, "min_score": 1.0, "cause": None},
            {"utterance_id": "x", "start_s": 3.0, "end_s": 3.25, "mean_score": 2.5, "min_score": 1.5, "cause": "hum"},
        ]
        assert list(rows[0]) == schemas.ANOMALIES.names

    def test_a_reject_has_the_columns_of_the_schema_and_plain_words(self):
        row = reject_row(Reject("/a.wav", "a.wav", "1-1", Stage.DECODE, Reason.TRUNCATED, "half of it is missing"))
        assert list(row) == schemas.REJECTS.names
        assert pa.Table.from_pylist([row], schemas.REJECTS).to_pylist() == [
            {
                "uri": "/a.wav",
                "utterance_id": "a.wav",
                "source_version": "1-1",
                "stage": "decode",
                "reason": "truncated",
                "detail": "half of it is missing",
            }
        ]


class TestFramesTable:
    def test_each_utterance_has_its_frames_in_order(self, scored):
        table = frames_table([scored("b", [1.0, 2.0]), scored("a", [3.0]), scored("c", [4.0, 5.0, 6.0])])
        assert table.schema.equals(schemas.FRAMES)
        assert table["utterance_id"].to_pylist() == ["b", "b", "a", "c", "c", "c"]
        assert table["frame"].to_pylist() == [0, 1, 0, 0, 1, 2]
        assert table["start_s"].to_pylist() == pytest.approx([0, 0.016, 0, 0, 0.016, 0.032])
        assert table["score"].to_pylist() == [1, 2, 3, 4, 5, 6]
        table.validate(full=True)

    def test_starts_are_right_to_a_tenth_of_a_frame_after_ten_hours(self, scored):
        frames = 36_000 * 1_000 // 16
        table = frames_table([scored("long", np.zeros(frames))])
        assert table["start_s"][frames - 1].as_py() == pytest.approx((frames - 1) * 0.016, abs=0.0016)

    def test_speech_and_causes_are_those_that_the_model_hears(self):
        diagnosis = diagnosis_of(3, speech=0.68, spans={"codec": [(1, 2)]})
        both = [scored_frames("a", [1.0, 2.0, 3.0], diagnosis=diagnosis), scored_frames("b", [4.0])]
        table = frames_table(both)
        table.validate(full=True)
        assert table["speech"].to_pylist() == pytest.approx([0.65, 0.65, 0.65, None])
        assert table["cause"].to_pylist() == [None, "codec", None, None]

    @given(st.floats(0, 1, width=32))
    def test_a_rounded_probability_stays_on_its_side_of_the_threshold(self, probability):
        item = scored_frames("a", [1.0], diagnosis=diagnosis_of(1, speech=probability))
        (stored,) = frames_table([item])["speech"].to_pylist()
        assert 0 <= probability - stored < 0.0501
        assert (stored >= SPEECH_THRESHOLD) == (probability >= SPEECH_THRESHOLD)

    def test_snr_and_c50_are_rounded_and_null_without_speech(self):
        diagnosis = diagnosis_of(5, c50_db=24.6)
        diagnosis.values[:, FRAME_VALUES.index("snr_db")] = [-45.0, -0.4, 12.5001, 61.0, 20.0]
        diagnosis.values[4, 0] = 0.04
        table = frames_table([scored_frames("a", [1.0] * 5, diagnosis=diagnosis), scored_frames("b", [4.0])])
        assert table["snr_db"].to_pylist() == [-30.0, 0.0, 13.0, 60.0, None, None]
        assert not np.signbit(table["snr_db"].to_pylist()[1])
        assert table["c50_db"].to_pylist() == [25.0] * 4 + [None, None]
        assert table["speech"].to_pylist()[4:] == [0.0, None]

    @pytest.mark.parametrize(("missing", "null"), [("speech", {"snr_db", "c50_db"}), ("c50_db", {"c50_db"})])
    def test_levels_without_training_are_null(self, missing, null):
        diagnosis = diagnosis_of(3)
        diagnosis = dataclasses.replace(diagnosis, trained=diagnosis.trained - {missing})
        table = frames_table([scored_frames("a", [1.0] * 3, diagnosis=diagnosis)])
        assert {name for name in ("snr_db", "c50_db") if table[name].null_count} == null

    def test_ids_beyond_ascii(self, scored):
        assert frames_table([scored("Ünï 音.wav", [1.0])])["utterance_id"].to_pylist() == ["Ünï 音.wav"]


class TestToRows:
    def outputs(self, scored):
        main, tagged = [], {UTTERANCE_ROWS: [], ANOMALY_ROWS: []}
        for output in ToRows(MODEL).process(scored):
            if isinstance(output, ScoredUtterance):
                main.append(output)
            else:
                tagged[output.tag].append(output.value)
        return main, tagged

    def test_an_even_utterance_gives_itself_and_one_row(self, scored):
        item = scored(frame_score=np.full(300, 3.0))
        main, tagged = self.outputs(item)
        assert main == [item]
        assert [row["utterance_id"] for row in tagged[UTTERANCE_ROWS]] == ["a.wav"]
        assert tagged[ANOMALY_ROWS] == []

    def test_the_anomalies_in_its_row_are_those_in_the_other_table(self, scored):
        frame_score = np.full(600, 4.0)
        frame_score[100:150] = frame_score[400:430] = 1.5
        _, tagged = self.outputs(scored(frame_score=frame_score))
        (row,) = tagged[UTTERANCE_ROWS]
        assert row["num_anomalies"] == len(tagged[ANOMALY_ROWS]) == 2
        lengths = [anomaly["end_s"] - anomaly["start_s"] for anomaly in tagged[ANOMALY_ROWS]]
        assert row["anomaly_s"] == pytest.approx(sum(lengths))
        found = find_anomalies(frame_score, PESQ_WB.span)
        assert [anomaly["start_s"] for anomaly in tagged[ANOMALY_ROWS]] == [anomaly.start_s for anomaly in found]
