"""Embeds scripts, numbers, figures and audio in the page, so that the report is a single file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.labels import LabelScale
from transforms.analysis.report.html import Html
from transforms.analysis.report.numbers import FACT_BINS, FACTS, SCORE_BIN, STEPS, Group, ReportData, Steps


def data_uri(media_type: str, content: bytes) -> str:
    """Returns a data URI that contains the content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def script(text: str) -> Html:
    """Returns a script for embedding. Sequences in its strings that would end the element are escaped."""
    return Html(text.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def content_security_policy(*scripts: str) -> Html:
    """Returns the policy of the page. It allows these scripts and embedded content, but no network."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return Html(
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def numbers_json(data: ReportData, scale: LabelScale, threshold: float) -> Html:
    """Returns the numbers that `page.js` draws, as JSON that cannot end its script element."""
    return Html(json.dumps(_numbers(data, scale, threshold), allow_nan=False).replace("<", "\\u003c"))


def pack(values: np.ndarray, dtype: str) -> str:
    """Returns the bytes of an array, row by row, in base64.

    Args:
        values: numbers of any shape.
        dtype: numpy type in which they are stored, for example "<u4".
    """
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode()


def _numbers(data: ReportData, scale: LabelScale, threshold: float) -> dict[str, Any]:
    return {
        "scale": scale.name,
        "threshold": threshold,
        "steps_per_point": STEPS,
        "first_step": data.steps.first,
        "score_bin": SCORE_BIN,
        "steps": _packed_steps(data.steps),
        "groups": [_packed_groups(groups) for groups in data.groups.values()],
        "causes": _packed_groups(data.causes),
        "facts": [
            {
                "title": FACTS[fact.name][0],
                "unit": FACTS[fact.name][1],
                "low": float(fact.edges[0]),
                "high": float(fact.edges[-1]),
                "bins": FACT_BINS,
                "density": pack(fact.density, "<u4"),
            }
            for fact in data.facts
        ],
    }


def _packed_groups(groups: Sequence[Group]) -> list[dict[str, Any]]:
    return [
        {"name": group.title, "quantiles": group.quantiles, "steps": _packed_steps(group.steps)} for group in groups
    ]


def _packed_steps(steps: Steps) -> dict[str, str]:
    return {"count": pack(steps.count, "<u4"), "seconds": pack(steps.seconds, "<f8")}
