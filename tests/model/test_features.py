"""Features: the frame grid, the spectrum, the level and the config."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.features import (
    FeatureConfig,
    FeatureError,
    frame_power,
    frame_start_s,
    frames,
    gated_level,
    num_frames,
    percentiles,
    spectrogram,
)

quick = settings(deadline=None, max_examples=50)
CONFIGS = [
    FeatureConfig(window, compression, level)
    for window, compression, level in itertools.product(("hann", "hamming"), ("magnitude", "log"), ("gated", "none"))
]
PLAIN = FeatureConfig(window="hamming", compression="magnitude", level="none")
MAGNITUDE = FeatureConfig(compression="magnitude", level="none")
GATED_MAGNITUDE = FeatureConfig(compression="magnitude", level="gated")


def label_of(config: FeatureConfig) -> str:
    return f"{config.window}-{config.compression}-{config.level}"


def speech_like(num_samples: int, seed: int = 0) -> np.ndarray:
    """Makes noise that swells and fades 3 times a second, as syllables do: float64, RMS about 0.1."""
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    return 0.15 * noise * np.sin(2 * np.pi * 1.5 * np.arange(num_samples) / 16_000)


def transcribed(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Transcribes the definition with loops in double precision."""
    alpha = {"hann": 0.5, "hamming": 0.54}[config.window]
    window = [alpha - (1 - alpha) * np.cos(2 * np.pi * i / 512) for i in range(512)]
    energy = sum(value**2 for value in window)
    window = np.array([value / energy**0.5 for value in window])

    parts = []
    start = 0
    while start + 512 <= len(samples):
        parts.append(samples[start : start + 512].astype(np.float64))
        start += 256

    scale = 1.0
    if config.level == "gated":
        powers = [sum(x**2 for x in frame) / 512 for frame in parts]
        mean = sum(powers) / len(powers)
        active = [power for power in powers if 10 * np.log10(power / mean) >= -10]
        scale = (sum(active) / len(active)) ** 0.5

    rows = [np.abs(np.fft.rfft(frame * window)) / scale for frame in parts]
    if config.compression == "log":
        rows = [np.log(row + config.floor) for row in rows]
    return np.array(rows)


# The frame grid.


@given(st.integers(0, 5000))
@quick
def test_num_frames_counts_the_rows_of_frames(num_samples: int) -> None:
    assert frames(np.zeros(num_samples, np.float32)).shape == (num_frames(num_samples), 512)


@pytest.mark.parametrize(
    ("num_samples", "expected"),
    [(0, 0), (1, 0), (255, 0), (256, 0), (511, 0), (512, 1), (767, 1), (768, 2), (1023, 2), (1024, 3), (16_000, 61)],
)
def test_num_frames_follows_the_published_formula(num_samples: int, expected: int) -> None:
    assert num_frames(num_samples) == expected


@given(st.integers(512, 20_000))
@quick
def test_less_than_one_shift_remains_after_the_last_frame(num_samples: int) -> None:
    last_end = 256 * (num_frames(num_samples) - 1) + 512
    assert 0 <= num_samples - last_end < 256


def test_frame_t_covers_samples_256t_to_256t_plus_512() -> None:
    samples = np.arange(3000)
    for t, frame in enumerate(frames(samples)):
        assert np.array_equal(frame, np.arange(256 * t, 256 * t + 512))


def test_frames_are_a_read_only_view() -> None:
    samples = np.zeros(2000, np.float32)
    view = frames(samples)
    assert np.shares_memory(view, samples)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1


def test_frames_start_every_16_ms() -> None:
    assert frame_start_s(0) == 0
    assert frame_start_s(625) == pytest.approx(10.0)
    assert np.allclose(frame_start_s(np.arange(4)), [0, 0.016, 0.032, 0.048])


def test_frame_power_is_the_mean_square_of_each_frame_in_double_precision() -> None:
    samples = speech_like(4000).astype(np.float32)
    expected = [np.mean(samples[256 * t : 256 * t + 512].astype(np.float64) ** 2) for t in range(num_frames(4000))]
    assert frame_power(samples).dtype == np.float64
    assert np.allclose(frame_power(samples), expected, rtol=1e-12)


@quick
@given(values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), percents=st.lists(st.floats(0, 100), max_size=3))
def test_percentiles_are_those_of_numpy(values: list[float], percents: list[float]) -> None:
    assert np.allclose(percentiles(np.array(values), percents), np.percentile(values, percents), atol=1e-9)


# The spectrum.


@pytest.mark.parametrize("config", CONFIGS, ids=label_of)
def test_spectrogram_equals_its_transcription(config: FeatureConfig) -> None:
    samples = speech_like(5000, seed=1).astype(np.float32)
    expected = transcribed(samples, config)
    assert np.allclose(spectrogram(samples, config), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=label_of)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_spectrogram_is_float32_of_257_bins(config: FeatureConfig, dtype: type) -> None:
    features = spectrogram(speech_like(4000).astype(dtype), config)
    assert features.dtype == np.float32
    assert features.shape == (num_frames(4000), 257)


@given(position=st.integers(0, 2999), num_samples=st.integers(512, 3000))
@quick
def test_an_impulse_changes_only_the_frames_that_cover_it(position: int, num_samples: int) -> None:
    quiet = np.zeros(num_samples, np.float32)
    impulse = quiet.copy()
    impulse[min(position, num_samples - 1)] = 1.0
    changed_frames = (spectrogram(impulse, PLAIN) != spectrogram(quiet, PLAIN)).any(axis=1)
    position = min(position, num_samples - 1)
    expected = [256 * t <= position < 256 * t + 512 for t in range(num_frames(num_samples))]
    assert changed_frames.tolist() == expected


def test_an_impulse_before_the_first_overlap_changes_only_the_first_frame() -> None:
    impulse = np.zeros(5 * 256 + 512, np.float32)
    impulse[100] = 1.0
    changed_frames = spectrogram(impulse, PLAIN).any(axis=1)
    assert changed_frames.tolist() == [True] + [False] * 5


@pytest.mark.parametrize("config", CONFIGS, ids=label_of)
def test_samples_after_the_last_whole_frame_are_ignored(config: FeatureConfig) -> None:
    samples = speech_like(512 + 4 * 256 + 255)
    assert np.array_equal(spectrogram(samples, config), spectrogram(samples[: 512 + 4 * 256], config))


@pytest.mark.parametrize("window", ["hann", "hamming"])
def test_white_noise_of_rms_1_has_a_mean_squared_magnitude_of_1_in_every_bin(window: str) -> None:
    noise = np.random.default_rng(3).standard_normal(16_000 * 30)
    power = spectrogram(noise, FeatureConfig(window=window, compression="magnitude", level="none")) ** 2
    assert power.mean() == pytest.approx(1.0, abs=0.01)
    assert np.abs(power.mean(axis=0) - 1).max() < 0.2


def test_a_sine_peaks_in_its_own_bin() -> None:
    for peak in (10, 100, 200):
        sine = np.sin(2 * np.pi * peak / 512 * np.arange(4000))
        assert set(spectrogram(sine, MAGNITUDE).argmax(axis=1)) == {peak}


def test_log_of_silence_is_the_floor() -> None:
    features = spectrogram(np.zeros(1000), FeatureConfig(level="none", floor=1e-3))
    assert np.allclose(features, np.log(1e-3))


@pytest.mark.parametrize("config", CONFIGS, ids=label_of)
def test_the_samples_are_unchanged(config: FeatureConfig) -> None:
    samples = speech_like(2000).astype(np.float32)
    before = samples.copy()
    spectrogram(samples, config)
    assert np.array_equal(samples, before)


def test_the_memory_layout_does_not_matter() -> None:
    samples = speech_like(4000).astype(np.float32)
    strided = np.column_stack([samples, np.ones_like(samples)])[:, 0]
    read_only = samples.copy()
    read_only.setflags(write=False)
    expected = spectrogram(samples, FeatureConfig())
    assert np.array_equal(spectrogram(strided, FeatureConfig()), expected)
    assert np.array_equal(spectrogram(read_only, FeatureConfig()), expected)


# The level.


@given(gain_db=st.floats(-60, 20), seed=st.integers(0, 5))
@quick
def test_a_gain_does_not_change_gated_features(gain_db: float, seed: int) -> None:
    samples = speech_like(8000, seed)
    louder = samples * 10 ** (gain_db / 20)
    for config in (FeatureConfig(), GATED_MAGNITUDE):
        assert np.allclose(spectrogram(louder, config), spectrogram(samples, config), rtol=1e-4, atol=1e-3)


def test_a_gain_changes_features_without_level() -> None:
    samples = speech_like(8000)
    assert np.allclose(spectrogram(samples * 10, MAGNITUDE), 10 * spectrogram(samples, MAGNITUDE), rtol=1e-4)


def test_polarity_does_not_change_features() -> None:
    samples = speech_like(8000)
    assert np.array_equal(spectrogram(-samples, FeatureConfig()), spectrogram(samples, FeatureConfig()))


@given(before=st.integers(0, 100), after=st.integers(0, 100))
@quick
def test_padded_silence_hardly_changes_the_gated_level(before: int, after: int) -> None:
    samples = speech_like(16_000)
    padded = np.concatenate([np.zeros(256 * before), samples, np.zeros(256 * after)])
    change_db = 20 * np.log10(gated_level(frame_power(padded)) / gated_level(frame_power(samples)))
    assert abs(change_db) < 1.0


def test_padded_silence_changes_the_ungated_level_much_more() -> None:
    samples = speech_like(16_000)
    padded = np.concatenate([samples, np.zeros(256 * 100)])
    change_db = 10 * np.log10(frame_power(padded).mean() / frame_power(samples).mean())
    assert change_db < -3


def test_gated_level_excludes_frames_more_than_10_db_below_the_mean() -> None:
    power = np.array([1.0, 1.0, 1.0, 0.05])  # mean 0.7625: the gate is at 0.07625
    assert gated_level(power) == pytest.approx(1.0)
    power = np.array([1.0, 1.0, 1.0, 0.08])  # mean 0.77: the gate is at 0.077
    assert gated_level(power) == pytest.approx(np.sqrt(3.08 / 4))


def test_gated_level_of_silence_and_of_no_frames_is_0() -> None:
    assert gated_level(np.zeros(5)) == 0.0
    assert gated_level(np.zeros(0)) == 0.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
@quick
def test_gated_level_lies_between_the_rms_of_all_frames_and_the_loudest(powers: list[float]) -> None:
    power = np.array(powers)
    level = gated_level(power)
    assert np.sqrt(power.mean()) * (1 - 1e-9) <= level <= np.sqrt(power.max()) * (1 + 1e-9)


# Samples without features.


@pytest.mark.parametrize("num_samples", [0, 1, 511])
@pytest.mark.parametrize("config", [FeatureConfig(), PLAIN], ids=label_of)
def test_less_than_one_frame_is_an_error_with_the_number_of_samples(num_samples: int, config: FeatureConfig) -> None:
    with pytest.raises(FeatureError, match=f"{num_samples} samples"):
        spectrogram(np.ones(num_samples), config)


def test_one_frame_is_enough() -> None:
    assert spectrogram(speech_like(512), FeatureConfig()).shape == (1, 257)


@given(position=st.integers(0, 1023), value=st.sampled_from([np.nan, np.inf, -np.inf]))
@quick
def test_a_sample_within_a_frame_that_is_not_finite_is_an_error(position: int, value: float) -> None:
    samples = speech_like(1024)
    samples[position] = value
    for config in (FeatureConfig(), PLAIN):
        with pytest.raises(FeatureError, match="NaN or infinite"):
            spectrogram(samples, config)


def test_a_sample_after_the_last_frame_that_is_not_finite_is_an_error() -> None:
    samples = speech_like(600)
    samples[599] = np.nan
    with pytest.raises(FeatureError, match="NaN or infinite"):
        spectrogram(samples, FeatureConfig())


def test_digital_silence_has_no_gated_level() -> None:
    with pytest.raises(FeatureError, match="zero"):
        spectrogram(np.zeros(16_000), FeatureConfig())


def test_one_sample_of_one_bit_is_not_silent() -> None:
    samples = np.zeros(16_000)
    samples[8000] = 1 / 32768
    assert np.isfinite(spectrogram(samples, FeatureConfig())).all()


@pytest.mark.parametrize("amplitude", [1e-3, 1e-20, 1e-38, 1e-41, 1e-44, 1e-300])
def test_faint_samples_give_finite_features_or_an_error(amplitude: float) -> None:
    try:
        features = spectrogram(speech_like(4000) * amplitude, FeatureConfig())
    except FeatureError:
        return
    assert np.isfinite(features).all()


@pytest.mark.parametrize("shape", [(1000, 2), (2, 1000), (1000, 1), ()])
def test_samples_that_are_not_mono_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(FeatureError, match="mono"):
        spectrogram(np.ones(shape), FeatureConfig())


# The config.


@given(
    window=st.sampled_from(["hann", "hamming"]),
    compression=st.sampled_from(["magnitude", "log"]),
    level=st.sampled_from(["gated", "none"]),
    floor=st.floats(1e-9, 1),
)
@quick
def test_a_config_can_be_rebuilt_from_its_dict(window: str, compression: str, level: str, floor: float) -> None:
    config = FeatureConfig(window, compression, level, floor)
    again = FeatureConfig.from_dict(config.as_dict())
    assert again == config
    assert again.hash == config.hash


def test_the_dict_contains_the_frame_grid() -> None:
    grid = {"sample_rate": 16_000, "frame_length": 512, "frame_shift": 256}
    assert grid.items() <= FeatureConfig().as_dict().items()


def test_from_dict_does_not_change_its_argument() -> None:
    values = FeatureConfig().as_dict()
    FeatureConfig.from_dict(values)
    assert values == FeatureConfig().as_dict()


def test_an_unknown_field_is_an_error() -> None:
    with pytest.raises(FeatureError, match="mel_bands"):
        FeatureConfig.from_dict({**FeatureConfig().as_dict(), "mel_bands": 40})


@pytest.mark.parametrize("field", ["window", "compression", "level", "floor"])
def test_a_missing_field_is_an_error(field: str) -> None:
    values = FeatureConfig().as_dict()
    del values[field]
    with pytest.raises(FeatureError, match="fields"):
        FeatureConfig.from_dict(values)


@pytest.mark.parametrize(("field", "value"), [("sample_rate", 8000), ("frame_length", 400), ("frame_shift", 160)])
def test_another_frame_grid_is_an_error(field: str, value: int) -> None:
    with pytest.raises(FeatureError, match="frame grid"):
        FeatureConfig.from_dict({**FeatureConfig().as_dict(), field: value})


@pytest.mark.parametrize("field", ["sample_rate", "frame_length", "frame_shift"])
def test_a_missing_part_of_the_frame_grid_is_an_error(field: str) -> None:
    values = FeatureConfig().as_dict()
    del values[field]
    with pytest.raises(FeatureError, match="frame grid"):
        FeatureConfig.from_dict(values)


@pytest.mark.parametrize("field", ["window", "compression", "level"])
def test_an_unknown_value_is_an_error(field: str) -> None:
    with pytest.raises(FeatureError):
        FeatureConfig.from_dict({**FeatureConfig().as_dict(), field: "cubic"})


def test_every_field_changes_the_hash() -> None:
    other = {"window": "hamming", "compression": "magnitude", "level": "none", "floor": 1e-4}
    assert set(other) == {field.name for field in dataclasses.fields(FeatureConfig)}
    changed = [dataclasses.replace(FeatureConfig(), **{field: value}).hash for field, value in other.items()]
    assert len({FeatureConfig().hash, *changed}) == 1 + len(other)


def test_the_hash_of_the_default_config_never_changes() -> None:
    assert FeatureConfig().hash == "51557102f32a"
