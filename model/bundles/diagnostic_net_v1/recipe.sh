#!/bin/sh
# Trains diagnostic_net_v1 and makes its figures: recipe.sh MANIFEST OUT [WORKERS]
#
# MANIFEST lists speech, noise, music and room responses (columns path, kind, split, corpus, speaker_or_class, group). OUT is a
# new folder. Needs audiosieve[train,media,teachers]. From the times of its parts, it takes about two hours on two cores.
set -eu
manifest=$1 out=$2 workers=${3:-2}
make() {
    audiosieve synthesize --speech "$manifest" --noise "$manifest" --rir "$manifest" --music "$manifest" \
        --direct_num_workers "$workers" "$@"
}
# All kinds but a constant offset, which is removed before scoring.
kinds=reverb=0.15:1.4,hum,acoustic_echo,plosives,wind,handling,band_limit,upsampled,clipping,suppression,gain_control,gate,mnru
kinds=$kinds,codec,packet_loss,dropouts

# Training sets: speakers, noise, music and rooms of the split train. Every twentieth group is held out to choose the best epoch
# and the limits of the causes. One corpus with its own microphone is left out, to test the model on an unknown microphone.
for_training() {
    make --where split=train --where 'corpus!=picovoice-barista' --holdout 0.05 --partial_ratio 0.18 --partial_s 0.3:4 \
        --noise_variation_ratio 0.8 --peak_dbfs=-36:0 "$@"
}
# All sounds and faults; then mostly noise; then rooms and frequent faults; then codecs, clipping, hum, music and second voices,
# which are hard to hear.
general() {
    for_training --snr=-10:30,0:45 --clean_ratio 0.2 --fault_ratio 0.5 --partial_fault_ratio 0.25 --faults "$kinds" \
        --variation_ratio 0.6 --speed_ratio 0.6 --expander_ratio 0.15 --music_ratio 0.12 --second_voice_ratio 0.12 \
        --no_speech_ratio 0.07 "$@"
}
rooms() {
    for_training --snr=0:45,10:45 --clean_ratio 0.45 --fault_ratio 0.95 --max_faults 3 --partial_fault_ratio 0.25 \
        --faults reverb=0.15:1.4,hum,band_limit,clipping=1:20,codec,dropouts --variation_ratio 0.4 --speed_ratio 0.5 "$@"
}
sounds() {
    for_training --snr=5:45 --clean_ratio 0.5 --fault_ratio 0.4 --partial_fault_ratio 0.3 \
        --faults codec,packet_loss,clipping=1:20,hum --variation_ratio 0.5 --speed_ratio 0.5 --music_ratio 0.35 \
        --second_voice_ratio 0.35 --no_speech_ratio 0.06 "$@"
}
general --output "$out/general_1" --clips 10000 --seed 201
for_training --output "$out/noise_1" --clips 4660 --seed 202 --snr=-10:30,0:45 --clean_ratio 0.25 --fault_ratio 0.08 \
    --faults "$kinds" --variation_ratio 0.5 --speed_ratio 0.5 --expander_ratio 0.1 --no_speech_ratio 0.05
rooms --output "$out/rooms_1" --clips 4000 --seed 203
sounds --output "$out/sounds_1" --clips 3330 --seed 204
general --output "$out/general_2" --clips 7000 --seed 301
rooms --output "$out/rooms_2" --clips 3500 --seed 303
sounds --output "$out/sounds_2" --clips 4500 --seed 304
# Clips with ratings by DNSMOS, nearly half of them real recordings as they are. One window of DNSMOS covers such a clip.
for_training --output "$out/rated" --clips 1500 --seed 205 --snr=-10:30,0:45 --clean_ratio 0.2 --fault_ratio 0.5 \
    --faults "$kinds" --variation_ratio 0.5 --music_ratio 0.12 --second_voice_ratio 0.12 \
    --as_is "$manifest" --as_is_ratio 0.45 --duration 4.6:4.9 --labels pesq-wb,dnsmos

# Five epochs at a constant rate, five at a falling one, and six on new clips.
learn() {
    audiosieve train --network diagnostic_net --loss diagnosis --clip_norm 1 --average 0.999 --data "$out/rated" "$@"
}
learn_first() {
    learn --data "$out/general_1" --data "$out/noise_1" --data "$out/rooms_1" --data "$out/sounds_1" --epochs 5 "$@"
}
learn_first --decay 1 --output "$out/stage_1/diagnostic_net_v1"
learn_first --decay 0.496 --start "$out/stage_1/diagnostic_net_v1" --output "$out/stage_2/diagnostic_net_v1"
learn --data "$out/general_2" --data "$out/rooms_2" --data "$out/sounds_2" --epochs 6 --learning_rate 5e-4 --decay 0.75 \
    --seed 3 --start "$out/stage_2/diagnostic_net_v1" --output "$out/diagnostic_net_v1"

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
for_test --output "$out/val_rated" --clips 300 --seed 112 --as_is "$manifest" --as_is_ratio 1 --duration 4.6:9 \
    --labels pesq-wb,dnsmos
# This set only serves to choose the threshold for "clean".
make --where split=train --output "$out/threshold" --clips 400 --seed 105 --noises 1 \
    --snr=-10:30 --clean_ratio 0.15 --partial_ratio 0.18

for set in noise faults burst sounds levels telephone; do
    audiosieve evaluate "$out/val_$set" --model "$out/diagnostic_net_v1" --model disturbance_net_v1 \
        --threshold_set "$out/threshold" --output "$out/figures/$set"
done
