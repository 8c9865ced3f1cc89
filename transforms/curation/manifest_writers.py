"""Writers of manifests, one function for each format. Each writes a `KeptList` to a file or folder."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from transforms.corpus.word_times import Word, WordTimesError, lhotse_alignment, parse_words, word_columns
from transforms.curation.duckdb_rows import quoted
from transforms.curation.kept_list import IN_ORDER, KeptList, field_key, field_sql, free_name
from transforms.storage.text_files import as_text

# SQL over a `KeptList`: whether the utterance is one channel of a recording with several.
SELECTS_CHANNEL = "(channel IS NOT NULL AND channels > 1)"
# Round durations to nanoseconds, because differences of start and end have rounding errors.
_DIGITS = 9
_TEXT, _SPEAKER = (f"{field_sql(name)}::VARCHAR" for name in ("text", "speaker"))
_KALDI_TEXT = rf"trim(regexp_replace(coalesce({_TEXT}, ''), '\s+', ' ', 'g'))"


def write_paths(kept: KeptList, path: Path) -> None:
    """Writes a text file with one path a line."""
    write_lines(path, kept.texts(f"SELECT path FROM {kept.table} ORDER BY {IN_ORDER}"))


# --- tables ------------------------------------------------------------------------------------------------------------


def write_csv(kept: KeptList, path: Path) -> None:
    """Writes a CSV file with a header."""
    query = _table_query(kept, is_text=True)
    with pyarrow.csv.CSVWriter(path, kept.schema(query)) as writer:
        for batch in kept.batches(query):
            writer.write_batch(batch)


def write_tsv(kept: KeptList, path: Path) -> None:
    """Writes a TSV file with a header and without quoting."""
    query = _table_query(kept, is_text=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("\t".join(kept.schema(query).names) + "\n")
        for row in kept.rows(query):
            file.write("\t".join(map(as_text, row.values())) + "\n")


def write_parquet(kept: KeptList, path: Path) -> None:
    """Writes a Parquet file."""
    query = _table_query(kept)
    kept.write_parquet(query, kept.schema(query), path)


def _table_query(kept: KeptList, is_text: bool = False) -> str:
    """Returns the query for the rows of a table; start, end and channel are columns only if some row needs them.

    Args:
        kept: the kept utterances.
        is_text: whether the table is a text file, which has lists and structs as JSON.
    """
    (has,) = kept.rows(f"SELECT NOT bool_and(whole) AS spans, count(channel) > 0 AS channels FROM {kept.table}")
    span = ", CASE WHEN NOT whole THEN start_s END AS start, CASE WHEN NOT whole THEN end_s END AS end"
    channel, score = (quoted(free_name(name, kept.columns)) for name in ("channel", "score"))
    columns = f"id, path{span if has['spans'] else ''}{f', channel AS {channel}' if has['channels'] else ''}"
    types = kept.schema(f"SELECT * FROM {kept.table} LIMIT 0")
    nested = {name for name in kept.columns if is_text and pa.types.is_nested(types.field(field_key(name)).type)}
    cells = {
        name: f"to_json({field_sql(name)})::VARCHAR" if name in nested else field_sql(name) for name in kept.columns
    }
    further = "".join(f", {cell} AS {quoted(name)}" for name, cell in cells.items())
    return f"SELECT {columns}, duration_s AS duration, score AS {score}{further} FROM {kept.table} ORDER BY {IN_ORDER}"


# --- JSON --------------------------------------------------------------------------------------------------------------


def write_jsonl(kept: KeptList, path: Path) -> None:
    """Writes a NeMo manifest: a JSON object a line, with an offset if the utterance is a span of its recording."""
    columns = f"id, path, whole, start_s, end_s, duration_s, channel, score{_columns(kept.columns)}"
    rows = kept.rows(f"SELECT {columns} FROM {kept.table} ORDER BY {IN_ORDER}")
    write_lines(path, (json_line(nemo_entry(row, kept.columns)) for row in rows))


def nemo_entry(row: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Returns the entry of a NeMo manifest for a row of a `KeptList`."""
    entry = {"audio_filepath": row["path"], "id": row["id"]}
    if row["whole"]:
        entry["duration"] = row["duration_s"]
    else:
        entry |= {"offset": row["start_s"], "duration": _span_s(row)}
    if row["channel"] is not None:
        entry[free_name("channel", columns)] = row["channel"]
    return entry | {free_name("score", columns): row["score"]} | field_values(row, columns)


def write_index(kept: KeptList, path: Path) -> None:
    """Writes an index of WebDataset tars: one JSON object a line, with tar, key and member of the sample."""
    query = (
        f"SELECT archive, member, id, duration_s, channel, score{_columns(kept.columns)} "
        f"FROM {kept.table} ORDER BY archive, id"
    )
    write_lines(path, (json_line(_sample(row, kept.columns)) for row in kept.rows(query)))


def _sample(row: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    folder, slash, name = row["member"].rpartition("/")
    entry = {
        "url": row["archive"],
        "key": folder + slash + name.partition(".")[0],
        "member": row["member"],
        "id": row["id"],
        "duration": row["duration_s"],
        "score": row["score"],
    }
    return entry | field_values(row, columns)


def write_lhotse(kept: KeptList, path: Path) -> None:
    """Writes gzipped Lhotse cuts with their recordings.

    A cut has a supervision if it has a speaker, a text, a language or word times. Word times become the alignment `word`.
    """
    # Without a name and a time in the header, the same cuts give the same bytes.
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:
        for row in kept.rows(f"SELECT * FROM {kept.table} ORDER BY {IN_ORDER}"):
            packed.write(f"{json_line(lhotse_cut(row, kept.columns))}\n".encode())


def lhotse_cut(row: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Returns the cut of Lhotse for a row of a `KeptList`, with a recording whose id is its path."""
    rate, channels = row["sample_rate"], list(range(row["channels"]))
    channel = (channels if row["channels"] > 1 else 0) if row["channel"] is None else row["channel"]
    samples = round(row["recording_s"] * rate)
    start_s, duration_s = (0.0, samples / rate) if row["whole"] else (row["start_s"], _span_s(row))
    recording = {
        "id": row["path"],
        "sources": [{"type": "file", "channels": channels, "source": row["path"]}],
        "sampling_rate": rate,
        "num_samples": samples,
        "duration": samples / rate,
        "channel_ids": channels,
    }
    custom = field_values(row, columns)
    spoken: dict[str, Any] = {name: custom.pop(name) for name in ("speaker", "text", "language") if name in custom}
    column, words = _words(row, columns)
    if words:
        del custom[column]
        spoken["alignment"] = {"word": lhotse_alignment(words)}
    supervision = {
        "id": row["id"],
        "recording_id": row["path"],
        "start": 0.0,
        "duration": duration_s,
        "channel": channel,
        **spoken,
    }
    return {
        "id": row["id"],
        "start": start_s,
        "duration": duration_s,
        "channel": channel,
        "supervisions": [supervision] if spoken else [],
        "recording": recording,
        "custom": {free_name("score", columns): row["score"], **custom},
        "type": "MultiCut" if isinstance(channel, list) else "MonoCut",
    }


# --- Kaldi -------------------------------------------------------------------------------------------------------------


def write_kaldi(kept: KeptList, folder: Path) -> None:
    """Writes a Kaldi data directory: wav.scp, utt2spk and spk2utt; segments, text and ctm if needed.

    All files are sorted as in the C locale. The speaker is the carried column `speaker`, or the utterance id where that is
    empty. Ids are not changed, although Kaldi's own validation expects an id to begin with its speaker. `text` has a line for
    each utterance with a text, and `ctm` one for each word with times, which are relative to the utterance.
    """
    folder.mkdir()
    by_id = f"FROM {kept.table} ORDER BY id"
    speaker = f"coalesce(nullif({_SPEAKER}, ''), id)" if "speaker" in kept.columns else "id"
    (has,) = kept.rows(f"SELECT bool_or(NOT whole OR {SELECTS_CHANNEL}) AS segments FROM {kept.table}")
    if has["segments"]:
        # An output has no recording ids, so recordings are numbered.
        recording = "format('recording-{:08d}', dense_rank() OVER (ORDER BY path))"
        channel = f"CASE WHEN {SELECTS_CHANNEL} THEN concat(' ', channel) ELSE '' END"
        segment = f"format('{{}} {{}} {{:.6f}} {{:.6f}}', id, {recording}, start_s, end_s) || {channel}"
        write_lines(folder / "segments", kept.texts(f"SELECT {segment} {by_id}"))
        recordings = f"SELECT DISTINCT concat({recording}, ' ', path) AS line FROM {kept.table} ORDER BY line"
        write_lines(folder / "wav.scp", kept.texts(recordings))
    else:
        write_lines(folder / "wav.scp", kept.texts(f"SELECT concat(id, ' ', path) {by_id}"))
    write_lines(folder / "utt2spk", kept.texts(f"SELECT concat(id, ' ', {speaker}) {by_id}"))
    utterances = f"concat({speaker}, ' ', string_agg(id, ' ' ORDER BY id))"
    by_speaker = f"SELECT {utterances} FROM {kept.table} GROUP BY {speaker} ORDER BY {speaker}"
    write_lines(folder / "spk2utt", kept.texts(by_speaker))
    if "text" in kept.columns:
        lines = f"SELECT concat(id, ' ', {_KALDI_TEXT}) FROM {kept.table} WHERE {_KALDI_TEXT} <> '' ORDER BY id"
        write_lines(folder / "text", kept.texts(lines))
    if word_columns(kept.columns):
        rows = kept.rows(f"SELECT id, channel, duration_s{_columns(kept.columns)} {by_id}")
        write_lines(folder / "ctm", itertools.chain.from_iterable(_ctm_lines(row, kept.columns) for row in rows))


def without_text(kept: KeptList) -> int:
    """Returns the number of utterances that a Kaldi directory has no text for; 0 if it has no texts at all."""
    if "text" not in kept.columns:
        return 0
    (row,) = kept.rows(f"SELECT count(*) AS count FROM {kept.table} WHERE {_KALDI_TEXT} = ''")
    return int(row["count"])


def _ctm_lines(row: dict[str, Any], columns: Sequence[str]) -> Iterator[str]:
    channel = 1 if row["channel"] is None else row["channel"] + 1
    for word, start_s, length_s, score in lhotse_alignment(_words(row, columns)[1]):
        confidence = "" if score is None else f" {score:g}"
        yield f"{row['id']} {channel} {start_s:.3f} {length_s:.3f} {'_'.join(word.split())}{confidence}"


def _columns(columns: Sequence[str]) -> str:
    return "".join(f", {field_sql(name)}" for name in columns)


def field_values(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Returns the further columns of a row that are not null; word times as the JSON that their text is."""
    values = {name: row[field_key(name)] for name in columns if row[field_key(name)] is not None}
    for name in word_columns(list(values)):
        if isinstance(values[name], str):
            with contextlib.suppress(ValueError, RecursionError):
                values[name] = json.loads(values[name])
    return values


def _words(row: dict[str, Any], columns: Sequence[str]) -> tuple[str, list[Word]]:
    """Returns the words of an utterance and the column that has them; none if it has no usable word times."""
    for name in word_columns(columns):
        if row[field_key(name)]:
            with contextlib.suppress(WordTimesError):
                return name, parse_words(as_text(row[field_key(name)]), row["duration_s"])
    return "", []


def _span_s(row: dict[str, Any]) -> float:
    return round(row["end_s"] - row["start_s"], _DIGITS)


def json_line(entry: dict[str, Any]) -> str:
    """Returns an entry as JSON without a line break."""
    return json.dumps(entry, ensure_ascii=False)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes lines of text to a file in UTF-8."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in lines)
