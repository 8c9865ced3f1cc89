"""Records of runs: reading them, and the files that count according to them."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable
from typing import Any

from apache_beam.io.filesystems import FileSystems

from transforms.errors import OutputError

RUNS = "_runs"
# Ending of a record that was set aside because it is incomplete.
TORN = ".torn"
# Incomplete records that could not be renamed, so that this process reports each once.
_reported: set[str] = set()


def record_path(root: str, run_id: str) -> str:
    """Returns the path of the record of a run."""
    return FileSystems.join(root, RUNS, f"{run_id}.json")


def record_paths(root: str) -> list[str]:
    """Returns the paths of all records of an output, oldest first."""
    pattern = FileSystems.join(root, RUNS, "*.json")
    return sorted(metadata.path for metadata in FileSystems.match([pattern])[0].metadata_list)


def run_ids(root: str) -> set[str]:
    """Returns the ids of the runs that have a record, without reading the records."""
    return {path.rpartition("/")[2].removesuffix(".json") for path in record_paths(root)}


def read_records(root: str) -> list[dict[str, Any]]:
    """Returns all records of an output, oldest first. Sets incomplete ones aside.

    Raises:
        OutputError: a record cannot be read, or a file is not a record.
    """
    records = (read_record(path) for path in record_paths(root))
    return [record for record in records if record is not None]


def read_record(path: str) -> dict[str, Any] | None:
    """Returns a record; None if it is gone, or is incomplete and was set aside.

    Raises:
        OutputError: the record cannot be read, or the file is not a record.
    """
    try:
        with FileSystems.open(path) as file:
            content = file.read()
        record = _parse(content)
        if record is None:
            _set_aside(path)
            return None
        return {**record, "files": record["files"], "replaces": record["replaces"]}
    except FileNotFoundError:
        return None
    except (OSError, TypeError, KeyError) as error:
        raise OutputError(f"{path}: the run's record cannot be read ({type(error).__name__}: {error})") from error


def _parse(content: bytes) -> Any:
    """Returns the value of a file in JSON; None if it ends in the middle."""
    try:
        return json.loads(content)
    except ValueError:  # not JSON, or not UTF-8
        return None


def _set_aside(path: str) -> None:
    """Renames a record that ends in the middle, as an older version could leave it after a loss of power."""
    aside = f"{path}{TORN}"
    try:
        FileSystems.rename([path], [aside])
        where = f"it is now {aside}"
    except OSError:
        where = "it cannot be renamed"
    if path not in _reported:
        _reported.add(path)
        with contextlib.suppress(OSError, ValueError):  # stderr may be closed
            print(
                f"{path}: the record of this run is empty or incomplete, perhaps after a loss of power, and does not count; "
                f"{where}. The next `audiosieve score` scores its recordings again",
                file=sys.stderr,
            )


def names_that_count(records: Iterable[dict[str, Any]], table: str) -> list[str]:
    """Returns the names of the files of a table that runs committed and no later run replaced, sorted."""
    names: set[str] = set()
    replaced: set[str] = set()
    for record in records:
        names.update(name for name in record["files"] if name.startswith(f"{table}/"))
        replaced.update(record["replaces"])
    return sorted(names - replaced)
