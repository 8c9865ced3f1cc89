"""Flags and causes of an utterance: what its signal facts say about its score and about its faults."""

from __future__ import annotations

from collections.abc import Sequence

from transforms.elements import SignalFacts
from transforms.marks import ANTIPHASE, DEAD, DELAYED, NO_SPEECH, UNLIKE, UPSAMPLED, VOICE_PER_CHANNEL

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

CHANNEL_FLAGS = (ANTIPHASE, DELAYED, DEAD, UNLIKE)
# Flags that the whole recording decides. A part of it has them, too.
RECORDING_FLAGS = (UPSAMPLED, *CHANNEL_FLAGS)

# Power of the rounding error in dBFS by subtype; lossy and floating-point subtypes have none.
_ROUNDING_DBFS = {"PCM_U8": -52.9, "PCM_S8": -52.9, "PCM_16": -101.1, "PCM_24": -149.3}


def flags(facts: SignalFacts, marks: Sequence[str], duration_s: float, format: str) -> list[str]:
    """Returns the reasons to doubt an utterance's score, as words.

    - no_speech: silence, steady tones, hum or clicks, but no speech.
    - near_silent: the active part is under -55 dBFS, and less than 10 dB above its noise or 25 dB above the rounding of its
      samples.
    - mostly_silence: over 80 % of the frames are silence.
    - clipped: over 0.1 % of the samples are clipped.
    - narrow_band: bandwidth under 5 kHz.
    - upsampled: bandwidth far below half the sampling rate.
    - antiphase, delayed_channels, dead_channel, unlike_channels: the channels differ (`channel_relations`).
    - very_short: under 1 s.

    Args:
        facts: signal facts of the utterance.
        marks: flags among `NO_SPEECH` and `RECORDING_FLAGS` that the samples decide.
        duration_s: length in seconds.
        format: container and coding, as "FLAC/PCM_16".
    """
    conditions = {
        NO_SPEECH: NO_SPEECH in marks,
        "near_silent": _is_near_silent(facts, format),
        "mostly_silence": facts.silence_ratio > MOSTLY_SILENCE_RATIO,
        "clipped": facts.clipped_ratio > CLIPPED_RATIO,
        "narrow_band": facts.bandwidth_hz < NARROW_BAND_HZ,
        **{mark: mark in marks for mark in RECORDING_FLAGS},
        "very_short": duration_s < VERY_SHORT_S,
    }
    return [flag for flag, is_set in conditions.items() if is_set]


def _is_near_silent(facts: SignalFacts, format: str) -> bool:
    if facts.rms_dbfs >= NEAR_SILENT_DBFS:
        return False
    above_rounding = facts.rms_dbfs - _ROUNDING_DBFS.get(format.rpartition("/")[2], -200.0)
    return above_rounding < AUDIBLE_BITS_DB or (facts.snr_db is not None and facts.snr_db < AUDIBLE_SNR_DB)


def causes(facts: SignalFacts, flags: Sequence[str], marks: Sequence[str]) -> list[str]:
    """Returns the faults that the facts of an utterance prove, as words, worst first.

    - silence: it is near silent or mostly silence, or has a gap of 3 s.
    - dropouts: over 0.1 % of its speech is cut out by hard-edged gaps.
    - clipping: over 0.1 % of the samples are clipped.
    - channel: its channels are in antiphase, late, dead or unlike. Unlike channels with a voice each are no fault.
    - second_voice: another channel has a voice of its own.
    - band_limit: its bandwidth is under 5 kHz.
    - hum: mains hum at more than -25 dB relative to the speech.

    Args:
        facts: signal facts of the utterance.
        flags: its flags.
        marks: flags and marks that the samples decide.
    """
    channel_flags = set(flags) & set(CHANNEL_FLAGS)
    has_voices = VOICE_PER_CHANNEL in marks
    conditions = {
        "silence": bool({"near_silent", "mostly_silence"} & set(flags)) or facts.longest_gap_s >= LONG_GAP_S,
        "dropouts": facts.dropout_s > DROPOUT_RATIO * facts.speech_s,
        "clipping": "clipped" in flags,
        "channel": bool(channel_flags - {UNLIKE}) or (UNLIKE in channel_flags and not has_voices),
        "second_voice": has_voices,
        "band_limit": "narrow_band" in flags and not {NO_SPEECH, "near_silent"} & set(flags),
        "hum": facts.hum_db is not None and facts.hum_db > HUM_DB,
    }
    return [cause for cause, is_set in conditions.items() if is_set]
