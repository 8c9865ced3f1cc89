"""The numbers of a report. They are aggregates of an output, so their size does not depend on that of the corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np

from model.labels import LabelScale
from transforms.analysis.report.rejects import Rejected, count_rejects
from transforms.corpus.columns import TEXT_COLUMNS
from transforms.corpus.word_times import WORDS
from transforms.schemas import HEARD

# Steps per point of the scale: utterances are counted in steps of 0.01.
STEPS = 100
# Largest number of groups of a column; the smaller groups are merged into one more.
MAX_GROUPS = 30
FACT_BINS = 60
# Steps of 0.01 in a row of a fact's density.
SCORE_BIN = 10
# Mean number of words in a value of a column of free text.
TEXT_WORDS = 4
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Quantiles between which the bins of a fact lie. The first and last bin also count the values outside.
_BIN_RANGE = (0.001, 0.999)
# Titles and units of the columns of `utterances` in the section on the signal.
FACTS = {
    "duration_s": ("Duration", "s"),
    "peak_dbfs": ("Peak level", "dBFS"),
    "rms_dbfs": ("RMS level", "dBFS"),
    "clipped_ratio": ("Clipped samples", "share"),
    "silence_ratio": ("Silent frames", "share"),
    "longest_gap_s": ("Longest gap", "s"),
    "dropout_s": ("Dropouts", "s"),
    "dc_offset": ("DC offset", "of full scale"),
    "bandwidth_hz": ("Bandwidth", "Hz"),
    "noise_floor_snr_db": ("Signal-to-noise ratio from the noise floor", "dB"),
    "speech_s": ("Speech", "s"),
    "music_s": ("Music", "s"),
    "overlap_s": ("Second voice", "s"),
    "snr_db": ("Signal-to-noise ratio", "dB"),
    "c50_db": ("Clarity index C50", "dB"),
    "mos_sig": ("Rating of the speech", "1 to 5"),
    "mos_bak": ("Rating of the background", "1 to 5"),
    "mos_ovrl": ("Overall rating", "1 to 5"),
}
FIRST_FOLDER = "first folder"
# SQL of the highest step whose threshold a score reaches. DuckDB compares `score >= 3.07` in float32, so the thresholds are
# float32 too. The product may round to the wrong side of a step, which the CASE corrects.
_ROUNDED_STEP = f"floor(score::DOUBLE * {STEPS})::INTEGER"
_STEP = f"""CASE WHEN score >= (({_ROUNDED_STEP} + 1)::DOUBLE / {STEPS})::FLOAT THEN {_ROUNDED_STEP} + 1
    WHEN score < ({_ROUNDED_STEP}::DOUBLE / {STEPS})::FLOAT THEN {_ROUNDED_STEP} - 1 ELSE {_ROUNDED_STEP} END"""


@dataclasses.dataclass(frozen=True)
class Steps:
    """Numbers and durations of utterances by score, in steps of 0.01.

    Attributes:
        first: number of the first step; its threshold is `first / 100`.
        count: number of utterances whose score reaches the threshold of a step but not the next: int64 [S].
        seconds: duration of those utterances in seconds: float64 [S].
    """

    first: int
    count: np.ndarray
    seconds: np.ndarray

    def threshold(self, index: int) -> float:
        """Returns the threshold of a step, which has two decimals."""
        return (self.first + index) / STEPS

    def kept(self, threshold: float) -> tuple[int, float]:
        """Returns number and seconds of the utterances whose score reaches the threshold, rounded to two decimals."""
        index = max(0, round(threshold * STEPS) - self.first)
        return int(self.count[index:].sum()), float(self.seconds[index:].sum())


@dataclasses.dataclass(frozen=True)
class Group:
    """The utterances with one value of a column, or with any of the values of the merged groups.

    Attributes:
        name: value of the column; None for utterances without a value, and for merged groups.
        merged_values: number of merged values; 0 for a group of one value.
        quantiles: quantiles of the scores, at `QUANTILES`.
        steps: utterances by score.
    """

    name: str | None
    merged_values: int
    quantiles: list[float]
    steps: Steps

    @property
    def title(self) -> str:
        """Name of the group on the page."""
        if self.merged_values:
            return f"all others ({self.merged_values:,} values)"
        return "(none)" if self.name is None else self.name

    @property
    def count(self) -> int:
        """Number of utterances."""
        return int(self.steps.count.sum())

    @property
    def seconds(self) -> float:
        """Duration of the utterances in seconds."""
        return float(self.steps.seconds.sum())


@dataclasses.dataclass(frozen=True)
class Fact:
    """The distribution of a signal fact over the utterances, and jointly with the score.

    Attributes:
        name: column in `utterances`.
        missing: number of utterances whose value is missing or not finite.
        quantiles: quantiles of the values, at 0, `QUANTILES` and 1; empty if no utterance has a value.
        edges: edges of the bins: float64 [`FACT_BINS` + 1].
        density: number of utterances by score and value: int64 [R, `FACT_BINS`]; row r starts at step `10 r`.
    """

    name: str
    missing: int
    quantiles: list[float]
    edges: np.ndarray
    density: np.ndarray


@dataclasses.dataclass(frozen=True)
class ReportData:
    """All numbers of a report.

    Attributes:
        steps: all utterances by score.
        groups: groups by column, the lowest median first and the merged ones last.
        texts: carried columns that do not group the utterances, because each has a text of its own.
        facts: facts in the order of `FACTS`, without those that the model does not hear.
        causes: utterances with each cause, the most hours first; the last group, without a name, has no causes. An utterance
            may be in several groups.
        flags: utterances with each flag, in the same form.
        rejects: rejected recordings by stage and reason, the most frequent first.
        skipped: other files of the corpus, such as texts and pictures, in the same form.
    """

    steps: Steps
    groups: dict[str, list[Group]]
    texts: list[str]
    facts: list[Fact]
    causes: list[Group]
    flags: list[Group]
    rejects: list[Rejected]
    skipped: list[Rejected]

    @property
    def count(self) -> int:
        """Number of utterances."""
        return int(self.steps.count.sum())

    @property
    def seconds(self) -> float:
        """Duration of all utterances in seconds."""
        return float(self.steps.seconds.sum())

    @property
    def rejected(self) -> int:
        """Number of recordings without a score."""
        return sum(reject.count for reject in self.rejects)

    @property
    def num_skipped(self) -> int:
        """Number of files that are no recordings."""
        return sum(reject.count for reject in self.skipped)


def report_data(connection: duckdb.DuckDBPyConnection, carried: Sequence[str], scale: LabelScale) -> ReportData:
    """Computes the numbers of a report.

    Args:
        connection: connection with the tables of an output, from `Results.connect`.
        carried: columns of the corpus in `utterances`; each of them groups the utterances, unless it has texts.
        scale: scale of the scores.
    """
    binning = _Binning(connection, scale)
    columns = group_columns(carried)
    texts = [name for name in carried if name in (*TEXT_COLUMNS, WORDS) or _is_text(connection, columns[name])]
    rejects, skipped = count_rejects(connection)
    return ReportData(
        steps=binning.all_utterances(),
        groups={column: binning.groups(sql) for column, sql in columns.items() if column not in texts},
        texts=texts,
        facts=[fact for name in FACTS if (fact := binning.fact(name)).quantiles or name not in HEARD],
        causes=binning.words("causes"),
        flags=binning.words("flags"),
        rejects=rejects,
        skipped=skipped,
    )


def group_columns(carried: Sequence[str]) -> dict[str, str]:
    """Returns the columns that may group the utterances, with the SQL of each."""
    folder = "CASE WHEN contains(ltrim(utterance_id, '/'), '/') THEN split_part(ltrim(utterance_id, '/'), '/', 1) END"
    named = {
        name: f'CAST("{name.replace(chr(34), chr(34) * 2)}" AS VARCHAR)' for name in ("format", "sample_rate", *carried)
    }
    return {FIRST_FOLDER: folder, **named}


def _is_text(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Returns whether a column, given as SQL, has free text: sentences, or a value of its own for most utterances."""
    row = connection.execute(
        f"SELECT count(DISTINCT v), count(v), avg(len(string_split(trim(v), ' '))) FROM (SELECT {sql} AS v FROM utterances)"
    ).fetchone()
    values, count, words = row or (0, 0, None)
    are_own, are_many, are_sentences = 2 * values > count, values > MAX_GROUPS, (words or 0) >= TEXT_WORDS
    return are_own + are_many + are_sentences >= 2


class _Binning:
    """Counts utterances by score, always in the same steps."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scale: LabelScale) -> None:
        self._connection = connection
        ((low, high),) = self._rows(f"SELECT min({_STEP}), max({_STEP}) FROM utterances")
        first, last = (round(end * STEPS) for end in (scale.low, scale.high))
        self._first: int = first if low is None else min(first, low)
        self._last: int = last if high is None else max(last, high)

    def all_utterances(self) -> Steps:
        """Counts all utterances."""
        return self._steps(self._rows(f"SELECT {_STEP} AS step, count(*), sum(duration_s) FROM utterances GROUP BY 1"))

    def groups(self, sql: str) -> list[Group]:
        """Groups the utterances by an SQL expression. The group with the lowest median comes first, merged groups last."""
        groups = self._grouped(f"SELECT {sql} AS name, score, duration_s FROM utterances")
        return sorted(groups, key=lambda group: (group.merged_values > 0, group.quantiles[len(QUANTILES) // 2]))

    def words(self, column: str) -> list[Group]:
        """Groups the utterances by the words of a column of lists. Rows of older versions have no list and do not count."""
        groups = self._grouped(
            f"SELECT unnest(CASE WHEN len({column}) = 0 THEN [NULL] ELSE {column} END) AS name, score, duration_s "
            "FROM utterances"
        )
        return sorted(groups, key=lambda group: group.name is None)

    def _grouped(self, source: str) -> list[Group]:
        """Groups the rows (name, score, duration_s) of a query by name, the most seconds first and merged groups last."""
        grouped = f"""
            WITH rows AS ({source}),
            sizes AS (SELECT name, sum(duration_s) AS seconds FROM rows GROUP BY 1),
            ranks AS (
                SELECT name, least(row_number() OVER (ORDER BY seconds DESC, name), {MAX_GROUPS + 1}) AS rank FROM sizes
            ),
            ranked AS (
                SELECT rank, score, duration_s FROM rows JOIN ranks ON rows.name IS NOT DISTINCT FROM ranks.name
            )"""
        names = {
            rank: (name, 0) if rank <= MAX_GROUPS else (None, values)
            for rank, name, values in self._rows(
                f"{grouped} SELECT rank, any_value(name), count(*) FROM ranks GROUP BY rank ORDER BY rank"
            )
        }
        quantiles = dict(
            self._rows(f"{grouped} SELECT rank, quantile_cont(score, {list(QUANTILES)}) FROM ranked GROUP BY rank")
        )
        rows = self._rows(
            f"{grouped} SELECT rank, {_STEP} AS step, count(*), sum(duration_s) FROM ranked GROUP BY rank, step"
        )
        groups = []
        for rank, (name, values) in names.items():
            steps = self._steps([row[1:] for row in rows if row[0] == rank])
            groups.append(Group(name, values, list(quantiles[rank]), steps))
        return groups

    def fact(self, name: str) -> Fact:
        """Counts the utterances by a fact and their score."""
        value = f"CASE WHEN isfinite({name}) THEN {name}::DOUBLE END"
        levels = [0.0, *QUANTILES, 1.0, *_BIN_RANGE]
        ((quantiles, present, count),) = self._rows(
            f"SELECT quantile_cont(v, {levels}), count(v), count(*) FROM (SELECT {value} AS v FROM utterances)"
        )
        rows = (self._last - self._first) // SCORE_BIN + 1
        density = np.zeros((rows, FACT_BINS), np.int64)
        low, high = (0.0, 1.0) if not present else quantiles[-2:]
        if high <= low:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, FACT_BINS + 1)
        if present:
            bin_sql = (
                f"least(greatest(floor((v - {low!r}) / {(high - low)!r} * {FACT_BINS}), 0), {FACT_BINS - 1})::INTEGER"
            )
            for row, column, number in self._rows(
                f"SELECT ({_STEP} - {self._first}) // {SCORE_BIN} AS r, {bin_sql} AS c, count(*) "
                f"FROM (SELECT score, {value} AS v FROM utterances) WHERE v IS NOT NULL GROUP BY r, c"
            ):
                density[row, column] = number
        return Fact(name, count - present, list(quantiles[:-2]) if present else [], edges, density)

    def _steps(self, rows: Sequence[tuple[int, int, float]]) -> Steps:
        count = np.zeros(self._last - self._first + 1, np.int64)
        seconds = np.zeros(len(count))
        for step, number, total in rows:
            count[step - self._first], seconds[step - self._first] = number, total
        return Steps(self._first, count, seconds)

    def _rows(self, query: str) -> list[Any]:
        return self._connection.execute(query).fetchall()
