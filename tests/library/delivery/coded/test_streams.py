"""What is coded comes back, and nothing that pretends to be does."""

import contextlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.delivery.coded.streams import packed, unpacked
from npas.errors import CheckpointError

LAWS = settings(deadline=None, derandomize=True, max_examples=100)


@LAWS
@given(st.binary(max_size=300))
def test_streams_come_back(content):
    assert unpacked(packed(content), most=len(content)) == content


def test_a_stream_that_goes_on_is_given_up_where_it_should_end():
    bomb = brotli.compress(bytes(1 << 24), quality=5)
    assert len(bomb) < 2000
    with pytest.raises(CheckpointError, match="more than the 1,000 bytes"):
        unpacked(bomb, most=1000)


@LAWS
@given(st.binary(max_size=60))
def test_what_is_no_stream_is_refused_or_short(content):
    with contextlib.suppress(CheckpointError):
        assert len(unpacked(content, most=100)) <= 100


def test_a_stream_that_is_cut_off_is_refused():
    coded = packed(bytes(range(256)) * 4)
    with pytest.raises(CheckpointError):
        unpacked(coded[: len(coded) // 2], most=1024)
