"""Marks: findings about the samples of a whole recording, as words. Most of them become flags of its utterances."""

NO_SPEECH = "no_speech"
# The bandwidth lies far under half the sampling rate.
UPSAMPLED = "upsampled"
# Differences of channels (`channel_relations`).
ANTIPHASE, DELAYED, DEAD, UNLIKE = "antiphase", "delayed_channels", "dead_channel", "unlike_channels"
NOISY = "noisy_channel"
# Another channel, which is not scored, has a voice of its own.
VOICE_PER_CHANNEL = "voice_per_channel"
