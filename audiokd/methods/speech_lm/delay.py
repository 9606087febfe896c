"""The delay pattern: stream q of a frame is predicted q steps later, so that it sees the streams before it.

Source: MusicGen, https://arxiv.org/abs/2306.05284, section 2.2 (figure 1, "delay").
"""

from __future__ import annotations

import numpy as np

#: where a stream has no token at a step
EMPTY = -1


def delay(codes: np.ndarray) -> np.ndarray:
    """Codes as steps of a language model: step s holds frame s - q of stream q.

    Args:
        codes: [Q, T'] int64.

    Returns:
        [T' + Q - 1, Q] int64, EMPTY where a stream has not begun or is over. One stream stays as it is.
    """
    streams, frames = codes.shape
    steps = np.full((frames + streams - 1, streams), EMPTY, dtype=np.int64)
    for q in range(streams):
        steps[q : q + frames, q] = codes[q]
    return steps


def undelay(steps: np.ndarray) -> np.ndarray:
    """The codes [Q, T'] whose `delay` is `steps` [T' + Q - 1, Q]."""
    streams = steps.shape[1]
    frames = len(steps) - streams + 1
    return np.stack([steps[q : q + frames, q] for q in range(streams)])
