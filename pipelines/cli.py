"""The command `audiosieve`: finds the job's module, which loads what that job needs and nothing else."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence

JOBS = {
    "score": "score a corpus: per-utterance and per-frame quality in Parquet",
    "query": "ask an output in SQL, or for a summary",
    "report": "make a page of an output, to look at, listen and choose a threshold",
    "plot": "draw a recording with its frame scores and anomalies",
    "filter": "keep what is worth training on, listed in the format that a trainer reads",
    "compact": "make few large files of the many small ones of an output",
    "compare": "two outputs of one corpus, side by side",
    "serve": "take recordings over HTTP and give their scores",
    "submit": "send recordings to such a service",
    "export": "write a model that needs no audiosieve: for TensorFlow Serving, or as ONNX",
    "synthesize": "make a labelled training set of clean speech and noise",
    "train": "train a scorer on such a set",
    "evaluate": "measure scorers against such a set",
    "reproduce": "repeat the published experiment, with four networks",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one job; returns the exit status: 0 done, 1 failed, 2 asked for wrongly."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"audiosieve {version('audiosieve')}")
        return 0
    job = arguments[0]
    if job not in JOBS:
        print(f"audiosieve: there is no job {job!r}; the jobs are {', '.join(JOBS)}", file=sys.stderr)
        return 2
    # Beam reports, while it is imported, what it lacks and a local run never needs.
    logging.getLogger().setLevel(logging.ERROR)
    try:
        status: int = importlib.import_module(f"pipelines.{job}").run(arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough of it, as `head` has; nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"audiosieve {job}: interrupted", file=sys.stderr)
        return 130
    return status


def _usage() -> str:
    jobs = "\n".join(f"  {name:<12}{text}" for name, text in JOBS.items())
    return f"usage: audiosieve JOB [options]\n\njobs:\n{jobs}\n\n`audiosieve JOB --help` lists a job's options."


if __name__ == "__main__":
    sys.exit(main())
