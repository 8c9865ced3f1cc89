#!/bin/sh
# Trains diagnostic_net_v3 and makes its figures: recipe.sh MANIFEST OUT [WORKERS]
#
# MANIFEST lists speech, noise, music and room responses (columns path, kind, split, corpus, speaker_or_class, group). OUT is a
# new folder. Needs audiosieve[train,media]. On two cores beside other work, it took 124 minutes: 32 for the training
# sets, 63 for the training, 21 for the test sets and 8 for the figures.
set -eu
manifest=$1 out=$2 workers=${3:-2}
make() {
    audiosieve synthesize --speech "$manifest" --noise "$manifest" --rir "$manifest" --music "$manifest" \
        --direct_num_workers "$workers" "$@"
}
# All kinds but a constant offset, which is removed before scoring.
kinds=reverb=0.15:1.4,hum,acoustic_echo,plosives,wind,handling,band_limit,upsampled,clipping,suppression,gain_control,gate,mnru
kinds=$kinds,codec,packet_loss,dropouts

# Training sets: speakers, noise, music and rooms of the split train. A twentieth of the groups is held out to choose the best
# epoch and the limits of the causes. One corpus with its own microphone is left out, to test an unknown microphone.
for_training() {
    make --where split=train --where 'corpus!=picovoice-barista' --partial_ratio 0.18 --partial_s 0.3:4 \
        --noise_variation_ratio 0.8 --peak_dbfs=-36:0 "$@"
}
# All sounds and faults.
general() {
    for_training --snr=-10:30,0:45 --clean_ratio 0.2 --fault_ratio 0.5 --partial_fault_ratio 0.25 --faults "$kinds" \
        --variation_ratio 0.6 --speed_ratio 0.6 --expander_ratio 0.15 --music_ratio 0.12 --second_voice_ratio 0.12 \
        --no_speech_ratio 0.07 "$@"
}
# Mostly noise.
noise() {
    for_training --snr=-10:30,0:45 --clean_ratio 0.25 --fault_ratio 0.08 --faults "$kinds" \
        --variation_ratio 0.5 --speed_ratio 0.5 --expander_ratio 0.1 --no_speech_ratio 0.05 "$@"
}
# Codecs, clipping, hum, music and second voices, which are hard to hear.
sounds() {
    for_training --snr=5:45 --clean_ratio 0.5 --fault_ratio 0.4 --partial_fault_ratio 0.3 \
        --variation_ratio 0.5 --speed_ratio 0.5 "$@"
}
# One degradation in clean speech: what a cause sounds like without another.
single() {
    for_training --snr=-10:30,0:45 --clean_ratio 1 --fault_ratio 1 --max_faults 1 --partial_fault_ratio 0.25 --faults "$kinds" \
        --variation_ratio 0.5 --speed_ratio 0.5 "$@"
}
# train_on STAGE OPTION...
train_on() {
    stage=$1
    shift
    audiosieve train --network diagnostic_net_16ms --loss diagnosis --clip_norm 1 --average 0.999 --decay 0.7 \
        --data "$stage/general" --data "$stage/noise" --data "$stage/rooms" --data "$stage/sounds" --data "$stage/single" "$@"
}

# First stage. The layers up to the recurrence, and the head of the disturbance, start with the weights of the quality model.
first=$out/first
general --output "$first/general" --clips 7500 --seed 401 --holdout 0.05
noise --output "$first/noise" --clips 5500 --seed 402 --holdout 0.05
for_training --output "$first/rooms" --clips 2000 --seed 403 --holdout 0.05 --snr=0:45,10:45 --clean_ratio 0.45 \
    --fault_ratio 0.95 --max_faults 3 --partial_fault_ratio 0.25 \
    --faults reverb=0.15:1.4,hum,band_limit,clipping=1:20,codec,dropouts --variation_ratio 0.4 --speed_ratio 0.5
sounds --output "$first/sounds" --clips 2500 --seed 404 --holdout 0.05 --faults codec,packet_loss,clipping=1:20,hum \
    --music_ratio 0.35 --second_voice_ratio 0.35 --no_speech_ratio 0.06
single --output "$first/single" --clips 2500 --seed 405 --holdout 0.05
train_on "$first" --start disturbance_net_v1 --epochs 5 --learning_rate 1e-3 --output "$first/model"

# Second stage: other clips, with more rooms at all SNRs, more single degradations, more music and noise without speech, clean
# telephone speech, and short bursts.
second=$out/second
general --output "$second/general" --clips 6000 --seed 501 --holdout 0.06
noise --output "$second/noise" --clips 5000 --seed 502 --holdout 0.06
for_training --output "$second/rooms" --clips 5000 --seed 503 --holdout 0.06 --snr=-5:45 --clean_ratio 0.3 \
    --fault_ratio 0.85 --max_faults 1 --faults reverb=0.15:1.4 --variation_ratio 0.4 --speed_ratio 0.5 \
    --music_ratio 0.06 --second_voice_ratio 0.06
sounds --output "$second/sounds" --clips 5000 --seed 504 --holdout 0.06 \
    --faults reverb=0.15:1.4,codec,packet_loss,clipping=1:20,hum,band_limit \
    --music_ratio 0.3 --second_voice_ratio 0.3 --no_speech_ratio 0.16
single --output "$second/single" --clips 4000 --seed 505 --holdout 0.06
for_training --output "$second/telephone" --clips 800 --seed 506 --holdout 0.15 --snr=0:45 --clean_ratio 1 --fault_ratio 1 \
    --max_faults 1 --faults band_limit
for_training --output "$second/bursts" --clips 2000 --seed 507 --holdout 0.06 --noises 1:2 --snr=-5:25 --clean_ratio 0.25 \
    --partial_ratio 1 --partial_s 0.3:2
train_on "$second" --data "$second/telephone" --data "$second/bursts" --start "$first/model" --epochs 5 \
    --learning_rate 5e-4 --output "$out/diagnostic_net_v3"

# Test sets: speakers, noise, music and rooms of the split val, none of which are in the training sets.
for_test() {
    make --where split=val "$@"
}
for_test --output "$out/val_noise" --clips 1000 --seed 101 --noises 1 \
    --snr=-10:30 --clean_ratio 0.15 --partial_ratio 0.18 --keep_reference
for_test --output "$out/val_faults" --clips 1000 --seed 102 --snr=-10:30 --clean_ratio 0.15 --partial_ratio 0.18 \
    --fault_ratio 0.7 --faults "$kinds" --keep_reference
for_test --output "$out/val_burst" --clips 600 --seed 103 --noises 1 \
    --snr=5,15 --clean_ratio 0.33 --partial_ratio 1 --partial_s 1 --duration 5
for_test --output "$out/val_sounds" --clips 1500 --seed 107 --snr=-5:40 --clean_ratio 0.4 --fault_ratio 0.6 \
    --partial_fault_ratio 0.25 --faults reverb=0.15:1.4,hum,band_limit,clipping,codec,dropouts \
    --music_ratio 0.2 --second_voice_ratio 0.2 --no_speech_ratio 0.12
for_test --output "$out/val_levels" --clips 400 --seed 108 --snr=-5:35 --clean_ratio 0.1 --fault_ratio 0.7 \
    --faults reverb=0.15:1.4
for_test --output "$out/val_telephone" --clips 200 --seed 109 --clean_ratio 1 --fault_ratio 1 --max_faults 1 --faults band_limit
for_test --output "$out/val_voice" --clips 400 --seed 110 --clean_ratio 1 --second_voice_ratio 0.5 --second_voice_snr 10:10
for_test --output "$out/val_music" --clips 400 --seed 111 --clean_ratio 1 --music_ratio 0.5 --music_snr 10:10
for snr in -5 0 5 10 15 20 25 30; do
    for_test --output "$out/ladder/$snr" --clips 200 --seed 104 --noises 1 --snr="$snr" --clean_ratio 0 --labels pseudo
done
# This set only serves to choose the threshold for "clean".
make --where split=train --output "$out/threshold" --clips 400 --seed 105 --noises 1 \
    --snr=-10:30 --clean_ratio 0.15 --partial_ratio 0.18

for set in noise faults burst sounds levels telephone; do
    audiosieve evaluate "$out/val_$set" --model "$out/diagnostic_net_v3" --model disturbance_net_v1 \
        --threshold_set "$out/threshold" --output "$out/figures/$set"
done
audiosieve evaluate "$out/val_noise" --model "$out/diagnostic_net_v3" --gains=-20:6 --output "$out/figures/gains"
audiosieve evaluate "$out"/ladder/* --model "$out/diagnostic_net_v3" --model disturbance_net_v1 --ladder --label pseudo \
    --output "$out/figures/ladder"
