"""Flags and causes of an utterance: doubts about its score and faults, from its signal facts and from what the model hears."""

from __future__ import annotations

from collections.abc import Sequence

from model.diagnosis import HEARD_CAUSES, MIN_SPEECH_S
from transforms.elements import SignalFacts
from transforms.marks import ANTIPHASE, DEAD, DELAYED, NO_SPEECH, NOISY, UNLIKE, UPSAMPLED, VOICE_PER_CHANNEL

# Limits beyond which a signal fact makes a score doubtful, or proves a fault.
NEAR_SILENT_DBFS = -55.0
# Speech this far above its noise, and above the rounding of its samples, is audible after a gain.
AUDIBLE_SNR_DB, AUDIBLE_BITS_DB = 10.0, 25.0
MOSTLY_SILENCE_RATIO = 0.8
CLIPPED_RATIO = 1e-3
NARROW_BAND_HZ = 5_000.0
VERY_SHORT_S = 1.0
# A pause of this length is silence, not a pause of speech.
LONG_GAP_S = 3.0
DROPOUT_RATIO = 1e-3
HUM_DB = -25.0
# With a smaller share of certain speech in its active part, an utterance has no speech.
NO_SPEECH_RATIO = 0.05

CHANNEL_FLAGS = (ANTIPHASE, DELAYED, DEAD, NOISY, UNLIKE)
# Flags that the whole recording decides. A part of it has them, too.
RECORDING_FLAGS = (UPSAMPLED, *CHANNEL_FLAGS)

# Power of the rounding error in dBFS by subtype; lossy and floating-point subtypes have none.
_ROUNDING_DBFS = {"PCM_U8": -52.9, "PCM_S8": -52.9, "PCM_16": -101.1, "PCM_24": -149.3}


def flags(
    facts: SignalFacts, marks: Sequence[str], duration_s: float, format: str, certain_speech_s: float | None = None
) -> list[str]:
    """Returns the reasons to doubt an utterance's score, as words.

    - no_speech: silence, steady tones, hum or clicks, but no speech; or the model is certain of speech in under 5 % of the
      active part, or for less than 0.1 s.
    - near_silent: the active part is under -55 dBFS, and less than 10 dB above its noise or 25 dB above the rounding of its
      samples.
    - mostly_silence: over 80 % of the frames are silence.
    - clipped: over 0.1 % of the samples are clipped.
    - narrow_band: bandwidth under 5 kHz.
    - upsampled: bandwidth far below half the sampling rate.
    - antiphase, delayed_channels, dead_channel, noisy_channel, unlike_channels: the channels differ (`channel_relations`).
    - very_short: under 1 s.

    Args:
        facts: signal facts of the utterance.
        marks: flags among `NO_SPEECH` and `RECORDING_FLAGS` that the samples decide.
        duration_s: length in seconds.
        format: container and coding, as "FLAC/PCM_16".
        certain_speech_s: length of the speech that the model is certain of, in seconds; None if it does not hear speech.
    """
    conditions = {
        NO_SPEECH: NO_SPEECH in marks or lacks_speech(certain_speech_s, facts.active_s),
        "near_silent": _is_near_silent(facts, format),
        "mostly_silence": facts.silence_ratio > MOSTLY_SILENCE_RATIO,
        "clipped": facts.clipped_ratio > CLIPPED_RATIO,
        "narrow_band": facts.bandwidth_hz < NARROW_BAND_HZ,
        **{mark: mark in marks for mark in RECORDING_FLAGS},
        "very_short": duration_s < VERY_SHORT_S,
    }
    return [flag for flag, is_set in conditions.items() if is_set]


def lacks_speech(certain_speech_s: float | None, active_s: float) -> bool:
    """Returns whether the model hears too little speech in an utterance.

    Args:
        certain_speech_s: length of the speech that the model is certain of, in seconds; None if it does not hear speech.
        active_s: length of the active part, in seconds.
    """
    return certain_speech_s is not None and certain_speech_s < max(MIN_SPEECH_S, NO_SPEECH_RATIO * active_s)


def _is_near_silent(facts: SignalFacts, format: str) -> bool:
    if facts.rms_dbfs >= NEAR_SILENT_DBFS:
        return False
    above_rounding = facts.rms_dbfs - _ROUNDING_DBFS.get(format.rpartition("/")[2], -200.0)
    snr_db = facts.noise_floor_snr_db
    return above_rounding < AUDIBLE_BITS_DB or (snr_db is not None and snr_db < AUDIBLE_SNR_DB)


def causes(
    facts: SignalFacts, flags: Sequence[str], marks: Sequence[str], heard: Sequence[str] | None = None
) -> list[str]:
    """Returns the faults of an utterance as words, each once: those that its facts prove, and those that the model hears.

    The worst is first. `silence` and `channel`, which the model cannot hear, come before what it hears, in its order. Faults
    that are proven but not heard come last. Without a diagnosis, the order is that of this list:

    - silence: it is near silent or mostly silence, or has a gap of 3 s.
    - dropouts: over 0.1 % of its speech is cut out by hard-edged gaps.
    - clipping: over 0.1 % of the samples are clipped.
    - channel: its channels are in antiphase, late, dead, noisy or unlike. Unlike channels with a voice each are no fault.
    - second_voice: another channel has a voice of its own.
    - band_limit: its bandwidth is under 5 kHz.
    - hum: mains hum at more than -25 dB relative to the speech.

    `Diagnosis.pool` says when the model hears a cause.

    Args:
        facts: signal facts of the utterance.
        flags: its flags.
        marks: flags and marks that the samples decide.
        heard: causes that the model hears, worst first; None if it has no diagnosis.
    """
    proven = _proven(facts, flags, marks)
    if heard is None:
        return proven
    unheard = [cause for cause in proven if cause not in heard]
    return [
        *(cause for cause in unheard if cause not in HEARD_CAUSES),
        *heard,
        *(cause for cause in unheard if cause in HEARD_CAUSES),
    ]


def _proven(facts: SignalFacts, flags: Sequence[str], marks: Sequence[str]) -> list[str]:
    channel_flags = set(flags) & set(CHANNEL_FLAGS)
    has_voices = VOICE_PER_CHANNEL in marks
    conditions = {
        "silence": bool({"near_silent", "mostly_silence"} & set(flags)) or facts.longest_gap_s >= LONG_GAP_S,
        "dropouts": facts.dropout_s > DROPOUT_RATIO * facts.active_s,
        "clipping": "clipped" in flags,
        "channel": bool(channel_flags - {UNLIKE}) or (UNLIKE in channel_flags and not has_voices),
        "second_voice": has_voices,
        "band_limit": "narrow_band" in flags and not {NO_SPEECH, "near_silent"} & set(flags),
        "hum": facts.hum_db is not None and facts.hum_db > HUM_DB,
    }
    return [cause for cause, is_set in conditions.items() if is_set]
