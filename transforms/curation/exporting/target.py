"""The audio that an export writes: container, sampling rate, channels and loudness."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from transforms.curation.kept_list import KeptList, field_sql
from transforms.curation.manifest_writers import SELECTS_CHANNEL
from transforms.curation.row_writers.piece_fields import RATES, SAMPLE_COUNTS

Container = Literal["flac", "wav"]
# A row of the plan of an export.
Row = dict[str, Any]

_CONTAINERS: dict[Container, tuple[str, ...]] = {"flac": ("FLAC",), "wav": ("WAV", "WAVEX")}
# Codings that any program reads. WAV can also contain others, such as GSM.
_PLAIN_CODINGS = ("PCM_16", "PCM_24", "PCM_32", "PCM_U8", "PCM_S8", "FLOAT", "DOUBLE")


@dataclasses.dataclass(frozen=True)
class AudioTarget:
    """The audio of exported files.

    Attributes:
        container: format of audio that is not copied. A WAV file is written instead of FLAC if FLAC cannot hold the samples.
        copies_all: whether a recording that is kept whole and not changed is copied byte for byte, whatever its format. If
            not, only those that have the container already are copied.
        sample_rate: sampling rate in Hz; None for that of the recording.
        is_mono: whether to write the scored channel, or the mean of the channels.
        loudness_lufs: integrated loudness in LUFS; None to keep that of the recording.
        max_bits: 16 to write no more bits; None for as many as the recording has.
    """

    container: Container = "flac"
    copies_all: bool = True
    sample_rate: int | None = None
    is_mono: bool = False
    loudness_lufs: float | None = None
    max_bits: Literal[16] | None = None

    def rate_of(self, row: Row) -> int:
        """Returns the sampling rate of the file for a row of a plan, in Hz."""
        return int(row["sample_rate"] if self.sample_rate is None else self.sample_rate)

    def samples_of(self, row: Row) -> int:
        """Returns the samples per channel of the file for a row of a plan."""
        rate = self.rate_of(row)
        return int(row["samples"]) if rate == row["sample_rate"] else round(row["samples"] * rate / row["sample_rate"])

    def changes(self, row: Row) -> bool:
        """Whether the audio of a row of a plan is resampled, mixed or set to a loudness."""
        mixes = self.is_mono and row["channels"] > 1 and row["channel"] is None
        return self.loudness_lufs is not None or mixes or self.rate_of(row) != row["sample_rate"]

    def copies(self, row: Row) -> bool:
        """Whether the bytes of a recording can be the file for a row of a plan that covers it."""
        if self.changes(row):
            return False
        container, _, coding = row["format"].partition("/")
        if self.max_bits is not None and coding != f"PCM_{self.max_bits}":
            return False
        return self.copies_all or (container in _CONTAINERS[self.container] and coding in _PLAIN_CODINGS)

    def channels_of(self, row: Row) -> int:
        """Returns the number of channels of the file for a row of a plan."""
        return 1 if self.is_mono or (row["channel"] is not None and row["channels"] > 1) else int(row["channels"])

    def audio_of(self, row: Row) -> dict[str, int]:
        """Returns sampling rate and channels of the file for a row of a plan, and those of the recording."""
        source = {"source_rate": row["sample_rate"], "source_channels": row["channels"]}
        return {"sample_rate": self.rate_of(row), "channels": self.channels_of(row), **source}

    def files_of(self, kept: KeptList, table: str, place: str, source: str) -> KeptList:
        """Makes a list of the exported files: each contains one utterance.

        Columns of sampling rates and of numbers of samples are null for resampled files.

        Args:
            kept: the kept utterances.
            table: name of the new table.
            place: SQL for `path`, `archive` and `member` of a file.
            source: SQL for the rows of the list, `kept` and what `place` needs.
        """
        seconds = "CASE WHEN whole THEN kept.duration_s ELSE kept.end_s - kept.start_s END"
        rate = "kept.sample_rate" if self.sample_rate is None else str(self.sample_rate)
        length = f"CASE WHEN {rate} = kept.sample_rate THEN round({seconds}, 9) ELSE " + (
            f"round(round({seconds} * kept.sample_rate) * {rate} / kept.sample_rate) / {rate} END"
        )
        resampled = "".join(
            f", CASE WHEN {rate} = kept.sample_rate THEN kept.{field_sql(name)} END AS {field_sql(name)}"
            for name in kept.columns
            if self.sample_rate is not None and name.lower() in {*RATES, *SAMPLE_COUNTS}
        )
        channels = "1" if self.is_mono else f"CASE WHEN {SELECTS_CHANNEL} THEN 1 ELSE kept.channels END"
        kept.make(
            table,
            f"""
            SELECT kept.* REPLACE ({place}, true AS whole, 0.0::DOUBLE AS start_s, {length} AS end_s,
                {length} AS recording_s, {length} AS duration_s, {rate}::INTEGER AS sample_rate,
                ({channels})::INTEGER AS channels, NULL::INTEGER AS channel{resampled}),
                kept.path AS source_path, kept.sample_rate AS source_rate, kept.channels AS source_channels
            FROM {source}
            """,
        )
        return kept.of_table(table, kept.columns, list(kept.json_columns))
