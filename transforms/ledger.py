"""What an output folder holds, run by run. A run is visible once its record stands in `_runs/`, and not before.

    OUT/<table>/<run_id>-SSSSS-of-NNNNN.parquet    written by the pipeline
    OUT/_runs/<run_id>.json                        the record: names the files that it commits

A record may also name files of earlier runs that its own replace. Files that no record names are debris of a run
that did not end.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Set
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from transforms.cloud_storage import SCHEME as CLOUD_STORAGE
from transforms.cloud_storage import open_in_parts, reason

RUNS = "_runs"
_RUN_ID = r"\d{8}T\d{6}Z-[0-9a-f]{6}"
_OURS = re.compile(rf"/({_RUN_ID}-[^/]*\.parquet$|beam-temp-{_RUN_ID}[^/]*)")


class OutputError(ValueError):
    """An output folder that cannot be written, or that holds something else."""


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
            probe = FileSystems.join(self.root, RUNS, f".probe-{secrets.token_hex(3)}")
            FileSystems.create(probe).close()
            FileSystems.delete([probe])
        except (OSError, ValueError) as error:  # Beam's own are OSErrors; a scheme without its extra is a ValueError
            raise OutputError(f"{self.root}: cannot write there ({reason(error)})") from error

    def records(self, job: str | None = None) -> list[dict[str, Any]]:
        """The records of all runs, oldest first.

        Args:
            job: which job must have made them all; None for any.

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
            if job and record.get("job") != job:
                raise OutputError(
                    f"{self.root}: was written by `audiosieve {record.get('job')}`; choose another folder"
                )
        return found

    def committed(self, table: str) -> list[str]:
        """Paths of the files of a table that count, sorted."""
        return [FileSystems.join(self.root, name) for name in names_that_count(self.records(), table)]

    def written(self, run_id: str) -> list[str]:
        """Names (relative to the root) of the files that a run wrote, sorted."""
        names = []
        for table in self.tables:
            names += [self._name(uri) for uri in _list(self.prefix(table, run_id) + "*.parquet")]
        return sorted(names)

    def remove_debris(self) -> list[str]:
        """Deletes what runs that did not end have left, and what a later run replaced; returns the paths."""
        records = self.records()
        kept = {FileSystems.join(self.root, name) for table in self.tables for name in names_that_count(records, table)}
        debris = set()
        for table in self.tables:
            for uri in _list(FileSystems.join(self.root, table, "**")):
                ours = _OURS.search(uri)
                if uri not in kept and ours:
                    # Of Beam's temporary folders the whole, where there are folders.
                    whole = ours[1].startswith("beam-temp") and FileSystems.get_scheme(uri) is None
                    debris.add(uri[: ours.end()] if whole else uri)
        debris |= set(_list(FileSystems.join(self.root, RUNS, "*.draft")))
        return self._delete(debris)

    def commit(self, run_id: str, record: dict[str, Any], replaces: Iterable[str] = ()) -> dict[str, Any]:
        """Makes a run visible, in one step, and then deletes what it replaces.

        Args:
            run_id: of the run.
            record: what to say of it besides; completed by its id, its files and what it replaces.
            replaces: names of files of earlier runs whose rows now stand in the run's own files.

        Returns:
            The record as it was written.
        """
        record = {"run_id": run_id, **record, "files": self.written(run_id), "replaces": sorted(replaces)}
        target = FileSystems.join(self.root, RUNS, f"{run_id}.json")
        draft = target.removesuffix(".json") + ".draft"
        with FileSystems.create(draft) as file:
            file.write(json.dumps(record, indent=2).encode())
        FileSystems.rename([draft], [target])
        self._delete(FileSystems.join(self.root, name) for name in record["replaces"])
        return record

    def clear(self, job: str) -> None:
        """Forgets all runs: first their records, so that whatever happens no half of them is seen.

        Raises:
            OutputError: another job made them.
        """
        self.records(job)
        self._delete(_list(FileSystems.join(self.root, RUNS, "*.json")))
        self.remove_debris()

    def rows(self, table: str, columns: list[str], files: Iterable[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Batches of some columns of a table: of what is committed, or of the named files."""
        uris = self.committed(table) if files is None else (FileSystems.join(self.root, name) for name in files)
        for uri in uris:
            with open_in_parts(uri) as file:
                yield from pq.ParquetFile(file).iter_batches(columns=columns)

    def rewrite_without(self, run_id: str, ids: Set[str]) -> list[str]:
        """Copies the committed files that hold rows of the named utterances, without those rows, into a run's files.

        Args:
            run_id: whose files the copies become.
            ids: utterance ids whose rows are out of date.

        Returns:
            Names of the files that the copies stand for; for `commit`.
        """
        if not ids:
            return []
        stale = sorted(ids)
        records = self.records()
        replaced: list[str] = []
        for table in self.tables:
            for name in names_that_count(records, table):
                target = f"{self.prefix(table, run_id)}-kept-{len(replaced):05d}.parquet"
                if self._rewrite(FileSystems.join(self.root, name), target, stale):
                    replaced.append(name)
        return replaced

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

    def _name(self, uri: str) -> str:
        return uri.removeprefix(FileSystems.join(self.root, "")).lstrip("/")

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
