"""Scores of sound event detection: PSDS 1 and 2, event F1 with collars, F1 by intersection.

PSDS is the area under the curve of found events over false positives an hour, over all thresholds (Bilen et al., ICASSP 2020,
arXiv 1910.08440), here without an error of approximation (`audiokd.eval.event_changes`). Parameters are those of DCASE task 4,
2021 to 2023: PSDS1 asks for the right time, PSDS2 for the right class. Classes without a true event are left out: of those
nothing can be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.eval.common import need
from audiokd.eval.event_changes import Changes, Kind, changes, matched, redrawn_psds, tables_of, truth_of
from audiokd.eval.event_clips import EventClip
from audiokd.eval.table import Summary, summarise_drawn

COLLARS: dict[str, float | None] = {
    "onset_collar": 0.2,
    "offset_collar": 0.2,
    "offset_collar_rate": 0.2,
}  # seconds, seconds, share of the length
MAX_EFPR = 100.0
DRAWS = 200


class Psds(NamedTuple):
    """One of DCASE's PSDS: shares that must intersect, of a detection (dtc), a true event (gtc), another class's event (cttc)."""

    dtc: float
    gtc: float
    cttc: float | None
    alpha_ct: float


PSDS = {"psds1": Psds(0.7, 0.7, None, 0.0), "psds2": Psds(0.1, 0.1, 0.3, 0.5)}
F1: dict[str, tuple[Kind, dict[str, float | None]]] = {
    "event_f1": ("collar_based", COLLARS),
    "intersection_f1": ("intersection_based", {"dtc_threshold": 0.5, "gtc_threshold": 0.5, "cttc_threshold": None}),
}


@dataclass(frozen=True)
class EventScores:
    """What was scored.

    Attributes:
        summary: by metric, over classes (PSDS less alpha_st times their spread, F1 their mean), with a 95% bootstrap interval
            over clips.
        classes: by label, metrics of that class alone, and `events`, how many there are.
        without_events: labels that were left out.
    """

    summary: dict[str, Summary]
    classes: dict[str, dict[str, float]]
    without_events: list[str]


def score_events(
    clips: Sequence[EventClip],
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    alpha_st: float = 1.0,
    psds2: bool = True,
    draws: int = DRAWS,
) -> EventScores:
    """Score frame scores against true events.

    Args:
        clips: with scores after the median filter. A clip in which nothing happens counts: what is detected there is false.
        labels: names of the scores' columns.
        thresholds: by label, for F1; PSDS has none.
        alpha_st: weight of the spread over classes in PSDS; AudioSet-strong is reported with 0, DESED with 1.
        psds2: score PSDS2 too; it compares each class with each other, which hundreds of classes have no memory for.
        draws: of the bootstrap.

    Raises:
        AudiokdError: no clips, an id that comes twice, a true event of a label that is not there, or no true event at all.
    """
    number = _checked(clips, labels)
    columns = sorted({number[e.label] for c in clips for e in c.events})
    names = [labels[k] for k in columns]
    place = {label: k for k, label in enumerate(names)}
    events, event_s = np.zeros((2, len(clips), len(columns)))
    for n, clip in enumerate(clips):
        for e in clip.events:
            events[n, place[e.label]] += 1
            event_s[n, place[e.label]] += e.end_s - e.start_s
    duration_s = np.array([c.duration_s for c in clips])
    weights = _weights(len(clips), draws)
    summary: dict[str, Summary] = {}
    classes: dict[str, dict[str, float]] = {n: {"events": int(events[:, k].sum())} for k, n in enumerate(names)}

    def keep(name: str, value: float, drawn: list[float], of_classes: Sequence[float]) -> None:
        s = summarise_drawn(value, drawn, len(clips))
        if s.low is not None and s.high is not None:  # set around the value, it may reach beyond what a score can be
            s = replace(s, low=max(s.low, 0.0), high=min(s.high, 1.0))
        summary[name] = s
        for label, v in zip(names, of_classes):
            classes[label][name] = float(v)

    library, truth = need("sed_scores_eval.intersection_based"), truth_of(clips, number)
    durations = {c.id: c.duration_s for c in clips}
    for name, p in PSDS.items():
        if name == "psds1" or psds2:
            crossed = p.cttc is not None and len(columns) > 1  # one class alone has no other to be taken for
            options = {"dtc_threshold": p.dtc, "gtc_threshold": p.gtc, "cttc_threshold": p.cttc if crossed else None}
            alphas = {"alpha_ct": p.alpha_ct if crossed else 0.0, "alpha_st": alpha_st, "max_efpr": MAX_EFPR}
            deltas = matched(clips, number, columns, "intersection_based", **options)
            value, alone, *_ = library.psds(None, truth, durations, deltas=deltas, **options, **alphas)
            found = changes(deltas, clips, columns)
            drawn = [
                redrawn_psds(found, w, w @ events, w @ event_s, float(w @ duration_s), **alphas)
                for w in weights
                if (w @ events).any()
            ]
            keep(name, float(value), drawn, [alone[str(k)] for k in columns])
    for name, (kind, criteria) in F1.items():
        found = changes(matched(clips, number, columns, kind, **criteria), clips, columns)
        counts = _counts(found, names, thresholds, len(clips))
        of_classes = _f1(counts.sum(1), events.sum(0))
        drawn = [float(np.nanmean(_f1(w @ counts, w @ events))) for w in weights if (w @ events).any()]
        keep(name, float(of_classes.mean()), drawn, of_classes.tolist())
    return EventScores(summary, classes, [label for label in labels if label not in place])


def best_thresholds(clips: Sequence[EventClip], labels: Sequence[str], otherwise: float = 0.5) -> dict[str, float]:
    """By label, the threshold of the best event F1 (collars as in `score_events`) on a set for choosing, never the scored one.

    Args:
        clips, labels: as `score_events`.
        otherwise: the threshold of labels that have no event there, or of which none is found at any threshold.

    Raises:
        AudiokdError: as `score_events`.
    """
    number = _checked(clips, labels)
    columns = sorted({number[e.label] for c in clips for e in c.events})
    library = need("sed_scores_eval.collar_based")
    f1, _, _, thresholds, _ = library.best_fscore(tables_of(clips, columns), truth_of(clips, number), **COLLARS)
    found = {k: float(thresholds[str(k)]) for k in columns if f1[str(k)] > 0}
    # -inf: all frames are best above it
    return {label: max(found.get(k, otherwise), 0.0) for label, k in number.items()}


def _checked(clips: Sequence[EventClip], labels: Sequence[str]) -> dict[str, int]:
    """The column of each label, if these clips can be scored."""
    if len({c.id for c in clips}) != len(clips):
        raise AudiokdError("an utterance comes twice among those to score")
    number = {label: k for k, label in enumerate(labels)}
    strange = sorted({e.label for c in clips for e in c.events} - number.keys())
    if strange:
        what = f"true events of labels that the model does not know: {', '.join(strange[:5])}"
        raise AudiokdError(what, fix=f"it knows {', '.join(list(labels)[:10])}: rename those events, or leave them out")
    if not any(c.events for c in clips):
        raise AudiokdError(
            f"no true event in {len(clips)} utterances", fix="there is nothing to be found: see the truth"
        )
    return number


def _counts(found: Sequence[Changes], names: Sequence[str], thresholds: Mapping[str, float], clips: int) -> np.ndarray:
    """True and false positives [2, N, C] above each label's threshold."""
    return np.stack([np.stack(c.above(thresholds[label], clips)) for c, label in zip(found, names)], axis=-1)


def _f1(counts: np.ndarray, events: np.ndarray) -> np.ndarray:
    """F1 of each class [C] from true and false positives [2, C]; NaN for one without a true event."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(events > 0, 2 * counts[0] / (counts.sum(0) + events), np.nan)


def _weights(clips: int, draws: int) -> np.ndarray:
    """How often each clip stands in each draw of the bootstrap [draws, N]; the same for all metrics."""
    rng = np.random.default_rng(0)
    drawn = [np.bincount(rng.integers(0, clips, clips), minlength=clips) for _ in range(draws)]
    return np.array(drawn, dtype=np.float64).reshape(draws, clips)
