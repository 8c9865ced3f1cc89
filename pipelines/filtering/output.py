"""What `audiosieve filter` writes and prints: what is kept and what is dropped, and by which rules."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import duckdb

from pipelines.filtering.decision import KEPT, FilterConfig, Selected
from pipelines.filtering.export import FILES as EXPORT_FILES
from transforms import schemas
from transforms.curation.duckdb_rows import write_parquet
from transforms.curation.manifest_writers import FORMATS, carried_in_manifests
from transforms.curation.selection import Amount
from transforms.curation.trimming import TRIM

DROPPED, RECORD = "dropped.parquet", "filter.json"


def write_selection(
    connection: duckdb.DuckDBPyConnection, config: FilterConfig, selected: Selected, folder: Path
) -> None:
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
        "fingerprint": config.fingerprint,
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


def is_unfinished(names: Collection[str]) -> bool:
    """Whether files of these names in a folder can be all that is there of a selection whose writing was cut short."""
    ours = {KEPT, DROPPED, *EXPORT_FILES, *(format.file for format in FORMATS.values())}
    return RECORD not in names and {name.partition("/")[0] for name in names} <= ours


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


def table(selected: Selected) -> str:
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


def summary(selected: Selected, output: str) -> str:
    """What is kept in all, what has no score, which files there are, and what must be said of them."""
    share = selected.kept.seconds / selected.scored.seconds
    text = f"{_hours(selected.kept)} of {_hours(selected.scored)} h are kept ({share:.1%})"
    if selected.rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in selected.rejected.items())
        text += f"; {sum(selected.rejected.values()):,} more got no score ({reasons}), and are in neither"
    names = [KEPT, DROPPED, RECORD] + ([FORMATS[selected.format].file] if selected.format else [])
    text += f"\n{output}: {', '.join(names)}"
    return f"{text}\n{selected.remark}" if selected.remark else text
