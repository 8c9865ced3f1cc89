"""Schemas of all tables but those of an evaluation. Column names carry the units; each column has a description."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from transforms.table_field import table_field as _field

_ID = _field("utterance_id", pa.string(), "unique id: path relative to the corpus root, or the id from the manifest")
_URI = _field("uri", pa.string(), "path or URI of the recording; `ARCHIVE#MEMBER` for a recording in an archive")
_VERSION = _field(
    "source_version",
    pa.string(),
    "size of the file and its modification time (in Cloud Storage: generation), and the span or channel that the corpus names; "
    "a new value is scored again",
)


def _heard(name: str, description: str) -> pa.Field:
    """Returns a column of `utterances` that a model without this value leaves null."""
    return _field(name, pa.float32(), description, nullable=True)


# Sound that the model hears in an utterance. A value is null if the model has no diagnosis or was not trained on the value. The
# ratings of a piece that --trim cut out are null, too.
_HEARD = (
    _heard("music_s", "length of the frames with music"),
    _heard("overlap_s", "length of the frames with a second voice"),
    _heard("snr_db", "signal-to-noise ratio during speech; null without speech"),
    _heard("c50_db", "clarity index C50 of the room during speech; null without speech"),
    _heard("mos_sig", "rating of the speech on the scale of DNSMOS P.835, from 1 to 5"),
    _heard("mos_bak", "rating of the background on the same scale; 5 is the least intrusive"),
    _heard("mos_ovrl", "overall rating on the same scale"),
)
HEARD = tuple(field.name for field in _HEARD)

UTTERANCES = pa.schema(
    [
        _ID,
        _URI,
        _field("start_s", pa.float64(), "start of the utterance in the recording; 0 unless the corpus lists spans"),
        _field("duration_s", pa.float64(), "length of the utterance"),
        _field("sample_rate", pa.int32(), "sampling rate of the recording in Hz"),
        _field("channels", pa.int32(), "number of channels in the recording"),
        _field("channel", pa.int32(), "scored channel, from 0; null for the mean of all channels", nullable=True),
        _field("format", pa.string(), "container and coding, e.g. FLAC/PCM_16"),
        _field("size_bytes", pa.int64(), "size of the file, or of the member of an archive"),
        _VERSION,
        _field("num_frames", pa.int32(), "number of frames (32 ms long, one every 16 ms) and of rows in `frames`"),
        _field("score", pa.float32(), "predicted quality of the utterance, on the label scale of the model"),
        _field("frame_score_p10", pa.float32(), "10th percentile of the frame scores"),
        _field("frame_score_min", pa.float32(), "lowest frame score"),
        _field("frame_score_std", pa.float32(), "standard deviation of the frame scores"),
        _field("anomaly_s", pa.float32(), "total length of the anomalies"),
        _field("num_anomalies", pa.int32(), "number of anomalies and of rows in `anomalies`"),
        _field("peak_dbfs", pa.float32(), "largest absolute sample of the scored channels, without DC offset"),
        _field("rms_dbfs", pa.float32(), "RMS level of the active part of the scored signal, without DC offset"),
        _field("clipped_ratio", pa.float32(), "share of clipped samples"),
        _field("silence_ratio", pa.float32(), "share of frames more than 40 dB below the gated level of the utterance"),
        _field("lead_silence_s", pa.float32(), "silence before the active part"),
        _field("trail_silence_s", pa.float32(), "silence after the active part"),
        _field("longest_gap_s", pa.float32(), "longest silence inside the active part"),
        _field("active_s", pa.float32(), "length of the active part without the inner part of pauses over 0.5 s"),
        _field("dropouts", pa.int32(), "number of hard-edged gaps inside sound, of zeros or of a repeated sample"),
        _field("dropout_s", pa.float32(), "total length of the dropouts"),
        _field("dc_offset", pa.float32(), "mean of the samples, where full scale is 1.0"),
        _field("bandwidth_hz", pa.float32(), "highest frequency that carries signal, without images of a lower rate"),
        _field(
            "noise_floor_snr_db",
            pa.float32(),
            "signal-to-noise ratio from the quietest frames; null if a tenth of the active part is digital silence",
            nullable=True,
        ),
        _field("hum_db", pa.float32(), "level of mains hum relative to `rms_dbfs`; null without hum", nullable=True),
        _field("speech_s", pa.float32(), "length of the speech; `active_s` if the model does not hear speech"),
        *_HEARD,
        _field("flags", pa.list_(pa.string()), "reasons to doubt the score: no_speech, near_silent, clipped, ..."),
        _field(
            "causes",
            pa.list_(pa.string()),
            "faults that the samples prove or the model hears, worst first: silence, channel, noise, music, second_voice, "
            "reverberation, clipping, band_limit, codec, dropouts, hum",
        ),
        _field("model_id", pa.string(), "model that made the score, as name@hash"),
        _field(
            "content_hash",
            pa.string(),
            "hash of the decoded samples of the scored channels; null for a piece that --trim cut out",
            nullable=True,
        ),
        _field(
            "fingerprint",
            pa.list_(pa.int64()),
            "landmarks of the sound, which re-encoded copies share; null without enough sound, and for a piece",
            nullable=True,
        ),
    ]
)

TRIMMED = "trimmed"
# Columns that exist only in rules: the utterance with the same samples, or of the same recording, to keep instead.
COPY_OF, DUPLICATE_OF = "copy_of", "duplicate_of"
# The kept rows of `utterances`.
KEPT = pa.schema(
    [
        *UTTERANCES,
        _field(TRIMMED, pa.bool_(), "whether the row is a piece that --trim or --segment cut out of an utterance"),
    ]
)

# A word for many frames in a row.
_CAUSE = pa.dictionary(pa.int8(), pa.string())

FRAMES = pa.schema(
    [
        _ID,
        _field("frame", pa.int32(), "index of the frame, from 0; it covers samples [256 t, 256 t + 512) at 16 kHz"),
        _field("start_s", pa.float32(), "start of the frame in the utterance"),
        _field("score", pa.float32(), "predicted quality of the frame, on the label scale of the model"),
        _field("level_dbfs", pa.float32(), "RMS level of the scored signal, to 0.1 dB"),
        _field("peak_dbfs", pa.float32(), "largest absolute sample of the scored channels, to 0.1 dB"),
        _field("bandwidth_hz", pa.float32(), "highest frequency that carries signal; 0 in silence"),
        _field("clipped", pa.bool_(), "whether a sample is clipped"),
        _field("dropout_s", pa.float32(), "length of the dropouts in the first half of the frame"),
        _field(
            "speech",
            pa.float32(),
            "probability of speech, rounded down to 0.05; null if the model does not hear speech",
            nullable=True,
        ),
        _field("cause", _CAUSE, "most probable cause of damage that the model hears; null where it hears none", True),
        _field(
            "snr_db",
            pa.float32(),
            "signal-to-noise ratio, to 1 dB; null where `speech` is null or 0, or if the model does not hear it",
            nullable=True,
        ),
        _field(
            "c50_db",
            pa.float32(),
            "clarity index C50 of the room, to 1 dB; null where `speech` is null or 0, or if the model does not hear it",
            nullable=True,
        ),
    ]
)
# Columns of `frames` whose values hardly repeat, so that a dictionary of them would only add to their size.
WITHOUT_DICTIONARY = ("frame", "start_s", "score")

ANOMALIES = pa.schema(
    [
        _ID,
        _field("start_s", pa.float32(), "start of the first frame in the utterance"),
        _field("end_s", pa.float32(), "end of the last frame in the utterance"),
        _field("mean_score", pa.float32(), "mean of the frame scores in the anomaly"),
        _field("min_score", pa.float32(), "lowest frame score in the anomaly"),
        _field("cause", pa.string(), "most frequent `cause` of its frames; null if they have none", nullable=True),
    ]
)

REJECTS = pa.schema(
    [
        _URI,
        _ID,
        _VERSION,
        _field(
            "stage",
            pa.string(),
            "step that rejected it: list, read, decode, featurize, score; in `synthesize` reference, mix, label; in `filter` "
            "export",
        ),
        _field("reason", pa.string(), "one word: empty_file, unsupported_format, truncated, ..."),
        _field("detail", pa.string(), "explanation in a sentence"),
    ]
)

# The work list of a run on another runner, in the order of scoring.
PLAN = pa.schema(
    [
        _field("chunk", pa.int64(), "index of the chunk; a worker takes one chunk at a time"),
        _ID,
        _field("uri", pa.binary(), "path or URI of the recording, in bytes because a file name need not be UTF-8"),
        _field("size_bytes", pa.int64(), "size of the file"),
        _VERSION,
        _field("start_s", pa.float64(), "start of the utterance in the recording"),
        _field("end_s", pa.float64(), "end of the utterance; null for the end of the recording", nullable=True),
        _field("channel", pa.int32(), "channel to score, from 0; null for the channels of the run", nullable=True),
        _field(
            "archive",
            pa.string(),
            "`tar`, `parquet` or `arrow` if the row stands for the recordings in an archive; else null",
            nullable=True,
        ),
        _field("columns", pa.map_(pa.string(), pa.string()), "further columns of the corpus"),
        _field("json_columns", pa.list_(pa.string()), "names of those whose values are JSON, not texts"),
        _field("fault_reason", pa.string(), "reason of a row of the corpus that is rejected; else null", nullable=True),
        _field("fault_detail", pa.string(), "explanation of that reason", nullable=True),
        _field("row", pa.int64(), "line of a span in its manifest; 0 for others"),
        _field(
            "listed", pa.string(), "utterances that a manifest lists in an archive, in JSON; else null", nullable=True
        ),
        _field("audio_root", pa.string(), "folder of recordings of which an archive holds only the paths; else empty"),
    ]
)

DROPPED = pa.schema(
    [
        _ID,
        _URI,
        _field("start_s", pa.float64(), "start of the utterance in the recording"),
        _field("duration_s", pa.float64(), "length of the utterance"),
        _field(
            "score", pa.float32(), "predicted quality; null for a part that --trim or --segment removed", nullable=True
        ),
        _field(
            "rules",
            pa.list_(pa.string()),
            "names of the rules that dropped it, or where, quantile, budget, trim, segment_pause, segment_edge, segment_short, "
            "segment_long",
        ),
        _field(
            DUPLICATE_OF,
            pa.string(),
            "id of the utterance that is the same recording and was kept by the rules, if it was dropped for it; else null",
            nullable=True,
        ),
    ]
)

_DISTORTION = pa.struct(
    [
        _field(
            "kind",
            pa.string(),
            "noise, music, second_voice, a kind of degradation, or tones or noise_floor in a clip without speech",
        ),
        _field("detail", pa.string(), "id of the recording, or strength of the degradation"),
        _field("start_s", pa.float64(), "start in the clip"),
        _field("end_s", pa.float64(), "end in the clip"),
        _field(
            "cause",
            pa.string(),
            "its name among the causes of damage; null if it is none, such as an offset",
            nullable=True,
        ),
        _field("audible", pa.bool_(), "whether a listener would hear it; null if that is uncertain", nullable=True),
    ]
)

_SPAN = pa.struct(
    [_field("start_s", pa.float64(), "start in the clip"), _field("end_s", pa.float64(), "end in the clip")]
)

CLIPS = pa.schema(
    [
        _field("clip_id", pa.string(), "seed and number of the clip"),
        _field("audio", pa.binary(), "FLAC file: 16 kHz, mono, 16 bits"),
        _field(
            "reference",
            pa.binary(),
            "clean reference as a FLAC file, aligned with `audio`, with its peak at -1 dBFS; null unless requested",
            nullable=True,
        ),
        _field("duration_s", pa.float64(), "length of the clip"),
        _field("pesq_wb", pa.float32(), "PESQ MOS-LQO, wide band (P.862.2); null unless requested", nullable=True),
        _field("pesq_nb", pa.float32(), "PESQ MOS-LQO, narrow band (P.862.1); null unless requested", nullable=True),
        _field(
            "pseudo",
            pa.float32(),
            "pseudo-score of the SNR over the whole clip, 1 to 8; null unless requested, and for a degraded clip",
            nullable=True,
        ),
        _field(
            "snr_db",
            pa.float64(),
            "mixing SNR: speech over the whole clip against noise where there is noise; null without noise or speech",
            nullable=True,
        ),
        _field(
            "disturbance",
            pa.list_(pa.float32()),
            "symmetric disturbance (P.862) of each frame; null without pesq_wb",
            nullable=True,
        ),
        _field(
            "asymmetric_disturbance",
            pa.list_(pa.float32()),
            "asymmetric disturbance (P.862) of each frame; null without pesq_wb",
            nullable=True,
        ),
        _field(
            "distortions",
            pa.list_(_DISTORTION),
            "added sounds and degradations of the clip, with their times; null if they are unknown, as in a recording as it is",
            nullable=True,
        ),
        _field(
            "speech",
            pa.list_(_SPAN),
            "parts with speech of the speaker, without the second voice; null if unknown",
            nullable=True,
        ),
        _field(
            "speech_snr_db",
            pa.float64(),
            "power of the speech over that of all added sounds, both in the parts with speech; null without any or if unknown",
            nullable=True,
        ),
        _field("c50_db", pa.float64(), "clarity index C50 of the room; null without a room", nullable=True),
        _field("mos_sig", pa.float32(), "rating of the speech by DNSMOS (P.835); null unless requested", nullable=True),
        _field(
            "mos_bak", pa.float32(), "rating of the background by DNSMOS (P.835); null unless requested", nullable=True
        ),
        _field("mos_ovrl", pa.float32(), "overall rating by DNSMOS (P.835); null unless requested", nullable=True),
        _field("distillmos", pa.float32(), "MOS by DistillMOS; null unless requested", nullable=True),
        _field("variation", pa.list_(pa.string()), "variations of the clean speech, which the reference has too"),
        _field("speech_id", pa.string(), "id of the speech recording; empty without speech"),
        _field("speaker", pa.string(), "speaker; no speaker is in two splits; empty without speech"),
        _field("corpus", pa.string(), "corpus of the speech, from the manifest; null if unknown", nullable=True),
        _field("noise_ids", pa.list_(pa.string()), "ids of the noise recordings; empty for a clip without noise"),
        _field("noise_groups", pa.list_(pa.string()), "groups of the noises; no group is in two splits"),
        _field("peak_dbfs", pa.float64(), "largest absolute sample of the clip"),
        _field("split", pa.string(), "train, val, or the split from the manifest"),
        _field("seed", pa.int64(), "seed of the set"),
    ]
)

# Metadata of a carried column whose values are JSON.
_JSON = {b"audiosieve.encoding": b"json"}


def carried_field(name: str, kind: pa.DataType | None = None, as_json: bool = False) -> pa.Field:
    """Returns the field of a column of the corpus.

    Args:
        name: name of the column.
        kind: its type; None for texts.
        as_json: whether each value is written as JSON, because no type holds all of them.
    """
    field = _field(name, kind or pa.string(), "copied from the corpus", nullable=True)
    return field.with_metadata({**field.metadata, **_JSON}) if as_json else field


def is_json(field: pa.Field) -> bool:
    """Returns whether the values of a column of the corpus are written as JSON."""
    return _JSON.items() <= (field.metadata or {}).items()


def with_carried(schema: pa.Schema, columns: Sequence[str | pa.Field]) -> pa.Schema:
    """Returns the schema with columns of the corpus appended.

    Args:
        schema: schema of `utterances`, or of its kept rows.
        columns: fields of the columns, or names of columns of texts.

    Raises:
        ValueError: a name is already in the schema, or occurs twice.
    """
    carried = [carried_field(column) if isinstance(column, str) else column for column in columns]
    names = [field.name for field in carried]
    for index, name in enumerate(names):
        if name in schema.names or name in names[:index]:
            raise ValueError(f"the column {name!r} exists already; choose another")
    return pa.schema([*schema, *carried], schema.metadata)


SCORE_TABLES = {"utterances": UTTERANCES, "frames": FRAMES, "anomalies": ANOMALIES, "rejects": REJECTS}
SYNTHESIS_TABLES = {"clips": CLIPS, "rejects": REJECTS}
# Sort keys of the rows in each file; tables without an entry are not sorted.
SORTED_BY: dict[str, tuple[str, ...]] = {"utterances": ("score", "utterance_id")}
