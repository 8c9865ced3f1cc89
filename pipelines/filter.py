"""`audiosieve filter`: selects the part of a scored corpus that is worth training on, and lists it for a trainer."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from pipelines.common.argument_types import number
from pipelines.common.arguments import Parser, parse_with_beam
from pipelines.common.errors import NOTHING_LEFT, UsageError, command
from pipelines.common.runners import is_local, usable_cores
from pipelines.filtering.checks import check_columns
from pipelines.filtering.decision import NO_MANIFEST, Decision, FilterConfig, decide
from pipelines.filtering.export import RECORD as EXPORT_RECORD
from pipelines.filtering.export import ExportConfig, export_kept
from pipelines.filtering.export_options import SHARD_SIZE, add_export_arguments, check_export_options
from pipelines.filtering.folders import BucketFolder, Folder
from pipelines.filtering.output import (
    DROPPED,
    RECORD,
    is_unfinished,
    kept_share,
    nothing_kept,
    put_manifest,
    rule_table,
    write_selection,
    written_files,
)
from pipelines.filtering.output_paths import folder_of, overlap
from pipelines.filtering.trim_options import add_trim_options, trim_plan
from transforms.curation.exporting.plan import ExportFormat
from transforms.curation.kept_list import ManifestError
from transforms.curation.manifest_formats import FORMATS
from transforms.curation.presets.presets import PRESETS, choose_rules, rules_as_yaml
from transforms.curation.rules import RuleError, check_scale
from transforms.curation.selection import Selection, parse_length
from transforms.curation.trimming.plan import SegmentLimits, TrimError, TrimPlan
from transforms.output.results import open_results


@dataclasses.dataclass(frozen=True)
class FilterOptions:
    """Options of `audiosieve filter`.

    Attributes:
        scores: output folder of `audiosieve score`; empty if not given.
        output: folder for the selection; empty if not given, which only a dry run allows.
        preset: name of a preset; None for none.
        rules: path of a YAML file, "suggested" or "none"; None if not given.
        where: SQL condition that kept utterances meet; None to use rules.
        print_rules: whether to print the chosen rules and do nothing else.
        dry_run: whether to print what would be kept, and write nothing.
        trim: what to cut out; None for no trimming.
        segment: limits of the segments to divide utterances into; None for none.
        min_s: shortest span that trimming keeps, in seconds, at least 0.1; None for the default.
        pad_s: margin that trimming cuts off on both sides of a bad stretch, 0 to 60 seconds; None for the default.
        quantile: share of the hours to keep after the rules, over 0 and at most 1; None for all.
        budget: seconds to keep after the rules and the quantile, over 0; None for all.
        balance: SQL expression for the groups over which quantile and budget are spread; None for one group.
        format: format of the manifest, or "none"; None for the format of the corpus.
        export: folder for the audio of the kept utterances; None for no export.
        export_format: format of exported audio; None for "original", or for "wav" with a manifest in Kaldi's format.
        shard_size: utterances in a file of shards, at least 1; None for the default.
        sample_rate: sampling rate of exported audio, in Hz; None for that of the recordings.
        mono: whether to export one channel.
        loudness: loudness of exported audio, in LUFS; None to keep that of the recordings.
        overwrite: whether to replace the files of an earlier filter.
    """

    scores: str
    output: str
    preset: str | None
    rules: str | None
    where: str | None
    print_rules: bool
    dry_run: bool
    trim: TrimPlan | None
    segment: SegmentLimits | None
    min_s: float | None
    pad_s: float | None
    quantile: float | None
    budget: float | None
    balance: str | None
    format: str | None
    export: str | None
    export_format: ExportFormat | None
    shard_size: int | None
    sample_rate: int | None
    mono: bool
    loudness: float | None
    overwrite: bool


@command("filter")
def run(argv: Sequence[str]) -> int:
    """Selects utterances, writes the kept and the dropped ones, and exports the audio if requested.

    The exit status is `NOTHING_LEFT` if nothing is kept.
    """
    options, beam_arguments = parse(argv)
    try:
        if options.print_rules:
            if options.where is not None:
                raise UsageError("--print_rules prints the rules of --preset and --rules; remove --where")
            print(rules_as_yaml(options.preset, options.rules), end="")
            return 0
        return _run(options, beam_arguments)
    except (RuleError, TrimError, ManifestError) as error:
        raise UsageError(str(error)) from error


def _run(options: FilterOptions, beam_arguments: tuple[str, ...]) -> int:
    _check_options(options, beam_arguments)
    config = _config(options)
    if options.dry_run and not options.output:
        return _decide_only(options, config, None)
    output = folder_of("output", options.output, config.results)
    export = _export_config(options, beam_arguments, config, output)
    # The output already holds the same selection, so only the export remains.
    resume = (
        export is not None and not options.overwrite and output.load(RECORD).get("fingerprint") == config.fingerprint
    )
    if not resume:
        _check_output(output, options)
    replaces_export = export is not None and _check_export(output, export, options, resume)
    if options.dry_run:
        return _decide_only(options, config, export)
    with (
        tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch,
        Selection(config.results, Path(scratch), usable_cores()) as selection,
    ):
        decision = decide(selection, config, export)
        if not resume:
            with output.replace(RECORD) as draft:
                decision = write_selection(selection, config, decision, draft)
                if export is not None and replaces_export:
                    # First, because the record that allows it is in the old selection.
                    export.folder.clear()
        print(rule_table(decision))
        print(kept_share(decision), flush=True)
        exported = None
        if export is not None:
            exported = export_kept(decision.kept_list, export, decision.format, output, Path(scratch))
            decision = put_manifest(config, decision.of_files(exported.files), output, Path(scratch))
        print(written_files(decision, options.output))
        if exported is not None:
            print(exported.text)
    return _status(decision, f"look at the column rules of {options.output}/{DROPPED}, and")


def _decide_only(options: FilterOptions, config: FilterConfig, export: ExportConfig | None) -> int:
    """Prints what the command would keep, and writes nothing; returns the exit status."""
    with (
        tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch,
        Selection(config.results, Path(scratch), usable_cores()) as selection,
    ):
        decision = decide(selection, config, export)
        print(rule_table(decision))
        print(kept_share(decision))
        print(written_files(decision, None))
        if options.export:
            print(f"the audio of the kept utterances would be exported to {options.export}")
    return _status(decision, "")


def _status(decision: Decision, advice: str) -> int:
    """Returns the exit status; says so if nothing is kept, with `advice` before the words "loosen the rules"."""
    if decision.kept.utterances:
        return 0
    print(f"audiosieve filter: {nothing_kept(decision, advice)}", file=sys.stderr)
    return NOTHING_LEFT


def _export_config(
    options: FilterOptions, beam_arguments: tuple[str, ...], config: FilterConfig, output: Folder
) -> ExportConfig | None:
    """Returns the requested export; None if there is none."""
    if not options.export:
        return None
    folder = folder_of("export", options.export, config.results)
    if overlap(folder.uri, output.uri):
        raise UsageError(f"--export {options.export} overlaps with --output {options.output}; choose another folder")
    if not is_local(beam_arguments):
        raise UsageError("--export runs on this machine only; remove --runner")
    return ExportConfig(
        folder=folder,
        format=options.export_format,
        shard_size=options.shard_size or SHARD_SIZE,
        sample_rate=options.sample_rate,
        is_mono=options.mono,
        loudness_lufs=options.loudness,
        beam_arguments=beam_arguments,
    )


def _check_output(output: Folder, options: FilterOptions) -> None:
    """Checks that the output folder is empty, or that an earlier filter wrote it and may be overwritten.

    Raises:
        UsageError: it may not be written.
    """
    if output.is_empty():
        return
    if not options.overwrite:
        raise UsageError(f"--output {options.output}: is not empty; choose another folder, or add --overwrite")
    # A local folder is replaced atomically. In a bucket, an interrupted command can leave files without a record.
    has_record = output.load(RECORD).get("job") == "filter"
    if not has_record and not (isinstance(output, BucketFolder) and is_unfinished(output.names())):
        raise UsageError(
            f"--output {options.output}: holds files that `audiosieve filter` did not write; choose another folder"
        )


def _check_export(output: Folder, export: ExportConfig, options: FilterOptions, resume: bool) -> bool:
    """Checks that the folder of the export is empty, or holds an earlier export that may be continued or overwritten.

    Args:
        output: folder of the selection.
        export: the requested export.
        options: options of the command.
        resume: whether the output already holds the same selection.

    Returns:
        Whether the folder must be cleared first.

    Raises:
        UsageError: it may not be written.
    """
    if export.folder.is_empty():
        return False
    earlier = output.load(EXPORT_RECORD)
    is_own = earlier.get("folder") == export.folder.uri
    if options.overwrite and is_own:
        return True
    if resume and earlier == export.as_dict():
        return False
    advice = (
        "or add --overwrite" if is_own else f"--overwrite replaces only the export of {options.output}/{EXPORT_RECORD}"
    )
    raise UsageError(f"--export {options.export}: is not empty; choose another folder; {advice}")


def _check_options(options: FilterOptions, beam_arguments: Sequence[str]) -> None:
    """Checks the options against each other.

    Raises:
        UsageError: an option is missing, or two options exclude each other.
    """
    if not options.scores:
        raise UsageError("the folder of the scores is missing; give it as in: audiosieve filter OUT --output KEEP")
    if not options.output and not options.dry_run:
        raise UsageError("--output is missing; name a folder, or add --dry_run to write nothing")
    if options.overwrite and not options.output:
        raise UsageError("--overwrite has no effect without --output")
    if beam_arguments and not options.export:
        raise UsageError(
            f"{beam_arguments[0].partition('=')[0]} is an option of Beam, which `audiosieve filter` uses only to --export "
            "audio; remove it"
        )
    audio = {
        "export_format": options.export_format,
        "shard_size": options.shard_size,
        "sample_rate": options.sample_rate,
        "mono": options.mono or None,
        "loudness": options.loudness,
    }
    check_export_options(options.export, audio)
    if options.where is not None and options.rules is not None:
        raise UsageError("--where and --rules exclude each other; write the condition into the file of rules")
    if options.balance is not None and options.budget is None and options.quantile is None:
        raise UsageError("--balance needs a --budget or a --quantile to spread")


def _config(options: FilterOptions) -> FilterConfig:
    trim = trim_plan(options.trim, options.segment, options.min_s, options.pad_s)
    rules = choose_rules(options.preset, options.rules, options.where)
    results = open_results(options.scores)
    check_scale(rules, results.label_scale.name)
    check_columns(results)
    if trim is not None:
        trim.check_scale(results.label_scale)
    return FilterConfig(
        results=results,
        rules=rules,
        trim=trim,
        segments=options.segment,
        quantile=options.quantile,
        budget_s=options.budget,
        balance=options.balance,
        format=options.format,
    )


def parse(argv: Sequence[str]) -> tuple[FilterOptions, tuple[str, ...]]:
    """Returns the options of the command and those for Beam."""
    return parse_with_beam(build_parser(), argv, FilterOptions)


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "filter", "Select the part of a scored corpus that is worth training on, and list it for a trainer."
    )
    add = parser.add_argument
    add("scores", nargs="?", default="", metavar="OUT", help="output folder of `audiosieve score`")
    add(
        "-o",
        "--output",
        default="",
        metavar="KEEP",
        help="empty or new folder, local or in a bucket, for the kept utterances, the dropped ones and the reasons",
    )
    add(
        "--preset",
        choices=list(PRESETS),
        help="rules for a purpose: training of speech synthesis, recognition or enhancement, telephone speech, or the limits "
        "of the Emilia corpus; --rules or --where are added, and an own rule replaces the one with its name",
    )
    add(
        "--rules",
        metavar="FILE",
        help="YAML file with a name and an SQL condition for each reason to drop an utterance; `suggested`, the "
        "default without --preset: the rules that --print_rules prints; `none`: no rules",
    )
    add(
        "--where",
        metavar="SQL",
        help="SQL condition that kept utterances meet, over the columns of `utterances`; replaces --rules",
    )
    add(
        "--print_rules",
        action="store_true",
        help="print the rules of --preset and --rules, or the suggested ones, to start your own file from, and exit",
    )
    add("--dry_run", action="store_true", help="print the table of a real run, and write nothing")
    add_trim_options(parser)
    add(
        "--quantile",
        type=number(over=0, at_most=1),
        metavar="SHARE",
        help="share of the hours to keep after the rules, best scores first, such as 0.8",
    )
    add(
        "--budget",
        type=_length_of_time,
        metavar="LENGTH",
        help="duration to keep after the rules and --quantile, best scores first, such as 500h, 90m or 30s",
    )
    add(
        "--balance",
        metavar="COLUMN",
        help="column, such as speaker, or SQL expression; --quantile and --budget are spread evenly over its values",
    )
    add("--format", choices=[*FORMATS, NO_MANIFEST], help="format of the manifest; by default the format of the corpus")
    add_export_arguments(parser)
    add("--overwrite", action="store_true", help="replace the files of an earlier filter in --output and --export")
    return parser


def _length_of_time(text: str) -> float:
    """Parses a length of time, such as 500h, 90m or 30s, into seconds."""
    try:
        return parse_length(text)
    except ValueError:
        raise ArgumentTypeError(f"is {text!r}; must be a number over 0 followed by h, m or s, such as 500h") from None
