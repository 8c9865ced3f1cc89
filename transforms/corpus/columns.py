"""Meaning of the columns of a manifest, by the names that people use."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from transforms.errors import SourceError

# Names for the path of the recording. `path` comes first, because `filter` writes it.
PATH_COLUMNS = (
    "path",
    "audio_filepath",
    "audio",
    "file",
    "wav",
    "file_name",
    "filename",
    "filepath",
    "file_path",
    "audio_path",
    "audio_file",
    "audio_filename",
    "audio_file_name",
    "wav_path",
    "wav_file",
    "wav_filename",
    "wav_filepath",
    "audiofile",
    "audiopath",
    "wavpath",
    "relative_path",
    "clip_path",
)
# Names that often have another meaning: the path only if there is no column of PATH_COLUMNS.
OTHER_PATH_COLUMNS = ("location", "uri", "url", "audio_url", "audio_uri", "flac", "mp3", "recording", "clip", "source")
# An id, or what is said.
_UTTERANCE = "utterance"
ID_COLUMNS = (
    "id",
    "utterance_id",
    "utt_id",
    "uttid",
    "utteranceid",
    "utt",
    _UTTERANCE,
    "segment_id",
    "audio_id",
    "clip_id",
    "sample_id",
    "file_id",
    "key",
)
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "normalized_text", "raw_text", "txt")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id", "spk", "spk_id", "speaker_name")
# Roles that `--columns` can give to a column.
ROLES = ("path", "id", "start", "end", "duration", "text", "speaker")

# Beside an onset, an offset is an end.
_ONSET, _OFFSET = "onset", "offset"
_TIMES = {
    "start": (
        *("start", _OFFSET, "begin", "start_time", "begin_time", "start_offset", "segment_start"),
        *("time_start", "t_start", _ONSET),
    ),
    "end": ("end", "end_time", "end_offset", "segment_end", "stop", "stop_time", "time_end", "t_end"),
    "duration": ("duration", "dur"),
}
_UNITS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
}
# Spans in a unit that is not a time: a sample has no length before the recording is opened.
_SPAN_IN_SAMPLES = re.compile(
    r"(?:start|begin|end|stop|offset|onset)_(?:samples?|frames?)|(?:samples?|frames?)_(?:start|end)"
)
_SEPARATORS = re.compile(r"[\s()\[\]-]+")
# Seconds in the unit of a column of times, by name; the first of a role comes first.
_TIME_NAMES = {
    role: {f"{name}_{unit}" if unit else name: scale for name in names for unit, scale in _UNITS.items()}
    for role, names in _TIMES.items()
}
_ONSETS = {name for name in _TIME_NAMES["start"] if name.startswith(_ONSET)}
_OFFSETS = {name: scale for name, scale in _TIME_NAMES["start"].items() if name.startswith(_OFFSET)}
_TIMES_WITH_ONSET = {
    **_TIME_NAMES,
    "start": {name: scale for name, scale in _TIME_NAMES["start"].items() if name not in _OFFSETS},
    "end": _TIME_NAMES["end"] | _OFFSETS,
}
# Names that a manifest written by `filter` cannot give to further columns.
RESERVED_NAMES = frozenset(
    {*PATH_COLUMNS, "id", "utterance_id", *(name for names in _TIME_NAMES.values() for name in names)}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Roles:
    """Columns of a row that have a meaning; None if the row has no such column.

    Attributes:
        path: column of the path of the recording.
        id: column of the id of the utterance.
        start, end, duration: columns of times with the seconds in their unit, such as ("start_ms", 0.001).
        copied: columns to copy: name in the row, and name of the copy.
        spare: column of the duration, to copy if the row has no start; None if it is copied anyway, or not wanted.
    """

    path: str | None
    id: str | None
    start: tuple[str, float] | None
    end: tuple[str, float] | None
    duration: tuple[str, float] | None
    copied: tuple[tuple[str, str], ...]
    spare: str | None


class ColumnNames:
    """Finds the roles of the columns of a manifest.

    Args:
        choice: names of columns by role. An empty name means that no column has the role.
        wanted: names of columns to copy; None for all.
    """

    def __init__(self, choice: Mapping[str, str], wanted: Collection[str] | None = None) -> None:
        self.choice = dict(choice)
        self._wanted = wanted
        # Rows of JSON may differ in their columns.
        self.roles = functools.lru_cache(maxsize=1000)(self._roles)

    def with_path(self, name: str) -> ColumnNames:
        """Returns these names with a column for the path."""
        return ColumnNames({**self.choice, "path": name}, self._wanted)

    def path_candidates(self, names: Iterable[str]) -> list[str]:
        """Returns the columns that may be the path, the most likely name first."""
        if "path" in self.choice:
            return [name for name in names if name == self.choice["path"]]
        by_name = {normalised(name): name for name in reversed(list(names))}
        usual = [by_name[name] for name in PATH_COLUMNS if name in by_name]
        return usual or [by_name[name] for name in OTHER_PATH_COLUMNS if name in by_name]

    def needed(self, names: Sequence[str], usual: Sequence[str] = PATH_COLUMNS[1:]) -> str:
        """Returns the rest of an error message for columns without a path.

        Args:
            names: names of the columns that exist.
            usual: other names of the column to mention.
        """
        if "path" in self.choice:
            known = f"--columns path={self.choice['path']} names no column"
        else:
            known = f"a manifest needs a column 'path' (or {', '.join(usual)}), or --columns path=NAME"
        return f"{known}; it has {', '.join(names)}" if names else known

    def _roles(self, names: tuple[str, ...]) -> Roles:
        by_name = {normalised(name): name for name in reversed(names)}
        path = self.path_candidates(names)[:1]
        chosen_id = self._chosen("id", names)
        found_id = chosen_id or self._id(by_name)
        identity = found_id if chosen_id or "id" not in self.choice else None
        times = {role: self._time(role, names, by_name) for role in _TIMES}
        used = {*path, identity, *(time[0] for role, time in times.items() if time and role != "duration")}
        spare = None
        if times["start"] and not times["end"] and times["duration"]:
            spare = times["duration"][0]
            used.add(spare)
        renamed = [(name, role) for role in ("text", "speaker") if (name := self._chosen(role, names))]
        taken = {role for _, role in renamed}
        copied = [*((name, name) for name in names if name and name not in used and name not in taken), *renamed]
        if self._wanted is not None:
            copied = [(name, copy) for name, copy in copied if copy in self._wanted]
        return Roles(
            path=path[0] if path else None,
            id=identity,
            start=times["start"],
            end=times["end"],
            duration=times["duration"],
            copied=tuple(copied),
            spare=spare if self._wanted is None or spare in self._wanted else None,
        )

    def _chosen(self, role: str, names: Sequence[str]) -> str | None:
        name = self.choice.get(role)
        return name if name and name in names else None

    def _time(self, role: str, names: Sequence[str], by_name: Mapping[str, str]) -> tuple[str, float] | None:
        if role in self.choice:
            chosen = self._chosen(role, names)
            return (chosen, _scale(chosen)) if chosen else None
        known = (_TIMES_WITH_ONSET if not _ONSETS.isdisjoint(by_name) else _TIME_NAMES)[role]
        name = next((name for name in known if name in by_name), None)
        return None if name is None else (by_name[name], known[name])

    @staticmethod
    def _id(by_name: Mapping[str, str]) -> str | None:
        """Returns the usual column of the id. An utterance without a text beside it is what is said."""
        is_text = not any(name in by_name for name in TEXT_COLUMNS)
        return next(
            (by_name[name] for name in ID_COLUMNS if name in by_name and not (is_text and name == _UTTERANCE)), None
        )


@functools.lru_cache(maxsize=4096)
def time_of(name: str) -> tuple[str, float] | None:
    """Returns the role of a column of times (start, end or duration) and the seconds in its unit; None for others."""
    known = normalised(name)
    return next(((role, names[known]) for role, names in _TIME_NAMES.items() if known in names), None)


def spans_in_samples(names: Iterable[str]) -> list[str]:
    """Returns the columns whose names say that they are the start or the end of a span in samples or frames."""
    return [name for name in names if _SPAN_IN_SAMPLES.fullmatch(normalised(name))]


def is_span_column(name: str) -> bool:
    """Returns whether a column is known as a start or an end."""
    known = normalised(name)
    return known in _TIME_NAMES["start"] or known in _TIME_NAMES["end"]


@functools.lru_cache(maxsize=4096)
def normalised(name: str) -> str:
    """Returns a name in lower case, with underscores for blanks, hyphens and brackets: `start_ms` for `Start (ms)`."""
    return _SEPARATORS.sub("_", name.strip().lower()).rstrip("_")


def _scale(name: str) -> float:
    """Returns the seconds in the unit at the end of a name, such as `begin_ms` or `Begin (ms)`; 1 if there is none."""
    return _UNITS.get(normalised(name).rpartition("_")[2], 1.0)


def first_of(candidates: Sequence[str], names: Iterable[str]) -> str | None:
    """Returns the column with the first of some normalised names; None if there is none."""
    by_name = {normalised(name): name for name in names}
    return next((by_name[name] for name in candidates if name in by_name), None)


def role_columns(names: Iterable[str]) -> dict[str, str]:
    """Returns the columns that hold the text and the speaker under another name, by these roles."""
    known = list(names)
    roles = {}
    for role, candidates in (("text", TEXT_COLUMNS), ("speaker", SPEAKER_COLUMNS)):
        name = first_of(candidates, known)
        if name is not None and name != role:
            roles[role] = name
    return roles


def check_header(uri: str, header: Sequence[str], names: ColumnNames) -> None:
    """Checks the names of the columns of a table.

    Raises:
        SourceError: no column is a path, a column of `--columns` is missing, or a name occurs twice.
    """
    if not names.path_candidates(header):
        raise SourceError(f"{uri}: {names.needed(header)}" + ("" if header else "; its header is empty"))
    check_choice(uri, names, header)
    repeated = [name for name in header if name and header.count(name) > 1]
    if repeated:
        raise SourceError(f"{uri}: the column {repeated[0]!r} occurs twice; rename one of them")


def check_choice(uri: str, names: ColumnNames, header: Collection[str]) -> None:
    """Checks that the columns of `--columns` exist.

    Raises:
        SourceError: one does not.
    """
    for role, name in names.choice.items():
        if name and name not in header:
            raise SourceError(f"{uri}: --columns {role}={name} names no column; it has {', '.join(header)}")
