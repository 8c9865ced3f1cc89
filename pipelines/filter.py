"""`audiosieve filter`: of a scored corpus, what is worth training on, in the format that a trainer reads."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipelines.common.arguments import Parser, UsageError, command, local_processes, parse, usable_cores
from pipelines.filtering.decision import NO_MANIFEST, FilterConfig, decide
from pipelines.filtering.export import RECORD as EXPORT_RECORD
from pipelines.filtering.export import ExportConfig, export_kept
from pipelines.filtering.folders import BucketFolder, Folder
from pipelines.filtering.output import RECORD, is_unfinished, rule_table, summary, write_selection
from pipelines.filtering.output_paths import folder_of, overlap
from transforms.curation.kept_list import ManifestError
from transforms.curation.manifest_formats import FORMATS
from transforms.curation.rules import SUGGESTED, RuleError, RuleSet, check_scale, read_rules, where
from transforms.curation.selection import Selection, parse_length
from transforms.curation.trimming import LEAST_S, TrimError
from transforms.output.results import Results, open_results

# As which `--rules` is asked to drop nothing.
NO_RULES = "none"


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
    keep = folder_of("output", options.output, config.results)
    export = _export_config(options, beam_arguments, config, keep)
    goes_on = (
        export is not None and not options.overwrite and keep.load(RECORD).get("fingerprint") == config.fingerprint
    )
    if not goes_on:
        _check_output(keep, options)
    clears = export is not None and _check_export(keep, export, options, goes_on)
    with (
        tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch,
        Selection(config.results, Path(scratch), usable_cores()) as selection,
    ):
        decision = decide(selection, config)
        if not goes_on:
            with keep.replace(RECORD) as draft:
                write_selection(selection, config, decision, draft)
        print(rule_table(decision))
        print(summary(decision, options.output), flush=True)
        if export is not None:
            if clears:
                export.folder.clear()
            print(export_kept(decision.kept_list, export, keep, Path(scratch)))


def _export_config(
    options: argparse.Namespace, beam_arguments: list[str], config: FilterConfig, keep: Folder
) -> ExportConfig | None:
    """The export that is asked for; None for none."""
    if not options.export:
        return None
    folder = folder_of("export", options.export, config.results)
    if overlap(folder.uri, keep.uri):
        raise UsageError(f"--export {options.export} and --output {options.output} must lie beside each other")
    if local_processes(beam_arguments) is None:
        raise UsageError("--export is written from this machine, be it to a bucket; do without --runner")
    return ExportConfig(folder, options.export_format, options.shard_size, tuple(beam_arguments))


def _check_output(keep: Folder, options: argparse.Namespace) -> None:
    """Refuses to overwrite unasked, or what is not ours."""
    if keep.is_empty():
        return
    if not options.overwrite:
        raise UsageError(f"--output {options.output}: is not empty; choose another folder, or --overwrite it")
    # On this machine all of it appears at once.
    ours = isinstance(keep, BucketFolder) and is_unfinished(keep.names())
    if keep.load(RECORD).get("job") != "filter" and not ours:
        raise UsageError(
            f"--output {options.output}: holds something else than an earlier filter; choose another folder"
        )


def _check_export(keep: Folder, export: ExportConfig, options: argparse.Namespace, goes_on: bool) -> bool:
    """Refuses to write to what an earlier export of the same did not; returns whether that is to be removed first."""
    if export.folder.is_empty():
        return False
    before = keep.load(EXPORT_RECORD)
    ours = before.get("folder") == export.folder.uri
    if options.overwrite and ours:
        return True
    if not (goes_on and before == export.as_dict()):
        advice = "or --overwrite it" if ours else f"only what {options.output} says to be its own is overwritten"
        raise UsageError(f"--export {options.export}: is not empty; choose another folder; {advice}")
    return False


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
    _check_columns(results)
    return FilterConfig(
        results, rules, options.trim is not None, options.min_s, options.pad_s, options.quantile, budget_s, options.balance,
        options.format,
    )  # fmt: skip


def _check_columns(results: Results) -> None:
    """Refuses what SQL cannot tell apart."""
    names = [name.lower() for name in results.dataset("utterances").schema.names]
    twice = [name for name in results.carried if names.count(name.lower()) > 1]
    if twice:
        raise UsageError(
            f"{results.root}: of the column {twice[0]!r} there is another that differs in capitals only, which rules could not "
            "tell apart; score with another --carry"
        )


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
        help="folder, here or in a bucket, for what is kept, what is dropped, and why; empty or new",
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
    add("--export", metavar="DIR", help="write the kept audio there as well, here or in a bucket")
    add("--export_format", choices=["flac", "wav", "webdataset"], default="flac", help="of what is cut out of a recording, "
        "where that changes no sample; what is kept whole stays as it is; webdataset: both, in tars")  # fmt: skip
    add("--shard_size", type=int, default=1_000, help="with --export_format webdataset: utterances in a tar")
    add("--overwrite", action="store_true", help="replace what an earlier filter wrote to --output and --export")
    return parser
