"""Opens an output of `audiosieve score` for reading. Only the files that count are read."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from model.labels import LABEL_SCALES, LabelScale
from transforms import schemas
from transforms.corpus.listing import ListingOptions
from transforms.errors import OutputError
from transforms.output.carried_columns import stored_fields
from transforms.output.ledger import Job, Ledger
from transforms.output.records import names_that_count
from transforms.storage.arrow_filesystem import arrow_filesystem
from transforms.storage.files import absolute, is_local, match
from transforms.storage.storage_errors import reason

# View of the files of `utterances` as they are.
STORED = "stored_utterances"
RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("model_id", pa.string()),
        ("input", pa.string()),
        ("scored", pa.int64()),
        ("rejected", pa.int64()),
        ("skipped", pa.int64()),
        ("audio_s", pa.float64()),
        ("total_s", pa.float64()),
        ("audiosieve", pa.string()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Results:
    """Content of an output folder at the time when it was opened.

    Attributes:
        root: path or URI of the folder.
        records: records of its runs, oldest first; at least one.
        files: names, relative to the root, of the files that count, by table.
    """

    root: str
    records: tuple[dict[str, Any], ...]
    files: dict[str, list[str]]

    @property
    def model_id(self) -> str:
        """Id of the model, name@hash. An output contains scores of one model."""
        return str(self.records[-1]["model_id"])

    @property
    def label_scale(self) -> LabelScale:
        """Label scale of the scores."""
        return LABEL_SCALES[self.records[-1]["label_scale"]]

    @property
    def source(self) -> str:
        """`--input` of the latest run; a local path is absolute."""
        return absolute(self.records[-1]["options"]["input"])

    @property
    def carried(self) -> list[str]:
        """Columns of the corpus that `utterances` contains."""
        return list(self.records[-1]["options"]["carry"])

    @functools.cached_property
    def carried_fields(self) -> list[pa.Field]:
        """Fields of the carried columns, with their types."""
        return stored_fields(self.root, self.files["utterances"], self.carried)

    @property
    def channels(self) -> str:
        """`--channels` of the runs."""
        return str(self.records[-1]["options"].get("channels"))

    @property
    def listing_options(self) -> ListingOptions:
        """Options with which the latest run listed the corpus."""
        options = self.records[-1]["options"]
        return ListingOptions(audio_root=options.get("audio_root"), columns=options.get("columns") or {})

    @property
    def manifests(self) -> dict[str, str]:
        """Versions of the files of the corpus's manifest when the latest run listed it; empty if they were not recorded."""
        return dict(self.records[-1].get("manifests", {}))

    @functools.cached_property
    def runs(self) -> pa.Table:
        """Table with one row for each wave of a local run, and for each job on another runner."""
        rows = [
            {
                **{name: record[name] for name in ("run_id", "model_id", "audio_s")},
                **{name: record["counts"][name] for name in ("scored", "rejected", "skipped")},
                "input": record["options"]["input"],
                "total_s": record["timings"]["total_s"],
                "audiosieve": record["versions"]["audiosieve"],
            }
            for record in self.records
        ]
        return pa.Table.from_pylist(rows, RUNS)

    def dataset(self, table: str) -> ds.Dataset:
        """Returns a table as an Arrow dataset, which reads rows on demand.

        Args:
            table: `utterances`, `frames`, `anomalies` or `rejects`.

        Raises:
            OutputError: a file of the table is missing, or a carried column has the name of another column.
        """
        schema = schemas.SCORE_TABLES[table]
        if table == "utterances":
            schema = self._with_carried(schema)
        names = self.files[table]
        if not names:
            return ds.dataset(schema.empty_table())
        filesystem, prefix = arrow_filesystem(self.root)
        try:
            if not is_local(self.root):
                self._check_files(table, names)  # Arrow checks only local files
            return ds.dataset([f"{prefix}{name}" for name in names], schema, "parquet", filesystem)
        except (OSError, pa.ArrowException) as error:
            raise OutputError(f"{self.root}: {table} cannot be read ({reason(error)})") from error

    def _with_carried(self, schema: pa.Schema) -> pa.Schema:
        for name in self.carried:
            if name in schema.names:  # the column did not exist when the corpus was scored
                raise OutputError(
                    f"{self.root}: the carried column {name!r} has the name of a column of this version; rename it in the "
                    "corpus, and score again with --overwrite"
                )
        return schemas.with_carried(schema, self.carried_fields)

    def _check_files(self, table: str, names: list[str]) -> None:
        existing = {file.uri for file in match(f"{self.root}/{table}/*")}
        missing = [name for name in names if f"{self.root}/{name}" not in existing]
        if missing:
            raise FileNotFoundError(missing[0])

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Returns an in-memory DuckDB with a view of each table, and of `runs`.

        Raises:
            OutputError: a file of a table is missing.
        """
        connection = duckdb.connect()
        for table in schemas.SCORE_TABLES:
            connection.register(STORED if table == "utterances" else table, self.dataset(table))
        connection.execute(f"CREATE TEMP VIEW utterances AS {current_utterances(STORED)}")
        connection.register("runs", self.runs)
        return connection


def current_utterances(stored: str) -> str:
    """Returns the query for rows of `utterances` under the names of this version.

    Rows of an older version have no `active_s`. Their `snr_db` is now `noise_floor_snr_db`, and their `speech_s` is `active_s`.

    Args:
        stored: name of the table of the rows as they are in the files.
    """
    return f"""
        SELECT * REPLACE (
            coalesce(active_s, speech_s) AS active_s,
            CASE WHEN active_s IS NULL THEN snr_db ELSE noise_floor_snr_db END AS noise_floor_snr_db,
            CASE WHEN active_s IS NOT NULL THEN snr_db END AS snr_db
        ) FROM {stored}
    """


def open_results(output: str) -> Results:
    """Opens an output folder, local or in any filesystem that Beam knows.

    Raises:
        OutputError: the folder contains no committed run, was written by another command, or cannot be read.
    """
    root = absolute(str(output)).rstrip("/")
    ledger = Ledger(root, tuple(schemas.SCORE_TABLES))
    try:
        records = ledger.records()
        runs = ledger.runs(Job.SCORE, records)
    except (OSError, ValueError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{root}: cannot be read ({reason(error)})") from error
    if not runs:
        raise OutputError(f"{root}: contains no completed run of `audiosieve score`")
    return Results(root, tuple(runs), {table: names_that_count(records, table) for table in ledger.tables})
