#!/bin/sh
# Trains disturbance_net_v1 and makes its figures: recipe.sh MANIFEST OUT [WORKERS]
#
# MANIFEST lists speech, noise and room responses (columns path, kind, split, corpus, speaker_or_class, group). OUT is a new
# folder. Needs audiosieve[train]. On two cores, the sets take half an hour, training a little more than an hour, and the
# figures five minutes.
set -eu
manifest=$1 out=$2 workers=${3:-2}
make() {
    audiosieve synthesize --speech "$manifest" --noise "$manifest" --rir "$manifest" --direct_num_workers "$workers" "$@"
}
learn() {
    audiosieve train --network disturbance_net --loss frames --clip_norm 1 "$@"
}

# Training sets: speakers and noise of the split train. Every twentieth group is held out to choose the best epoch. One corpus
# with its own microphone is left out, to test the model on an unknown microphone.
for_training() {
    make --where split=train --where 'corpus!=picovoice-barista' --holdout 0.05 --snr=-10:30,0:45 \
        --partial_ratio 0.18 --partial_s 0.3:4 --fault_ratio 0.25 --variation_ratio 0.6 --speed_ratio 0.6 \
        --noise_variation_ratio 0.8 --peak_dbfs=-36:0 "$@"
}
for_training --output "$out/train" --clips 24000 --seed 42 --clean_ratio 0.14
for_training --output "$out/train_expanded" --clips 10000 --seed 43 --clean_ratio 0.2 --expander_ratio 0.5

# The bundled weights come from a run of 13 epochs that was stopped after the tenth, which equals a run of 10.
learn --data "$out/train" --output "$out/first/disturbance_net_v1" --epochs 10 --decay 0.82 --average 0.999
# The first model scored gated or expanded speech as damaged. The second set corrects this.
learn --data "$out/train_expanded" --start "$out/first/disturbance_net_v1" --output "$out/disturbance_net_v1" \
    --epochs 3 --decay 0.5 --learning_rate 3e-4 --average 0.995

# Test sets: speakers and noise of the split val, none of which are in the training sets.
make --where split=val --output "$out/val_noise" --clips 1000 --seed 101 --noises 1 \
    --snr=-10:30 --clean_ratio 0.15 --partial_ratio 0.18 --keep_reference
make --where split=val --output "$out/val_faults" --clips 1000 --seed 102 \
    --snr=-10:30 --clean_ratio 0.15 --partial_ratio 0.18 --fault_ratio 0.7 --keep_reference
make --where split=val --output "$out/val_burst" --clips 600 --seed 103 --noises 1 \
    --snr=5,15 --clean_ratio 0.33 --partial_ratio 1 --partial_s 1 --duration 5
for snr in -5 0 5 10 15 20 25 30; do
    make --where split=val --output "$out/ladder/$snr" --clips 200 --seed 104 --noises 1 \
        --snr="$snr" --clean_ratio 0 --partial_ratio 0 --labels pseudo
done
make --where split=val --output "$out/val_expanded" --clips 200 --seed 106 --clean_ratio 1 --expander_ratio 1
# This set only serves to choose the threshold for "clean".
make --where split=train --output "$out/threshold" --clips 400 --seed 105 --noises 1 \
    --snr=-10:30 --clean_ratio 0.15 --partial_ratio 0.18

judge() {
    audiosieve evaluate --model "$out/disturbance_net_v1" --model quality_net_v1 "$@"
}
judge "$out/val_noise" --threshold_set "$out/threshold" --gains=-20:6 --output "$out/figures/noise"
judge "$out/val_faults" --threshold_set "$out/threshold" --gains=-20:6 --output "$out/figures/faults"
judge "$out/val_burst" --threshold_set "$out/threshold" --output "$out/figures/burst"
judge "$out"/ladder/* --ladder --label pseudo --output "$out/figures/ladder"

# Clean speech: unchanged (the clean clips of val_noise), through expanders, and from the microphone that was left out.
audiosieve evaluate "$out/val_expanded" --model "$out/disturbance_net_v1" --output "$out/figures/expanded"
audiosieve score --input "$(dirname "$manifest")/speech/picovoice-barista" --model "$out/disturbance_net_v1" \
    --output "$out/figures/microphone"
python - "$out/figures" <<'END'
import sys

import numpy as np
import pyarrow.parquet as pq

figures = sys.argv[1]
noise = pq.read_table(f"{figures}/noise/clips.parquet").to_pylist()
clean = [row["score"] for row in noise if row["clean"] and row["model_id"].startswith("disturbance_net")]
expanded = pq.read_table(f"{figures}/expanded/clips.parquet")["score"].to_pylist()
microphone = pq.read_table(f"{figures}/microphone/utterances")["score"].to_pylist()
for name, scores in {"clean": clean, "expanded": expanded, "microphone": microphone}.items():
    print(f"{name:<11} {len(scores):4} scores, mean {np.mean(scores):.2f}, lowest tenth under {np.quantile(scores, 0.1):.2f}")
END
