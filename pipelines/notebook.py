"""audiosieve in a notebook or a program: score or draw a recording or an array, open an output, keep the best of it.

    from pipelines import notebook

    heard = notebook.score("take1.flac")
    figure = notebook.plot("take1.flac")
    run = notebook.open_run("scores")
    kept = notebook.filter(run)

A score is what `audiosieve score` would write for the same recording: the very same functions make it.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa
import soundfile
from matplotlib.figure import Figure

from model.anomalies import Anomaly, find_anomalies
from model.bundle import DEFAULT, Bundle
from model.features import frame_start_s
from model.labels import LabelScale
from model.pooling import pool
from transforms.analysis.figure import Subject, draw, one_line
from transforms.analysis.spectrogram_image import reduced_db
from transforms.audio.decode import Decoded, decode, read_audio
from transforms.curation.rules import SUGGESTED, RuleError, check_scale, read_rules
from transforms.curation.rules import where as rules_where
from transforms.curation.selection import judge
from transforms.elements import AudioRef, Reject, SignalFacts
from transforms.errors import AudioFault, OutputError
from transforms.output.results import Results, open_results
from transforms.scoring.bundles import find_bundle
from transforms.scoring.featurize import featurize
from transforms.scoring.inference import ScorerHandler, score_batch
from transforms.scoring.rows import flags
from transforms.storage.files import absolute
from transforms.storage.gcs import patch_beam

__all__ = ["AudioFault", "OutputError", "Results", "RuleError", "Score", "filter", "open_run", "plot", "score"]

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
    transforms.elements.AudioFault: corrupt: after 0 of 65040 samples: flac decoder lost sync.

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
    return _score(_decode(recording, sample_rate), _bundle(str(model)))


def plot(
    recording: str | os.PathLike[str] | np.ndarray, sample_rate: float | None = None, model: str | Path = DEFAULT
) -> Figure:
    """Draws a recording: its spectrogram over its frame scores, with the anomalies shaded.

    >>> figure = plot(samples / "burst.flac")
    >>> len(figure.axes)
    2
    >>> figure.savefig(folder / "burst.png")

    Args:
        recording: as for `score`.
        sample_rate: of an array, in Hz.
        model: as for `score`.

    Returns:
        A figure of matplotlib, which notebooks show.

    Raises:
        AudioFault, BundleError, TypeError, ValueError: as from `score`.
    """
    decoded, bundle = _decode(recording, sample_rate), _bundle(str(model))
    level_db = reduced_db(decoded.waveform)
    found = _score(decoded, bundle)
    name = PurePath(os.fspath(recording)).name if isinstance(recording, (str, os.PathLike)) else ""
    title = f"{one_line(name)} score {found.score:.2f}, by {bundle.model_id}".strip()
    anomalies = [(bad.start_s, bad.end_s) for bad in found.anomalies]
    return draw(Subject(title, level_db, decoded.duration_s, found.frame_score, anomalies, bundle.label_scale))


def filter(run: Results, rules: str | os.PathLike[str] | None = None, where: str | None = None) -> pa.Table:
    """The rows of `utterances` that are worth keeping, as `audiosieve filter` decides it.

    >>> run = open_run(output)
    >>> kept = filter(run, where="score >= 4 AND len(flags) = 0")
    >>> sorted(kept["utterance_id"].to_pylist())
    ['clean.flac', 'compressed.mp3', 'stereo_48k.flac']
    >>> filter(run, where="scoer >= 4")
    Traceback (most recent call last):
        ...
    transforms.curation.rules.RuleError: --where: there is no column 'scoer', is score meant?: scoer >= 4

    Args:
        run: an output, from `open_run`.
        rules: a file of rules; the suggested ones where neither this nor `where` is given.
        where: in the place of rules, a condition in SQL that says what is kept.

    Raises:
        RuleError: the rules cannot be understood, or are for another scale of scores.
        TypeError: both are given.
    """
    if rules is not None and where is not None:
        raise TypeError("rules and where cannot both be given")
    chosen = rules_where(where) if where is not None else read_rules(Path(rules or SUGGESTED))
    check_scale(chosen, run.label_scale.name)
    connection = run.connect()
    connection.execute("SET enable_external_access = false")
    connection.execute("CREATE TEMP VIEW entries AS SELECT * FROM utterances")
    judge(connection, chosen.rules, None)
    kept = "SELECT entries.* FROM entries JOIN judged USING (utterance_id) WHERE len(rules) = 0 ORDER BY score DESC"
    return connection.sql(kept).to_arrow_table()


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
    patch_beam()
    return open_results(os.fspath(output))


def _decode(recording: str | os.PathLike[str] | np.ndarray, sample_rate: float | None) -> Decoded:
    if not isinstance(recording, (str, os.PathLike)):
        return _decode_array(np.asarray(recording), sample_rate)
    if sample_rate is not None:
        raise TypeError("sample_rate is for arrays; a file says it itself")
    patch_beam()
    return read_audio(absolute(os.fspath(recording)))


def _score(decoded: Decoded, bundle: Bundle) -> Score:
    item = featurize(decoded, AudioRef("", "", 0, ""), bundle.features)
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


@functools.cache
def _bundle(model: str) -> Bundle:
    patch_beam()
    return find_bundle(model)


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
