"""Starting TensorFlow, and holding back what native code says on the way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from model.runtime import native_stderr_held


def test_what_native_code_writes_to_stderr_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with native_stderr_held():
        os.write(2, b"chatter")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_what_was_held_back_comes_out_when_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with native_stderr_held():
            os.write(2, b"the reason")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capfd.readouterr().err == "the reason"


def test_stdout_is_not_held(capfd: pytest.CaptureFixture[str]) -> None:
    with native_stderr_held():
        os.write(1, b"result")
    assert capfd.readouterr().out == "result"


def free_descriptors() -> list[int]:
    """The lowest file descriptors that are free."""
    taken = [os.dup(2) for _ in range(8)]
    for descriptor in taken:
        os.close(descriptor)
    return taken


def test_holding_stderr_leaks_no_file_descriptor() -> None:
    before = free_descriptors()
    with native_stderr_held():
        pass
    assert free_descriptors() == before


def test_tensorflow_starts_quietly_with_the_threads_asked_for_and_keeps_them() -> None:
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
