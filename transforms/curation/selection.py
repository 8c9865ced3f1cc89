"""Selects utterances of a scored corpus with DuckDB. `Selection` owns the connection and its tables."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa

from transforms import schemas
from transforms.corpus.formats import SourceKind, find_archives, is_listing, lists_spans, source_kind
from transforms.corpus.other_files import IS_OTHER_FILE
from transforms.corpus.sources import MANIFEST
from transforms.curation.decisions import MICROSECONDS, budget_decisions, rule_decisions
from transforms.curation.duckdb_rows import OWN_UTTERANCES, quoted_text, write_parquet
from transforms.curation.kept_list import KeptList, kept_list_query, manifest_columns
from transforms.curation.piece_texts import PieceTexts, TextState, copies_of_texts
from transforms.curation.presets.unchecked import Unchecked, check_data, find_unchecked
from transforms.curation.row_writers.matching import SourceRows, match_rows
from transforms.curation.row_writers.other_formats import with_fields
from transforms.curation.rules import SEGMENT_REASONS, TRIM, Rule, RuleError, RuleSet, check_expression, check_rules
from transforms.curation.trimming.plan import SegmentLimits, TrimPlan
from transforms.curation.trimming.tables import make_tables
from transforms.duplicates.columns import DuplicateColumns
from transforms.elements import EACH
from transforms.output.results import Results

# Memory that DuckDB may use before it spills to disk. The threads share it: with 64 threads, a million utterances with their
# frames do not fit.
MEMORY, MAX_THREADS = "1GB", 4

_LENGTH = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}


@dataclasses.dataclass(frozen=True)
class Amount:
    """A number of utterances and their total duration.

    Attributes:
        utterances: number of utterances.
        seconds: total duration in seconds.
    """

    utterances: int
    seconds: float

    @property
    def hours(self) -> float:
        """Total duration in hours."""
        return self.seconds / 3600

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.utterances + other.utterances, self.seconds + other.seconds)


@dataclasses.dataclass(frozen=True)
class RuleCount:
    """Amount that a rule, the quantile, the budget or trimming drops.

    Attributes:
        name: name of the rule.
        matches: all utterances and spans that it drops.
        alone: utterances and spans that no other rule drops.
    """

    name: str
    matches: Amount
    alone: Amount


class Selection:
    """Decides which utterances of an output are kept.

    Call the methods in this order: `trim` if wanted; `apply_rules`; `keep_best` any number of times; then the methods
    that count or read the selection.

    Args:
        results: an output of `audiosieve score`.
        scratch: folder for data that does not fit into memory.
        threads: number of threads, at least 1; more than `MAX_THREADS` are not used.
    """

    def __init__(self, results: Results, scratch: Path, threads: int = MAX_THREADS) -> None:
        self.results = results
        self._connection = results.connect()
        self._rules: Sequence[Rule] = ()
        self._rule_names: list[str] = []
        self._is_trimmed = self._is_segmented = False
        self._scratch = scratch
        # Rules are untrusted SQL: they must not read files or change settings.
        for setting in (
            f"temp_directory = {quoted_text(str(scratch / 'duckdb'))}",
            f"memory_limit = '{MEMORY}'",
            f"threads = {min(MAX_THREADS, threads)}",
            "enable_progress_bar = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self._connection.execute(f"SET {setting}")
        self._duplicates = DuplicateColumns(self._connection, results.carried)
        # SQL for the utterance that is kept in place of a dropped one.
        self._replacement = "NULL::VARCHAR"
        self._rows = f"SELECT *, false AS {schemas.TRIMMED} FROM utterances"
        self._set_candidates(self._duplicates.empty(self._rows))

    def __enter__(self) -> Selection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    # --- decide ---------------------------------------------------------------------------------------------------------

    def trim(self, plan: TrimPlan | None = None, limits: SegmentLimits | None = None) -> None:
        """Cuts bad stretches out. The good spans around them, or segments of these, become utterances that rules decide on.

        Args:
            plan: what to cut out; by default anomalies.
            limits: limits of the length of segments; None to keep the spans whole.

        Raises:
            TrimError: the stretches cannot be found, or the spans cannot get scores or ids.
        """
        carried, fields = self.results.carried, self.results.carried_fields
        texts = PieceTexts(carried, fields, copies_of_texts(self._connection, carried, fields))
        make_tables(self._connection, texts, self._scratch, plan or TrimPlan(), limits)
        self._rows = f"""
            SELECT *, false AS {schemas.TRIMMED} FROM utterances
            WHERE utterance_id NOT IN (SELECT parent_id FROM removed UNION ALL SELECT parent_id FROM spans)
            UNION ALL SELECT *, true AS {schemas.TRIMMED} FROM span_rows
        """
        self._set_candidates(self._duplicates.empty(self._rows))
        self._is_trimmed, self._is_segmented = True, limits is not None

    def check_data(self, rules: RuleSet) -> None:
        """Raises `RuleError` if the output lacks columns that the rules require."""
        check_data(self._connection, rules)

    def apply_rules(self, rules: Sequence[Rule], balance: str | None = None) -> None:
        """Drops the utterances that match a rule.

        Rules on duplicates choose among the utterances that the other rules keep.

        Args:
            rules: rules; an utterance is dropped if any of them drops it.
            balance: SQL expression for the group of an utterance; `keep_best` treats groups evenly. None for one group.

        Raises:
            RuleError: a rule or `balance` is not valid, or the output has no data for a rule on duplicates.
        """
        self._rules = rules
        on_duplicates = [rule for rule in rules if self._duplicates.mentioned(rule.condition)]
        if on_duplicates and (reason := self._duplicates.missing_data()):
            raise RuleError(f"{on_duplicates[0].title}: {reason}")
        check_rules(self._connection, "candidates", rules)
        if balance is not None:
            check_expression(self._connection, "candidates", balance, "--balance")
        try:
            if on_duplicates:
                self._decide(rule_decisions("candidates", [rule for rule in rules if rule not in on_duplicates]))
                self._find_duplicates(on_duplicates)
            self._decide(rule_decisions("candidates", rules, balance))
        except duckdb.Error as error:  # each rule alone is valid
            raise RuleError(f"the rules cannot be evaluated together ({str(error).splitlines()[0]})") from error
        self._rule_names = [rule.name for rule in rules]

    def keep_best(self, budget_s: float, name: str) -> None:
        """Keeps the best of the utterances kept so far, within a total duration, evenly over the groups.

        Args:
            budget_s: largest total duration to keep, in seconds.
            name: rule name for the utterances that this drops.
        """
        self._decide(budget_decisions("decisions", budget_s, name))
        self._rule_names.append(name)

    def _set_candidates(self, query: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW candidates AS {query}")

    def _find_duplicates(self, rules: Sequence[Rule]) -> None:
        """Fills the columns of duplicates, of which `rules` use at least one."""
        used = [name for rule in rules for name in self._duplicates.mentioned(rule.condition)]
        similar, spans = schemas.DUPLICATE_OF in used, "spans" if self._is_trimmed else None
        self._duplicates.find("decisions", spans, similar)
        self._set_candidates(self._duplicates.filled(self._rows, spans))
        names, column = ", ".join(f"'{rule.name}'" for rule in rules), used[0] if not similar else schemas.DUPLICATE_OF
        self._replacement = f"CASE WHEN list_has_any(decisions.rules, [{names}]) THEN candidates.{column} END"

    def _decide(self, query: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE decisions AS {query}")

    # --- count ----------------------------------------------------------------------------------------------------------

    def scored(self) -> Amount:
        """Returns the amount of all utterances in the output."""
        return self._amount("SELECT count(*), coalesce(sum(duration_s), 0) FROM utterances")

    def kept(self) -> Amount:
        """Returns the amount of kept utterances."""
        return self._decided("len(rules) = 0")

    def dropped(self) -> Amount:
        """Returns the amount of dropped utterances and removed spans."""
        dropped = self._decided("len(rules) > 0")
        return dropped + self._removed() if self._is_trimmed else dropped

    def rule_counts(self) -> list[RuleCount]:
        """Returns the amounts that trimming, segments, each rule, the quantile and the budget drop, in this order."""
        counts = []
        if self._is_trimmed:
            for reason in (TRIM, *(SEGMENT_REASONS if self._is_segmented else ())):
                removed = self._removed(f"rule = '{reason}'")
                counts.append(RuleCount(reason, removed, removed))
        for name in self._rule_names:
            matches = self._decided(f"list_contains(rules, '{name}')")
            counts.append(RuleCount(name, matches, self._decided(f"rules = ['{name}']")))
        return counts

    def unchecked(self) -> list[Unchecked]:
        """Returns the rules that have no data for some or all utterances."""
        return find_unchecked(self._connection, self._rules, "candidates", "decisions")

    def reject_counts(self) -> dict[str, int]:
        """Returns the number of rejects in the output by reason, most frequent first, without other files."""
        query = f"""
            SELECT reason, count(*) FROM rejects WHERE NOT {IS_OTHER_FILE} GROUP BY reason ORDER BY count(*) DESC, reason
        """
        return dict(self._connection.execute(query).fetchall())

    def piece_texts(self) -> dict[TextState, int]:
        """Returns the number of kept pieces by how they got their text; empty if nothing was trimmed."""
        if not self._is_trimmed:
            return {}
        rows = self._connection.execute("""
            SELECT span_texts.state, count(*) FROM span_texts JOIN decisions USING (utterance_id) WHERE len(rules) = 0
            GROUP BY 1 ORDER BY 1
        """).fetchall()
        return {TextState(state): count for state, count in rows}

    def _decided(self, condition: str) -> Amount:
        return self._amount(f"""
            SELECT count(*), coalesce(sum(duration_us), 0)::DOUBLE / {MICROSECONDS} FROM decisions WHERE {condition}
        """)

    def _removed(self, condition: str = "true") -> Amount:
        return self._amount(f"""
            SELECT count(*), coalesce(sum(end_us - start_us), 0)::DOUBLE / {MICROSECONDS} FROM removed WHERE {condition}
        """)

    def _amount(self, query: str) -> Amount:
        ((count, seconds),) = self._connection.execute(query).fetchall()
        return Amount(count, seconds)

    # --- read -----------------------------------------------------------------------------------------------------------

    def kept_table(self) -> pa.Table:
        """Returns the kept rows of `utterances`, best score first."""
        excluded = ", ".join([schemas.TRIMMED, *self._duplicates.names])
        query = f"SELECT * EXCLUDE ({excluded}) FROM ({self._kept_rows}) ORDER BY score DESC, utterance_id"
        return self._connection.sql(query).to_arrow_table()

    def write_kept(self, path: Path) -> int:
        """Writes the kept rows to a Parquet file (`schemas.KEPT`), in the order of their ids; returns their number."""
        schema = schemas.with_carried(schemas.KEPT, self.results.carried_fields).with_metadata(self._metadata)
        return write_parquet(self._connection, f"{self._kept_rows} ORDER BY utterance_id", schema, path)

    def write_dropped(self, path: Path) -> int:
        """Writes the dropped utterances and removed spans with their rules to a Parquet file; returns their number."""
        query = f"""
            SELECT utterance_id, candidates.uri, candidates.start_s, candidates.duration_s, candidates.score, decisions.rules,
                {self._replacement} AS {schemas.DUPLICATE_OF}
            FROM candidates JOIN decisions USING (utterance_id) WHERE len(decisions.rules) > 0
        """
        if self._is_trimmed:
            query += f"""
                UNION ALL
                SELECT removed.utterance_id, uri, start_s + start_us / 1e6,
                    CASE WHEN is_whole THEN duration_s ELSE (end_us - start_us) / 1e6 END,
                    CASE WHEN is_whole THEN score END, [rule], NULL
                FROM removed JOIN {OWN_UTTERANCES} AS utterances ON utterances.utterance_id = parent_id
            """
        query = f"SELECT * FROM ({query}) ORDER BY utterance_id"
        return write_parquet(self._connection, query, schemas.DROPPED.with_metadata(self._metadata), path)

    def source_kind(self) -> SourceKind:
        """Returns the kind of the corpus.

        If the corpus was deleted, the kind is inferred from its name and the ids of its utterances.
        """
        source = self.results.source
        if kind := source_kind(source):
            return dataclasses.replace(kind, has_spans=kind.has_spans or lists_spans(self._connection))
        has_spans = bool(MANIFEST.search(source)) or not is_listing(self._connection)
        return SourceKind("csv" if has_spans else "paths", has_spans)

    def list_kept(self, has_spans: bool) -> KeptList:
        """Returns the list of kept utterances for manifests and exports.

        Args:
            has_spans: whether the corpus may list spans of recordings.
        """
        columns = manifest_columns(self.results.carried)
        if self._is_trimmed:
            columns.append(schemas.TRIMMED)
        self._connection.register("archives", find_archives(self._connection))
        query = kept_list_query(
            f"({self._kept_rows})",
            archives="archives",
            spans="spans" if self._is_trimmed else None,
            has_spans=has_spans,
            columns=columns,
        )
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE kept_list AS {query}")
        json_columns = [field.name for field in self.results.carried_fields if schemas.is_json(field)]
        return KeptList(self._connection, "kept_list", columns, json_columns)

    def match_rows(self, kept: KeptList) -> SourceRows | None:
        """Finds the rows of the corpus's manifests that belong to kept utterances.

        Args:
            kept: the result of `list_kept`.

        Returns:
            The rows; None if the corpus has no manifest whose rows can be copied.

        Raises:
            READ_ERRORS: a manifest cannot be read.
        """
        splits_channels = self.results.channels == EACH
        return match_rows(
            kept,
            self.results.source,
            self.results.listing_options,
            self._scratch,
            is_trimmed=self._is_trimmed,
            splits_channels=splits_channels,
        )

    def with_fields(self, rows: SourceRows) -> tuple[KeptList, dict[TextState, int]]:
        """Returns the list of kept utterances with all fields of the corpus, and how its pieces got their texts.

        Args:
            rows: the result of `match_rows`.
        """
        kept, pieces = with_fields(rows, self._scratch)
        return kept, dict(sorted(pieces.items()))

    @property
    def _kept_rows(self) -> str:
        kept = "SELECT utterance_id FROM decisions WHERE len(rules) = 0"
        return f"SELECT candidates.* FROM candidates SEMI JOIN ({kept}) USING (utterance_id)"

    @property
    def _metadata(self) -> dict[str, str]:
        return {
            "audiosieve.model_id": self.results.model_id,
            "audiosieve.label_scale": self.results.label_scale.name,
        }


def parse_length(text: str) -> float:
    """Parses a length of time such as `500h`, `90m` or `30s` into seconds.

    Raises:
        ValueError: the text is not a length of time over 0.
    """
    match = _LENGTH.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise ValueError(f"{text!r} is not a length of time; must be a number over 0 with h, m or s, for example 500h")
    return seconds
