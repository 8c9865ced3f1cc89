"""What an output folder holds, run by run. A run is visible once its record stands in `_runs/`, and not before.

    OUT/<table>/<run_id>-<random>.parquet        written by the pipeline
    OUT/_runs/<run_id>.json                      the record: names the files that it commits
    OUT/_runs/<run_id>.pending/                  of a run that another machine does: what it was asked for, and its plan

A record may also name files of earlier runs that its own replace: rows that a run made anew, or, where the job is
`COMPACT`, the very same rows in fewer files. Files that no record names are debris of a run that did not end, but for those
of pending runs.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from transforms.errors import OutputError
from transforms.storage.files import PROBE, is_local, probe
from transforms.storage.gcs import SCHEME as CLOUD_STORAGE
from transforms.storage.gcs import open_in_parts, reason

RUNS = "_runs"
# The job of a record that is of no run: it only says which files hold the rows of the others now.
COMPACT = "compact"
PENDING = ".pending"
_ASKED = "pending.json"
_RUN_ID = r"\d{8}T\d{6}Z-[0-9a-f]{6}"
_OURS = re.compile(rf"/(({_RUN_ID})-[^/]*\.parquet$|beam-temp-{_RUN_ID}[^/]*)")
_LEFT = re.compile(rf"/(?:({_RUN_ID})(?:\.draft|\.receipt|\{PENDING}/[^/]+)|{PROBE})$")


@dataclasses.dataclass(frozen=True)
class Ledger:
    """The runs of one output folder, in any filesystem that Beam knows.

    Attributes:
        root: the folder.
        tables: names of the tables in it.
    """

    root: str
    tables: tuple[str, ...]

    @staticmethod
    def new_run_id() -> str:
        """A name for a run: its start (UTC) and something random; names sort by time."""
        return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"

    def prefix(self, table: str, run_id: str) -> str:
        """Prefix of the paths of a run's files of one table."""
        return FileSystems.join(self.root, table, run_id)

    def check_writable(self) -> None:
        """Makes the folder and tries a file in it.

        Raises:
            OutputError: that does not work.
        """
        if re.search(r"[*?\[]", self.root):
            raise OutputError(f"{self.root}: a folder for output cannot have *, ? or [ in its name")
        try:
            probe(FileSystems.join(self.root, RUNS))
        except (OSError, ValueError) as error:  # Beam's own are OSErrors; a scheme without its extra is a ValueError
            raise OutputError(f"{self.root}: cannot write there ({reason(error)})") from error

    def records(self, job: str | None = None) -> list[dict[str, Any]]:
        """The records, oldest first.

        Args:
            job: whose runs are asked for (`runs`); None for all records there are.

        Raises:
            OutputError: one cannot be read, or another job made it.
        """
        found = []
        for uri in sorted(_list(FileSystems.join(self.root, RUNS, "*.json"))):
            try:
                with FileSystems.open(uri) as file:
                    record = json.loads(file.read())
                    found.append({**record, "files": record["files"], "replaces": record["replaces"]})
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise OutputError(
                    f"{uri}: the run's record cannot be read ({type(error).__name__}: {error})"
                ) from error
        return found if job is None else self.runs(job, found)

    def runs(self, job: str, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the records that are of runs: all but compactions.

        Raises:
            OutputError: another job made one.
        """
        found = [record for record in records if record.get("job") != COMPACT]
        for record in found:
            if record.get("job") != job:
                raise OutputError(
                    f"{self.root}: was written by `audiosieve {record.get('job')}`; choose another folder"
                )
        return found

    def committed(self, table: str) -> list[str]:
        """Paths of the files of a table that count, sorted."""
        return [FileSystems.join(self.root, name) for name in names_that_count(self.records(), table)]

    def name_of(self, path: str) -> str:
        """The name, relative to the root, of a file in the folder."""
        return path.removeprefix(FileSystems.join(self.root, "")).lstrip("/")

    def beside_record(self, run_id: str, name: str) -> str:
        """Path of something that belongs to a run and is gone when the run is committed: ".receipt", ".pending/x"."""
        return FileSystems.join(self.root, RUNS, *f"{run_id}{name}".split("/"))

    def begin(self, run_id: str, asked: dict[str, Any]) -> None:
        """Marks a run as pending: another machine does it and commits it, be this process still there or not.

        Args:
            run_id: of the run.
            asked: what its record shall say beside what comes of it.
        """
        with FileSystems.create(self.beside_record(run_id, f"{PENDING}/{_ASKED}")) as file:
            file.write(json.dumps(asked, indent=2).encode())

    def asked(self, run_id: str) -> dict[str, Any]:
        """What `begin` was told of a pending run."""
        with FileSystems.open(self.beside_record(run_id, f"{PENDING}/{_ASKED}")) as file:
            found: dict[str, Any] = json.loads(file.read())
            return found

    def pending(self) -> list[str]:
        """Ids of the runs that were begun elsewhere and are neither committed nor given up, oldest first."""
        done = {record["run_id"] for record in self.records()}
        places = _list(FileSystems.join(self.root, RUNS, f"*{PENDING}", _ASKED))
        return sorted({place.split("/")[-2].removesuffix(PENDING) for place in places} - done)

    def abandon(self, run_id: str) -> None:
        """Forgets a pending run; what it wrote, and still writes, does not count."""
        folder = FileSystems.join(self.root, RUNS, f"{run_id}{PENDING}")
        asked = FileSystems.join(folder, _ASKED)
        # What marks it as pending first: whatever else stays is then debris.
        self._delete([asked])
        self._delete(_list(FileSystems.join(folder, "*")))
        if is_local(folder):
            shutil.rmtree(folder, ignore_errors=True)

    def remove_debris(self) -> list[str]:
        """Deletes what runs that did not end have left, and what a later run replaced; returns the paths."""
        records, pending = self.records(), set(self.pending())
        kept = {FileSystems.join(self.root, name) for table in self.tables for name in names_that_count(records, table)}
        debris = set()
        for table in self.tables:
            for uri in _list(FileSystems.join(self.root, table, "**")):
                ours = _OURS.search(uri)
                if uri not in kept and ours and ours[2] not in pending:
                    # Of Beam's temporary folders, which older versions left, the whole, where there are folders.
                    whole = ours[1].startswith("beam-temp") and is_local(uri)
                    debris.add(uri[: ours.end()] if whole else uri)
        for uri in _list(FileSystems.join(self.root, RUNS, "**")):
            left = _LEFT.search(uri)
            if left and left[1] not in pending:
                debris.add(uri)
        return self._delete(debris)

    def discard(self, run_id: str) -> None:
        """Deletes the files of a run that will not be committed after all; those of a committed one it leaves."""
        if run_id in {record["run_id"] for record in self.records()}:
            return
        for table in self.tables:
            self._delete(_list(f"{self.prefix(table, run_id)}-*"))

    def commit(
        self, run_id: str, record: dict[str, Any], files: Iterable[str], replaces: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Makes a run visible, in one step, and then deletes what it replaces.

        Args:
            run_id: of the run.
            record: what to say of it besides; completed by its id, its files and what it replaces.
            files: names of what it wrote.
            replaces: names of files of earlier runs whose rows now stand in the run's own files.

        Returns:
            The record as it was written.
        """
        record = {**record, "run_id": run_id, "files": sorted(files), "replaces": sorted(replaces)}
        target = FileSystems.join(self.root, RUNS, f"{run_id}.json")
        draft = self.beside_record(run_id, ".draft")
        with FileSystems.create(draft) as file:
            file.write(json.dumps(record, indent=2).encode())
        FileSystems.rename([draft], [target])
        self._delete(FileSystems.join(self.root, name) for name in record["replaces"])
        self._delete([self.beside_record(run_id, ".receipt")])
        self.abandon(run_id)
        return record

    def write_missing(self, run_id: str, files: Sequence[str], schemas: Mapping[str, pa.Schema]) -> list[str]:
        """With the first run, writes an empty file for each table that it has nothing for: a reader of Parquet expects one.

        Args:
            run_id: of the run whose files they become.
            files: names of those that it has.
            schemas: of the tables.

        Returns:
            Names of the empty files; for `commit`.
        """
        made: list[str] = []
        if _list(FileSystems.join(self.root, RUNS, "*.json")):
            return made
        for table, schema in schemas.items():
            if any(name.startswith(f"{table}/") for name in files):
                continue
            path = f"{self.prefix(table, run_id)}-empty.parquet"
            with FileSystems.create(path) as file:
                pq.write_table(schema.empty_table(), file, compression="zstd")
            made.append(self.name_of(path))
        return made

    def clear(self, job: str) -> None:
        """Forgets all runs, pending ones too: first their records, so that whatever happens no half of them is seen.

        Raises:
            OutputError: another job made them.
        """
        self.records(job)
        pending = self.pending()
        self._delete(_list(FileSystems.join(self.root, RUNS, "*.json")))
        for run_id in pending:
            self.abandon(run_id)
        self.remove_debris()

    def rows(self, table: str, columns: list[str], files: Iterable[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Batches of some columns of a table: of what is committed, or of the named files."""
        uris = self.committed(table) if files is None else (FileSystems.join(self.root, name) for name in files)
        for uri in uris:
            with open_in_parts(uri) as file:
                yield from pq.ParquetFile(file).iter_batches(columns=columns)

    def rewrite_without(self, run_id: str, ids: Set[str]) -> tuple[list[str], list[str]]:
        """Copies the committed files that hold rows of the named utterances, without those rows, into a run's files.

        Args:
            run_id: whose files the copies become.
            ids: utterance ids whose rows are out of date.

        Returns:
            Names of the copies, and of the files that they stand for; both for `commit`.
        """
        if not ids:
            return [], []
        stale = sorted(ids)
        records = self.records()
        copies: list[str] = []
        replaced: list[str] = []
        for table in self.tables:
            for name in names_that_count(records, table):
                target = f"{self.prefix(table, run_id)}-kept-{len(replaced):05d}.parquet"
                if self._rewrite(FileSystems.join(self.root, name), target, stale):
                    replaced.append(name)
                    copies.append(self.name_of(target))
        return copies, replaced

    def _rewrite(self, source: str, target: str, ids: list[str]) -> bool:
        stale = pa.array(ids, pa.string())

        def held(batch: pa.RecordBatch) -> pa.Array:
            return pc.is_in(batch.column("utterance_id"), value_set=stale)

        with open_in_parts(source) as file:
            parquet = pq.ParquetFile(file)
            if not _may_hold(parquet, ids) or not any(
                pc.any(held(batch)).as_py() for batch in parquet.iter_batches(columns=["utterance_id"])
            ):
                return False
            with (
                FileSystems.create(target) as out,
                pq.ParquetWriter(out, parquet.schema_arrow, compression="zstd") as writer,
            ):
                for group in range(parquet.num_row_groups):
                    rows = parquet.read_row_group(group)
                    writer.write_table(rows.filter(pc.invert(held(rows))))
        return True

    def _delete(self, uris: Iterable[str]) -> list[str]:
        existing = sorted(uris)
        if FileSystems.get_scheme(self.root) != CLOUD_STORAGE:  # where deleting what is not there is no fault
            existing = [uri for uri in existing if FileSystems.exists(uri)]
        if existing:
            FileSystems.delete(existing)
        return existing


def _may_hold(parquet: pq.ParquetFile, ids: list[str]) -> bool:
    """Whether one of the ids, which are sorted, lies within those of a row group; waves are ranges of ids, so few do."""
    place = parquet.schema_arrow.get_field_index("utterance_id")
    for group in range(parquet.num_row_groups):
        found = parquet.metadata.row_group(group).column(place).statistics
        if found is None or not found.has_min_max:
            return True
        first = bisect.bisect_left(ids, found.min)
        if first < len(ids) and ids[first] <= found.max:
            return True
    return False


def names_that_count(records: Iterable[dict[str, Any]], table: str) -> list[str]:
    """Names (relative to the root) of the files of a table that runs committed and no later one replaced, sorted."""
    names: set[str] = set()
    replaced: set[str] = set()
    for record in records:
        names.update(name for name in record["files"] if name.startswith(f"{table}/"))
        replaced.update(record["replaces"])
    return sorted(names - replaced)


def count_rows(ledger: Ledger, table: str, files: Iterable[str]) -> int:
    """Rows of one table in the named files, from their footers."""
    total = 0
    for name in files:
        if name.startswith(f"{table}/"):
            with open_in_parts(FileSystems.join(ledger.root, name)) as file:
                total += pq.ParquetFile(file).metadata.num_rows
    return total


def _list(pattern: str) -> list[str]:
    return [found.path for found in FileSystems.match([pattern])[0].metadata_list]
