"""Events on the grid of frames, and crops of them."""

from __future__ import annotations

import numpy as np
import pytest

from audiokd.data.events import Event
from audiokd.data.frame_events import event_frames, frame_targets


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (1.0, 2.0, (25, 50)),
        (0.0, 10.0, (0, 250)),
        (1.02, 1.98, (25, 49)),  # from the middle of frame 25, which counts, to that of frame 49, which does not
        (1.021, 1.981, (26, 50)),
        (0.58, 0.62, (14, 15)),  # 0.58 * 25 - 0.5 is 13.999999999999998
        (1.021, 1.039, (25, 26)),  # covers no middle
        (1.035, 1.055, (26, 27)),
    ],
)
def test_the_frames_whose_middle_is_covered(start: float, end: float, frames: tuple[int, int]) -> None:
    assert event_frames(Event(start, end, "dog"), 25.0) == frames


def test_a_crop_of_events() -> None:
    events = [Event(0.2, 0.4, "cat"), Event(1.0, 2.0, "dog"), Event(1.8, 9.0, "cat")]
    number = {"cat": 0, "dog": 1}
    whole = frame_targets(events, number, 25.0, 0, 250)
    assert np.flatnonzero(whole[:, 1]).tolist() == list(range(25, 50))
    assert np.flatnonzero(whole[:, 0]).tolist() == [*range(5, 10), *range(45, 225)]
    assert np.array_equal(frame_targets(events, number, 25.0, 30, 25), whole[30:55])
    assert not frame_targets(events, number, 25.0, 250, 25).any()
