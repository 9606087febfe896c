"""Frame scores of a clip beside its true sound events: when each frame is, the median filter, and events above a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audiokd.data.events import Event
from audiokd.errors import AudiokdError
from audiokd.eval.common import need

MEDIAN_S = 0.28  # ATST's official fine-tuning on DESED: 7 frames at 25 frames/s
LEAST_FRAMES = 0.9  # share of a clip's frames that must be there; encoders drop a frame or two at the end


@dataclass(frozen=True)
class EventClip:
    """A clip to score.

    Attributes:
        id: of the utterance.
        scores: [T, C] from 0 to 1, float64; frames that begin after the clip's end are left out.
        times: [T + 1] seconds: where each frame begins, and where the last ends.
        duration_s: of the clip.
        events: what is there, in time order; those of one label neither overlap nor touch. Empty: nothing happens.
    """

    id: str
    scores: np.ndarray
    times: np.ndarray
    duration_s: float
    events: tuple[Event, ...]


def event_clip(
    id: str,
    scores: np.ndarray,
    frame_rate: float,
    duration_s: float,
    events: Sequence[Event] = (),
    median_s: Sequence[float] = (),
) -> EventClip:
    """Smooth frame scores and put them on the clip's time line. Frame k lasts from k / frame_rate up to (k + 1) / frame_rate.

    Args:
        id: of the utterance, for messages.
        scores: [T, C] probabilities.
        frame_rate: frames a second.
        duration_s: of the clip; the last frame ends there at the latest.
        events: true ones; those of one label that overlap or touch become one, as a detector of frames cannot tell them apart.
        median_s: width in seconds of the median filter of each column; none if left out.

    Raises:
        AudiokdError: a score is NaN or no probability, or frames are missing, as in a store of one row a clip.
    """
    if np.isnan(scores).any():  # before the filter, which hides a lone one
        raise AudiokdError("NaN among its scores", where=id, fix="look at the model, or at the sound that made it")
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise AudiokdError(f"scores from {scores.min():g} to {scores.max():g} are no probabilities", where=id)
    expected = duration_s * frame_rate
    if len(scores) + 2 < LEAST_FRAMES * expected:
        what = f"{len(scores)} frames for {duration_s:g} s, {expected:.0f} expected at {frame_rate:g} a second"
        raise AudiokdError(what, where=id, fix="scores of frames are needed, not of clips: extract --layer events")
    inside = int(np.sum(np.arange(len(scores)) / frame_rate < duration_s))
    if inside == 0:  # shorter than a frame: -inf is never above a threshold
        scores = np.full((1, scores.shape[1]), -np.inf)
        return EventClip(id, scores, np.array([0.0, max(duration_s, 1e-3)]), duration_s, merged(events))
    if median_s:
        scores = median_filtered(scores, frame_rate, median_s)
    times = np.minimum(np.arange(inside + 1) / frame_rate, duration_s)
    return EventClip(id, scores[:inside].astype(np.float64), times, duration_s, merged(events))


def merged(events: Sequence[Event]) -> tuple[Event, ...]:
    """Events in time order, with those of one label that overlap or touch made one."""
    last: dict[str, Event] = {}
    done: list[Event] = []
    for event in sorted(events):
        before = last.get(event.label)
        if before and event.start_s <= before.end_s:
            event = Event(before.start_s, max(before.end_s, event.end_s), event.label)
        elif before:
            done.append(before)
        last[event.label] = event
    return tuple(sorted([*done, *last.values()]))


def median_filtered(scores: np.ndarray, frame_rate: float, seconds: Sequence[float]) -> np.ndarray:
    """Smooth each column with a median filter, mirrored at the ends.

    Args:
        scores: [T, C].
        frame_rate: frames a second.
        seconds: width for each of the C columns; the nearest odd number of frames is taken, and 0 changes nothing.
    """
    from scipy.ndimage import median_filter

    out = scores.copy()
    for column, width_s in enumerate(seconds):
        frames = median_frames(width_s, frame_rate)
        if frames > 1:
            out[:, column] = median_filter(scores[:, column], size=frames, mode="reflect")
    return out


def median_frames(seconds: float, frame_rate: float) -> int:
    """The odd number of frames nearest to `seconds`: an even filter would shift the scores by half a frame."""
    return 2 * int(seconds * frame_rate / 2 + 1e-6) + 1


def detected(clip: EventClip, labels: Sequence[str], thresholds: Mapping[str, float]) -> list[Event]:
    """Events of a clip, in time order: stretches of frames whose score is above the label's threshold."""
    library = need("sed_scores_eval.base_modules.detection")
    above = np.array([thresholds[label] for label in labels])
    found = library.scores_to_event_list(score_frame(clip, range(len(labels))), above)
    return sorted(Event(float(start), float(end), labels[int(k)]) for start, end, k in found)


def score_frame(clip: EventClip, columns: Sequence[int] | range) -> Any:
    """Scores of some columns as the library's table, whose columns are named by number: labels may be any word."""
    library = need("sed_scores_eval.base_modules.scores")
    return library.create_score_dataframe(clip.scores[:, list(columns)], clip.times, [str(k) for k in columns])
