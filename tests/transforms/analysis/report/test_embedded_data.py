"""Numbers are embedded in the page as the bytes that its script unpacks."""

from __future__ import annotations

import base64

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms.analysis.report.embedded_data import pack


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_packed_numbers_are_their_bytes_in_base64(values):
    unpacked = np.frombuffer(base64.b64decode(pack(np.array(values, np.int64), "<u4")), "<u4")
    assert unpacked.tolist() == values
