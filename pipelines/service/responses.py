"""What a client gets: the columns of `utterances` as JSON, and what it asked for beside them."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, create_model

from model.anomalies import find_anomalies
from model.bundle import Bundle
from model.labels import LabelScale
from transforms.elements import ScoredUtterance, printable
from transforms.schemas import ANOMALIES, UTTERANCES
from transforms.scoring.rows import utterance_row

# Of a recording that was sent: it is nowhere, all of it is heard, and no version of it is kept.
_NOT_SENT = ("uri", "start_s", "source_version")
_KINDS: dict[pa.DataType, Any] = {
    pa.string(): str, pa.int32(): int, pa.int64(): int, pa.float32(): float, pa.float64(): float,
    pa.list_(pa.string()): list[str],
}  # fmt: skip
# Digits behind the point: two more than a score is worth.
DIGITS = 5


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Scale(_Strict):
    """What scores mean."""

    name: str = Field(examples=["pesq-wb"])
    low: float = Field(description="worst score", examples=[1.0])
    high: float = Field(description="best score", examples=[4.64])
    title: str = Field(examples=["PESQ MOS-LQO, wide band (ITU-T P.862.2)"])

    @classmethod
    def of(cls, scale: LabelScale) -> Scale:
        """The scale of a bundle."""
        return cls(name=scale.name, low=scale.low, high=scale.high, title=scale.title)


def _columns(schema: pa.Schema, without: tuple[str, ...]) -> dict[str, Any]:
    return {
        field.name: (
            _KINDS[field.type] | None if field.nullable else _KINDS[field.type],
            Field(description=field.metadata[b"description"].decode()),
        )
        for field in schema
        if field.name not in without
    }


AnomalyOut: Any = create_model(
    "Anomaly",
    __base__=_Strict,
    __doc__="A stretch that scores under the level around it.",
    **_columns(ANOMALIES, ("utterance_id",)),
)
Scored: Any = create_model(
    "Scored",
    __base__=_Strict,
    __doc__="A recording with its score: the columns of `utterances`, and what was asked for.",
    **{
        **_columns(UTTERANCES, (*_NOT_SENT, "utterance_id")),
        "utterance_id": (str | None, Field(description="what the client calls the recording; null where it does not")),
        "label_scale": (Scale, Field(description="what the scores mean")),
        "anomalies": (list[AnomalyOut] | None, Field(None, description="in order of time; with `anomalies=true`")),
        "frame_score": (
            list[float] | None,
            Field(None, description="of each frame of 32 ms, every 16 ms; with `frames=true`"),
        ),
        "spectrogram": (
            str | None,
            Field(
                None,
                description="a grey PNG as a data URL, 0 to 8 kHz from the bottom up, 80 dB from black to white; with "
                "`spectrogram=true`",
            ),
        ),
    },
)


class ProblemOut(_Strict):
    """Why there is no score (RFC 9457): `stage`, `reason` and `detail` are those of the table `rejects`."""

    type: Literal["about:blank"]
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["the header promises 65040 samples a channel, 31000 could be decoded"])
    reason: str = Field(examples=["truncated"])
    stage: str | None = Field(
        None, description="where the recording was lost; not there if the request itself is wrong"
    )
    utterance_id: str | None = Field(None, description="what the client calls the recording")
    problems: list[ProblemOut] | None = Field(None, description="of each recording, if there were several")


class ScoredFiles(_Strict):
    """What became of the recordings of a form, in its order."""

    results: list[Scored | ProblemOut]


class ModelOut(_Strict):
    """The model, and what the service takes."""

    model_id: str = Field(description="name@hash")
    hash: str
    label_scale: Scale
    card: dict[str, Any] = Field(description="bundle.json")
    limits: dict[str, float] = Field(description="of a request")
    version: str = Field(description="of audiosieve")


def answer(
    scored: ScoredUtterance, picture: bytes | None, name: str | None, bundle: Bundle, frames: bool, anomalies: bool
) -> dict[str, Any]:
    """The answer for a recording, as `Scored` describes it.

    Args:
        scored: its scores.
        picture: of its spectrogram, a PNG; None unless that was asked for.
        name: what the client calls it.
        bundle: the model.
        frames: whether the frame scores were asked for.
        anomalies: whether the anomalies were.
    """
    found = find_anomalies(scored.frame_score, bundle.label_scale.span)
    row = utterance_row(scored, found, bundle.model_id, bundle.pooling)
    told: dict[str, Any] = {
        column: round(value, DIGITS) if isinstance(value, float) else value
        for column, value in row.items()
        if column not in _NOT_SENT
    }
    told["utterance_id"] = None if name is None else printable(name)
    told["label_scale"] = Scale.of(bundle.label_scale).model_dump()
    if anomalies:
        told["anomalies"] = [
            {column: round(getattr(bad, column), DIGITS) for column in AnomalyOut.model_fields} for bad in found
        ]
    if frames:
        told["frame_score"] = [round(value, DIGITS) for value in scored.frame_score.tolist()]
    if picture is not None:
        told["spectrogram"] = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return told


def as_json(told: dict[str, Any]) -> bytes:
    """An answer as it is sent; a number that JSON does not have is a mistake of ours."""
    return json.dumps(told, allow_nan=False, separators=(",", ":")).encode()
