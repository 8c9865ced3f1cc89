"""Counts the requests that a run on Cloud Storage makes, by kind, with a proxy in front of an emulator.

Run it as `python -m tests.benchmarks.storage [FILES]`.
"""

from __future__ import annotations

import os
import sys
from collections import Counter

from pipelines.cli import main
from tests.support.paths import SAMPLES
from tests.support.storage.gcs_emulator import Bucket, running_emulator
from tests.support.storage.gcs_proxy import Proxy
from transforms.storage.gcs.client import EMULATOR

SAMPLE = SAMPLES / "clean.flac"


def measure(files: int) -> None:
    """Scores copies of a sample twice, and prints the number of requests."""
    with running_emulator() as address:
        bucket = Bucket(address)
        content = SAMPLE.read_bytes()
        for i in range(files):
            bucket.write(f"in/{i // 100:03d}/{i:06d}.flac", content)
        with Proxy(address).serving() as proxy:
            os.environ[EMULATOR] = proxy.address
            for run in ("first", "second"):
                proxy.calls.clear()
                proxy.connections = 0
                main(["score", "--input", bucket / "in", "--output", bucket / "out"])
                of_input = Counter(call.kind for call in proxy.calls if call.name.startswith("in/"))
                print(
                    f"{run} run over {files} recordings: {len(proxy.calls)} requests, {proxy.connections} connections"
                )
                print(f"  of the recordings: {dict(of_input)}, {of_input.total() / files:.2f} for each")
                print(f"  of all else: {dict(Counter(proxy.counts) - of_input)}")


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
