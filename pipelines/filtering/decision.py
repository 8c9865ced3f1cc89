"""Decides which utterances `audiosieve filter` keeps, and in which format it lists them. Writes nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib.metadata import version
from typing import Any

from pipelines.common.errors import UsageError
from pipelines.common.wording import counted
from pipelines.filtering.export import ExportConfig
from pipelines.filtering.source_rows import find_fields
from transforms.curation.exporting.plan import DATASETS
from transforms.curation.kept_list import KeptList, measure_recordings, unnamed_recordings
from transforms.curation.manifest_formats import FORMATS, KALDI, refusal
from transforms.curation.manifest_writers import without_text
from transforms.curation.piece_texts import TextState
from transforms.curation.presets.unchecked import Unchecked, check_any_applies
from transforms.curation.row_writers.matching import SourceRows
from transforms.curation.rules import BUDGET, QUANTILE, RuleSet
from transforms.curation.selection import Amount, RuleCount, Selection
from transforms.curation.trimming.plan import SegmentLimits, TrimPlan
from transforms.output.results import Results
from transforms.schemas import TRIMMED

# File with the kept rows of `utterances`.
KEPT = "kept.parquet"
# Value of `--format` for no manifest.
NO_MANIFEST = "none"


@dataclasses.dataclass(frozen=True)
class FilterConfig:
    """Configuration of a filter.

    Attributes:
        results: the scored corpus.
        rules: rules that drop utterances.
        trim: what is cut out first; None for no trimming.
        segments: limits of the segments that utterances are divided into; None to divide none. It needs `trim`.
        quantile: share of the hours to keep after the rules, over 0 and at most 1; None for all.
        budget_s: total duration to keep after that, in seconds; None for all.
        balance: SQL expression for the groups over which quantile and budget are spread; None for one group.
        format: format of the manifest, or `NO_MANIFEST`; None for the format of the corpus.
    """

    results: Results
    rules: RuleSet
    trim: TrimPlan | None
    segments: SegmentLimits | None
    quantile: float | None
    budget_s: float | None
    balance: str | None
    format: str | None

    @property
    def fingerprint(self) -> str:
        """Hash that is the same for the same selection from the same scores."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Returns everything that determines the selection, as `filter.json` records it."""
        return {
            "scores": self.results.root,
            "model_id": self.results.model_id,
            "label_scale": self.results.label_scale.name,
            "runs": [record["run_id"] for record in self.results.records],
            "rules_from": self.rules.origin,
            "rules": {rule.name: rule.condition for rule in self.rules.rules},
            "options": {
                "trim": None if self.trim is None else str(self.trim),
                "min_s": None if self.trim is None or self.segments is not None else self.trim.min_s,
                "pad_s": None if self.trim is None else self.trim.pad_s,
                "segment": None if self.segments is None else str(self.segments),
                "quantile": self.quantile,
                "budget_s": self.budget_s,
                "balance": self.balance,
                "format": self.format,
            },
            "audiosieve": version("audiosieve"),
        }


@dataclasses.dataclass(frozen=True)
class Decision:
    """Result of a filter.

    Attributes:
        model_id: model that made the scores, as name@hash.
        scored: all utterances of the corpus.
        kept: kept utterances; after trimming, some are pieces of those of the corpus.
        piece_texts: number of kept pieces by how they got their texts; empty without trimming.
        dropped: dropped utterances, and spans that trimming removed.
        rule_counts: amounts that trimming, each rule, the quantile and the budget drop.
        unchecked: rules that have no data for some or all utterances.
        reject_counts: utterances without a score, by reason.
        kept_list: the kept utterances, for manifests and exports.
        format: format of the manifest; None for no manifest.
        source_rows: rows of the corpus that the manifest copies; None if it has only the carried columns.
        remarks: clauses of one sentence about the manifest; empty if it has the format and columns of the corpus.
        lists_files: whether the manifest lists exported files.
    """

    model_id: str
    scored: Amount
    kept: Amount
    piece_texts: dict[TextState, int]
    dropped: Amount
    rule_counts: list[RuleCount]
    unchecked: list[Unchecked]
    reject_counts: dict[str, int]
    kept_list: KeptList
    format: str | None
    source_rows: SourceRows | None
    remarks: list[str]
    lists_files: bool = False

    def of_files(self, files: KeptList) -> Decision:
        """Returns the decision with exported files in place of the recordings.

        Args:
            files: the exported utterances with their files.
        """
        rows = self.source_rows and self.source_rows.of_files(files)
        return dataclasses.replace(self, kept_list=files, source_rows=rows)


def decide(selection: Selection, config: FilterConfig, export: ExportConfig | None = None) -> Decision:
    """Decides which utterances are kept, and in which format they are listed.

    Args:
        selection: a new selection from `config.results`.
        config: configuration of the filter.
        export: configuration of the export, whose files the manifest then lists; None for no export.

    Raises:
        UsageError: the output has no utterances, or the requested format cannot list those that are kept.
        RuleError: a rule or `balance` is not valid, or the output lacks the data that the rules need.
        TrimError: the utterances cannot be trimmed.
        ManifestError: the duration of a recording cannot be read.
    """
    scored = selection.scored()
    if not scored.utterances:
        raise UsageError(f"{config.results.root}: has no utterances with a score")
    if config.trim is not None:
        selection.trim(config.trim, config.segments)
    selection.check_data(config.rules)
    selection.apply_rules(config.rules.rules, config.balance)
    if config.quantile is not None:
        selection.keep_best(config.quantile * selection.kept().seconds, QUANTILE)
    if config.budget_s is not None:
        selection.keep_best(config.budget_s, BUDGET)
    unchecked = selection.unchecked()
    check_any_applies(config.rules, unchecked, config.results.model_id)
    source_kind = selection.source_kind()
    kept_list = selection.list_kept(source_kind.has_spans)
    preview = export.preview if export else lambda kept: kept
    dataset = export.format if export is not None and export.format in DATASETS else None
    if dataset and config.format not in (None, NO_MANIFEST):
        raise UsageError(f"--format {config.format}: --export_format {dataset} needs no manifest; remove --format")
    # A dataset has all fields, as an index of tars would.
    format: str | None = "webdataset"
    remarks: list[str] = []
    if dataset is None:
        format, remarks = _choose_format(preview(kept_list), source_kind.format, config.format, export)
    source_rows, pieces = None, None
    if format is not None:
        fields = find_fields(selection, kept_list, format, preview)
        source_rows, kept_list, pieces = fields.rows, fields.kept, fields.pieces
        remarks += fields.remarks
        if export is None and (unnamed := unnamed_recordings(kept_list)):
            remarks.append(
                f"{counted(len(unnamed), 'kept recording')} cannot be listed as a file, because the name is not UTF-8 "
                f"(as {unnamed[0]}); rename such files and score them again"
            )
        excluded = [name for name in config.results.carried if name not in kept_list.columns]
        if excluded and source_rows is None:
            remarks.insert(
                0, f"the manifest lacks {', '.join(excluded)}: manifests use these names for other data; see {KEPT}"
            )
        if format == KALDI and source_rows is None and (silent := without_text(kept_list)):
            remarks.append(kaldi_remark(silent))
        if export is None and FORMATS[format].needs_durations and (source_rows is None or source_rows.lacking):
            measure_recordings(kept_list)
    return Decision(
        model_id=config.results.model_id,
        scored=scored,
        kept=selection.kept(),
        piece_texts=selection.piece_texts() if pieces is None else pieces,
        dropped=selection.dropped(),
        rule_counts=selection.rule_counts(),
        unchecked=unchecked,
        reject_counts=selection.reject_counts(),
        kept_list=kept_list,
        format=None if dataset else format,
        source_rows=None if dataset else source_rows,
        remarks=remarks,
        lists_files=export is not None,
    )


def kaldi_remark(silent: int) -> str:
    """Returns the remark that some utterances of a Kaldi directory have no text."""
    return f"kaldi/text lacks {silent:,} kept utterances, which have no text; Kaldi's fix_data_dir.sh removes them"


def _choose_format(
    kept: KeptList, source_format: str, requested: str | None, export: ExportConfig | None
) -> tuple[str | None, list[str]]:
    """Returns the format of the manifest, and remarks if it is not that of the corpus.

    Args:
        kept: the kept utterances as the manifest lists them.
        source_format: format of the corpus, not counting archives.
        requested: value of `--format`.
        export: configuration of the export; None for no export.

    Raises:
        UsageError: the requested format cannot list the kept utterances.
    """
    if requested == NO_MANIFEST:
        return None, []
    if requested is not None:
        reason = refusal(kept, requested)
        if reason:
            advice = "another format" if export else "another format, or --format none with --export"
            raise UsageError(f"--format {reason}; choose {advice}")
        return requested, []
    if kept.has_archives():
        candidates = ["webdataset"]
    elif export is not None and source_format == "paths":
        # A list of paths has no texts and no scores.
        candidates = ["jsonl"]
    else:
        candidates = list(dict.fromkeys([source_format, "csv"]))
    remarks: list[str] = []
    carried = [name for name in kept.columns if name != TRIMMED]
    if candidates[0] == "paths" and carried:  # as of a folder of tables that name recordings
        remarks.append(f"paths cannot hold the carried columns ({', '.join(carried)})")
        candidates = ["csv"]
    for format in candidates:
        reason = refusal(kept, format)
        if reason is None:
            return format, [*remarks, f"so the manifest is in {format}"] if remarks else []
        remarks.append(reason)
    return None, [
        *remarks,
        f"so there is no manifest; {KEPT} lists the kept utterances, and --export writes their audio",
    ]
