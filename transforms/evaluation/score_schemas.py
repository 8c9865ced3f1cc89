"""Schemas of the tables of an evaluation. Column names carry the units; each column has a description."""

from __future__ import annotations

import pyarrow as pa

from model.diagnosis import HEARD_CAUSES, RATINGS
from transforms.table_field import table_field

_KEY = pa.dictionary(pa.int32(), pa.string())
_STRINGS = pa.list_(pa.string())

CLIP_SCORES = pa.schema(
    [
        table_field("set", pa.string(), "labelled set"),
        table_field("clip_id", pa.string(), "id of the clip in its set"),
        table_field("model_id", pa.string(), "model that made the score, as name@hash"),
        table_field("label_scale", pa.string(), "scale of the label; null if the sets have no labels", nullable=True),
        table_field("label", pa.float32(), "true quality; null if the clip has no such label", nullable=True),
        table_field("score", pa.float32(), "predicted quality, on the label scale of the model"),
        table_field("snr_db", pa.float64(), "mixing SNR; null without noise", nullable=True),
        table_field("clean", pa.bool_(), "whether the clip has neither noise nor degradations"),
        table_field(
            "taken_for_clean",
            pa.bool_(),
            "whether the score reaches the threshold; null without a threshold",
            nullable=True,
        ),
        table_field("faults", _STRINGS, "kinds of the degradations"),
        table_field("noise_groups", _STRINGS, "groups of the noises"),
        table_field("corpus", pa.string(), "corpus of the speech; null if unknown", nullable=True),
        table_field("speaker", pa.string(), "speaker"),
        table_field("duration_s", pa.float64(), "length of the clip"),
        table_field("num_anomalies", pa.int32(), "number of anomalies"),
        table_field(
            "iou",
            pa.float32(),
            "intersection over union of the bad frames and the frames in anomalies; null unless a part of the clip is bad",
            nullable=True,
        ),
        table_field(
            "speech_snr_db", pa.float64(), "true SNR over the parts with speech; null if unknown", nullable=True
        ),
        table_field("c50_db", pa.float64(), "true C50 of the room; null without a room, or if unknown", nullable=True),
        *(
            table_field(name, pa.float32(), "rating by DNSMOS (P.835); null if unknown", nullable=True)
            for name in RATINGS
        ),
        table_field(
            "true_causes",
            _STRINGS,
            "true causes of damage; null if unknown. This and the following columns are null for a model without diagnosis, "
            "and for values that it was not trained on",
            nullable=True,
        ),
        table_field("causes", _STRINGS, "predicted causes of damage, worst first", nullable=True),
        table_field("speech_s", pa.float32(), "predicted length of the frames with speech", nullable=True),
        table_field("music_s", pa.float32(), "predicted length of the frames with music", nullable=True),
        table_field("overlap_s", pa.float32(), "predicted length of the frames with a second voice", nullable=True),
        *(
            table_field(
                f"predicted_{name}", pa.float32(), f"predicted `{name}`; SNR and C50 null without speech", nullable=True
            )
            for name in ("snr_db", "c50_db", *RATINGS)
        ),
    ]
)

FRAME_SCORES = pa.schema(
    [
        table_field("set", _KEY, "labelled set"),
        table_field("clip_id", _KEY, "id of the clip in its set"),
        table_field("model_id", _KEY, "model that made the score, as name@hash"),
        table_field(
            "frame", pa.int32(), "index of the frame, from 0; it covers samples [256 t, 256 t + 512) at 16 kHz"
        ),
        table_field("start_s", pa.float32(), "start of the frame in the clip"),
        table_field("score", pa.float32(), "predicted quality of the frame, on the label scale of the model"),
        table_field(
            "bad", pa.bool_(), "whether at least half of it is in a noise or degradation of a part of the clip"
        ),
        table_field("in_anomaly", pa.bool_(), "whether it is in an anomaly"),
        table_field(
            "speech", pa.float32(), "probability of speech; null for a model that does not hear it", nullable=True
        ),
        *(
            table_field(
                cause, pa.float32(), "probability of this cause; null for a model that does not hear it", nullable=True
            )
            for cause in HEARD_CAUSES
        ),
    ]
)
