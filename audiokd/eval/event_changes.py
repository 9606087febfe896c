"""How the counts of sound event detection change as the threshold falls, from which scores of all thresholds follow.

Ebbers et al., "Threshold-Independent Evaluation of Sound Event Detection Scores", ICASSP 2022 (arXiv 2201.13148), by their
library, sed_scores_eval. What it finds for each clip is kept, so that a bootstrap over clips costs a sum and no matching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from audiokd.eval.common import need
from audiokd.eval.event_clips import EventClip, score_frame

Kind: TypeAlias = Literal["collar_based", "intersection_based"]
HOUR_S = 3600.0


@dataclass(frozen=True)
class Changes:
    """What changes when the threshold falls below a score, for one class over all clips; K changes, highest score first.

    Attributes:
        scores: [K].
        clips: [K] number of the clip.
        hits: [K] true events more that are found (true positives).
        false: [K] detections more that are none (false positives).
        crossed: [K, C] those that lie on an event of another class instead (cross triggers); empty unless asked for.
    """

    scores: np.ndarray
    clips: np.ndarray
    hits: np.ndarray
    false: np.ndarray
    crossed: np.ndarray

    def above(self, threshold: float, clips: int) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives of each clip, [N] and [N], with what scores above `threshold` as detected."""
        on = self.scores > threshold
        hits, false = (np.bincount(self.clips[on], v[on], minlength=clips) for v in (self.hits, self.false))
        return np.rint(hits), np.rint(false)


def truth_of(clips: Sequence[EventClip], number: dict[str, int]) -> dict[str, list[tuple[float, float, str]]]:
    """True events as the library has them, classes by number."""
    return {c.id: [(e.start_s, e.end_s, str(number[e.label])) for e in c.events] for c in clips}


def tables_of(clips: Sequence[EventClip], columns: Sequence[int]) -> Any:
    """The clips' scores as the library has them, each made when it is asked for."""
    where = {c.id: k for k, c in enumerate(clips)}
    return need("lazy_dataset").new(where).map(lambda k: score_frame(clips[k], columns))


def matched(
    clips: Sequence[EventClip], number: dict[str, int], columns: Sequence[int], kind: Kind, **criteria: float | None
) -> dict[str, Any]:
    """Match detections of all thresholds with the truth: the library's deltas, by clip and class.

    Args:
        clips: ids must differ.
        number: column of each label.
        columns: classes to look at; each has a true event.
        kind: how an event counts as found.
        criteria: of that kind: collars in seconds, or thresholds on what intersects.
    """
    library = need(f"sed_scores_eval.{kind}.intermediate_statistics")
    return library.intermediate_statistics_deltas(tables_of(clips, columns), truth_of(clips, number), **criteria)


def changes(deltas: dict[str, Any], clips: Sequence[EventClip], columns: Sequence[int]) -> list[Changes]:
    """The library's deltas as arrays, for each of `columns`."""
    return [_gathered([deltas[c.id][str(k)] for c in clips], columns) for k in columns]


def _gathered(of_clips: list[tuple[np.ndarray, dict[str, Any]]], columns: Sequence[int]) -> Changes:
    scores = np.concatenate([s for s, _ in of_clips])
    clip = np.repeat(np.arange(len(of_clips)), [len(s) for s, _ in of_clips])
    names = [f"cts\\{k}" for k in columns]  # the library's; the class itself has none
    crossed = np.zeros((len(scores), len(columns) if any(n in of_clips[0][1] for n in names) else 0), np.float32)
    for c in range(crossed.shape[1]):
        if names[c] in of_clips[0][1]:
            crossed[:, c] = np.concatenate([d[names[c]] for _, d in of_clips])
    order = np.argsort(-scores, kind="stable")
    hits, false = (np.concatenate([d[name] for _, d in of_clips]) for name in ("tps", "fps"))
    return Changes(scores[order], clip[order], hits[order], false[order], crossed[order])


def redrawn_psds(
    of_classes: Sequence[Changes],
    weights: np.ndarray,
    events: np.ndarray,
    event_s: np.ndarray,
    duration_s: float,
    alpha_ct: float,
    alpha_st: float,
    max_efpr: float,
) -> float:
    """PSDS of clips of which each stands there `weights` times.

    The same curve as the library's (a test holds it to that), without its sort in Python, so that a bootstrap is affordable.
    Classes without a true event among those clips are left out.

    Args:
        of_classes: C changes, matched by `intersection_based`.
        weights: [N].
        events, event_s: [C] true events of each class among those clips, and their summed length in seconds.
        duration_s: of those clips together.
        alpha_ct, alpha_st: weights of cross triggers and of the spread over classes.
        max_efpr: end of the curve, effective false positives an hour.
    """
    there = events > 0
    curves = []
    for k in np.flatnonzero(there).tolist():
        c = of_classes[k]
        w = weights[c.clips]
        rate = c.false / duration_s
        if c.crossed.shape[1] and there.sum() > 1:
            share = np.where(there, 1 / np.maximum(event_s, 1e-12), 0.0) / (there.sum() - 1)
            rate = rate + alpha_ct * (c.crossed @ share)
        last = np.append(c.scores[1:] != c.scores[:-1], True)[: len(c.scores)]  # equal scores are passed at once
        found = np.append(0.0, np.cumsum(c.hits * w)[last] / events[k])
        efpr = np.append(
            0.0, np.maximum(np.cumsum(rate * w)[last], 0.0) * HOUR_S
        )  # a sum of rounded steps may end below 0
        kept = efpr <= max_efpr
        order = np.lexsort((found[kept], efpr[kept]))
        curves.append((efpr[kept][order], np.maximum.accumulate(found[kept][order])))
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    heights = np.stack([y[np.searchsorted(x, grid, side="right") - 1] for x, y in curves])
    height = np.maximum(heights.mean(0) - alpha_st * heights.std(0), 0)
    return float((height * np.diff(np.append(grid, max_efpr))).sum() / max_efpr)
