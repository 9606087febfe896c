"""The delay pattern and its inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiokd.methods.speech_lm.delay import EMPTY, delay, undelay


def test_by_hand() -> None:
    """MusicGen's figure 1: in a column of the figure (a step), stream q holds the frame of q steps ago."""
    codes = np.array([[1, 2, 3], [11, 12, 13], [21, 22, 23]])
    e = EMPTY
    assert delay(codes).tolist() == [[1, e, e], [2, 11, e], [3, 12, 21], [e, 13, 22], [e, e, 23]]


@given(st.integers(1, 9), st.integers(1, 12))
def test_the_inverse(streams: int, frames: int) -> None:
    codes = np.arange(streams * frames).reshape(streams, frames)
    steps = delay(codes)
    assert steps.shape == (frames + streams - 1, streams)
    assert (undelay(steps) == codes).all()
    assert (steps != EMPTY).sum() == codes.size
    for step, row in enumerate(steps):
        for q in np.flatnonzero(row != EMPTY):
            assert row[q] == codes[q, step - q]


@pytest.mark.parametrize("frames", [1, 5])
def test_one_stream_stays_as_it_is(frames: int) -> None:
    codes = np.arange(frames)[None]
    assert (delay(codes) == codes.T).all()
    assert (undelay(codes.T) == codes).all()
