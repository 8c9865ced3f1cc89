"""The recordings that a report shows: which they are, how they look, and what they sound like."""

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
from transforms.analysis.figure import DARK, LIGHT, Subject, draw, small_png
from transforms.analysis.lookup import FoundUtterance, load
from transforms.analysis.source_audio import source_audio_of_many
from transforms.analysis.spectrogram_image import reduced_db
from transforms.audio.span_reader import Decoded
from transforms.errors import AudioFault
from transforms.output.results import Results

# Kinds of examples and what they are, in the order of the page.
KINDS = {
    "suspicious": "the deepest bad stretches in recordings that are otherwise good",
    "worst": "the lowest scores",
    "median": "the scores nearest to the median",
    "best": "the highest scores",
}
# Utterances whose frames are looked at, for each suspicious one that is wanted.
CANDIDATES = 8
# A recording that is bad for more of its length is not otherwise good.
MAX_BAD_SHARE = 0.5
# What is heard as one: the lowest part of a recording is where the mean over so many frames (1 s) is lowest.
LOWEST_FRAMES = 63
FIGURE_INCHES = (9.0, 3.3)


@dataclasses.dataclass(frozen=True)
class Example:
    """A recording to show.

    Attributes:
        found: all that was written of it.
        light: its picture for a light page, PNG.
        dark: its picture for a dark page, PNG.
        clip: the part of it that can be played, FLAC; None where there is none.
        span: (start_s, end_s) of that part.
        silent: why nothing can be played, where it is so.
    """

    found: FoundUtterance
    light: bytes
    dark: bytes
    clip: bytes | None
    span: tuple[float, float]
    silent: str

    @property
    def utterance_id(self) -> str:
        """Its id."""
        return str(self.found.row["utterance_id"])


def choose(results: Results, number: int) -> tuple[dict[str, list[str]], dict[str, FoundUtterance]]:
    """Chooses so many utterances of each kind of `KINDS`, fewer where there are not as many.

    Returns:
        Ids by kind, the most typical of its kind first, and what was written of each. One may be of several kinds.
    """
    connection = results.connect()
    chosen = {
        "worst": _ids(connection, "score, utterance_id", number),
        "median": _ids(connection, "abs(score - (SELECT median(score) FROM utterances)), score, utterance_id", number),
        "best": _ids(connection, "score DESC, utterance_id", number),
    }
    candidates = _with_bad_parts(connection, number * CANDIDATES)
    found = load(results, list(dict.fromkeys(name for names in (*chosen.values(), candidates) for name in names)))
    drops = {name: bad_drop(found[name].frame_score, found[name].anomalies) for name in candidates}
    chosen["suspicious"] = sorted(drops, key=lambda name: (-drops[name], name))[:number]
    return {kind: chosen[kind] for kind in KINDS}, found


def bad_drop(frame_score: np.ndarray, anomalies: Sequence[tuple[float, float]]) -> float:
    """How far the anomalies of an utterance lie under the rest of it: median of the rest less the mean within.

    Args:
        frame_score: scores of the frames [T].
        anomalies: (start_s, end_s) of each, at least one.
    """
    bad = np.zeros(len(frame_score), bool)
    starts = frame_start_s(np.arange(len(frame_score)))
    for start, end in anomalies:
        # Half a step to either side, since times were rounded to float32.
        half = FRAME_SHIFT / SAMPLE_RATE / 2
        bad |= (starts > start - half) & (starts + FRAME_LENGTH / SAMPLE_RATE < end + half)
    if bad.all() or not bad.any():
        return 0.0
    return float(np.median(frame_score[~bad]) - frame_score[bad].mean(dtype=np.float64))


def lowest_part(frame_score: np.ndarray, duration_s: float, length_s: float) -> tuple[float, float]:
    """The part of an utterance, so long at most, that has its lowest scores in the middle: (start_s, end_s)."""
    if duration_s <= length_s:
        return 0.0, duration_s
    smooth = scipy.ndimage.uniform_filter1d(frame_score.astype(np.float64), LOWEST_FRAMES, mode="nearest")
    middle = frame_start_s(int(smooth.argmin())) + FRAME_LENGTH / 2 / SAMPLE_RATE
    start = min(max(0.0, middle - length_s / 2), duration_s - length_s)
    return start, start + length_s


def cut(decoded: Decoded, span: tuple[float, float]) -> bytes:
    """A part (start_s, end_s) of a recording as FLAC, which all browsers play and which adds nothing of its own."""
    start, end = (round(edge * SAMPLE_RATE) for edge in span)
    samples = np.clip(decoded.waveform.read(start, end), -1.0, 1.0)
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def show(
    found: Mapping[str, FoundUtterance], ids: Sequence[str], scale: LabelScale, clip_s: float, room: int
) -> dict[str, Example]:
    """Draws some utterances, and cuts what can be played of them.

    Args:
        found: what was written of each.
        ids: which to show; those that come first have their clips first.
        scale: of the scores.
        clip_s: seconds of a clip at most.
        room: bytes of all clips together at most.

    Returns:
        By id.
    """
    shown = {}
    for row, heard in source_audio_of_many([found[name].row for name in ids]):
        this = found[row["utterance_id"]]
        span = lowest_part(this.frame_score, row["duration_s"], clip_s)
        clip, silent = None, ""
        if isinstance(heard, AudioFault):
            silent = f"the audio cannot be read ({heard.detail})"
        else:
            clip = cut(heard, span)
            if len(clip) > room:
                clip, silent = None, "the page holds as much audio as it may (--max_mb)"
            else:
                room -= len(clip)
        subject = Subject(
            title="",
            level_db=reduced_db(heard.waveform) if isinstance(heard, Decoded) else None,
            duration_s=row["duration_s"],
            frame_score=this.frame_score,
            anomalies=this.anomalies,
            scale=scale,
            clip=span if clip and span[1] - span[0] < row["duration_s"] else None,
        )
        light, dark = (small_png(draw(subject, colours, FIGURE_INCHES)) for colours in (LIGHT, DARK))
        shown[row["utterance_id"]] = Example(this, light, dark, clip, span, silent)
    return shown


def _ids(connection: duckdb.DuckDBPyConnection, order: str, number: int) -> list[str]:
    query = f"SELECT utterance_id FROM utterances ORDER BY {order} LIMIT {number}"
    return [row[0] for row in connection.execute(query).fetchall()]


def _with_bad_parts(connection: duckdb.DuckDBPyConnection, number: int) -> list[str]:
    """Utterances whose frame scores are likely to have two levels that lie far apart.

    Of scores of which a share p lies d under the others, the standard deviation is d sqrt(p (1 - p)).
    """
    query = f"""
        SELECT utterance_id FROM (
            SELECT utterance_id, frame_score_std, anomaly_s / duration_s AS share FROM utterances WHERE num_anomalies > 0
        ) WHERE share <= {MAX_BAD_SHARE}
        ORDER BY frame_score_std / sqrt(share * (1 - share)) DESC, utterance_id LIMIT {number}
    """
    return [row[0] for row in connection.execute(query).fetchall()]
