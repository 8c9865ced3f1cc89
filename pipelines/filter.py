"""`audiosieve filter`: of a scored corpus, what is worth training on, in the format that a trainer reads."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import duckdb
import pyarrow.dataset as ds

from pipelines.options import Parser, UsageError, beam_options, command, local_processes, parse, usable_cores
from transforms import schemas
from transforms.arrow_rows import batches_of, write_parquet
from transforms.export import OUTCOMES, Export, ExportFormat, write_plan
from transforms.files import absolute, is_local
from transforms.manifest_writers import (
    FORMATS,
    ManifestError,
    carried_in_manifests,
    list_kept,
    measure_recordings,
    refusal,
)
from transforms.results import Results, open_results
from transforms.rules import SUGGESTED, RuleError, RuleSet, check_scale, read_rules, where
from transforms.selection import Amount, Dropped, dropped, dropped_by, fill, judge, kept, parse_length
from transforms.sinks import WriteTable
from transforms.source_kinds import find_archives, is_listing, source_kind
from transforms.sources import MANIFEST
from transforms.trimming import LEAST_S, TRIM, TrimError, trim

KEPT, DROPPED, RECORD = "kept.parquet", "dropped.parquet", "filter.json"
EXPORT_REJECTS, EXPORTED, EXPORT_RECORD = "export_rejects.parquet", "exported.jsonl", "export.json"
BUDGET, QUANTILE = "budget", "quantile"
NO_RULES, NO_MANIFEST = "none", "none"
# What DuckDB may hold in memory; more goes to disk.
MEMORY = "2GB"


@dataclasses.dataclass(frozen=True)
class FilterConfig:
    """What is asked for.

    Attributes:
        results: the scored corpus.
        rules: what drops an utterance.
        trims: whether anomalies are cut off first.
        min_s: shortest span that is then left.
        pad_s: what is cut off around each anomaly.
        quantile: share of the hours to keep after the rules; None for all.
        budget_s: seconds to keep after that; None for all.
        balance: SQL of the groups over which both are spread; None for one of all.
        format: of the manifest; None for the corpus's own.
    """

    results: Results
    rules: RuleSet
    trims: bool
    min_s: float
    pad_s: float
    quantile: float | None
    budget_s: float | None
    balance: str | None
    format: str | None

    @property
    def names(self) -> list[str]:
        """Of all that may drop an utterance."""
        names = [rule.name for rule in self.rules.rules]
        return names + [QUANTILE] * (self.quantile is not None) + [BUDGET] * (self.budget_s is not None)

    def as_dict(self) -> dict[str, Any]:
        """What decides what is kept, as `filter.json` keeps it."""
        return {
            "scores": self.results.root,
            "model_id": self.results.model_id,
            "label_scale": self.results.label_scale.name,
            "runs": [record["run_id"] for record in self.results.records],
            "rules_from": self.rules.origin,
            "rules": {rule.name: rule.condition for rule in self.rules.rules},
            "options": {
                "trim": "anomalies" if self.trims else None,
                "min_s": self.min_s,
                "pad_s": self.pad_s,
                "quantile": self.quantile,
                "budget_s": self.budget_s,
                "balance": self.balance,
                "format": self.format,
            },
            "audiosieve": version("audiosieve"),
        }


@dataclasses.dataclass(frozen=True)
class Selected:
    """What became of a scored corpus.

    Attributes:
        scored: utterances of the corpus.
        kept: of them, or of what is left of them.
        dropped: likewise; what was cut off is among it.
        by: what each rule drops.
        rejected: utterances without a score, by reason.
        format: of the manifest; None for none.
        remark: what is to be said of it; empty for nothing.
    """

    scored: Amount
    kept: Amount
    dropped: Amount
    by: list[Dropped]
    rejected: dict[str, int]
    format: str | None
    remark: str


@command("filter")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, decides, writes what is kept and dropped, and exports the audio if asked for."""
    options, beam_arguments = parse(_parser(), argv)
    if options.print_rules:
        print(SUGGESTED.read_text(encoding="utf-8"), end="")
        return 0
    try:
        _run(options, beam_arguments)
    except (RuleError, TrimError, ManifestError) as error:
        raise UsageError(str(error)) from error
    return 0


def _run(options: argparse.Namespace, beam_arguments: list[str]) -> None:
    config = _config(options)
    keep = _place(options, "output", config.results)
    audio = _place(options, "export", config.results) if options.export else None
    if audio is not None:
        if audio.is_relative_to(keep) or keep.is_relative_to(audio):
            raise UsageError(f"--export {options.export} and --output {options.output} must lie beside each other")
        if local_processes(beam_arguments) is None:
            raise UsageError("--export writes on this machine; do without --runner")
    goes_on, clears = _check_empty(keep, audio, options, config)
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch:
        connection = _connect(config.results, Path(scratch))
        selected = select(connection, config)
        if not goes_on:
            with _drafted(keep) as draft:
                _write(connection, config, selected, draft)
        print(_table(selected))
        print(_summary(selected, options.output))
        if audio is not None:
            if clears:
                shutil.rmtree(audio)
            _export(connection, config, options, beam_arguments, keep, audio, Path(scratch))


# --- the decision ------------------------------------------------------------------------------------------------------


def select(connection: duckdb.DuckDBPyConnection, config: FilterConfig) -> Selected:
    """Decides what is kept; writes nothing.

    Args:
        connection: to the output; what is decided stands in its tables (`selection`, `trimming`, `manifest_writers`).
        config: what is asked for.

    Raises:
        UsageError: nothing is kept, or the format asked for cannot list it.
        RuleError, TrimError or ManifestError: something does not fit the output.
    """
    ((count, seconds),) = connection.execute("SELECT count(*), coalesce(sum(duration_s), 0) FROM utterances").fetchall()
    if not count:
        raise UsageError(f"{config.results.root}: holds no utterance with a score")
    if config.trims:
        trim(connection, config.min_s, config.pad_s)
    else:
        connection.execute("CREATE TEMP VIEW entries AS SELECT * FROM utterances")
    judge(connection, config.rules.rules, config.balance)
    if config.quantile is not None:
        fill(connection, config.quantile * kept(connection).seconds, QUANTILE)
    if config.budget_s is not None:
        fill(connection, config.budget_s, BUDGET)
    is_kept, is_dropped, by = kept(connection), dropped(connection), dropped_by(connection, config.names)
    if not is_kept.utterances:
        strongest = max(by, key=lambda one: one.matches.utterances, default=None)
        blame = "" if strongest is None else f"; {strongest.name!r} alone drops {strongest.matches.utterances:,}"
        raise UsageError(f"of {count:,} utterances none would be kept{blame}; nothing was written")
    connection.execute("CREATE TEMP TABLE kept AS SELECT utterance_id FROM judged WHERE len(rules) = 0")
    if config.trims:
        cut_off = _cut_off(connection)
        is_dropped = Amount(is_dropped.utterances + cut_off.utterances, is_dropped.seconds + cut_off.seconds)
        by = [Dropped(TRIM, cut_off, cut_off), *by]
    rejected = dict(connection.execute(
        "SELECT reason, count(*) FROM rejects GROUP BY reason ORDER BY count(*) DESC, reason").fetchall())  # fmt: skip
    format, remark = _listed(connection, config)
    return Selected(Amount(count, seconds), is_kept, is_dropped, by, rejected, format, remark)


def _cut_off(connection: duckdb.DuckDBPyConnection) -> Amount:
    ((count, microseconds),) = connection.execute(
        "SELECT count(*), coalesce(sum(end_us - start_us), 0)::DOUBLE FROM cut_off"
    ).fetchall()
    return Amount(count, microseconds / 1e6)


def _listed(connection: duckdb.DuckDBPyConnection, config: FilterConfig) -> tuple[str | None, str]:
    """Makes `listed`, and finds the format of the manifest, and what is to be said of it."""
    results = config.results
    found = source_kind(results.source)
    has_spans = found.has_spans if found else bool(MANIFEST.search(results.source)) or not is_listing(connection)
    own = found.format if found else "csv" if has_spans else "paths"
    carried = carried_in_manifests(results.carried)
    archives = find_archives(connection)
    list_kept(connection, has_spans, archives, carried, config.trims)
    remarks = []
    if left_out := [name for name in results.carried if name not in carried]:
        remarks.append(f"{', '.join(left_out)} would be taken for something else in a manifest: see {KEPT}")
    asked = config.format
    if asked == NO_MANIFEST:
        return None, ""
    if asked is None:
        if len(archives):
            own = "webdataset"
        candidates = [own, *(["csv"] if own != "webdataset" else [])]
    else:
        candidates = [asked]
    reasons = [refusal(connection, name, carried) for name in candidates]
    chosen = next((name for name, reason in zip(candidates, reasons, strict=True) if reason is None), None)
    if asked is not None and chosen is None:
        raise UsageError(f"--format {reasons[0]}; choose another format, or --format none with --export")
    remarks += [reason for reason in reasons[: candidates.index(chosen) if chosen else None] if reason]
    if chosen == "lhotse":
        measure_recordings(connection)
    if chosen is None:
        remarks.append(f"so there is no manifest; {KEPT} names them, and --export writes their audio")
    elif chosen != own and asked is None:
        remarks.append(f"so the manifest is in {chosen}")
    return chosen, "; ".join(remarks)


def _connect(results: Results, scratch: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB over the output, in bounded memory, and closed to all else: a rule is not to read files."""
    connection = results.connect()
    connection.execute(f"SET temp_directory = '{scratch / 'duckdb'}'")
    connection.execute(f"SET memory_limit = '{MEMORY}'")
    connection.execute(f"SET threads = {usable_cores()}")
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


# --- what is written ---------------------------------------------------------------------------------------------------


def _write(connection: duckdb.DuckDBPyConnection, config: FilterConfig, selected: Selected, folder: Path) -> None:
    """Writes all files of a selection.

    Raises:
        RuntimeError: an utterance was lost or doubled, which is a bug.
    """
    results = config.results
    carried = results.carried
    metadata = {"audiosieve.model_id": results.model_id, "audiosieve.label_scale": results.label_scale.name}
    rows = write_parquet(
        connection,
        "SELECT entries.* FROM entries SEMI JOIN kept USING (utterance_id) ORDER BY utterance_id",
        schemas.with_carried(schemas.UTTERANCES, carried).with_metadata(metadata),
        folder / KEPT,
    )
    rest = write_parquet(connection, _dropped_query(config), schemas.DROPPED.with_metadata(metadata), folder / DROPPED)
    if (rows, rest) != (selected.kept.utterances, selected.dropped.utterances):
        raise RuntimeError(
            f"{rows} and {rest} rows were written of {selected.kept} kept and {selected.dropped} dropped"
        )
    manifest = None
    if selected.format is not None:
        format = FORMATS[selected.format]
        manifest = format.file
        format.write(connection, carried_in_manifests(carried), folder / manifest)
    record = {
        "job": "filter",
        **config.as_dict(),
        "fingerprint": _fingerprint(config),
        "manifest": manifest,
        "format": selected.format,
        "counts": {
            "scored": selected.scored.utterances,
            "kept": selected.kept.utterances,
            "dropped": selected.dropped.utterances,
            "rejected": sum(selected.rejected.values()),
        },
        "hours": {
            "scored": round(selected.scored.hours, 6),
            "kept": round(selected.kept.hours, 6),
            "dropped": round(selected.dropped.hours, 6),
        },
        "dropped_by": [
            {
                "name": one.name,
                "utterances": one.matches.utterances,
                "hours": round(one.matches.hours, 6),
                "alone_utterances": one.alone.utterances,
                "alone_hours": round(one.alone.hours, 6),
            }
            for one in selected.by
        ],
        "rejected": selected.rejected,
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _dropped_query(config: FilterConfig) -> str:
    query = """
        SELECT utterance_id, uri, start_s, duration_s, entries.score, rules
        FROM entries JOIN judged USING (utterance_id) WHERE len(rules) > 0
    """
    if config.trims:
        query += f"""
            UNION ALL
            SELECT cut_off.utterance_id, uri, start_s + start_us / 1e6,
                CASE WHEN is_whole THEN duration_s ELSE (end_us - start_us) / 1e6 END,
                CASE WHEN is_whole THEN score END, ['{TRIM}']
            FROM cut_off JOIN utterances ON utterances.utterance_id = parent_id
        """
    return f"SELECT * FROM ({query}) ORDER BY utterance_id"


def _table(selected: Selected) -> str:
    """What each rule drops, for people."""
    width = max([len(one.name) for one in selected.by] + [8])
    lines = [f"{'rule':<{width}}  {'drops':>10}{'hours':>12}  {'only it':>10}{'hours':>12}"]
    lines += [
        f"{one.name:<{width}}  {one.matches.utterances:>10,}{_hours(one.matches):>12}"
        f"  {one.alone.utterances:>10,}{_hours(one.alone):>12}"
        for one in selected.by
    ]
    for name, amount in (("dropped", selected.dropped), ("kept", selected.kept)):
        lines.append(f"{name:<{width}}  {amount.utterances:>10,}{_hours(amount):>12}")
    return "\n".join(lines)


def _hours(amount: Amount) -> str:
    return f"{amount.hours:,.2f}" if amount.hours >= 10 or not amount.seconds else f"{amount.hours:.4f}"


def _summary(selected: Selected, output: str) -> str:
    share = selected.kept.seconds / selected.scored.seconds
    text = f"{_hours(selected.kept)} of {_hours(selected.scored)} h are kept ({share:.1%})"
    if selected.rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in selected.rejected.items())
        text += f"; {sum(selected.rejected.values()):,} more got no score ({reasons}), and are in neither"
    names = [KEPT, DROPPED, RECORD] + ([FORMATS[selected.format].file] if selected.format else [])
    text += f"\n{output}: {', '.join(names)}"
    return f"{text}\n{selected.remark}" if selected.remark else text


# --- the audio ---------------------------------------------------------------------------------------------------------


def build_export(root: beam.Pipeline, chunks: int, export: Export, prefix: str) -> None:
    """Spread the chunks of the plan; write what is in them; keep what became of each utterance."""
    (
        root
        | "Chunks" >> beam.Create(range(chunks))
        | "Spread" >> beam.Reshuffle()
        | "Export" >> beam.ParDo(export)
        | "WriteOutcomes" >> WriteTable(prefix, OUTCOMES)
    )


def _export(
    connection: duckdb.DuckDBPyConnection,
    config: FilterConfig,
    options: argparse.Namespace,
    beam_arguments: list[str],
    keep: Path,
    audio: Path,
    scratch: Path,
) -> None:
    """Writes the kept audio, and into KEEP what became of each utterance.

    Raises:
        RuntimeError: one was lost or doubled, which is a bug.
    """
    _replace(keep / EXPORT_RECORD, json.dumps(_export_record(options, audio)).encode())
    audio.mkdir(parents=True, exist_ok=True)
    format: ExportFormat = options.export_format
    carried = config.results.carried
    chunks = write_plan(connection, carried, scratch / "plan.parquet", format, options.shard_size)
    runner, pipeline_options = beam_options(beam_arguments)
    with beam.Pipeline(runner=runner, options=pipeline_options) as root:
        export = Export(str(scratch / "plan.parquet"), str(audio), format)
        build_export(root, chunks, export, str(scratch / "outcomes"))
    connection.register("outcomes", ds.dataset([str(path) for path in scratch.glob("outcomes*.parquet")], OUTCOMES))
    ((written, failed),) = connection.execute("SELECT count(path), count(*) - count(path) FROM outcomes").fetchall()
    ((known,),) = connection.execute("SELECT count(*) FROM outcomes SEMI JOIN kept USING (utterance_id)").fetchall()
    ((wanted,),) = connection.execute("SELECT count(*) FROM kept").fetchall()
    if not wanted == known == written + failed:
        raise RuntimeError(
            f"of {wanted} utterances {written} were exported and {failed} not; {known} of them are known"
        )
    query = "SELECT * EXCLUDE (path) FROM outcomes WHERE path IS NULL ORDER BY utterance_id"
    write_parquet(connection, query, schemas.REJECTS, scratch / "rejects.parquet")
    _replace(keep / EXPORT_REJECTS, (scratch / "rejects.parquet").read_bytes())
    if format != "webdataset":
        _write_exported(connection, carried, audio, scratch / EXPORTED)
        shutil.move(scratch / EXPORTED, keep / f".{EXPORTED}")
        (keep / f".{EXPORTED}").replace(keep / EXPORTED)
    reasons = connection.execute(
        "SELECT reason, count(*) FROM outcomes WHERE path IS NULL GROUP BY reason ORDER BY count(*) DESC, reason"
    ).fetchall()
    text = f"{written:,} exported to {options.export}, {failed:,} rejected"
    if reasons:
        text += f" ({', '.join(f'{count:,} {reason}' for reason, count in reasons)}; see {EXPORT_REJECTS})"
    print(text)


def _write_exported(connection: duckdb.DuckDBPyConnection, carried: Sequence[str], audio: Path, path: Path) -> None:
    """A manifest of the files that were written, as NeMo's."""
    names = carried_in_manifests(carried)
    columns = "".join(f', listed."{name.replace(chr(34), chr(34) * 2)}"' for name in names)
    query = f"""
        SELECT outcomes.path, id, duration_s, listed.score{columns} FROM listed JOIN outcomes ON id = utterance_id
        WHERE outcomes.path IS NOT NULL ORDER BY id
    """
    with path.open("w", encoding="utf-8") as file:
        for batch in batches_of(connection, query):
            for row in batch.to_pylist():
                found = {
                    "audio_filepath": str(audio / row["path"]),
                    "id": row["id"],
                    "duration": row["duration_s"],
                    "score": row["score"],
                    **{name: row[name] for name in names if row[name] is not None},
                }
                file.write(json.dumps(found, ensure_ascii=False) + "\n")


def _export_record(options: argparse.Namespace, audio: Path) -> dict[str, Any]:
    return {"folder": str(audio), "export_format": options.export_format, "shard_size": options.shard_size}


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content)
    draft.replace(path)


# --- places ------------------------------------------------------------------------------------------------------------


def _place(options: argparse.Namespace, name: str, results: Results) -> Path:
    """Where files go: a local folder that is apart from the scores and from the corpus."""
    asked = getattr(options, name)
    if not is_local(asked):
        raise UsageError(f"--{name} {asked}: must be a folder of this machine; copy it from there")
    place = Path(absolute(asked)).resolve()
    for other, what in ((results.root, "the scores"), (results.source, "the corpus")):
        if not is_local(other):
            continue
        there = Path(other).resolve()
        if place.is_relative_to(there) or there.is_relative_to(place):
            raise UsageError(f"--{name} {asked} and {what} in {other} must lie apart; choose another folder")
    if place.exists() and not place.is_dir():
        raise UsageError(f"--{name} {asked}: is a file; choose a folder")
    return place


def _check_empty(
    keep: Path, audio: Path | None, options: argparse.Namespace, config: FilterConfig
) -> tuple[bool, bool]:
    """Refuses what would be overwritten unasked, or is not ours.

    Returns:
        Whether KEEP holds this very selection, of which the export is to be done or ended; and whether an earlier export is to
        be removed first.
    """
    clears = False
    before = _load(keep / RECORD)
    exported = _load(keep / EXPORT_RECORD)
    full = keep.exists() and any(keep.iterdir())
    same = before.get("fingerprint") == _fingerprint(config)
    goes_on = audio is not None and full and same and not options.overwrite
    if full and not goes_on:
        if not options.overwrite:
            raise UsageError(f"--output {options.output}: is not empty; choose another folder, or --overwrite it")
        if before.get("job") != "filter":
            raise UsageError(
                f"--output {options.output}: holds something else than an earlier filter; choose another folder"
            )
    if audio is not None and audio.exists() and any(audio.iterdir()):
        ours = exported.get("folder") == str(audio)
        clears = options.overwrite and ours
        if not clears and not (goes_on and exported == _export_record(options, audio)):
            advice = "--overwrite it" if ours else f"only what {options.output} says to be its own is overwritten"
            raise UsageError(f"--export {options.export}: is not empty; choose another folder; {advice}")
    return goes_on, clears


def _load(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _fingerprint(config: FilterConfig) -> str:
    return hashlib.sha256(json.dumps(config.as_dict(), sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _drafted(place: Path) -> Iterator[Path]:
    """A folder beside the place, which takes its place as a whole, or not at all."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise UsageError(f"--output {place}: cannot write there ({error.strerror})") from error
    try:
        yield draft
        draft.chmod(0o755)
        if place.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent)) / "old"
            place.rename(old)
            draft.rename(place)
            shutil.rmtree(old.parent)
        else:
            draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


# --- the command line --------------------------------------------------------------------------------------------------


def _config(options: argparse.Namespace) -> FilterConfig:
    if not options.scores:
        raise UsageError("the folder of the scores is missing: audiosieve filter OUT --output KEEP")
    if not options.output:
        raise UsageError("--output is missing")
    if options.where is not None and options.rules is not None:
        raise UsageError("--where and --rules cannot both be given; write the condition into the rules")
    if options.quantile is not None and not 0 < options.quantile <= 1:
        raise UsageError(f"--quantile is {options.quantile:g}; it must be over 0 and at most 1")
    if options.min_s < LEAST_S:
        raise UsageError(f"--min_s is {options.min_s:g}; it must be at least {LEAST_S:g}")
    if not 0 <= options.pad_s <= 60:
        raise UsageError(f"--pad_s is {options.pad_s:g}; it must be from 0 to 60")
    if options.shard_size < 1:
        raise UsageError(f"--shard_size is {options.shard_size}; it must be at least 1")
    if options.balance is not None and options.budget is None and options.quantile is None:
        raise UsageError("--balance spreads a --budget or a --quantile, and neither is given")
    try:
        budget_s = None if options.budget is None else parse_length(options.budget)
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from error
    rules = _rules(options)
    results = open_results(options.scores)
    check_scale(rules, results.label_scale.name)
    return FilterConfig(
        results, rules, options.trim is not None, options.min_s, options.pad_s, options.quantile, budget_s, options.balance,
        options.format,
    )  # fmt: skip


def _rules(options: argparse.Namespace) -> RuleSet:
    if options.where is not None:
        return where(options.where)
    if options.rules == NO_RULES:
        return RuleSet("no rules", ())
    if options.rules in (None, "suggested"):
        found = read_rules(SUGGESTED)
        return dataclasses.replace(found, origin="the suggested rules")
    return read_rules(Path(options.rules))


def _parser() -> Parser:
    parser = Parser("filter", "Keep the part of a scored corpus that is worth training on, and list it for a trainer.")
    add = parser.add_argument
    add("scores", nargs="?", metavar="OUT", help="the output of `audiosieve score`")
    add(
        "--output",
        metavar="KEEP",
        help="folder of this machine for what is kept, what is dropped, and why; empty or new",
    )
    add("--rules", metavar="FILE", help="YAML with a name and an SQL condition for each reason to drop an utterance; "
        "`suggested` for the rules that --print_rules prints, as by default; `none` for none")  # fmt: skip
    add(
        "--where",
        metavar="SQL",
        help="one condition for what is kept, over the columns of `utterances`, instead of --rules",
    )
    add("--print_rules", action="store_true", help="print the suggested rules, to begin a file of your own with")
    add("--trim", choices=["anomalies"], help="cut anomalies out; what is left around them are utterances of their own")
    add("--min_s", type=float, default=1.0, help="with --trim: seconds that must be left for that")
    add("--pad_s", type=float, default=0.1, help="with --trim: seconds that are cut off on either side of an anomaly")
    add(
        "--quantile",
        type=float,
        metavar="SHARE",
        help="after the rules, keep the best-scored part of the hours, as 0.8",
    )
    add(
        "--budget",
        metavar="LENGTH",
        help="after that, keep the best-scored utterances within a length, as 500h, 90m or 30s",
    )
    add(
        "--balance",
        metavar="COLUMN",
        help="spread both evenly over the values of a column, as speaker, or of an SQL expression",
    )
    add("--format", choices=[*FORMATS, NO_MANIFEST], help="of the manifest; by default as the corpus itself came")
    add("--export", metavar="DIR", help="write the kept audio there as well, on this machine")
    add("--export_format", choices=["flac", "wav", "webdataset"], default="flac", help="of what is cut out of a recording, "
        "where that changes no sample; what is kept whole stays as it is; webdataset: both, in tars")  # fmt: skip
    add("--shard_size", type=int, default=1_000, help="with --export_format webdataset: utterances in a tar")
    add("--overwrite", action="store_true", help="replace what an earlier filter wrote to --output and --export")
    return parser
