"""The command `audiosieve`: runs a job and imports only the modules that the job needs."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from model.quick_imports import quick_imports
from pipelines.scoring import worker_process

JOBS = {
    "score": "score a corpus: quality of each utterance and frame, in Parquet",
    "query": "run SQL over an output, or print a summary of it",
    "report": "write a web page about an output: figures, examples, effect of a threshold",
    "plot": "draw a recording with its frame scores and anomalies",
    "filter": "select the utterances worth training on, and list them in the format of a trainer",
    "compact": "merge the many small files of an output into few large ones",
    "compare": "compare two outputs of one corpus",
    "serve": "serve scores over HTTP",
    "submit": "send recordings to a service and print their scores",
    "export": "export a model for TensorFlow Serving, or as ONNX",
    "synthesize": "make a labelled training set from clean speech and noise",
    "train": "train a scorer on labelled sets",
    "evaluate": "measure scorers on labelled sets",
    "reproduce": "repeat the published experiment with four networks",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one job.

    Returns:
        The exit status, as `_usage` explains it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"]:
        # `audiosieve help JOB` is `audiosieve JOB --help`.
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] in ("version", "--version"):
        from importlib.metadata import version

        print(f"audiosieve {version('audiosieve')}")
        return 0
    job = arguments[0]
    if job not in JOBS:
        close = difflib.get_close_matches(job, JOBS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"jobs: {', '.join(JOBS)}"
        print(f"audiosieve: unknown job {job!r} ({hint})", file=sys.stderr)
        return 2
    if argv is None and job == "score":
        worker_process.declare_own(arguments[1:])
    # When Beam is imported, it warns about packages that a local run does not need.
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with quick_imports():
            module = importlib.import_module(f"pipelines.{job}")
        status: int = module.run(arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of stdout, such as `head`, has ended. Python would fail again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"audiosieve {job}: interrupted", file=sys.stderr)
        return 130
    return status


def _usage() -> str:
    jobs = "\n".join(f"  {name:<12}{text}" for name, text in JOBS.items())
    return (
        f"usage: audiosieve JOB [options]\n\njobs:\n{jobs}\n\n`audiosieve help JOB` shows examples and the options of a job; "
        "`audiosieve version` prints the version.\n\n"
        "exit status: 0 success; 1 failure; 2 usage error; 3 no utterance is left (score: all inputs are rejected; filter: "
        "nothing is kept); 130 interrupted"
    )


if __name__ == "__main__":
    sys.exit(main())
