"""Chooses the recordings that a report shows, prepares their figures, and cuts clips to play."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.ndimage
import soundfile

from model.features import FRAME_LENGTH, SAMPLE_RATE, frame_start_s
from model.labels import LabelScale
from transforms.analysis.figure import FigureData
from transforms.analysis.lookup import FoundUtterance, load
from transforms.analysis.source_audio import source_audio_of_many
from transforms.analysis.spectrogram_image import reduced_db
from transforms.audio.span_reader import Decoded
from transforms.curation.duckdb_rows import quoted_text
from transforms.errors import AudioFault
from transforms.output.results import Results

# Kinds of examples with their titles, in the order of the page.
KINDS = {
    "stretches": "Longest bad stretches, in recordings that are otherwise good",
    "causes": "One recording for each cause of damage",
    "border": "Nearest to the threshold, above and below it",
    "worst": "Lowest scores",
    "best": "Highest scores",
}
# Least distance of the bad stretches from the rest of a recording, as a share of the label scale.
MIN_DROP = 0.15
# A recording with a larger share of silent frames is not worth hearing.
MAX_SILENCE = 0.5
# Largest share of the duration in anomalies for a recording that is otherwise good.
MAX_BAD_SHARE = 0.5
# Frames of the running mean (1 s) that locates the lowest part of a recording.
LOWEST_FRAMES = 63
# Condition on a row of `utterances`: the recording is worth hearing.
_AUDIBLE = f"silence_ratio <= {MAX_SILENCE} AND NOT coalesce(list_has_any(flags, ['no_speech', 'near_silent']), false)"
# Causes of utterances, the most frequent first.
_CAUSES = (
    "SELECT cause FROM (SELECT unnest(causes) AS cause FROM utterances) GROUP BY cause ORDER BY count(*) DESC, cause"
)


@dataclasses.dataclass(frozen=True)
class Example:
    """An utterance with the data of its figure and a clip to play.

    Attributes:
        utterance: row, frame scores and anomalies of the utterance.
        figure: data of the figure.
        clip: lowest part of the utterance as FLAC; None if it cannot be played.
        span: (start_s, end_s) of that part.
        no_clip_reason: reason why nothing can be played; empty if there is a clip.
    """

    utterance: FoundUtterance
    figure: FigureData
    clip: bytes | None
    span: tuple[float, float]
    no_clip_reason: str

    @property
    def utterance_id(self) -> str:
        """Id of the utterance."""
        return str(self.utterance.row["utterance_id"])

    @property
    def is_whole(self) -> bool:
        """Whether the clip is the whole utterance."""
        return self.span[1] - self.span[0] >= self.utterance.row["duration_s"]


def choose_examples(
    results: Results, number: int, threshold: float
) -> tuple[dict[str, list[str]], dict[str, FoundUtterance]]:
    """Chooses up to `number` utterances of each kind of `KINDS`, and one for each cause; none if the number is 0.

    An utterance is chosen for one kind only. Apart from the examples of causes, it is not mostly silent.

    Args:
        results: the output.
        number: number of examples of each kind.
        threshold: score at the border.

    Returns:
        Utterance ids by kind, and the utterances by id.
    """
    if not number:
        return {kind: [] for kind in KINDS}, {}
    connection = results.connect()
    taken: list[str] = []

    def choose(order: str, count: int, where: str = _AUDIBLE, table: str = "utterances") -> list[str]:
        query = f"SELECT utterance_id FROM {table} WHERE {where} ORDER BY {order} LIMIT {count + len(taken)}"
        ids = [name for (name,) in connection.execute(query).fetchall() if name not in taken][:count]
        taken.extend(ids)
        return ids

    # If a share p of the frames is lower than the others by d, the standard deviation of all is d sqrt(p (1 - p)). Long silence
    # is an anomaly, too, but does not score below its recording.
    is_deep = f"""num_anomalies > 0 AND anomaly_s <= {MAX_BAD_SHARE} * duration_s AND stretches.longest_score < score
        AND frame_score_std > {MIN_DROP * results.label_scale.span}
            * sqrt(anomaly_s / duration_s * (1 - anomaly_s / duration_s))"""
    stretches = choose(
        "stretches.longest_s DESC, utterance_id",
        number,
        f"{_AUDIBLE} AND {is_deep}",
        """utterances JOIN (
            SELECT utterance_id, max(end_s - start_s) AS longest_s, arg_max(mean_score, end_s - start_s) AS longest_score
            FROM anomalies GROUP BY utterance_id
        ) AS stretches USING (utterance_id)""",
    )
    causes = []
    for (cause,) in connection.execute(_CAUSES).fetchall():
        name = quoted_text(cause)
        order = f"NOT ({_AUDIBLE}), causes[1] <> {name}, len(causes), score, utterance_id"
        causes += choose(order, 1, f"list_contains(causes, {name})")
    above = choose("score, utterance_id", (number + 1) // 2, f"{_AUDIBLE} AND score >= {threshold}")
    below = choose("score DESC, utterance_id", number // 2, f"{_AUDIBLE} AND score < {threshold}")
    chosen = {
        "stretches": stretches,
        "causes": causes,
        "border": [*reversed(above), *below],
        "worst": choose("score, utterance_id", number),
        "best": choose("score DESC, utterance_id", number),
    }
    return {kind: chosen[kind] for kind in KINDS}, load(results, taken)


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
    """Prepares the figures of utterances, and cuts the clip of each that can be played.

    Args:
        utterances: utterances by id.
        ids: ids of the utterances to show.
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
            score=row["score"],
            threshold=utterance.anomaly_threshold(scale),
        )
        examples[row["utterance_id"]] = Example(utterance, data, clip, span, no_clip_reason)
    return examples
