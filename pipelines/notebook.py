"""audiosieve in a notebook or a program: score a recording or an array, open an output.

    from pipelines import notebook

    heard = notebook.score("take1.flac")
    run = notebook.open_run("scores")

A score is what `audiosieve score` would write for the same recording: the very same functions make it.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from pathlib import Path

import numpy as np
import soundfile

from model.anomalies import Anomaly, find_anomalies
from model.bundle import DEFAULT, Bundle, open_bundle
from model.features import frame_start_s
from model.labels import LabelScale
from model.pooling import pool
from transforms.decode import Decoded, decode, read_audio
from transforms.featurize import featurize
from transforms.files import absolute
from transforms.ledger import OutputError
from transforms.records import AudioFault, AudioRef, Reject, SignalFacts
from transforms.results import Results, open_results
from transforms.score import ScorerHandler, score_batch
from transforms.tables import flags

__all__ = ["AudioFault", "OutputError", "Results", "Score", "open_run", "score"]

# What keeps the samples of an array as they are.
_SUBTYPES = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Score:
    """What was heard of a recording.

    Attributes:
        score: predicted quality, on `label_scale`.
        frame_score: the same for each frame of 32 ms, every 16 ms: float32 [T].
        start_s: where each frame starts, in seconds: float64 [T].
        anomalies: stretches that score under the level around them, in order.
        duration_s: of the recording.
        sample_rate: of the recording, in Hz.
        channels: of the recording; their mean is heard.
        facts: what the samples say without a model.
        flags: words for what makes the score doubtful.
        model_id: of the model, name@hash.
        label_scale: what the scores mean.
    """

    score: float
    frame_score: np.ndarray
    start_s: np.ndarray
    anomalies: list[Anomaly]
    duration_s: float
    sample_rate: int
    channels: int
    facts: SignalFacts
    flags: list[str]
    model_id: str
    label_scale: LabelScale

    def __repr__(self) -> str:
        scale, bad = self.label_scale, len(self.anomalies)
        remarks = "".join(f", {word}" for word in self.flags)
        return (
            f"<Score {self.score:.2f} of {scale.low:g} to {scale.high:g}, {self.duration_s:.1f} s, "
            f"{bad} anomal{'y' if bad == 1 else 'ies'}{remarks}, {self.model_id}>"
        )


def score(
    recording: str | os.PathLike[str] | np.ndarray, sample_rate: float | None = None, model: str | Path = DEFAULT
) -> Score:
    """Scores a recording.

    >>> clean, noisy = score(samples / "clean.flac"), score(samples / "noise_10db.flac")
    >>> clean.score > 4 > 2 > noisy.score
    True
    >>> len(clean.frame_score) == len(clean.start_s)
    True
    >>> [(round(bad.start_s), round(bad.end_s)) for bad in score(samples / "burst.flac").anomalies]
    [(2, 3)]

    An array works as well as a file:

    >>> import soundfile
    >>> audio, rate = soundfile.read(samples / "stereo_48k.flac")
    >>> audio.shape[1], rate
    (2, 48000)
    >>> bool(abs(score(audio, rate).score - score(samples / "stereo_48k.flac").score) < 1e-3)
    True

    What cannot be scored is said as in the table of rejects:

    >>> score(samples / "corrupt.flac")
    Traceback (most recent call last):
        ...
    transforms.records.AudioFault: corrupt: after 0 of 65040 samples: flac decoder lost sync.

    Args:
        recording: path of any file that libsndfile reads, also in a bucket; or samples, [n] or [n, channels]: floats with full
            scale 1.0, or int16 or int32.
        sample_rate: of an array, in Hz; a file says it itself.
        model: a bundled model's name, or the folder of a bundle. It is loaded once.

    Raises:
        AudioFault: the recording cannot be read or heard; `reason` is the word that `rejects` would have for it.
        BundleError: there is no such model.
        TypeError, ValueError: the arguments do not fit.
    """
    bundle = _bundle(str(model))
    uri = ""
    if isinstance(recording, (str, os.PathLike)):
        if sample_rate is not None:
            raise TypeError("sample_rate is for arrays; a file says it itself")
        uri = absolute(os.fspath(recording))
        decoded = read_audio(uri)
    else:
        decoded = _decode_array(np.asarray(recording), sample_rate)
    item = featurize(decoded, AudioRef(uri, uri, 0, ""), bundle.features)
    (result,) = score_batch([item], ScorerHandler(str(bundle.path), threads=None).load_model())
    if isinstance(result, Reject):
        raise AudioFault(result.stage, result.reason, result.detail)
    return Score(
        score=pool(result.frame_score, bundle.pooling),
        frame_score=result.frame_score,
        start_s=frame_start_s(np.arange(len(result.frame_score))),
        anomalies=find_anomalies(result.frame_score, bundle.label_scale.span),
        duration_s=decoded.duration_s,
        sample_rate=decoded.sample_rate,
        channels=decoded.channels,
        facts=decoded.facts,
        flags=flags(result.utterance),
        model_id=bundle.model_id,
        label_scale=bundle.label_scale,
    )


def open_run(output: str | os.PathLike[str]) -> Results:
    """Opens an output of `audiosieve score`, here or in a bucket: only what its runs committed counts.

    >>> run = open_run(output)
    >>> run.dataset("utterances").count_rows(), run.dataset("rejects").count_rows()
    (8, 1)
    >>> run.dataset("rejects").to_table()["utterance_id"].to_pylist()
    ['corrupt.flac']
    >>> duckdb = run.connect()
    >>> duckdb.execute("SELECT utterance_id FROM utterances ORDER BY score LIMIT 1").fetchone()
    ('noise_00db.flac',)

    Returns:
        `model_id`, `label_scale`, `records` of the runs, and for `utterances`, `frames`, `anomalies` and `rejects` an Arrow
        `dataset(table)` (`.to_table().to_pandas()`, `polars.scan_pyarrow_dataset`); `connect()` gives DuckDB with a view of
        each.

    Raises:
        OutputError: there is no output that counts.
    """
    return open_results(os.fspath(output))


@functools.cache
def _bundle(model: str) -> Bundle:
    return open_bundle(model)


def _decode_array(samples: np.ndarray, sample_rate: float | None) -> Decoded:
    """Decodes an array as what it would be in a file: the one way to hear anything."""
    if sample_rate is None:
        raise TypeError("the sample_rate of an array is missing")
    if not sample_rate > 0 or sample_rate != int(sample_rate):
        raise ValueError(f"sample_rate is {sample_rate}; it must be a whole number of Hz, over 0")
    if samples.ndim not in (1, 2):
        raise ValueError(f"samples are [n] or [n, channels], not of the shape {list(samples.shape)}")
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0] > 0:
        raise ValueError(f"samples are [n, channels], and these are {list(samples.shape)}: transpose them, with .T")
    if np.issubdtype(samples.dtype, np.floating) and samples.dtype.name not in _SUBTYPES:
        samples = samples.astype(np.float32)
    if samples.dtype.name not in _SUBTYPES:
        raise TypeError(f"samples are floats with full scale 1.0, int16 or int32, not {samples.dtype}")
    file = io.BytesIO()
    # RF64 is WAV without its limit of 4 GB.
    soundfile.write(file, samples, int(sample_rate), subtype=_SUBTYPES[samples.dtype.name], format="RF64")
    file.seek(0)
    return decode(file)
