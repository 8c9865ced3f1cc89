"""Reads the clips of labelled sets (`audiosieve synthesize`), and scores them with several models at once."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from apache_beam.io.filesystems import FileSystems

from model.activity import shown_spectrogram
from model.diagnosis import RATINGS, Diagnosis
from model.evaluation.scored_clips import Clip
from model.features import num_frames
from model.frame_truth import Distortion
from model.high_pass import without_dc
from model.labels import LABEL_SCALES
from transforms.corpus.sources import SourceError, absolute
from transforms.output.ledger import Ledger
from transforms.progress import Progress
from transforms.schemas import SYNTHESIS_TABLES
from transforms.scoring.batching import BatchLimits, cut_batches

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

LABEL_COLUMNS = [scale.column for scale in LABEL_SCALES.values()]
FACT_COLUMNS = [
    "clip_id",
    "split",
    "duration_s",
    "snr_db",
    "distortions",
    "variation",
    "speech_id",
    "speaker",
    "corpus",
    "noise_groups",
    *LABEL_COLUMNS,
]
# Columns that sets of older versions lack.
TRUTH_COLUMNS = ["speech", "speech_snr_db", "c50_db", *RATINGS]


@dataclasses.dataclass(frozen=True)
class Gain:
    """A change of level.

    Attributes:
        db: gain in dB; reduced if the samples would clip.
        sixteen_bits: whether to round to 16 bits, as in a file, which damages quiet samples.
    """

    db: float
    sixteen_bits: bool = False

    def apply(self, samples: np.ndarray) -> np.ndarray:
        """Returns the samples after the gain, float32 [n]."""
        largest = 1 - 2**-15
        factor = min(10 ** (self.db / 20), largest / max(float(np.abs(samples).max(initial=0.0)), 2**-15))
        louder = samples * np.float32(factor)
        return (np.round(louder * 2**15) / 2**15).astype(np.float32) if self.sixteen_bits else louder


@dataclasses.dataclass(frozen=True, eq=False)
class ClipScores:
    """The scores of a clip by one model.

    Attributes:
        score: score of the clip.
        frame_score: scores of its frames: float32 [T].
        silent: whether each frame is silent, bool [T].
        counted: whether each frame counts for the score, bool [T].
        diagnosis: the other values of its frames [T]; None if the model gives none, or they were not requested.
    """

    score: float
    frame_score: np.ndarray
    silent: np.ndarray
    counted: np.ndarray
    diagnosis: Diagnosis | None


def read_clips(set_name: str) -> list[Clip]:
    """Returns all clips of a set, without their audio.

    Args:
        set_name: folder of the set.

    Raises:
        SourceError: the folder holds no finished set, or a column is missing.
    """
    return [_clip(set_name, row) for rows in _row_groups(set_name, FACT_COLUMNS, TRUTH_COLUMNS) for row in rows]


def read_audio(clip: Clip) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the samples of a clip and of its reference, float32 [n] each; None if the set has no references.

    Raises:
        SourceError: the set no longer has the clip, or cannot be read.
    """
    for rows in _row_groups(clip.set_name, ["clip_id", "audio", "reference"]):
        for row in rows:
            if row["clip_id"] == clip.clip_id:
                reference = row["reference"]
                return decode(row["audio"]), None if reference is None else decode(reference)
    raise SourceError(f"{clip.set_name}: the clip {clip.clip_id} no longer exists")


def score_clips(
    clips: Sequence[Clip],
    scorers: Sequence[Scorer],
    limits: BatchLimits,
    gains: Sequence[Gain] = (),
    *,
    diagnose: bool = False,
) -> tuple[list[list[ClipScores]], np.ndarray]:
    """Scores clips with several models. One row group of a set is in memory at a time.

    Args:
        clips: clips of one or more sets [N].
        scorers: loaded models [M].
        limits: limits of a batch.
        gains: gains after which each clip is scored again [G].
        diagnose: whether to keep the diagnoses, which take 15 times the memory of the frame scores.

    Returns:
        Scores by model and clip; and the scores of the clips after each gain, float64 [M, N, G].

    Raises:
        SourceError: a set cannot be read.
    """
    index_of = {(clip.set_name, clip.clip_id): n for n, clip in enumerate(clips)}
    unscored = ClipScores(np.nan, np.empty(0, np.float32), np.empty(0, bool), np.empty(0, bool), None)
    scored = [[unscored] * len(clips) for _ in scorers]
    at_gains = np.empty((len(scorers), len(clips), len(gains)))
    progress = Progress("clips are scored", len(clips))
    for set_name in dict.fromkeys(clip.set_name for clip in clips):
        for rows in _row_groups(set_name, ["clip_id", "audio"]):
            samples = {
                index_of[key]: decode(row["audio"]) for row in rows if (key := (set_name, row["clip_id"])) in index_of
            }
            # Index of a clip, and index of a gain; None for the unchanged clip.
            versions = [(n, g) for n in samples for g in (None, *range(len(gains)))]
            for batch in cut_batches([num_frames(len(samples[n])) for n, _ in versions], limits):
                waveforms = [
                    samples[n] if g is None else gains[g].apply(samples[n]) for n, g in (versions[v] for v in batch)
                ]
                for m, scorer in enumerate(scorers):
                    shown = [shown_spectrogram(waveform, scorer.bundle.features) for waveform in waveforms]
                    results = scorer.score([spectrogram for spectrogram, _ in shown])
                    for v, estimates, (_, activity) in zip(batch, results, shown, strict=True):
                        n, g = versions[v]
                        frame_score = activity.expand(estimates.score)
                        score = scorer.pool(frame_score[activity.counted])
                        if g is None:
                            kept = estimates.diagnosis if diagnose else None
                            diagnosis = None if kept is None else kept.expand(activity)
                            scored[m][n] = ClipScores(score, frame_score, ~activity.active, activity.counted, diagnosis)
                        else:
                            at_gains[m, n, g] = score
            progress.add(len(samples))
    return scored, at_gains


def decode(audio: bytes) -> np.ndarray:
    """Returns the samples of a FLAC file without their DC offset, as for scoring: float32 [n]."""
    return without_dc(soundfile.read(io.BytesIO(audio), dtype="float32")[0])


def _clip(set_name: str, row: dict[str, Any]) -> Clip:
    spans = row.get("speech")
    return Clip(
        set_name=set_name,
        clip_id=row["clip_id"],
        split=row["split"],
        duration_s=row["duration_s"],
        labels={column: row[column] for column in LABEL_COLUMNS},
        snr_db=row["snr_db"],
        distortions=tuple(Distortion(**distortion) for distortion in row["distortions"] or ()),
        variation=tuple(row["variation"]),
        speech_id=row["speech_id"],
        speaker=row["speaker"],
        corpus=row["corpus"],
        noise_groups=tuple(row["noise_groups"]),
        known=row["distortions"] is not None,
        # Sets with the times of the speech name the causes of distortions, too.
        names_causes=row["distortions"] is not None and spans is not None,
        speech=None if spans is None else tuple((span["start_s"], span["end_s"]) for span in spans),
        speech_snr_db=row.get("speech_snr_db"),
        c50_db=row.get("c50_db"),
        ratings={name: row.get(name) for name in RATINGS},
    )


def _row_groups(set_name: str, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[list[dict[str, Any]]]:
    """Yields some columns of a set, one row group at a time, to limit the audio in memory.

    Args:
        set_name: folder of the set.
        columns: columns that the set must have.
        optional: columns that are left out of the rows of a file without them.

    Raises:
        SourceError: the folder holds no finished set, or a column is missing.
    """
    files = Ledger(absolute(set_name), tuple(SYNTHESIS_TABLES)).committed("clips")
    if not files:
        raise SourceError(f"{set_name}: contains no finished labelled set; make one with `audiosieve synthesize`")
    for uri in files:
        with FileSystems.open(uri) as file:
            try:
                parquet = pq.ParquetFile(file)
            except pa.ArrowInvalid as error:
                raise SourceError(f"{uri}: cannot be read as Parquet ({error})") from error
            missing = sorted(set(columns) - set(parquet.schema_arrow.names))
            if missing:
                raise SourceError(
                    f"{set_name}: the column {missing[0]!r} is missing; make the set again with this version"
                )
            present = [*columns, *(name for name in optional if name in parquet.schema_arrow.names)]
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group, present).to_pylist()
