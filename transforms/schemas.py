"""The schemas of all tables that audiosieve writes. Units are in the columns' names; each column says what it is."""

from __future__ import annotations

import pyarrow as pa


def _field(name: str, kind: pa.DataType, description: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


_ID = _field("utterance_id", pa.string(), "the utterance: path relative to the corpus root, or the manifest's id")
_VERSION = _field(
    "source_version", pa.string(), "size and time of modification; a recording is scored again when it changes"
)

UTTERANCES = pa.schema(
    [
        _ID,
        _field("uri", pa.string(), "where the recording is"),
        _field("duration_s", pa.float64(), "length of the recording"),
        _field("sample_rate", pa.int32(), "of the recording, in Hz"),
        _field("channels", pa.int32(), "of the recording; the mean of them is scored"),
        _field("format", pa.string(), "container and coding, as FLAC/PCM_16"),
        _field("size_bytes", pa.int64(), "size of the file"),
        _VERSION,
        _field("num_frames", pa.int32(), "frames of 32 ms every 16 ms; as many rows stand in `frames`"),
        _field("score", pa.float32(), "predicted quality, on the scale of the model"),
        _field("frame_score_p10", pa.float32(), "10th percentile of the frame scores"),
        _field("frame_score_min", pa.float32(), "lowest frame score"),
        _field("frame_score_std", pa.float32(), "standard deviation of the frame scores"),
        _field("anomaly_s", pa.float32(), "seconds of the utterance that lie in anomalies"),
        _field("num_anomalies", pa.int32(), "as many rows stand in `anomalies`"),
        _field("peak_dbfs", pa.float32(), "largest sample of any channel"),
        _field("rms_dbfs", pa.float32(), "level over all samples and channels"),
        _field(
            "clipped_ratio", pa.float32(), "share of samples at full scale or on a plateau of 3 or more at the extreme"
        ),
        _field("silence_ratio", pa.float32(), "share of frames more than 40 dB under the gated level"),
        _field("dc_offset", pa.float32(), "mean sample, full scale 1.0"),
        _field("bandwidth_hz", pa.float32(), "highest frequency less than 60 dB under the strongest"),
        _field(
            "snr_db",
            pa.float32(),
            "estimate from the spread of frame levels; null without a noise floor",
            nullable=True,
        ),
        _field(
            "flags", pa.list_(pa.string()), "what makes the score doubtful: near_silent, mostly_silence, clipped, ..."
        ),
        _field("model_id", pa.string(), "name@hash of the model"),
    ]
)

FRAMES = pa.schema(
    [
        _ID,
        _field("frame", pa.int32(), "number of the frame from 0: samples [256 t, 256 t + 512) at 16 kHz"),
        _field("start_s", pa.float32(), "start of the frame"),
        _field("score", pa.float32(), "predicted quality of the frame, on the scale of the model"),
    ]
)

ANOMALIES = pa.schema(
    [
        _ID,
        _field("start_s", pa.float32(), "start of the first bad frame"),
        _field("end_s", pa.float32(), "end of the last bad frame"),
        _field("mean_score", pa.float32(), "mean of the frame scores in it"),
        _field("min_score", pa.float32(), "lowest frame score in it"),
    ]
)

REJECTS = pa.schema(
    [
        _field("uri", pa.string(), "where the recording is"),
        _ID,
        _VERSION,
        _field(
            "stage",
            pa.string(),
            "where it was lost: read, decode, featurize, score; reference, mix, label in synthesis",
        ),
        _field("reason", pa.string(), "one word: empty_file, unsupported_format, truncated, ..."),
        _field("detail", pa.string(), "for people"),
    ]
)

CLIPS = pa.schema(
    [
        _field("clip_id", pa.string(), "seed and number of the clip"),
        _field("audio", pa.binary(), "a FLAC file: 16 kHz, mono, 16 bits"),
        _field("duration_s", pa.float64(), "length of the clip"),
        _field("pesq_wb", pa.float32(), "PESQ MOS-LQO, wide band (P.862.2); null unless asked for", nullable=True),
        _field("pesq_nb", pa.float32(), "PESQ MOS-LQO, narrow band (P.862.1); null unless asked for", nullable=True),
        _field("pseudo", pa.float32(), "pseudo-score of the SNR, 1 to 8; null unless asked for", nullable=True),
        _field("snr_db", pa.float64(), "mixing SNR over the whole clip; null for a clean clip", nullable=True),
        _field("speech_id", pa.string(), "the speech"),
        _field("speaker", pa.string(), "who speaks; no speaker is in two splits"),
        _field("noise_id", pa.string(), "the noise; null for a clean clip", nullable=True),
        _field("noise_group", pa.string(), "group of the noise; no group is in two splits", nullable=True),
        _field("split", pa.string(), "train, val, or what the manifest says"),
        _field("seed", pa.int64(), "of the set"),
    ]
)

SCORE_TABLES = {"utterances": UTTERANCES, "frames": FRAMES, "anomalies": ANOMALIES, "rejects": REJECTS}
SYNTHESIS_TABLES = {"clips": CLIPS, "rejects": REJECTS}
