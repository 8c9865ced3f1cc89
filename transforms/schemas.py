"""The schemas of all tables that audiosieve writes. Units are in the columns' names; each column says what it is."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def _field(name: str, kind: pa.DataType, description: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


_ID = _field("utterance_id", pa.string(), "the utterance: path relative to the corpus root, or the manifest's id")
_VERSION = _field(
    "source_version",
    pa.string(),
    "size and time of modification, and the span that a manifest names; scored again when it changes",
)

UTTERANCES = pa.schema(
    [
        _ID,
        _field("uri", pa.string(), "where the recording is"),
        _field(
            "start_s", pa.float64(), "where in the recording the utterance begins; 0 unless a manifest says otherwise"
        ),
        _field("duration_s", pa.float64(), "length of the utterance"),
        _field("sample_rate", pa.int32(), "of the recording, in Hz"),
        _field("channels", pa.int32(), "of the recording"),
        _field("channel", pa.int32(), "that was heard, from 0; null for the mean of all", nullable=True),
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
            "where it was lost: read, decode, featurize, score; reference, mix, label in synthesis; export after a filter",
        ),
        _field("reason", pa.string(), "one word: empty_file, unsupported_format, truncated, ..."),
        _field("detail", pa.string(), "for people"),
    ]
)

# Of a run that another machine does: what is to be scored, in the order in which it is.
PLAN = pa.schema(
    [
        _field("chunk", pa.int64(), "number of the chunk: what one worker takes at a time"),
        _ID,
        _field("uri", pa.binary(), "where the recording is: bytes, since a file's name may be no UTF-8"),
        _field("size_bytes", pa.int64(), "size of the file"),
        _VERSION,
        _field("start_s", pa.float64(), "where in the recording the utterance begins"),
        _field("end_s", pa.float64(), "where it ends; null for the recording's end", nullable=True),
        _field("channel", pa.int32(), "that is to be heard; null leaves it to the run", nullable=True),
        _field("archive", pa.string(), "tar or parquet where all recordings in it are meant; else null", nullable=True),
        _field("columns", pa.map_(pa.string(), pa.string()), "further columns of the corpus"),
    ]
)

DROPPED = pa.schema(
    [
        _ID,
        _field("uri", pa.string(), "where the recording is"),
        _field("start_s", pa.float64(), "where in the recording it begins"),
        _field("duration_s", pa.float64(), "its length"),
        _field("score", pa.float32(), "predicted quality; null for what was cut off", nullable=True),
        _field("rules", pa.list_(pa.string()), "names of all that dropped it: rules, quantile, budget, trim"),
    ]
)

_DISTORTION = pa.struct(
    [
        _field("kind", pa.string(), "noise, or the fault"),
        _field("detail", pa.string(), "which noise, or how strong"),
        _field("start_s", pa.float64(), "where it begins"),
        _field("end_s", pa.float64(), "where it ends"),
    ]
)

CLIPS = pa.schema(
    [
        _field("clip_id", pa.string(), "seed and number of the clip"),
        _field("audio", pa.binary(), "a FLAC file: 16 kHz, mono, 16 bits"),
        _field(
            "reference",
            pa.binary(),
            "the clean reference, aligned with `audio`, at a peak of -1 dBFS: a FLAC file; null unless asked for",
            nullable=True,
        ),
        _field("duration_s", pa.float64(), "length of the clip"),
        _field("pesq_wb", pa.float32(), "PESQ MOS-LQO, wide band (P.862.2); null unless asked for", nullable=True),
        _field("pesq_nb", pa.float32(), "PESQ MOS-LQO, narrow band (P.862.1); null unless asked for", nullable=True),
        _field(
            "pseudo",
            pa.float32(),
            "pseudo-score of the SNR over the whole clip, 1 to 8; null unless asked for, and for a clip with faults",
            nullable=True,
        ),
        _field(
            "snr_db",
            pa.float64(),
            "mixing SNR: speech over the whole clip, noise where it is; null without noise",
            nullable=True,
        ),
        _field(
            "disturbance",
            pa.list_(pa.float32()),
            "P.862's symmetric disturbance of each frame; null without pesq_wb",
            nullable=True,
        ),
        _field(
            "asymmetric_disturbance",
            pa.list_(pa.float32()),
            "P.862's asymmetric disturbance of each frame; null without pesq_wb",
            nullable=True,
        ),
        _field("distortions", pa.list_(_DISTORTION), "every noise and fault of the clip, with where it is"),
        _field("variation", pa.list_(pa.string()), "what was done to the clean speech first, in the reference too"),
        _field("speech_id", pa.string(), "the speech"),
        _field("speaker", pa.string(), "who speaks; no speaker is in two splits"),
        _field("corpus", pa.string(), "the speech's, as the manifest says; null where it does not", nullable=True),
        _field("noise_ids", pa.list_(pa.string()), "the noises; none in a clip without noise"),
        _field("noise_groups", pa.list_(pa.string()), "groups of the noises; no group is in two splits"),
        _field("peak_dbfs", pa.float64(), "largest sample of the clip"),
        _field("split", pa.string(), "train, val, or what the manifest says"),
        _field("seed", pa.int64(), "of the set"),
    ]
)

_KEY = pa.dictionary(pa.int32(), pa.string())
_STRINGS = pa.list_(pa.string())

CLIP_SCORES = pa.schema(
    [
        _field("set", pa.string(), "the labelled set"),
        _field("clip_id", pa.string(), "the clip, in its set"),
        _field("model_id", pa.string(), "name@hash of the model"),
        _field("label_scale", pa.string(), "what the label is; null where the sets have none", nullable=True),
        _field("label", pa.float32(), "true quality; null where the clip has no such label", nullable=True),
        _field("score", pa.float32(), "predicted quality, on the scale of the model"),
        _field("snr_db", pa.float64(), "mixing SNR; null without noise", nullable=True),
        _field("clean", pa.bool_(), "whether it has neither noise nor fault"),
        _field(
            "taken_for_clean", pa.bool_(), "whether the score reaches the threshold; null without one", nullable=True
        ),
        _field("faults", _STRINGS, "kinds of its faults"),
        _field("noise_groups", _STRINGS, "groups of its noises"),
        _field("corpus", pa.string(), "of the speech; null where it is not known", nullable=True),
        _field("speaker", pa.string(), "who speaks"),
        _field("duration_s", pa.float64(), "length of the clip"),
        _field("num_anomalies", pa.int32(), "anomalies found"),
        _field(
            "iou",
            pa.float32(),
            "frames both bad and in an anomaly, as a share of those that are either; null unless it is bad in part",
            nullable=True,
        ),
    ]
)
FRAME_SCORES = pa.schema(
    [
        _field("set", _KEY, "the labelled set"),
        _field("clip_id", _KEY, "the clip, in its set"),
        _field("model_id", _KEY, "name@hash of the model"),
        _field("frame", pa.int32(), "number of the frame from 0: samples [256 t, 256 t + 512) at 16 kHz"),
        _field("start_s", pa.float32(), "start of the frame"),
        _field("score", pa.float32(), "predicted quality of the frame, on the scale of the model"),
        _field("bad", pa.bool_(), "whether half of it lies in a noise or fault that does not cover the whole clip"),
        _field("in_anomaly", pa.bool_(), "whether it lies in an anomaly"),
    ]
)


def with_carried(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """The schema with columns of the corpus behind its own.

    Args:
        schema: of `utterances`.
        names: of the columns.

    Raises:
        ValueError: a name is taken, or stands twice.
    """
    for place, name in enumerate(names):
        if name in schema.names or name in names[:place]:
            raise ValueError(f"a column {name!r} is there already")
    carried = [_field(name, pa.string(), "carried over from the corpus", nullable=True) for name in names]
    return pa.schema([*schema, *carried], schema.metadata)


SCORE_TABLES = {"utterances": UTTERANCES, "frames": FRAMES, "anomalies": ANOMALIES, "rejects": REJECTS}
SYNTHESIS_TABLES = {"clips": CLIPS, "rejects": REJECTS}
# By which the rows of a file are sorted, where they are.
SORTED_BY: dict[str, tuple[str, ...]] = {"utterances": ("score", "utterance_id")}
