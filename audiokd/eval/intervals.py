"""How well intervals of sound events lie that were made from a point on each: event by event, nothing is matched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiokd.data.events import Event
from audiokd.eval.table import summarise_rate

#: as they stand in a table
SCORES = {
    "iou": "IoU",
    "centre_error_s": "middle off by, s",
    "onset_error_s": "onset off by, s",
    "offset_error_s": "offset off by, s",
    "recall": "IoU over 0.7",
}
GOOD = 0.7  # as PSDS1 asks a detection and a true event to intersect


def event_errors(true: Event, found: Event) -> dict[str, float]:
    """Of one event: `iou`, errors of middle, onset and offset in seconds, and `recall`, whether the IoU is over GOOD."""
    both = max(0.0, min(true.end_s, found.end_s) - max(true.start_s, found.start_s))
    iou = both / max((true.end_s - true.start_s) + (found.end_s - found.start_s) - both, 1e-9)
    onset, offset = found.start_s - true.start_s, found.end_s - true.end_s
    return {
        "iou": iou,
        "centre_error_s": abs(onset + offset) / 2,
        "onset_error_s": abs(onset),
        "offset_error_s": abs(offset),
        "recall": float(iou > GOOD),
    }


def score_intervals(true: Mapping[str, Sequence[Event]], found: Mapping[str, Sequence[Event]]) -> dict[str, Any]:
    """Scores over all events, and by class.

    Args:
        true: events by utterance, as many as there are of `found`, in the same order.
        found: made from a point on each.

    Returns:
        `events`, how many; `scores`, each a mean over events with a 95% bootstrap interval over utterances;
        `classes`, means of each.
    """
    rows = [(i, t.label, event_errors(t, f)) for i in sorted(found) for t, f in zip(true[i], found[i], strict=True)]
    ids = sorted({i for i, _, _ in rows})
    scores, classes = {}, {}
    for name in SCORES:
        sums = [(sum(e[name] for i, _, e in rows if i == u), sum(1 for i, _, _ in rows if i == u)) for u in ids]
        scores[name] = summarise_rate([s for s, _ in sums], [n for _, n in sums]).as_dict()
    for label in sorted({label for _, label, _ in rows}):
        of = [e for _, which, e in rows if which == label]
        classes[label] = {"events": len(of)} | {k: float(np.mean([e[k] for e in of])) for k in SCORES}
    return {"events": len(rows), "scores": scores, "classes": classes}


def interval_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the classes' table."""
    rows = [
        [label, str(of["events"]), *(f"{of[k]:.3f}" for k in SCORES)] for label, of in sorted(result["classes"].items())
    ]
    return ["class", "events", *SCORES.values()], rows
