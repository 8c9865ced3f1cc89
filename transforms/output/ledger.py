"""Ledger of an output folder: which runs wrote it, and which of its files count.

    OUT/<table>/<run_id>-<random>.parquet        files that a pipeline wrote
    OUT/_runs/<run_id>.json                      record of a committed run, with the names of its files
    OUT/_runs/<run_id>.pending/                  request and plan of a run on another machine

A run is visible once its record exists, and not before. Its files are on the disk by then. A record may also name files of
earlier runs that its own files replace: by new rows; if its job is `COMPACT`, by the same rows in fewer files; or, if it is
`PRUNE`, by the same rows without those of deleted recordings. Files that no record names are debris of an unfinished run,
unless they belong to a pending run.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from model.local_files import DRAFT_PREFIX
from transforms.errors import OutputError
from transforms.output.records import RUNS, names_that_count, read_record, read_records, record_path, record_paths
from transforms.storage.atomic_files import DRAFT
from transforms.storage.deletion import delete_files
from transforms.storage.durable_files import sync_all, sync_folder
from transforms.storage.files import PROBE, has_wildcards, is_local, probe
from transforms.storage.gcs.client import open_in_parts
from transforms.storage.new_files import create_file
from transforms.storage.storage_errors import reason

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
    # Not a run: its record names the files that now hold the rows of earlier runs, without those of deleted recordings.
    PRUNE = "prune"
    # Not a run: its record replaces all files by nothing, until the records before it are deleted.
    CLEAR = "clear"


_NOT_RUNS = {Job.COMPACT, Job.PRUNE, Job.CLEAR}


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
            if is_local(self.root):
                runs = Path(self.root, RUNS).absolute()
                sync_all(folders=[runs, *runs.parents])
        except (OSError, ValueError) as error:  # ValueError: no filesystem has this scheme
            raise OutputError(f"{self.root}: cannot write there ({reason(error)})") from error

    def records(self) -> list[dict[str, Any]]:
        """Returns all records, oldest first. An incomplete one is set aside with a warning.

        Raises:
            OutputError: a record cannot be read.
        """
        return read_records(self.root)

    def runs(self, job: Job, records: Iterable[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        """Returns the records of runs, without those that only rewrite the rows of runs.

        Args:
            job: command that all runs must belong to.
            records: records to select from; by default all of the folder.

        Raises:
            OutputError: a run belongs to another command, or a record cannot be read.
        """
        runs = [
            record for record in (self.records() if records is None else records) if record.get("job") not in _NOT_RUNS
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
            OutputError: the record cannot be read.
        """
        return read_record(record_path(self.root, run_id)) is not None

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
        create_file(self._request_path(run_id), json.dumps(request, indent=2).encode())
        if is_local(self.root):
            sync_folder(FileSystems.join(self.root, RUNS))

    def request(self, run_id: str) -> dict[str, Any]:
        """Returns the request of a pending run."""
        with FileSystems.open(self._request_path(run_id)) as file:
            request: dict[str, Any] = json.loads(file.read())
            return request

    def is_pending(self, run_id: str) -> bool:
        """Returns whether a run was begun, and was neither committed nor abandoned since."""
        return bool(FileSystems.exists(self._request_path(run_id)))

    def _request_path(self, run_id: str) -> str:
        return self.beside_record(run_id, f"{PENDING}/{_REQUEST}")

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
        self,
        run_id: str,
        record: dict[str, Any],
        files: Iterable[str],
        replaces: Iterable[str] = (),
        check: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Makes a run visible in one step, and then deletes the files that it replaces.

        If another attempt to commit the run was faster, its record counts, and the files of this attempt are deleted.

        Args:
            run_id: id of the run.
            record: the record without its id and files.
            files: names of the run's files.
            replaces: names of files of earlier runs whose rows are now in the run's files.
            check: function that is called just before the record is written, and raises an error if the run must not count.

        Returns:
            The record that counts.
        """
        record = {**record, "run_id": run_id, "files": sorted(files), "replaces": sorted(replaces)}
        self._sync(record["files"])
        path = record_path(self.root, run_id)
        check()
        winner = None
        while winner is None and not create_file(path, json.dumps(record, indent=2).encode()):
            winner = read_record(path)  # sets an incomplete record aside, so that the next try succeeds
            if winner is None and FileSystems.exists(path):
                raise OutputError(
                    f"{path}: the record is incomplete and cannot be renamed; rename it and run the command again"
                )
        if winner is not None:
            self._delete(FileSystems.join(self.root, name) for name in {*record["files"]} - {*winner["files"]})
            record = winner
        self._delete(FileSystems.join(self.root, name) for name in record["replaces"])
        self._delete([self.receipt(run_id)])
        self.abandon(run_id)
        return record

    def _sync(self, names: Sequence[str]) -> None:
        """Writes files, and their names, to the disk."""
        if is_local(self.root):
            root = Path(self.root)
            (root / RUNS).mkdir(parents=True, exist_ok=True)
            files = [root / name for name in names]
            sync_all(files, {root, *(file.parent for file in files)})

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
        if record_paths(self.root):
            return names
        for table, schema in schemas.items():
            if any(name.startswith(f"{table}/") for name in files):
                continue
            path = f"{self.prefix(table, run_id)}-empty-{secrets.token_hex(6)}.parquet"
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
        """Deletes all runs, also pending ones. All runs become invisible in one step.

        Args:
            job: command that all runs must belong to.

        Raises:
            OutputError: a run belongs to another command, or a record cannot be read.
        """
        records = self.records()
        self.runs(job, records)
        pending = self.pending()
        if records:
            # Also files that were replaced: a record that replaced them may be deleted before the one that named them.
            files = {name for record in records for name in record["files"]}
            # Ids of runs that began in the same second have no order, so the record names those that it deletes.
            cleared = sorted(record["run_id"] for record in records)
            self.commit(self.new_run_id(), {"job": Job.CLEAR, "cleared": cleared}, [], files)
        for run_id in pending:
            self.abandon(run_id)
        self.remove_debris()

    def _finish_clear(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Deletes the records that a `clear` names, and its own record last; returns the other records."""
        clears = [record for record in records if record.get("job") == Job.CLEAR]
        if not clears:
            return list(records)
        cleared = {run_id for record in clears for run_id in record["cleared"]}
        own = {record["run_id"] for record in clears}
        for run_ids in (cleared - own, own):
            self._delete([record_path(self.root, run_id) for run_id in sorted(run_ids)])
            if is_local(self.root):
                sync_folder(FileSystems.join(self.root, RUNS))
        return [record for record in records if record["run_id"] not in cleared | own]

    def remove_debris(self) -> list[str]:
        """Deletes files of unfinished runs, files that a later run replaced, and the rest of an interrupted `clear`.

        Returns:
            Paths of the deleted files and folders.

        Raises:
            OutputError: a record cannot be read.
        """
        records, pending = self._finish_clear(self.records()), set(self.pending())
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

    def _delete(self, uris: Iterable[str]) -> list[str]:
        return delete_files(uris)


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
