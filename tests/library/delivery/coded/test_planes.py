"""Planes give back the numbers that they were made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.delivery.coded import planes
from npas.errors import CheckpointError

LAWS = settings(deadline=None, derandomize=True, max_examples=200)
SIDE = 127 * (1 + 256 + 65536) + 1


@LAWS
@given(st.lists(st.integers(1 - SIDE, SIDE - 1), max_size=40))
def test_codes_come_back_in_as_few_planes_as_they_take(codes):
    given_ = np.array(codes, np.int32)
    count = planes.num_code_planes(given_)
    content = planes.of_codes(given_, count)
    assert len(content) == count * len(codes)
    assert planes.to_codes(content, count).tolist() == codes
    largest = max(map(abs, codes), default=0)
    assert count == 1 or largest > 127 * (256 ** (count - 1) - 1) // 255


def test_planes_of_small_codes_are_zero_but_the_first():
    content = planes.of_codes(np.array([-128, -1, 0, 127], np.int32), 3)
    assert content[4:] == bytes(8)


def test_a_code_of_more_than_three_bytes_is_refused():
    with pytest.raises(CheckpointError, match="too fine"):
        planes.num_code_planes(np.array([SIDE], np.int32))


@LAWS
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40),
    st.integers(1, 4),
)
def test_values_come_back_where_the_bytes_left_out_are_zero(values, count):
    bits = np.array(values, "<f4").view(np.uint32) & np.uint32(
        (0xFFFFFFFF << (8 * (4 - count))) & 0xFFFFFFFF
    )
    given_ = bits.view("<f4")
    found = planes.to_values(planes.of_values(given_, count), count)
    assert found.tobytes() == given_.tobytes()
