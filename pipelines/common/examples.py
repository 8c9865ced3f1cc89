"""Three examples of each command, for its `--help`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Example(NamedTuple):
    """An example of a command.

    Attributes:
        command: command line after `audiosieve`.
        purpose: purpose of the command line, without a full stop.
    """

    command: str
    purpose: str


EXAMPLES: Mapping[str, tuple[Example, Example, Example]] = {
    "score": (
        Example("score speech scores", "score all recordings of a folder; the same command again scores what is new"),
        Example(
            "score corpus.csv scores --carry speaker,text", "score the utterances of a manifest, and keep two columns"
        ),
        Example("score take1.flac", "print the score of one recording, and write nothing"),
    ),
    "query": (
        Example("query scores", "print a summary"),
        Example("query scores --by speaker", "print the summary by a column"),
        Example(
            'query scores "SELECT uri, score FROM utterances WHERE score < 2" -o bad.csv', "write the rows of a query"
        ),
    ),
    "report": (
        Example("report scores -o report.html", "write the page, with examples to listen to"),
        Example("report scores -o report.html --threshold 3", "show the effect of the threshold 3 first"),
        Example("report scores -o small.html --examples 2 --max_mb 0", "write a small page without sound"),
    ),
    "plot": (
        Example("plot take1.flac -o take1.png", "score a recording and draw it"),
        Example("plot speaker1/take1.flac --run scores -o take1.svg", "draw an utterance with the scores of a run"),
        Example("plot call.wav --channels 1 -o right.png", "draw one channel"),
    ),
    "filter": (
        Example("filter scores --preset tts --dry_run", "print what the rules for speech synthesis would keep"),
        Example(
            "filter scores -o keep --where 'score >= 3' --budget 500h",
            "keep the best 500 hours of what scores 3 or more",
        ),
        Example("filter scores -o keep --trim anomalies --export audio", "cut bad stretches out, and write the audio"),
    ),
    "compact": (
        Example("compact scores", "merge small files"),
        Example("compact scores --dry_run", "print what would be merged"),
        Example(
            "compact gs://my-bucket/scores --file_mb 512", "merge the files of an output in a bucket into larger ones"
        ),
    ),
    "compare": (
        Example("compare scores_a scores_b", "print how well two models agree"),
        Example("compare scores_a scores_b --threshold 3 --worst 50", "list the 50 largest disagreements"),
        Example("compare scores_a scores_b -o both.parquet", "write one row for each utterance"),
    ),
    "serve": (
        Example("serve", "serve the default model to this machine, on port 8000"),
        Example("serve --host 0.0.0.0 --workers 4", "serve it to the network, with four processes behind nginx"),
        Example("serve --model my_model --port 9000", "serve a model of your own"),
    ),
    "submit": (
        Example("submit take1.flac take2.flac", "print the scores of two recordings"),
        Example("submit *.flac --url http://scores.example.org:8000", "send many recordings to another machine"),
        Example("submit take1.flac --format json --frames", "print the frame scores as JSON"),
    ),
    "export": (
        Example("export -o model/1", "write the default model for TensorFlow Serving"),
        Example("export --format onnx -o model.onnx", "write it for ONNX Runtime"),
        Example("export --model my_model -o my_model/1 --overwrite", "replace an exported model"),
    ),
    "synthesize": (
        Example("synthesize --speech clean --noise noise --clips 10000 -o set", "make 10,000 clips"),
        Example(
            "synthesize --speech clean --noise noise --clips 10000 -o set --snr=-5:20 --fault_ratio 0.3",
            "choose the SNRs, and degrade a third of the clips",
        ),
        Example(
            "synthesize --speech clean.csv --noise noise.csv --clips 500 -o set --holdout 0.2",
            "keep a fifth of the speakers and noises for validation",
        ),
    ),
    "train": (
        Example("train --data set -o my_model", "train on a set that `synthesize` made"),
        Example("train --data set -o my_model --start disturbance_net_v1", "adapt a bundled model to your material"),
        Example("train --data set -o my_model --resume", "continue after an interruption"),
    ),
    "evaluate": (
        Example("evaluate set -o results", "measure the default model"),
        Example("evaluate set -o results --model my_model --model disturbance_net_v1", "compare two models"),
        Example("evaluate set1 set2 -o results --split test", "measure two sets together, on their split `test`"),
    ),
    "reproduce": (
        Example("reproduce --speech clean --noise noise -o results", "repeat the experiment"),
        Example("reproduce --speech clean --noise noise -o results --quick", "check in a few minutes that all works"),
        Example("reproduce --speech clean --noise noise -o results --processes 4", "train four networks at a time"),
    ),
}
