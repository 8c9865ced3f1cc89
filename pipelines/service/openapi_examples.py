"""Examples of the OpenAPI description: real responses for `tests/samples/audio/burst.flac`, and a problem of each status."""

from __future__ import annotations

from typing import Any

from pipelines.service.problems import Problem

_BURST: dict[str, Any] = {
    "utterance_id": "burst.flac",
    "duration_s": 4.225,
    "sample_rate": 16000,
    "channels": 1,
    "channel": None,
    "format": "FLAC/PCM_16",
    "size_bytes": 79326,
    "num_frames": 263,
    "score": 1.36313,
    "frame_score_p10": 1.03684,
    "frame_score_min": 1.0,
    "frame_score_std": 1.07094,
    "anomaly_s": 1.04,
    "num_anomalies": 1,
    "peak_dbfs": -1.4,
    "rms_dbfs": -17.31865,
    "clipped_ratio": 0.0,
    "silence_ratio": 0.19011,
    "lead_silence_s": 0.464,
    "trail_silence_s": 0.384,
    "longest_gap_s": 0.096,
    "active_s": 3.296,
    "dropouts": 0,
    "dropout_s": 0.0,
    "dc_offset": 0.00071,
    "bandwidth_hz": 8000.0,
    "noise_floor_snr_db": 21.14524,
    "hum_db": None,
    "speech_s": 2.624,
    "music_s": 0.0,
    "overlap_s": 0.0,
    "snr_db": 6.22289,
    "c50_db": 27.12655,
    "mos_sig": None,
    "mos_bak": None,
    "mos_ovrl": None,
    "flags": [],
    "causes": [],
    "model_id": "diagnostic_net_v3@eb3e6d7004d2",
    "label_scale": {"name": "pesq-wb", "low": 1.0, "high": 4.64, "title": "PESQ MOS-LQO, wide band (ITU-T P.862.2)"},
    "anomalies": [{"start_s": 2.096, "end_s": 3.136, "mean_score": 1.11179, "min_score": 1.0, "cause": "noise"}],
}
_TRUNCATED = Problem(
    422,
    "truncated",
    "the header states 130124 bytes, the file holds 64000",
    stage="decode",
    utterance_id="take1.wav",
)
_EXAMPLES = (
    Problem(400, "empty_file", "the file has no bytes", stage="decode"),
    Problem(401, "unauthorized", "send one of the service's keys: `Authorization: Bearer KEY`"),
    Problem(403, "cross_site", "the request comes from a page of another site (https://example.com)"),
    Problem(408, "upload_timeout", "no byte arrived for 30 s"),
    Problem(
        413,
        "too_long",
        "it is longer than the limit of 3600 s; cut it into parts",
        stage="decode",
    ),
    Problem(415, "unsupported_format", "Format not recognised.", stage="decode"),
    _TRUNCATED,
    Problem(500, "internal_error", "Internal error; see the service log."),
    Problem(503, "full", "the service is at its capacity; try again later"),
)
PROBLEMS = {problem.status: problem.as_dict() for problem in _EXAMPLES}
RESPONSES = {
    "body": {"summary": "a recording sent as the body, with anomalies=true&utterance_id=burst.flac", "value": _BURST},
    "form": {
        "summary": "two recordings sent as a form, with anomalies=true",
        "value": {"results": [_BURST, _TRUNCATED.as_dict()]},
    },
}
REQUEST = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                            "description": "recordings, under any field name; their file names are returned as utterance_id",
                        }
                    },
                    "required": ["file"],
                    "additionalProperties": False,
                }
            },
        },
    }
}
