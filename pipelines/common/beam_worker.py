"""A worker process of a local run: Beam's own, without its log of every start and stop. Errors are still printed."""

from __future__ import annotations

import logging
import shlex
import sys

WORKER_COMMAND = f"{shlex.quote(sys.executable)} -m pipelines.common.beam_worker"


def main() -> None:
    """Serves the runner that started this process until it is told to stop."""
    logging.disable(logging.WARNING)
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
