"""The Python API of audiosieve: score and plot recordings, open the output of a run, select the utterances to keep.

    import audiosieve

    score = audiosieve.score("take1.flac")
    figure = audiosieve.plot("take1.flac")
    run = audiosieve.open_run("scores")
    kept = audiosieve.filter(run)

A recording gets the same score here as from the command `audiosieve score`, by the same functions.

Importing this module loads neither TensorFlow nor Beam. Each function imports what it needs when it is called, and each type,
such as `audiosieve.Score`, is imported when it is first used.
"""

from __future__ import annotations

import importlib
import os
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.bundle import DEFAULT

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from matplotlib.figure import Figure

    from model.anomalies import Anomaly
    from model.bundle import BundleError
    from model.labels import LabelScale
    from transforms.audio.span_reader import Decoded
    from transforms.curation.rules import RuleError
    from transforms.elements import SignalFacts
    from transforms.errors import AudioFault, OutputError, Reason, Stage
    from transforms.output.results import Results
    from transforms.scoring.utterance_score import Score

__all__ = [
    "Anomaly",
    "AudioFault",
    "BundleError",
    "LabelScale",
    "OutputError",
    "Reason",
    "Results",
    "RuleError",
    "Score",
    "SignalFacts",
    "Stage",
    "__version__",
    "filter",
    "open_run",
    "plot",
    "score",
]
__version__ = version("audiosieve")

# Module of each type above, imported when the type is first used.
_MODULES = {
    "Anomaly": "model.anomalies",
    "AudioFault": "transforms.errors",
    "BundleError": "model.bundle",
    "LabelScale": "model.labels",
    "OutputError": "transforms.errors",
    "Reason": "transforms.errors",
    "Results": "transforms.output.results",
    "RuleError": "transforms.curation.rules",
    "Score": "transforms.scoring.utterance_score",
    "SignalFacts": "transforms.elements",
    "Stage": "transforms.errors",
}


# A type checker that sees this function would accept any name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def score(
    recording: str | os.PathLike[str] | np.ndarray, sample_rate: float | None = None, model: str | Path = DEFAULT
) -> Score:
    """Scores a recording.

    >>> import audiosieve
    >>> clean = audiosieve.score(samples / "clean.flac")
    >>> noisy = audiosieve.score(samples / "noise_10db.flac")
    >>> clean.score > 4 > 2 > noisy.score
    True
    >>> len(clean.frame_score) == len(clean.start_s)
    True
    >>> burst = audiosieve.score(samples / "burst.flac")
    >>> [(round(anomaly.start_s), round(anomaly.end_s)) for anomaly in burst.anomalies]
    [(2, 3)]

    An array gets the same score as the file with the same samples:

    >>> import soundfile
    >>> audio, rate = soundfile.read(samples / "stereo_48k.flac")
    >>> audio.shape[1], rate
    (2, 48000)
    >>> from_file = audiosieve.score(samples / "stereo_48k.flac")
    >>> abs(audiosieve.score(audio, sample_rate=rate).score - from_file.score) < 1e-3
    True

    A recording that cannot be scored raises a fault with the reason that the table `rejects` would have:

    >>> try:
    ...     audiosieve.score(samples / "corrupt.flac")
    ... except audiosieve.AudioFault as fault:
    ...     print(fault.reason)
    corrupt

    Args:
        recording: path of a file in any format that a corpus may have, local or in a bucket; or samples, [n] or
            [n, channels]: floats with full scale 1.0, or int16 or int32. Channels are scored as with `--channels auto`.
        sample_rate: sample rate of an array, in Hz; None for a file.
        model: name of a bundled model, or folder of a bundle. Each model is loaded once.

    Raises:
        AudioFault: the recording cannot be read or decoded.
        BundleError: the model does not exist or cannot be used.
        TypeError: `sample_rate` is missing for an array or given for a file, or the samples are of another type.
        ValueError: the sample rate or the shape of the samples is impossible.
    """
    return _decode_and_score(recording, sample_rate, model)[1]


def plot(
    recording: str | os.PathLike[str] | np.ndarray, sample_rate: float | None = None, model: str | Path = DEFAULT
) -> Figure:
    """Draws the spectrogram of a recording above its frame scores, with the anomalies shaded.

    A lane below shows the causes of damage that the model hears, if it has a diagnosis. Warns if no font of the machine has
    a letter of the file's name.

    >>> import audiosieve
    >>> figure = audiosieve.plot(samples / "burst.flac")
    >>> len(figure.axes)
    3
    >>> figure.savefig(folder / "burst.png")

    Args:
        recording: path or samples, as for `score`.
        sample_rate: sample rate of an array, in Hz; None for a file.
        model: model, as for `score`.

    Returns:
        A matplotlib figure, which a notebook displays.

    Raises:
        AudioFault, BundleError, TypeError, ValueError: as for `score`.
    """
    from transforms.analysis.figure import FigureData, draw
    from transforms.analysis.title_fonts import choose_fonts

    decoded, scored = _decode_and_score(recording, sample_rate, model)
    name = Path(recording).name if isinstance(recording, (str, os.PathLike)) else ""
    data = FigureData.of(scored, decoded.of_channel(scored.utterance.channel).waveform, name)
    if hint := choose_fonts(data.title).hint:
        warnings.warn(hint, stacklevel=2)
    return draw(data)


def filter(
    run: Results,
    rules: str | os.PathLike[str] | None = None,
    where: str | None = None,
    preset: str | None = None,
) -> pa.Table:
    """Returns the utterances of a run that `audiosieve filter` would keep, best score first.

    A warning names the rules that the run has no data for, because its model has no diagnosis.

    >>> import audiosieve
    >>> run = audiosieve.open_run(output)
    >>> kept = audiosieve.filter(run, where="score >= 4 AND len(flags) = 0")
    >>> sorted(kept["utterance_id"].to_pylist())
    ['clean.flac', 'compressed.mp3']
    >>> try:
    ...     audiosieve.filter(run, where="scoer >= 4")
    ... except audiosieve.RuleError as error:
    ...     "unknown column 'scoer'" in str(error)
    True

    Args:
        run: an output, from `open_run`.
        rules: path of a file of rules; by default the suggested rules, or none with a preset.
        where: SQL condition that is true for the utterances to keep, instead of `rules`.
        preset: "tts", "asr", "enhancement", "telephony" or "emilia"; `rules` or `where` are added to it.

    Returns:
        Rows of the table `utterances`, with all its columns.

    Raises:
        RuleError: a rule is invalid, the rules are for another scale of scores, or the run lacks data that they need.
        TypeError: both `rules` and `where` are given.
        ValueError: there is no such preset.
    """
    from transforms.curation.kept_utterances import kept_utterances

    return kept_utterances(run, rules, where, preset)


def open_run(output: str | os.PathLike[str]) -> Results:
    """Opens an output of `audiosieve score`; only the files that its runs committed are visible.

    >>> import audiosieve
    >>> run = audiosieve.open_run(output)
    >>> run.dataset("utterances").count_rows(), run.dataset("rejects").count_rows()
    (8, 1)
    >>> run.dataset("rejects").to_table()["utterance_id"].to_pylist()
    ['corrupt.flac']
    >>> duckdb = run.connect()
    >>> duckdb.execute("SELECT utterance_id FROM utterances ORDER BY score LIMIT 1").fetchone()
    ('noise_00db.flac',)

    Args:
        output: folder of the output, local or in a bucket.

    Returns:
        The output. `dataset(table)` returns `utterances`, `frames`, `anomalies` or `rejects` as an Arrow dataset, for
        `.to_table().to_pandas()` or `polars.scan_pyarrow_dataset`. `connect()` returns a DuckDB connection with a view of
        each table. `model_id`, `label_scale` and `records` describe the runs.

    Raises:
        OutputError: the folder holds no finished run.
    """
    from transforms.output.results import open_results
    from transforms.storage.gcs.client import patch_beam

    patch_beam()
    return open_results(os.fspath(output))


def _decode_and_score(
    recording: str | os.PathLike[str] | np.ndarray, sample_rate: float | None, model: str | Path
) -> tuple[Decoded, Score]:
    """Returns the decoded recording and its score; for the arguments and errors see `score`."""
    from transforms.scoring.inference import load_scorer
    from transforms.scoring.recording import score_decoded
    from transforms.storage.gcs.client import patch_beam

    patch_beam()
    decoded = _decode(recording, sample_rate)
    return decoded, score_decoded(decoded, load_scorer(str(model), threads=None))


def _decode(recording: str | os.PathLike[str] | np.ndarray, sample_rate: float | None) -> Decoded:
    if not isinstance(recording, (str, os.PathLike)):
        import numpy as np

        from transforms.audio.arrays import decode_array

        return decode_array(np.asarray(recording), sample_rate)
    from transforms.audio.decode import read_audio
    from transforms.storage.files import absolute

    if sample_rate is not None:
        raise TypeError("sample_rate is only for arrays; a file states its own")
    return read_audio(absolute(os.fspath(recording)))


if __name__ == "__main__":
    import sys

    from pipelines.cli import main

    sys.exit(main())
