"""Ledger of an output folder: which runs wrote it, and which of its files count.

    OUT/<table>/<run_id>-<random>.parquet        files that a pipeline wrote
    OUT/_runs/<run_id>.json                      record of a committed run, with the names of its files
    OUT/_runs/<run_id>.pending/                  request and plan of a run on another machine

A run is visible once its record exists, and not before. A record may also name files of earlier runs that its own files
replace: by new rows, or, if its job is `COMPACT`, by the same rows in fewer files. Files that no record names are debris of an
unfinished run, unless they belong to a pending run.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from model.local_files import DRAFT_PREFIX
from transforms.errors import OutputError
from transforms.storage.atomic_files import DRAFT, write_bytes
from transforms.storage.files import PROBE, has_wildcards, is_local, probe
from transforms.storage.gcs import SCHEME as CLOUD_STORAGE
from transforms.storage.gcs import open_in_parts
from transforms.storage.storage_errors import reason

RUNS = "_runs"
PENDING = ".pending"
RECEIPT = ".receipt"
_REQUEST = "pending.json"
_RUN_ID = r"\d{8}T\d{6}Z-[0-9a-f]{6}"
# Files of tables. Older versions left temporary folders of Beam, too.
_TABLE_FILE = re.compile(rf"/(({_RUN_ID})-[^/]*\.parquet$|beam-temp-{_RUN_ID}[^/]*)")
# Files in `_runs` that belong to no committed run. Older versions wrote a record to `.draft` first.
_RUN_FILE = re.compile(rf"/(?:({_RUN_ID})(?:\.draft|\{RECEIPT}|\{PENDING}/[^/]+)|{PROBE}|{DRAFT})$")


class Job(enum.StrEnum):
    """Command that wrote a record."""

    SCORE = "score"
    SYNTHESIZE = "synthesize"
    REPRODUCE = "reproduce"
    # Not a run: its record only names the files that now hold the rows of earlier runs.
    COMPACT = "compact"


@dataclasses.dataclass(frozen=True)
class Ledger:
    """The runs of one output folder, in any filesystem that Beam knows.

    Attributes:
        root: path or URI of the folder.
        tables: names of its tables.
    """

    root: str
    tables: tuple[str, ...]

    @staticmethod
    def new_run_id() -> str:
        """Returns a new run id: the time (UTC) and a random part, so that ids sort by time."""
        return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"

    def prefix(self, table: str, run_id: str) -> str:
        """Returns the prefix of the paths of a run's files of one table."""
        return FileSystems.join(self.root, table, run_id)

    def name_of(self, path: str) -> str:
        """Returns the name of a file in the folder, relative to the root."""
        return path.removeprefix(FileSystems.join(self.root, "")).lstrip("/")

    def beside_record(self, run_id: str, ending: str) -> str:
        """Returns the path of a file that belongs to a run and is deleted by its commit.

        Args:
            run_id: id of the run.
            ending: text after the run id in the path: `RECEIPT`, or `PENDING` with `/` and a file name.
        """
        return FileSystems.join(self.root, RUNS, *f"{run_id}{ending}".split("/"))

    def receipt(self, run_id: str) -> str:
        """Returns the path of the receipt of a run."""
        return self.beside_record(run_id, RECEIPT)

    def check_writable(self) -> None:
        """Creates the folder, and creates and deletes a file in it.

        Raises:
            OutputError: one of these steps fails.
        """
        if has_wildcards(self.root):
            raise OutputError(f"{self.root}: the name of an output folder must not contain *, ? or [")
        try:
            probe(FileSystems.join(self.root, RUNS))
        except (OSError, ValueError) as error:  # ValueError: no filesystem has this scheme
            raise OutputError(f"{self.root}: cannot write there ({reason(error)})") from error

    def records(self) -> list[dict[str, Any]]:
        """Returns all records, oldest first.

        Raises:
            OutputError: a record cannot be read.
        """
        records = []
        for uri in sorted(self._record_paths()):
            try:
                with FileSystems.open(uri) as file:
                    record = json.loads(file.read())
                    records.append({**record, "files": record["files"], "replaces": record["replaces"]})
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise OutputError(
                    f"{uri}: the run's record cannot be read ({type(error).__name__}: {error})"
                ) from error
        return records

    def runs(self, job: Job, records: Iterable[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        """Returns the records of runs, without compactions.

        Args:
            job: command that all runs must belong to.
            records: records to select from; by default all of the folder.

        Raises:
            OutputError: a run belongs to another command, or a record cannot be read.
        """
        runs = [
            record for record in (self.records() if records is None else records) if record.get("job") != Job.COMPACT
        ]
        for record in runs:
            if record.get("job") != job:
                raise OutputError(
                    f"{self.root}: was written by `audiosieve {record.get('job')}`; choose another folder"
                )
        return runs

    def is_committed(self, run_id: str) -> bool:
        """Returns whether a run has a record.

        Raises:
            OutputError: a record cannot be read.
        """
        return run_id in {record["run_id"] for record in self.records()}

    def committed(self, table: str) -> list[str]:
        """Returns the paths of the files of a table that count, sorted.

        Raises:
            OutputError: a record cannot be read.
        """
        return [FileSystems.join(self.root, name) for name in names_that_count(self.records(), table)]

    def rows(self, table: str, columns: list[str], files: Iterable[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yields batches of some columns of a table.

        Args:
            table: name of the table.
            columns: names of the columns.
            files: names of the files to read; by default those that count.

        Raises:
            OutputError: a record cannot be read.
        """
        uris = self.committed(table) if files is None else (FileSystems.join(self.root, name) for name in files)
        for uri in uris:
            with open_in_parts(uri) as file:
                yield from pq.ParquetFile(file).iter_batches(columns=columns)

    def begin(self, run_id: str, request: dict[str, Any]) -> None:
        """Marks a run as pending: another machine executes it, and commits it even if this process has ended.

        Args:
            run_id: id of the run.
            request: part of the record that is known before the run.
        """
        path = self.beside_record(run_id, f"{PENDING}/{_REQUEST}")
        write_bytes(path, json.dumps(request, indent=2).encode())

    def request(self, run_id: str) -> dict[str, Any]:
        """Returns the request of a pending run."""
        with FileSystems.open(self.beside_record(run_id, f"{PENDING}/{_REQUEST}")) as file:
            request: dict[str, Any] = json.loads(file.read())
            return request

    def pending(self) -> list[str]:
        """Returns the ids of the runs that were begun and are neither committed nor abandoned, oldest first.

        Raises:
            OutputError: a record cannot be read.
        """
        done = {record["run_id"] for record in self.records()}
        requests = _list(FileSystems.join(self.root, RUNS, f"*{PENDING}", _REQUEST))
        return sorted({path.split("/")[-2].removesuffix(PENDING) for path in requests} - done)

    def abandon(self, run_id: str) -> None:
        """Deletes the request and plan of a pending run. Files that it wrote, or still writes, do not count."""
        folder = FileSystems.join(self.root, RUNS, f"{run_id}{PENDING}")
        # The request marks the run as pending, so it is deleted first. Without it, the other files are debris.
        self._delete([FileSystems.join(folder, _REQUEST)])
        self._delete(_list(FileSystems.join(folder, "*")))
        if is_local(folder):
            shutil.rmtree(folder, ignore_errors=True)

    def commit(
        self, run_id: str, record: dict[str, Any], files: Iterable[str], replaces: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Makes a run visible in one step, and then deletes the files that it replaces.

        Args:
            run_id: id of the run.
            record: the record without its id and files.
            files: names of the run's files.
            replaces: names of files of earlier runs whose rows are now in the run's files.

        Returns:
            The record as written.
        """
        record = {**record, "run_id": run_id, "files": sorted(files), "replaces": sorted(replaces)}
        write_bytes(FileSystems.join(self.root, RUNS, f"{run_id}.json"), json.dumps(record, indent=2).encode())
        self._delete(FileSystems.join(self.root, name) for name in record["replaces"])
        self._delete([self.receipt(run_id)])
        self.abandon(run_id)
        return record

    def write_missing(self, run_id: str, files: Sequence[str], schemas: Mapping[str, pa.Schema]) -> list[str]:
        """Writes an empty file for each table without files, because readers of Parquet expect one. Only for the first run.

        Args:
            run_id: id of the run to which the empty files belong.
            files: names of the run's files.
            schemas: schemas of the tables, by name.

        Returns:
            Names of the empty files, for `commit`.
        """
        names: list[str] = []
        if self._record_paths():
            return names
        for table, schema in schemas.items():
            if any(name.startswith(f"{table}/") for name in files):
                continue
            path = f"{self.prefix(table, run_id)}-empty.parquet"
            with FileSystems.create(path) as file:
                pq.write_table(schema.empty_table(), file, compression="zstd")
            names.append(self.name_of(path))
        return names

    def discard(self, run_id: str) -> None:
        """Deletes the files of a run that will not be committed. Keeps those of a committed run."""
        if self.is_committed(run_id):
            return
        for table in self.tables:
            self._delete(_list(f"{self.prefix(table, run_id)}-*"))

    def clear(self, job: Job) -> None:
        """Deletes all runs, also pending ones. Deletes the records first, so that no run is ever partly visible.

        Args:
            job: command that all runs must belong to.

        Raises:
            OutputError: a run belongs to another command, or a record cannot be read.
        """
        self.runs(job)
        pending = self.pending()
        self._delete(self._record_paths())
        for run_id in pending:
            self.abandon(run_id)
        self.remove_debris()

    def remove_debris(self) -> list[str]:
        """Deletes files of unfinished runs, and files that a later run replaced.

        Returns:
            Paths of the deleted files and folders.

        Raises:
            OutputError: a record cannot be read.
        """
        records, pending = self.records(), set(self.pending())
        kept = {FileSystems.join(self.root, name) for table in self.tables for name in names_that_count(records, table)}
        debris = set()
        for table in self.tables:
            for uri in _list(FileSystems.join(self.root, table, "**")):
                match = _TABLE_FILE.search(uri)
                if uri not in kept and match and match[2] not in pending:
                    is_in_temporary_folder = match[1].startswith("beam-temp") and is_local(uri)
                    debris.add(uri[: match.end()] if is_in_temporary_folder else uri)
        for uri in _list(FileSystems.join(self.root, RUNS, "**")):
            match = _RUN_FILE.search(uri)
            if match and match[1] not in pending:
                folder = uri.rpartition("/")[0]
                debris.add(folder if folder.rpartition("/")[2].startswith(DRAFT_PREFIX) else uri)
        return self._delete(debris)

    def _record_paths(self) -> list[str]:
        return _list(FileSystems.join(self.root, RUNS, "*.json"))

    def _delete(self, uris: Iterable[str]) -> list[str]:
        existing = sorted(uris)
        if FileSystems.get_scheme(self.root) != CLOUD_STORAGE:  # on Cloud Storage, a missing object raises no error
            existing = [uri for uri in existing if FileSystems.exists(uri)]
        if existing:
            FileSystems.delete(existing)
        return existing


def names_that_count(records: Iterable[dict[str, Any]], table: str) -> list[str]:
    """Returns the names of the files of a table that runs committed and no later run replaced, sorted."""
    names: set[str] = set()
    replaced: set[str] = set()
    for record in records:
        names.update(name for name in record["files"] if name.startswith(f"{table}/"))
        replaced.update(record["replaces"])
    return sorted(names - replaced)


def count_rows(ledger: Ledger, table: str, files: Iterable[str]) -> int:
    """Returns the number of rows in those files that belong to a table, from their footers.

    Args:
        ledger: ledger of the folder.
        table: name of the table.
        files: names of files of any table.
    """
    total = 0
    for name in files:
        if name.startswith(f"{table}/"):
            with open_in_parts(FileSystems.join(ledger.root, name)) as file:
                total += pq.ParquetFile(file).metadata.num_rows
    return total


def _list(pattern: str) -> list[str]:
    return [metadata.path for metadata in FileSystems.match([pattern])[0].metadata_list]
