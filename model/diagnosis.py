"""Diagnosis of a recording beside its quality: speech, the causes of damage, SNR, C50, and the ratings of listeners.

A diagnostic network gives these values for each frame. Those of an utterance are pooled from its frames, so they depend neither
on the batch nor on the window that a frame was computed in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from model.activity import Activity
from model.features import FRAME_SHIFT, SAMPLE_RATE

# Causes of damage to speech, in the order of the network's outputs.
HEARD_CAUSES = (
    "noise",
    "music",
    "second_voice",
    "reverberation",
    "clipping",
    "band_limit",
    "codec",
    "dropouts",
    "hum",
)
# Ratings of ITU-T P.835: speech, background, overall.
RATINGS = ("mos_sig", "mos_bak", "mos_ovrl")
# The values of a frame. Speech and causes are probabilities from 0 to 1.
FRAME_VALUES = ("speech", *HEARD_CAUSES, "snr_db", "c50_db", *RATINGS)
_CAUSES = slice(1, 1 + len(HEARD_CAUSES))
# Probability from which a frame has speech.
SPEECH_THRESHOLD = 0.5
# Probability from which a frame certainly has speech. Cries of animals and bells often have less, but more than the threshold.
CERTAIN_SPEECH = 0.8
# With a lower probability of speech, a frame does not count for SNR and C50: long loud music would outweigh the speech.
LEAST_SPEECH = 0.05
# With less speech, SNR and C50 are undefined.
MIN_SPEECH_S = 0.1
# Higher values of SNR and C50 are not told apart. Clips without added noise or room have at least these.
# "Clean" speech was recorded in rooms, too: a higher limit of C50 would give equal rooms different labels.
HIGHEST_DB = {"snr_db": 40.0, "c50_db": 25.0}
# Range of the SNR of a frame in dB. Outside it, a few frames would outweigh all others.
SNR_RANGE_DB = (-30.0, 60.0)
# Names of `FRAME_VALUES` that a network was trained on, by default.
ALL_VALUES = frozenset(FRAME_VALUES)
# Value of `Diagnosis.frame_causes` where no cause is heard.
NO_CAUSE = -1
FRAME_S = FRAME_SHIFT / SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class CauseLimits:
    """When a cause is heard; found on held-out clips, and stored in the bundle.

    Attributes:
        probability: probability from which a frame has the cause, by cause.
        share: share of the counted frames from which an utterance has the cause, by cause.
    """

    probability: Mapping[str, float]
    share: Mapping[str, float]

    @classmethod
    def default(cls) -> CauseLimits:
        """Returns limits for a network that was not calibrated: 0.5, and a twentieth of the frames."""
        return cls(dict.fromkeys(HEARD_CAUSES, 0.5), dict.fromkeys(HEARD_CAUSES, 0.05))


@dataclasses.dataclass(frozen=True)
class Heard:
    """Diagnosis of an utterance as a whole. Values that the network was not trained on are None.

    Attributes:
        causes: causes of damage, worst first, without those that the network was not trained on.
        speech_s: length of the frames with speech, in seconds.
        certain_speech_s: length of the frames that certainly have speech, in seconds.
        music_s: length of the frames with music, in seconds.
        overlap_s: length of the frames with a second voice, in seconds.
        snr_db: signal-to-noise ratio where there is speech, in dB; None without speech.
        c50_db: clarity index C50 of the room where there is speech, in dB; None without speech.
        mos_sig: rating of the speech, on the scale of DNSMOS P.835.
        mos_bak: rating of the background, on the same scale.
        mos_ovrl: overall rating, on the same scale.
    """

    causes: tuple[str, ...]
    speech_s: float | None
    certain_speech_s: float | None
    music_s: float | None
    overlap_s: float | None
    snr_db: float | None
    c50_db: float | None
    mos_sig: float | None
    mos_bak: float | None
    mos_ovrl: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """The values of each frame of an utterance.

    Attributes:
        values: float32 [T, 15], in the order of `FRAME_VALUES`.
        limits: when a cause is heard.
        trained: names of the values that the network was trained on. The others mean nothing.
    """

    values: np.ndarray
    limits: CauseLimits
    trained: frozenset[str] = ALL_VALUES

    @property
    def hears_speech(self) -> bool:
        """Whether the network was trained to tell speech from other sound."""
        return "speech" in self.trained

    @property
    def speech(self) -> np.ndarray:
        """Probability of speech in each frame: float32 [T]."""
        return self.values[:, 0]

    @property
    def cause_probabilities(self) -> np.ndarray:
        """Probability of each cause in each frame: float32 [T, 9]."""
        return self.values[:, _CAUSES]

    def hears(self) -> np.ndarray:
        """Returns whether each cause is heard in each frame: bool [T, 9]. Causes without training never are."""
        limits = [self.limits.probability[cause] if cause in self.trained else np.inf for cause in HEARD_CAUSES]
        return self.cause_probabilities >= np.array(limits)

    def frame_causes(self) -> np.ndarray:
        """Returns the index in `HEARD_CAUSES` of the most probable heard cause of each frame, or `NO_CAUSE`: int8 [T]."""
        heard = self.hears()
        index = np.argmax(np.where(heard, self.cause_probabilities, -1.0), axis=1)
        return np.where(heard.any(axis=1), index, NO_CAUSE).astype(np.int8)

    def expand(self, activity: Activity) -> Diagnosis:
        """Returns the values of all frames [T] from those of the shown frames [S].

        Silence that the network does not get has neither speech nor causes, so that added silence changes nothing. Its other
        values repeat the frame before it.

        Raises:
            ValueError: the number of frames differs from that of the shown frames.
        """
        values = activity.expand(self.values)
        values[~activity.shown, : _CAUSES.stop] = 0.0
        return dataclasses.replace(self, values=values)

    def pool(self, frame_score: np.ndarray, counted: np.ndarray, best_score: float) -> Heard:
        """Returns what is heard in the utterance.

        A cause is heard if its share of the counted frames reaches its limit. The worst cause is that whose frames lose most
        points of the score, weighted with its probability. `pool_levels` pools SNR and C50. Ratings are means over the counted
        frames.

        Args:
            frame_score: score of each frame: float [T].
            counted: frames that count for the score: bool [T], at least one.
            best_score: best score of the scale.
        """
        heard = self.hears() & counted[:, np.newaxis]
        shares = heard.sum(axis=0) / np.count_nonzero(counted)
        losses = (best_score - frame_score[counted]) @ self.cause_probabilities[counted]
        present = [
            index
            for index, cause in enumerate(HEARD_CAUSES)
            if shares[index] > 0 and shares[index] >= self.limits.share[cause]
        ]
        found = {
            "speech": speech_length_s(self.speech),
            "music": _seconds(heard[:, HEARD_CAUSES.index("music")]),
            "second_voice": _seconds(heard[:, HEARD_CAUSES.index("second_voice")]),
            **{name: float(self._values_of(name)[counted].mean()) for name in RATINGS},
        }
        if self.hears_speech:
            found |= pool_levels(self.speech, self._values_of("snr_db"), self._values_of("c50_db"))
        known = {name: value for name, value in found.items() if name in self.trained}
        return Heard(
            causes=tuple(HEARD_CAUSES[index] for index in sorted(present, key=lambda index: -losses[index])),
            speech_s=known.get("speech"),
            certain_speech_s=speech_length_s(self.speech, CERTAIN_SPEECH) if self.hears_speech else None,
            music_s=known.get("music"),
            overlap_s=known.get("second_voice"),
            **{name: known.get(name) for name in ("snr_db", "c50_db", *RATINGS)},
        )

    def _values_of(self, name: str) -> np.ndarray:
        return self.values[:, FRAME_VALUES.index(name)].astype(np.float64)


def ordered_values(names: Collection[str]) -> list[str]:
    """Returns names of values in the order of `FRAME_VALUES`.

    Raises:
        ValueError: a name is not in `FRAME_VALUES`.
    """
    unknown = sorted(set(names) - ALL_VALUES)
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a value of a diagnosis: {', '.join(FRAME_VALUES)}")
    return [name for name in FRAME_VALUES if name in names]


def pool_levels(speech: np.ndarray, snr_db: np.ndarray, c50_db: np.ndarray) -> dict[str, float]:
    """Returns the SNR and the C50 of an utterance from those of its frames, in dB, by name.

    Frames with a probability of speech of at least 0.05 are weighted with it: the C50 is their mean, the SNR is that of the
    mean noise.

    Args:
        speech: probability of speech of each frame: float [T].
        snr_db: SNR of each frame in dB: float [T]. It may be NaN where `speech` is lower than that.
        c50_db: C50 of each frame in dB: float [T]. It may be NaN where `speech` is lower than that.

    Returns:
        `snr_db` and `c50_db`; empty with less than `MIN_SPEECH_S` of speech.
    """
    if speech_length_s(speech) < MIN_SPEECH_S:
        return {}
    counts = speech >= LEAST_SPEECH
    weights = speech[counts].astype(np.float64)
    return {
        "snr_db": pooled_snr_db(snr_db[counts].astype(np.float64), weights),
        "c50_db": float(np.average(c50_db[counts].astype(np.float64), weights=weights)),
    }


def pooled_snr_db(snr_db: np.ndarray, weights: np.ndarray) -> float:
    """Returns the SNR of an utterance from those of its frames: the mean speech against the mean noise, in dB.

    The SNR of a frame compares its noise with the mean speech of the utterance, not with its own.

    Args:
        snr_db: SNR of each frame in dB: float [T].
        weights: weight of each frame: float [T], not all 0.
    """
    lowest, highest = SNR_RANGE_DB
    noise = np.average(10 ** (-np.clip(snr_db, lowest, highest) / 10), weights=weights)
    return float(-10 * np.log10(noise))


def speech_length_s(speech: np.ndarray, threshold: float = SPEECH_THRESHOLD) -> float:
    """Returns the length of the frames with speech, in seconds.

    Args:
        speech: probability of speech in each frame: float [T].
        threshold: probability from which a frame has speech.
    """
    return _seconds(speech >= threshold)


def _seconds(frames: np.ndarray) -> float:
    return float(np.count_nonzero(frames) * FRAME_S)
