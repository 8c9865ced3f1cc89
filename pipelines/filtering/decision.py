"""What `audiosieve filter` decides: which utterances are kept, and how they are listed. Nothing is written here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from pipelines.common.errors import UsageError
from pipelines.common.runners import usable_cores
from transforms.corpus.formats import find_archives, is_listing, source_kind
from transforms.corpus.sources import MANIFEST
from transforms.curation.manifest_writers import carried_in_manifests, list_kept, measure_recordings, refusal
from transforms.curation.rules import RuleSet
from transforms.curation.selection import Amount, Dropped, dropped, dropped_by, fill, judge, kept
from transforms.curation.trimming import TRIM, trim
from transforms.output.results import Results

# The table of what is kept, whole rows.
KEPT = "kept.parquet"
BUDGET, QUANTILE = "budget", "quantile"
# As which `--format` is asked to write no manifest.
NO_MANIFEST = "none"
# What DuckDB may hold in memory; more goes to disk. Each of its threads holds some of that: with as many as a large machine has
# cores (64 and a million utterances with their frames) too little is left, and it fails.
MEMORY, THREADS = "1GB", 4


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

    @property
    def fingerprint(self) -> str:
        """The same for the same selection of the same scores."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

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
        if connection.execute("SELECT count(archive) > 0 FROM listed").fetchall() == [(True,)]:
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


def connect(results: Results, scratch: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB over the output, in bounded memory, and closed to all else: a rule is not to read files."""
    connection = results.connect()
    place = str(scratch / "duckdb").replace("'", "''")
    connection.execute(f"SET temp_directory = '{place}'")
    connection.execute(f"SET memory_limit = '{MEMORY}'")
    connection.execute(f"SET threads = {min(THREADS, usable_cores())}")
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection
