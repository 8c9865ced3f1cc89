"""Opening an output: only committed rows are visible."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.diagnosis import RATINGS
from tests.support.outputs import diagnosis_of, rejected, scored, write_output
from tests.support.storage.local_buckets import bucket
from transforms import schemas
from transforms.errors import OutputError
from transforms.output.ledger import Ledger
from transforms.output.results import open_results
from transforms.output.rewrite import rewrite_without

BAD_MIDDLE = [4.0] * 400 + [1.0] * 100 + [4.0] * 400


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("results") / "out"
    write_output(root, [scored("a", 4.0), scored("b", BAD_MIDDLE)], [rejected("c")])
    write_output(root, [scored("d", 2.0, noise_floor_snr_db=None)])
    return write_output(root, [scored("never", 1.0)], [rejected("never too")], commit=False)


def test_tables_have_the_rows_of_all_committed_runs(output):
    results = open_results(str(output))
    rows = results.dataset("utterances").to_table().to_pylist()
    assert {row["utterance_id"]: row["score"] for row in rows} == pytest.approx(
        {"a": 4.0, "b": (4.0 * 800 + 100) / 900, "d": 2.0}
    )
    assert results.dataset("rejects").to_table()["utterance_id"].to_pylist() == ["c"]
    assert results.dataset("anomalies").to_table()["utterance_id"].to_pylist() == ["b"]
    assert results.dataset("frames").count_rows() == sum(row["num_frames"] for row in rows)


def test_the_views_are_the_tables_and_the_runs(output):
    connection = open_results(str(output)).connect()
    count = "SELECT count(*) FROM "
    assert [connection.execute(count + name).fetchone() for name in ("utterances", "rejects", "anomalies", "runs")] == [
        (3,),
        (1,),
        (1,),
        (2,),
    ]
    assert connection.execute("SELECT sum(scored), sum(rejected), max(model_id) FROM runs").fetchone() == (
        3,
        1,
        "some_net@0123456789ab",
    )


def test_old_names_of_columns_are_shown_under_the_new_ones(tmp_path):
    """Before models had a diagnosis, `snr_db` and `speech_s` were measured on the samples."""
    root = write_output(tmp_path / "out", [scored("old", 4.0, noise_floor_snr_db=12.0, active_s=3.0)])
    (path,) = (root / "utterances").glob("*.parquet")
    table = pq.read_table(path).drop_columns(["speech_s", *schemas.HEARD])
    renamed = {"noise_floor_snr_db": "snr_db", "active_s": "speech_s"}
    pq.write_table(table.rename_columns([renamed.get(name, name) for name in table.column_names]), path)
    (frames,) = (root / "frames").glob("*.parquet")
    pq.write_table(pq.read_table(frames).drop_columns(["speech", "cause"]), frames)
    write_output(root, [scored("new", 4.0, noise_floor_snr_db=20.0, active_s=2.0)])
    diagnosis = diagnosis_of(249, snr_db=30.0)
    write_output(root, [scored("heard", 4.0, noise_floor_snr_db=20.0, active_s=2.0, diagnosis=diagnosis)])
    unrated = dataclasses.replace(diagnosis, trained=diagnosis.trained - set(RATINGS))
    write_output(root, [scored("heard without ratings", 4.0, noise_floor_snr_db=20.0, active_s=2.0, diagnosis=unrated)])
    connection = open_results(str(root)).connect()
    names = "utterance_id, noise_floor_snr_db, snr_db, active_s, speech_s"
    assert connection.execute(f"SELECT {names} FROM utterances ORDER BY ALL").fetchall() == [
        ("heard", 20.0, 30.0, 2.0, pytest.approx(249 * 0.016)),
        ("heard without ratings", 20.0, 30.0, 2.0, pytest.approx(249 * 0.016)),
        ("new", 20.0, None, 2.0, 2.0),
        ("old", 12.0, None, 3.0, 3.0),
    ]
    counts = "SELECT utterance_id, count(speech), count(cause) FROM frames GROUP BY ALL ORDER BY ALL"
    assert connection.execute(counts).fetchall() == [
        ("heard", 249, 0),
        ("heard without ratings", 249, 0),
        ("new", 0, 0),
        ("old", 0, 0),
    ]


def test_a_carried_column_with_the_name_of_a_newer_column_is_refused(tmp_path):
    root = write_output(tmp_path / "out", [scored("a", 4.0, columns={"mos": "3"})], carry=["mos"])
    (record,) = (root / "_runs").glob("*.json")
    record.write_text(record.read_text().replace('["mos"]', '["mos_ovrl"]').replace('"mos"', '"mos_ovrl"'))
    with pytest.raises(OutputError, match="the carried column 'mos_ovrl' has the name of a column of this version"):
        open_results(str(root)).connect()


def test_replaced_rows_do_not_count(tmp_path):
    root = write_output(tmp_path / "out", [scored("a", 4.0), scored("b", 3.0)])
    ledger = Ledger(str(root), tuple(schemas.SCORE_TABLES))
    run_id = Ledger.new_run_id()
    ledger.commit(run_id, ledger.records()[0], *rewrite_without(ledger, run_id, {"a"}))
    assert open_results(str(root)).dataset("utterances").to_table()["utterance_id"].to_pylist() == ["b"]


def test_a_table_without_rows_has_its_columns(tmp_path):
    results = open_results(
        str(write_output(tmp_path / "out", [scored("a", 4.0, columns={"speaker": "x"})], carry=["speaker"]))
    )
    assert results.dataset("rejects").to_table().schema.names == schemas.REJECTS.names
    assert results.dataset("utterances").to_table()["speaker"].to_pylist() == ["x"]
    assert results.carried == ["speaker"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "contains no completed run"),
        (lambda root: write_output(root, [scored("a", 4.0)], commit=False), "contains no completed run"),
        (
            lambda root: Ledger(str(root), ("clips",)).commit("1", {"job": "synthesize"}, []),
            "written by `audiosieve synthesize`",
        ),
    ],
)
def test_a_folder_without_a_completed_run_is_refused(tmp_path, make, message):
    make(tmp_path / "out")
    with pytest.raises(OutputError, match=message):
        open_results(str(tmp_path / "out"))


def test_any_filesystem_of_beam_is_read_and_a_missing_file_is_named(tmp_path):
    root = write_output(tmp_path / "out", [scored("a", 4.0)])
    query = "SELECT count(*) FROM frames JOIN utterances USING (utterance_id)"
    for place in (str(root), bucket(root)):
        assert open_results(place).connect().execute(query).fetchone() == (249,)
    (file,) = (root / "frames").iterdir()
    file.unlink()
    for place in (str(root), bucket(root)):
        with pytest.raises(OutputError, match=f"frames cannot be read.*{file.name}"):
            open_results(place).connect()
