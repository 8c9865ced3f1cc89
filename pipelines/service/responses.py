"""Response bodies: the columns of `utterances` as JSON, with optional frame scores, anomalies and spectrogram image."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, create_model

from model.labels import LabelScale
from transforms.elements import printable
from transforms.schemas import ANOMALIES, UTTERANCES
from transforms.scoring.rows import utterance_row
from transforms.scoring.utterance_score import Score

# Columns that an upload does not have: it has no location and no version, and all of it is scored. Its
# content_hash and fingerprint are of use only among the utterances of a corpus.
_LEFT_OUT = ("uri", "start_s", "source_version", "content_hash", "fingerprint")
_PYTHON_TYPES: dict[pa.DataType, Any] = {
    pa.string(): str,
    pa.int32(): int,
    pa.int64(): int,
    pa.float32(): float,
    pa.float64(): float,
    pa.list_(pa.string()): list[str],
}
# Decimal places of numbers: two more than the precision of a score.
DIGITS = 5


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Scale(_Strict):
    """The scale of the scores."""

    name: str = Field(examples=["pesq-wb"])
    low: float = Field(description="worst score", examples=[1.0])
    high: float = Field(description="best score", examples=[4.64])
    title: str = Field(examples=["PESQ MOS-LQO, wide band (ITU-T P.862.2)"])

    @classmethod
    def of(cls, scale: LabelScale) -> Scale:
        """Returns the JSON model of a label scale."""
        return cls(name=scale.name, low=scale.low, high=scale.high, title=scale.title)


def _columns(schema: pa.Schema, without: tuple[str, ...]) -> dict[str, Any]:
    return {
        field.name: (
            _PYTHON_TYPES[field.type] | None if field.nullable else _PYTHON_TYPES[field.type],
            Field(description=field.metadata[b"description"].decode()),
        )
        for field in schema
        if field.name not in without
    }


AnomalyOut: Any = create_model(
    "Anomaly",
    __base__=_Strict,
    __doc__="A stretch far below the good level of the recording, a long silence, or a long dropout.",
    **_columns(ANOMALIES, ("utterance_id",)),
)
Scored: Any = create_model(
    "Scored",
    __base__=_Strict,
    __doc__="The score of a recording: the columns of `utterances` and the optional fields of the request.",
    **{
        **_columns(UTTERANCES, (*_LEFT_OUT, "utterance_id")),
        "utterance_id": (str | None, Field(description="id from the client; null if it sends none")),
        "label_scale": (Scale, Field(description="scale of the scores")),
        "anomalies": (
            list[AnomalyOut] | None,
            Field(None, description="anomalies in order of time; with `anomalies=true`"),
        ),
        "frame_score": (
            list[float] | None,
            Field(None, description="score of each frame of 32 ms, one frame every 16 ms; with `frames=true`"),
        ),
        "frame_speech": (
            list[float] | None,
            Field(
                None,
                description="probability of speech in each frame; with `frames=true`; null if the model does not hear speech",
            ),
        ),
        "frame_cause": (
            list[str | None] | None,
            Field(
                None,
                description="most probable cause of damage that the model hears in each frame, or null; with `frames=true`; "
                "null if the model has no diagnosis",
            ),
        ),
        "spectrogram": (
            str | None,
            Field(
                None,
                description="grey PNG as a data URL: 0 to 8 kHz from bottom to top, 80 dB from black to white; "
                "with `spectrogram=true`",
            ),
        ),
    },
)


class ProblemOut(_Strict):
    """The reason for a missing score (RFC 9457). `stage`, `reason` and `detail` are those of the table `rejects`."""

    type: Literal["about:blank"]
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["the header states 65040 samples per channel, 31000 could be decoded"])
    reason: str = Field(examples=["truncated"])
    stage: str | None = Field(
        None, description="stage in which the recording failed; absent if the request itself is wrong"
    )
    utterance_id: str | None = Field(None, description="id of the recording from the client")
    problems: list[ProblemOut] | None = Field(None, description="problem of each recording, if there are several")


class ScoredFiles(_Strict):
    """The results of the recordings of a form, in its order."""

    results: list[Scored | ProblemOut]


class ModelOut(_Strict):
    """The model and the limits of the service."""

    model_id: str = Field(description="name@hash")
    hash: str
    label_scale: Scale
    card: dict[str, Any] = Field(description="contents of bundle.json")
    limits: dict[str, float] = Field(description="limits of a request")
    version: str = Field(description="version of audiosieve")


def response_body(
    score: Score, spectrogram_png: bytes | None, name: str | None, frames: bool, anomalies: bool
) -> dict[str, Any]:
    """Returns the response body for a recording, in the form of `Scored`.

    Args:
        score: score of the recording.
        spectrogram_png: image of the spectrogram; None unless requested.
        name: utterance id from the client; None if the client sends none.
        frames: whether the frame scores are requested.
        anomalies: whether the anomalies are requested.
    """
    body: dict[str, Any] = {
        column: _rounded(value) for column, value in utterance_row(score).items() if column not in _LEFT_OUT
    }
    body["utterance_id"] = None if name is None else printable(name)
    body["label_scale"] = Scale.of(score.label_scale).model_dump()
    if anomalies:
        body["anomalies"] = [
            {column: _rounded(getattr(anomaly, column)) for column in AnomalyOut.model_fields}
            for anomaly in score.anomalies
        ]
    if frames:
        body["frame_score"] = [_rounded(value) for value in score.frame_score.tolist()]
        body["frame_speech"] = None if score.speech is None else [_rounded(value) for value in score.speech.tolist()]
        body["frame_cause"] = score.frame_cause
    if spectrogram_png is not None:
        body["spectrogram"] = f"data:image/png;base64,{base64.b64encode(spectrogram_png).decode()}"
    return body


def _rounded(value: Any) -> Any:
    return round(value, DIGITS) if isinstance(value, float) else value


def as_json(body: dict[str, Any]) -> bytes:
    """Encodes a response body.

    Raises:
        ValueError: a number is NaN or infinite, which would be a bug.
    """
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
