"""Starting TensorFlow, and hiding the output of native code."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from model.runtime import hold_native_stderr


def test_stderr_of_native_code_is_hidden(capfd: pytest.CaptureFixture[str]) -> None:
    with hold_native_stderr():
        os.write(2, b"log")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_hidden_output_is_written_when_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with hold_native_stderr():
            os.write(2, b"the reason")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capfd.readouterr().err == "the reason"


def test_stdout_is_not_hidden(capfd: pytest.CaptureFixture[str]) -> None:
    with hold_native_stderr():
        os.write(1, b"result")
    assert capfd.readouterr().out == "result"


def free_descriptors() -> list[int]:
    """Returns the lowest free file descriptors."""
    taken = [os.dup(2) for _ in range(8)]
    for descriptor in taken:
        os.close(descriptor)
    return taken


def test_hiding_stderr_leaks_no_file_descriptor() -> None:
    before = free_descriptors()
    with hold_native_stderr():
        pass
    assert free_descriptors() == before


def test_tensorflow_starts_quietly_with_the_given_threads_and_keeps_them() -> None:
    program = """
from model.runtime import start_tensorflow
start_tensorflow(1)
import tensorflow as tf
tf.constant(1.0) + 1.0
start_tensorflow(2)
print(tf.config.threading.get_intra_op_parallelism_threads(), tf.config.threading.get_inter_op_parallelism_threads())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1"]
    assert done.stderr == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has these options")
def test_freed_memory_is_kept_for_the_next_allocation() -> None:
    program = """
import resource
import numpy as np
from model.runtime import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(100 << 17)  # 100 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

returned = faults()
keep_freed_memory()
faults()
print(returned, faults())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    returned, kept = map(int, done.stdout.split())
    assert kept < returned / 10
