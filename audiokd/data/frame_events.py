"""Sound events on a grid of frames: frame k is the time from k / rate to (k + 1) / rate.

An event is on in the frames whose middle it covers; one so short that it covers none is on in the frame that it lies in. (The
DCASE baseline and ATST's official code light every frame that an event touches: up to a frame more at each end.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from audiokd.data.events import Event


def event_frames(event: Event, frame_rate: float) -> tuple[int, int]:
    """First frame of an event and the first one after it; at least one frame.

    >>> event_frames(Event(1.0, 2.0, "dog"), 25.0)
    (25, 50)
    """
    # rounded: 0.58 s is frame 14.5, the middle of a frame, and 14.499999999999998 in floats
    first, stop = (math.ceil(round(t * frame_rate - 0.5, 6)) for t in (event.start_s, event.end_s))
    if stop > first:
        return first, stop
    within = int((event.start_s + event.end_s) / 2 * frame_rate)
    return within, within + 1


def frame_targets(
    events: Sequence[Event], number: Mapping[str, int], frame_rate: float, first: int, frames: int
) -> np.ndarray:
    """0 and 1, float32 [frames, C], of a crop.

    Args:
        events: of the utterance.
        number: of each label.
        frame_rate: frames a second.
        first: frame of the utterance that the crop starts with.
        frames: of the crop.
    """
    out = np.zeros((frames, len(number)), dtype=np.float32)
    for event in events:
        start, stop = (min(max(k - first, 0), frames) for k in event_frames(event, frame_rate))
        out[start:stop, number[event.label]] = 1.0
    return out
