"""What is kept of a corpus, listed in the format that a trainer reads. One small function for each.

They all read the table `listed` of a DuckDB connection, one row for each utterance, in the order of ids:

    id, path           of the utterance, and of the recording that it lies in
    archive, member    of a recording in an archive: where that is, and the recording's name in it; null for a file
    whole              whether the utterance is all of the recording
    start_s, end_s     where it begins and ends, on whole samples
    recording_s        length of the recording; null where it is not known
    duration_s, sample_rate, channels, channel, score, and the columns carried over from the corpus, as in `utterances`
"""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import duckdb
import pyarrow as pa
import pyarrow.csv

from transforms.audio.sound_file import open_audio, open_sound
from transforms.corpus.formats import archive_begins
from transforms.corpus.manifests import DURATION_COLUMN, END_COLUMNS, ID_COLUMNS, PATH_COLUMNS, START_COLUMNS
from transforms.curation.duckdb_rows import batches_of, write_parquet
from transforms.errors import AudioFault

_OWN_COLUMNS = ("archive", "member", "whole", "recording_s", "channel", "score", "first_sample", "samples")
# Columns of a corpus that would be taken for something else in a manifest.
RESERVED = {*PATH_COLUMNS, *ID_COLUMNS, *START_COLUMNS, *END_COLUMNS, DURATION_COLUMN, *_OWN_COLUMNS}
# Headers of recordings that are read at a time.
_READERS = 16
# Seconds to a nanosecond: adding leaves more digits than anyone wrote.
_DIGITS = 9

Connection = duckdb.DuckDBPyConnection
_NEWLINE = r"[\r\n]"


class ManifestError(ValueError):
    """A manifest that cannot say what is kept."""


def list_kept(
    connection: Connection, has_spans: bool, archives: pa.Table, carried: Sequence[str], trimmed: bool = False
) -> None:
    """Makes `listed`.

    Args:
        connection: with `kept`, ids of what is kept, and `entries`, which holds them; where `trimmed`, also with `spans`.
        has_spans: whether the corpus may list spans of recordings: their utterances are then listed with start and end.
        archives: of the corpus (`source_kinds.find_archives`).
        carried: columns of the corpus.
        trimmed: whether entries are spans of utterances.
    """
    connection.register("archives", archives)
    is_span = "spans.utterance_id IS NOT NULL" if trimmed else "false"
    of_parent = (
        "LEFT JOIN spans USING (utterance_id) LEFT JOIN utterances AS parents ON parents.utterance_id = spans.parent_id"
    )
    length = "coalesce(parents.duration_s, entries.duration_s)" if trimmed else "entries.duration_s"
    # In archives there are no spans.
    known = "archives.archive IS NOT NULL" if has_spans else "true"
    connection.execute(f"""
        CREATE TEMP TABLE listed AS
        WITH chosen AS (
            SELECT entries.utterance_id AS id, entries.uri AS path, archives.archive,
                substr(entries.uri, length(archives.archive) + 2) AS member,
                ({known}) AND NOT ({is_span}) AS whole,
                CASE WHEN {known} THEN {length} END AS recording_s,
                round_even(entries.start_s * entries.sample_rate, 0) AS first_sample,
                round(entries.duration_s * entries.sample_rate) AS samples,
                entries.duration_s, entries.sample_rate, entries.channels, entries.channel,
                round(entries.score::DOUBLE, 4) AS score{_columns(carried, "entries.")}
            FROM entries SEMI JOIN kept USING (utterance_id)
            {of_parent if trimmed else ""}
            LEFT JOIN archives ON {archive_begins("entries.uri")} = archives.begins
        )
        SELECT * EXCLUDE (first_sample, samples), first_sample / sample_rate AS start_s,
            (first_sample + samples) / sample_rate AS end_s
        FROM chosen ORDER BY id
    """)


def carried_in_manifests(carried: Sequence[str]) -> list[str]:
    """The columns of a corpus that manifests can carry: without those that would be taken for something else."""
    return [name for name in carried if name.lower() not in RESERVED]


def _columns(carried: Sequence[str], table: str = "") -> str:
    return "".join(f", {table}{quoted(name)}" for name in carried)


def quoted(name: str) -> str:
    """The name of a column in SQL."""
    return '"' + name.replace('"', '""') + '"'


# --- tables ------------------------------------------------------------------------------------------------------------


def write_paths(connection: Connection, carried: Sequence[str], path: Path) -> None:
    """A path a line."""
    del carried
    with _text(path) as file:
        for batch in batches_of(connection, "SELECT path FROM listed ORDER BY id"):
            file.writelines(f"{name}\n" for name in batch.column(0).to_pylist())


def _table_query(connection: Connection, carried: Sequence[str]) -> str:
    """What a table says: start and end only where there are spans, the channel only where one was heard."""
    spans, channels = connection.execute(
        "SELECT count(*) FILTER (NOT whole) > 0, count(channel) > 0 FROM listed"
    ).fetchall()[0]
    span = ", CASE WHEN NOT whole THEN start_s END AS start, CASE WHEN NOT whole THEN end_s END AS end" if spans else ""
    return (
        f"SELECT id, path{span}{', channel' if channels else ''}, duration_s AS duration, score{_columns(carried)} "
        "FROM listed ORDER BY id"
    )


def write_csv(connection: Connection, carried: Sequence[str], path: Path) -> None:
    """CSV with a header."""
    query = _table_query(connection, carried)
    with pa.csv.CSVWriter(path, connection.sql(query).to_arrow_reader(1).schema) as writer:
        for batch in batches_of(connection, query):
            writer.write_batch(batch)


def write_tsv(connection: Connection, carried: Sequence[str], path: Path) -> None:
    """TSV with a header; nothing in it is quoted."""
    query = _table_query(connection, carried)
    with _text(path) as file:
        file.write("\t".join(connection.sql(query).columns) + "\n")
        for row in _rows(connection, query):
            file.write("\t".join("" if value is None else str(value) for value in row.values()) + "\n")


def write_table(connection: Connection, carried: Sequence[str], path: Path) -> None:
    """Parquet."""
    query = _table_query(connection, carried)
    write_parquet(connection, query, connection.sql(query).to_arrow_reader(1).schema, path)


def write_jsonl(connection: Connection, carried: Sequence[str], path: Path) -> None:
    """NeMo's: a JSON object a line, with an offset where the utterance is not all of the recording."""
    with _text(path) as file:
        for row in _rows(connection, "SELECT * FROM listed ORDER BY id"):
            found = {"audio_filepath": row["path"], "id": row["id"]}
            if row["whole"]:
                found["duration"] = row["duration_s"]
            else:
                found |= {"offset": row["start_s"], "duration": _seconds_of(row)}
            if row["channel"] is not None:
                found["channel"] = row["channel"]
            found["score"] = row["score"]
            file.write(_json(found | {name: row[name] for name in carried if row[name] is not None}))


# --- Lhotse ------------------------------------------------------------------------------------------------------------


def write_lhotse(connection: Connection, carried: Sequence[str], path: Path) -> None:
    """Lhotse's cuts, gzipped: each with its recording, and a supervision where speaker, text or language are carried."""
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:
        for row in _rows(connection, "SELECT * FROM listed ORDER BY id"):
            packed.write(_json(_cut(row, carried)).encode())


def _cut(row: dict[str, Any], carried: Sequence[str]) -> dict[str, Any]:
    rate, channels = row["sample_rate"], list(range(row["channels"]))
    heard = (channels if row["channels"] > 1 else 0) if row["channel"] is None else row["channel"]
    samples = round(row["recording_s"] * rate)
    start, seconds = (0.0, samples / rate) if row["whole"] else (row["start_s"], _seconds_of(row))
    recording = {
        "id": row["path"],
        "sources": [{"type": "file", "channels": channels, "source": row["path"]}],
        "sampling_rate": rate,
        "num_samples": samples,
        "duration": samples / rate,
        "channel_ids": channels,
    }
    said = {name: row[name] for name in ("speaker", "text", "language") if name in carried and row[name] is not None}
    supervision = {
        "id": row["id"], "recording_id": row["path"], "start": 0.0, "duration": seconds, "channel": heard, **said,
    }  # fmt: skip
    others = {name: row[name] for name in carried if name not in said and row[name] is not None}
    return {
        "id": row["id"],
        "start": start,
        "duration": seconds,
        "channel": heard,
        "supervisions": [supervision] if said else [],
        "recording": recording,
        "custom": {"score": row["score"], **others},
        "type": "MultiCut" if isinstance(heard, list) else "MonoCut",
    }


def measure_recordings(connection: Connection) -> None:
    """Completes `listed` by the lengths of recordings, from their headers, where spans of them are all that is known.

    Raises:
        ManifestError: one cannot be opened.
    """
    uris = [row[0] for row in connection.execute(
        "SELECT DISTINCT path FROM listed WHERE recording_s IS NULL AND archive IS NULL ORDER BY path").fetchall()]  # fmt: skip
    with ThreadPoolExecutor(_READERS) as readers:
        lengths = list(readers.map(_length_of, uris))
    found = pa.table({"path": pa.array(uris, pa.string()), "length_s": pa.array(lengths, pa.float64())})
    connection.register("lengths", found)
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE listed AS
        SELECT listed.* REPLACE (coalesce(recording_s, length_s) AS recording_s) FROM listed LEFT JOIN lengths USING (path)
    """)


def _length_of(uri: str) -> float:
    try:
        with open_audio(uri) as file, open_sound(file) as sound:
            return float(sound.frames / sound.samplerate)
    except AudioFault as fault:
        raise ManifestError(
            f"{uri}: Lhotse's cuts of it need its length, and it cannot be opened ({fault.detail}); choose another --format"
        ) from fault


# --- Kaldi -------------------------------------------------------------------------------------------------------------


def write_kaldi(connection: Connection, carried: Sequence[str], folder: Path) -> None:
    """A Kaldi data directory, sorted as in the C locale: wav.scp, utt2spk, spk2utt; segments and text where they say anything.

    The speaker is the column `speaker`, where it is carried and not empty, or else the utterance itself. Ids stay as they are,
    whereas Kaldi's own check of a directory wants those of a speaker to begin with the speaker.
    """
    folder.mkdir()
    speaker = "coalesce(nullif(speaker, ''), id)" if "speaker" in carried else "id"
    ((segmented,),) = connection.execute(
        f"SELECT count(*) > 0 FROM listed WHERE NOT whole OR {_ONE_OF_SEVERAL}"
    ).fetchall()
    if segmented:
        # Recordings have no ids of their own in an output.
        numbered = """SELECT path, format('recording-{:08d}', row_number() OVER (ORDER BY path)) AS name
            FROM (SELECT DISTINCT path FROM listed)"""
        _lines(connection, f"SELECT concat(name, ' ', path) FROM ({numbered}) ORDER BY name", folder / "wav.scp")
        _lines(
            connection,
            f"""SELECT format('{{}} {{}} {{:.6f}} {{:.6f}}', id, name, start_s, end_s) ||
                    CASE WHEN {_ONE_OF_SEVERAL} THEN concat(' ', channel) ELSE '' END
                FROM listed JOIN ({numbered}) USING (path) ORDER BY id""",
            folder / "segments",
        )
    else:
        _lines(connection, "SELECT concat(id, ' ', path) FROM listed ORDER BY id", folder / "wav.scp")
    _lines(connection, f"SELECT concat(id, ' ', {speaker}) FROM listed ORDER BY id", folder / "utt2spk")
    _lines(
        connection,
        f"SELECT concat({speaker}, ' ', string_agg(id, ' ' ORDER BY id)) FROM listed GROUP BY {speaker} ORDER BY {speaker}",
        folder / "spk2utt",
    )
    if "text" in carried:
        text = r"regexp_replace(coalesce(text, ''), '\s+', ' ', 'g')"
        _lines(connection, f"SELECT trim(concat(id, ' ', {text})) FROM listed ORDER BY id", folder / "text")


def _lines(connection: Connection, query: str, path: Path) -> None:
    with _text(path) as file:
        for batch in batches_of(connection, query):
            file.writelines(f"{line}\n" for line in batch.column(0).to_pylist())


# --- archives ----------------------------------------------------------------------------------------------------------


def write_index(connection: Connection, carried: Sequence[str], path: Path) -> None:
    """What is kept of WebDataset's tars: a JSON object a line with the tar, the sample's key and the member in it."""
    query = (
        f"SELECT archive, member, id, duration_s, channel, score{_columns(carried)} FROM listed ORDER BY archive, id"
    )
    with _text(path) as file:
        for row in _rows(connection, query):
            head, slash, last = row["member"].rpartition("/")
            found = {
                "url": row["archive"],
                "key": head + slash + last.partition(".")[0],
                "member": row["member"],
                "id": row["id"],
                "duration": row["duration_s"],
                "score": row["score"],
            }
            file.write(_json(found | {name: row[name] for name in carried if row[name] is not None}))


# --- what a format cannot say ------------------------------------------------------------------------------------------

_ONE_OF_SEVERAL = "(channel IS NOT NULL AND channels > 1)"
# What cannot be said, as SQL over `listed` for the rows in which it is, and what to say of it.
Limit = tuple[str, str]
_ARCHIVES: Limit = ("archive IS NOT NULL", "cannot point into an archive")
_FILES: Limit = (
    "archive IS NULL OR regexp_matches(archive, '(?i)[.]parquet$')",
    "lists what is in tars, and cannot name what lies elsewhere",
)
_SPANS: Limit = ("NOT whole", "cannot say where in a recording an utterance lies")
_CHANNELS: Limit = (_ONE_OF_SEVERAL, "cannot say which channel of a recording is meant")
_LINES: Limit = (f"regexp_matches(path, '{_NEWLINE}')", "cannot hold a line break")
_BLANKS: Limit = (r"path <> trim(path, ' ' || chr(9))", "cannot hold a path that begins or ends with a blank")


def _kaldi_limits(carried: Sequence[str]) -> list[Limit]:
    speaker = r" OR regexp_matches(speaker, '\s')" if "speaker" in carried else ""
    return [
        _ARCHIVES, _LINES, _BLANKS,
        (rf"regexp_matches(id, '\s') OR id = ''{speaker}", "cannot hold an id or a speaker with a blank in it"),
        (r"regexp_matches(path, '^\||\|$|:[0-9]+$')", "takes such a path for a command or a place in an archive"),
    ]  # fmt: skip


def _tsv_limits(carried: Sequence[str]) -> list[Limit]:
    cells = " OR ".join(rf"""regexp_matches({quoted(name)}, '[\t\r\n]')""" for name in ("id", "path", *carried))
    return [_ARCHIVES, (cells, "cannot hold a tab or a line break")]


class Format:
    """A format of manifests.

    Attributes:
        file: name of the file or folder that holds the manifest.
        write: writes it.
        limits: what it cannot say, for the columns carried.
    """

    def __init__(
        self,
        file: str,
        write: Callable[[Connection, Sequence[str], Path], None],
        limits: Callable[[Sequence[str]], list[Limit]] = lambda _: [_ARCHIVES],
    ) -> None:
        self.file, self.write, self.limits = file, write, limits


FORMATS = {
    "csv": Format("manifest.csv", write_csv),
    "tsv": Format("manifest.tsv", write_tsv, _tsv_limits),
    "jsonl": Format("manifest.jsonl", write_jsonl),
    "parquet": Format("manifest.parquet", write_table),
    "kaldi": Format("kaldi", write_kaldi, _kaldi_limits),
    "lhotse": Format("cuts.jsonl.gz", write_lhotse),
    "webdataset": Format("index.jsonl", write_index, lambda _: [_FILES, _SPANS, _CHANNELS]),
    "paths": Format("paths.txt", write_paths, lambda _: [_ARCHIVES, _SPANS, _CHANNELS, _LINES, _BLANKS]),
}  # fmt: skip


def refusal(connection: Connection, format: str, carried: Sequence[str]) -> str | None:
    """Why a format cannot list what is kept, in a sentence; None if it can."""
    for condition, what in FORMATS[format].limits(carried):
        count, first = connection.execute(f"SELECT count(*), min(id) FROM listed WHERE {condition}").fetchall()[0]
        if count:
            return f"{format} {what}, as {count:,} of the kept utterances would need, {first!r} first"
    return None


def _seconds_of(row: dict[str, Any]) -> float:
    return round(row["end_s"] - row["start_s"], _DIGITS)


def _rows(connection: Connection, query: str) -> Iterator[dict[str, Any]]:
    for batch in batches_of(connection, query):
        yield from batch.to_pylist()


def _json(found: dict[str, Any]) -> str:
    return json.dumps(found, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with path.open("w", encoding="utf-8", newline="") as file:
        yield file
