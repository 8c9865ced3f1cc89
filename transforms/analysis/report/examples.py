"""Chooses the recordings that a report shows, draws them, and cuts clips to play."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import scipy.ndimage
import soundfile

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE, frame_start_s
from model.labels import LabelScale
from transforms.analysis.figure import DARK, LIGHT, FigureData, draw, small_png
from transforms.analysis.lookup import FoundUtterance, load
from transforms.analysis.source_audio import source_audio_of_many
from transforms.analysis.spectrogram_image import reduced_db
from transforms.audio.span_reader import Decoded
from transforms.errors import AudioFault
from transforms.output.results import Results

# Kinds of examples with their descriptions, in the order of the page.
KINDS = {
    "suspicious": "the deepest drops of the frame score in recordings that are otherwise good",
    "worst": "the lowest scores",
    "median": "the scores nearest to the median",
    "best": "the highest scores",
}
# Number of utterances whose frame scores are compared for each suspicious example.
CANDIDATES = 8
# Largest share of the duration in anomalies for a recording that is otherwise good.
MAX_BAD_SHARE = 0.5
# Frames of the running mean (1 s) that locates the lowest part of a recording.
LOWEST_FRAMES = 63
FIGURE_INCHES = (9.0, 3.3)


@dataclasses.dataclass(frozen=True)
class Example:
    """An utterance with its figures and a clip to play.

    Attributes:
        utterance: row, frame scores and anomalies of the utterance.
        light: PNG figure for a light page.
        dark: PNG figure for a dark page.
        clip: lowest part of the utterance as FLAC; None if it cannot be played.
        span: (start_s, end_s) of that part.
        no_clip_reason: reason why nothing can be played; empty if there is a clip.
    """

    utterance: FoundUtterance
    light: bytes
    dark: bytes
    clip: bytes | None
    span: tuple[float, float]
    no_clip_reason: str

    @property
    def utterance_id(self) -> str:
        """Id of the utterance."""
        return str(self.utterance.row["utterance_id"])


def choose_examples(results: Results, number: int) -> tuple[dict[str, list[str]], dict[str, FoundUtterance]]:
    """Chooses up to `number` utterances of each kind of `KINDS`.

    Returns:
        Utterance ids by kind, the most typical first, and the utterances by id. An utterance may be of several kinds.
    """
    connection = results.connect()
    chosen = {
        "worst": _ids(connection, "score, utterance_id", number),
        "median": _ids(connection, "abs(score - (SELECT median(score) FROM utterances)), score, utterance_id", number),
        "best": _ids(connection, "score DESC, utterance_id", number),
    }
    candidates = _deepest_anomalies(connection, number * CANDIDATES)
    utterances = load(results, list(dict.fromkeys(name for names in (*chosen.values(), candidates) for name in names)))
    drops = {name: anomaly_drop(utterances[name].frame_score, utterances[name].anomalies) for name in candidates}
    chosen["suspicious"] = sorted(drops, key=lambda name: (-drops[name], name))[:number]
    return {kind: chosen[kind] for kind in KINDS}, utterances


def anomaly_drop(frame_score: np.ndarray, anomalies: Sequence[tuple[float, float]]) -> float:
    """Returns the median score outside the anomalies of an utterance minus the mean score within them.

    Args:
        frame_score: scores of the frames: float [T].
        anomalies: (start_s, end_s) of each anomaly, at least one.
    """
    bad = np.zeros(len(frame_score), bool)
    starts = frame_start_s(np.arange(len(frame_score)))
    for start, end in anomalies:
        # A tolerance of half a frame shift, because the times were rounded to float32.
        tolerance = FRAME_SHIFT / SAMPLE_RATE / 2
        bad |= (starts > start - tolerance) & (starts + FRAME_LENGTH / SAMPLE_RATE < end + tolerance)
    if bad.all() or not bad.any():
        return 0.0
    return float(np.median(frame_score[~bad]) - frame_score[bad].mean(dtype=np.float64))


def lowest_part(frame_score: np.ndarray, duration_s: float, length_s: float) -> tuple[float, float]:
    """Returns the part of an utterance around its lowest scores.

    Args:
        frame_score: scores of the frames: float [T].
        duration_s: length of the utterance in seconds.
        length_s: longest part in seconds.

    Returns:
        (start_s, end_s).
    """
    if duration_s <= length_s:
        return 0.0, duration_s
    smooth = scipy.ndimage.uniform_filter1d(frame_score.astype(np.float64), LOWEST_FRAMES, mode="nearest")
    middle = frame_start_s(int(smooth.argmin())) + FRAME_LENGTH / 2 / SAMPLE_RATE
    start = min(max(0.0, middle - length_s / 2), duration_s - length_s)
    return start, start + length_s


def encode_clip(decoded: Decoded, span: tuple[float, float]) -> bytes:
    """Returns the part (start_s, end_s) of a recording as FLAC, a lossless format that all browsers play."""
    start, end = (round(edge * SAMPLE_RATE) for edge in span)
    samples = np.clip(decoded.waveform.read(start, end), -1.0, 1.0)
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def make_examples(
    utterances: Mapping[str, FoundUtterance], ids: Sequence[str], scale: LabelScale, clip_s: float, max_bytes: int
) -> dict[str, Example]:
    """Draws utterances, and cuts the clip of each that can be played.

    Args:
        utterances: utterances by id.
        ids: ids of the utterances to draw.
        scale: scale of the scores.
        clip_s: longest clip in seconds.
        max_bytes: largest size of all clips together. Clips of files are added before those of archives.

    Returns:
        Examples by utterance id.
    """
    examples = {}
    for row, audio in source_audio_of_many([utterances[name].row for name in ids]):
        utterance = utterances[row["utterance_id"]]
        span = lowest_part(utterance.frame_score, row["duration_s"], clip_s)
        clip, no_clip_reason = None, ""
        if isinstance(audio, AudioFault):
            no_clip_reason = f"the audio cannot be read ({audio.detail})"
        else:
            clip = encode_clip(audio, span)
            if len(clip) > max_bytes:
                clip, no_clip_reason = None, "the clips of the page have reached the size limit (--max_mb)"
            else:
                max_bytes -= len(clip)
        data = FigureData(
            title="",
            level_db=reduced_db(audio.waveform) if isinstance(audio, Decoded) else None,
            duration_s=row["duration_s"],
            frame_score=utterance.frame_score,
            anomalies=utterance.anomalies,
            scale=scale,
            frame_causes=utterance.frame_causes,
            clip=span if clip and span[1] - span[0] < row["duration_s"] else None,
        )
        light, dark = (small_png(draw(data, colours, FIGURE_INCHES)) for colours in (LIGHT, DARK))
        examples[row["utterance_id"]] = Example(utterance, light, dark, clip, span, no_clip_reason)
    return examples


def _ids(connection: duckdb.DuckDBPyConnection, order: str, number: int) -> list[str]:
    query = f"SELECT utterance_id FROM utterances ORDER BY {order} LIMIT {number}"
    return [row[0] for row in connection.execute(query).fetchall()]


def _deepest_anomalies(connection: duckdb.DuckDBPyConnection, number: int) -> list[str]:
    """Returns the ids of the utterances whose anomalies are likely to be the deepest, deepest first.

    If a share p of the scores is lower than the others by d, the standard deviation of all scores is d sqrt(p (1 - p)). The
    query sorts by this d.
    """
    query = f"""
        SELECT utterance_id FROM (
            SELECT utterance_id, frame_score_std, anomaly_s / duration_s AS share FROM utterances WHERE num_anomalies > 0
        ) WHERE share <= {MAX_BAD_SHARE}
        ORDER BY frame_score_std / sqrt(share * (1 - share)) DESC, utterance_id LIMIT {number}
    """
    return [row[0] for row in connection.execute(query).fetchall()]
