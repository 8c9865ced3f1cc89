"""Schemas have units in their names, a description of each column, and nulls only where announced."""

from __future__ import annotations

import pyarrow as pa
import pytest

from model.diagnosis import RATINGS
from model.labels import LABEL_SCALES
from transforms import schemas

ALL = {**schemas.SCORE_TABLES, **schemas.SYNTHESIS_TABLES}
FIELDS = [pytest.param(field, id=f"{table}.{field.name}") for table, schema in ALL.items() for field in schema]
FLOATS = [parameter for parameter in FIELDS if pa.types.is_floating(parameter.values[0].type)]
UNITS = ("_s", "_bytes", "_dbfs", "_db", "_hz", "_ratio")
# Floats that have no unit but the scale of the model, or full scale.
WITHOUT_UNIT = (
    "score",
    "frame_score_",
    "mean_score",
    "min_score",
    "dc_offset",
    "pesq_",
    "pseudo",
    "mos_",
    "distillmos",
    "speech",
)

DESIGN = {
    "utterances": "utterance_id uri duration_s sample_rate channels format size_bytes source_version num_frames score "
    "frame_score_p10 frame_score_min frame_score_std anomaly_s num_anomalies peak_dbfs rms_dbfs clipped_ratio "
    "silence_ratio lead_silence_s trail_silence_s longest_gap_s active_s dropouts dropout_s dc_offset bandwidth_hz "
    "noise_floor_snr_db hum_db speech_s music_s overlap_s snr_db c50_db mos_sig mos_bak mos_ovrl "
    "flags causes model_id content_hash fingerprint",
    "frames": "utterance_id frame start_s score level_dbfs peak_dbfs bandwidth_hz clipped dropout_s speech cause "
    "snr_db c50_db",
    "anomalies": "utterance_id start_s end_s mean_score min_score cause",
    "rejects": "uri utterance_id stage reason detail",
}


@pytest.mark.parametrize("table", DESIGN)
def test_columns_are_those_of_the_design_in_order(table):
    promised = DESIGN[table].split()
    assert [name for name in schemas.SCORE_TABLES[table].names if name in promised] == promised


def test_the_tables_of_a_run_are_those_of_the_design():
    assert list(schemas.SCORE_TABLES) == list(DESIGN)


def test_utterances_have_further_columns_for_the_span_and_the_channel():
    assert sorted(schemas.UTTERANCES.names) == sorted([*DESIGN["utterances"].split(), "start_s", "channel"])


@pytest.mark.parametrize("field", FIELDS)
def test_every_column_has_a_description(field):
    description = field.metadata[b"description"].decode()
    assert len(description) > 5
    assert description == description.strip()


@pytest.mark.parametrize("field", FLOATS)
def test_every_float_has_its_unit_in_its_name(field):
    assert field.name.endswith(UNITS) or field.name.startswith(WITHOUT_UNIT)


def test_only_some_columns_of_utterances_may_be_null():
    nullable = {
        (table, field.name) for table, schema in schemas.SCORE_TABLES.items() for field in schema if field.nullable
    }
    columns = ("noise_floor_snr_db", "hum_db", "channel", "content_hash", "fingerprint", *schemas.HEARD)
    heard = {("frames", name) for name in ("speech", "cause", "snr_db", "c50_db")} | {("anomalies", "cause")}
    assert nullable == heard | {("utterances", column) for column in columns}


def test_only_labels_truth_and_corpus_of_a_clip_may_be_null():
    labels = {scale.column for scale in LABEL_SCALES.values()} | {*RATINGS, "distillmos"}
    truth = {"reference", "disturbance", "asymmetric_disturbance", "distortions", "speech"}
    values = {"snr_db", "speech_snr_db", "c50_db", "corpus"}
    assert {field.name for field in schemas.CLIPS if field.nullable} == labels | truth | values


def test_both_jobs_write_the_same_rejects():
    assert schemas.SYNTHESIS_TABLES["rejects"] is schemas.SCORE_TABLES["rejects"]
