"""Formats of manifests: their files, their writers, and the utterances that they cannot list."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from transforms.curation import manifest_writers as writers
from transforms.curation.kept_list import KeptList, field_sql
from transforms.curation.manifest_writers import SELECTS_CHANNEL

KALDI = "kaldi"


@dataclasses.dataclass(frozen=True)
class Limit:
    """Utterances that a format cannot list.

    Attributes:
        condition: SQL over a `KeptList` that is true for them.
        reason: end of an error message that begins with the name of the format.
    """

    condition: str
    reason: str


_IN_ARCHIVE = Limit("archive IS NOT NULL", "cannot point into an archive")
_NOT_IN_TAR = Limit(
    r"archive IS NULL OR regexp_matches(archive, '(?i)\.(parquet|arrow)$')", "can only list recordings in tar archives"
)
_SPAN = Limit("NOT whole", "cannot list spans of a recording")
_CHANNEL = Limit(SELECTS_CHANNEL, "cannot select one channel of a recording")
_NEWLINE = Limit(r"regexp_matches(path, '[\r\n]')", "cannot hold a path with a line break")
_OUTER_BLANK = Limit(r"path <> trim(path, ' ' || chr(9))", "cannot hold a path that begins or ends with a blank")


def _table_limits(columns: Sequence[str]) -> list[Limit]:
    del columns
    return [_IN_ARCHIVE]


def _path_limits(columns: Sequence[str]) -> list[Limit]:
    del columns
    return [_IN_ARCHIVE, _SPAN, _CHANNEL, _NEWLINE, _OUTER_BLANK]


def _tsv_limits(columns: Sequence[str]) -> list[Limit]:
    names = ["id", "path", *map(field_sql, columns)]
    cells = " OR ".join(rf"regexp_matches({name}::VARCHAR, '[\t\r\n]')" for name in names)
    return [_IN_ARCHIVE, Limit(cells, "cannot hold a tab or a line break")]


def _kaldi_limits(columns: Sequence[str]) -> list[Limit]:
    speaker = rf" OR regexp_matches({field_sql('speaker')}::VARCHAR, '\s')" if "speaker" in columns else ""
    blank = Limit(
        rf"regexp_matches(id, '\s') OR id = ''{speaker}",
        "cannot hold an empty id, or an id or speaker with white space",
    )
    special = Limit(
        r"regexp_matches(path, '^\||\|$|:[0-9]+$')", "reads a path like this as a command or as an offset in an archive"
    )
    return [_IN_ARCHIVE, _NEWLINE, _OUTER_BLANK, blank, special]


def _index_limits(columns: Sequence[str]) -> list[Limit]:
    del columns
    return [_NOT_IN_TAR, _SPAN, _CHANNEL]


@dataclasses.dataclass(frozen=True)
class ManifestFormat:
    """A format of manifests.

    Attributes:
        file: name of the file or folder that holds the manifest.
        write: function that writes a list to a path.
        limits: function that returns the limits of the format for the further columns of the list.
        needs_durations: whether the durations of all recordings must be known.
    """

    file: str
    write: Callable[[KeptList, Path], None]
    limits: Callable[[Sequence[str]], list[Limit]] = _table_limits
    needs_durations: bool = False


FORMATS = {
    "csv": ManifestFormat("manifest.csv", writers.write_csv),
    "tsv": ManifestFormat("manifest.tsv", writers.write_tsv, _tsv_limits),
    "jsonl": ManifestFormat("manifest.jsonl", writers.write_jsonl),
    "parquet": ManifestFormat("manifest.parquet", writers.write_parquet),
    KALDI: ManifestFormat("kaldi", writers.write_kaldi, _kaldi_limits),
    "lhotse": ManifestFormat("cuts.jsonl.gz", writers.write_lhotse, needs_durations=True),
    "webdataset": ManifestFormat("index.jsonl", writers.write_index, _index_limits),
    "paths": ManifestFormat("paths.txt", writers.write_paths, _path_limits),
}


def refusal(kept: KeptList, format: str) -> str | None:
    """Returns the reason why a format cannot list the kept utterances, as one sentence; None if it can."""
    for limit in FORMATS[format].limits(kept.columns):
        (row,) = kept.rows(f"SELECT count(*) AS count, min(id) AS first FROM {kept.table} WHERE {limit.condition}")
        if row["count"]:
            example = f"{row['count']:,} of the kept utterances, for example {row['first']!r}"
            return f"{format} {limit.reason}; this concerns {example}"
    return None
