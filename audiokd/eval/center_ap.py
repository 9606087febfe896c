r"""The nuScenes detection score: average precision by distance of centres, errors of true positives, and their weighted sum.

A found box is a true positive where its centre lies nearer than d to that of a true box of its class and frame that no
better-scored one took (x and y alone). AP is the mean of the precision over recalls of more than 10 %, less 10 % and rescaled;
mAP its mean over classes and d of 0.5, 1, 2, 4 m. Errors are of true positives at 2 m: of translation (ATE, m), scale (ASE, 1 -
IoU of aligned boxes), orientation (AOE, rad; of barriers up to half a turn), velocity (AVE, m/s), attribute (AAE, 1 - accuracy),
each the mean over recalls of its running mean, and over classes (cones have neither orientation, velocity nor attribute, barriers
no velocity and attribute).

.. math:: \mathrm{NDS} = \tfrac{1}{10} \Big(5\,\mathrm{mAP} + \sum_{e} \max(0, 1 - e)\Big), \qquad
          \mathrm{NDS}_{-v} = \frac{5\,\mathrm{mAP} + \sum_{e \in E} \max(0, 1 - e)}{5 + |E|}

E are the errors without velocity, and without attribute where the truth has none. Where it has none NDS counts AAE as 1, as the
devkit does: no model reaches more than 0.9 then. A class of which there is no object counts as an AP of 0, as there.

Source: nuScenes (arXiv 1903.11027, section 3.1), nuscenes-devkit 1.2.0, configuration detection_cvpr_2019; the same numbers are
held against it in tests/eval/test_center_ap.py. Point-DETR3D's repository leaves velocity out of NDS; its weights were not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
ERROR_DISTANCE_M = 2.0
MIN_RECALL, MIN_PRECISION = 0.1, 0.1
RECALLS = 101
MAX_BOXES = 500  # of a frame, the best-scored ones
AP_WEIGHT = 5
#: metres from the car up to which a class counts
RANGE_M = {
    "car": 50, "truck": 50, "bus": 50, "trailer": 50, "construction_vehicle": 50,
    "pedestrian": 40, "motorcycle": 40, "bicycle": 40, "traffic_cone": 30, "barrier": 30,
}  # fmt: skip
OTHERS_RANGE_M = 50
ERRORS = ("ate", "ase", "aoe", "ave", "aae")
#: errors that a class does not have
WITHOUT = {"traffic_cone": ("aoe", "ave", "aae"), "barrier": ("ave", "aae")}


@dataclass(frozen=True)
class Boxes:
    """Boxes of one frame.

    Attributes:
        boxes: [N, 9], `audiokd.data.frame3d.BOX`; velocities may be NaN.
        labels: [N].
        scores: [N]; of true boxes not looked at.
        num_points: [N], of true boxes: those with 0 do not count; None where nobody counted.
        attributes: N names, "" where there is none; () where there are none at all.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    num_points: np.ndarray | None = None
    attributes: Sequence[str] = ()


class Matches(NamedTuple):
    """Found boxes of one class and frame, and what they are.

    Attributes:
        true: how many boxes of the class there are.
        scores: [P].
        hits: bool [P, distances].
        errors: [P, 5], NaN where a box is no true positive at 2 m, or where the error is not known.
    """

    true: int
    scores: np.ndarray
    hits: np.ndarray
    errors: np.ndarray


def match_frame(truth: Boxes, found: Boxes, names: Sequence[str]) -> list[Matches]:
    """Match the boxes of one frame, class by class."""
    result = []
    best = np.sort(_order(_scores(found))[:MAX_BOXES])
    for label, name in enumerate(names):
        true = _counted(truth, label, name)
        said = best[np.isin(best, _counted(found, label, name))]
        # in the order that equal scores are taken in, the last first
        order = said[_order(_scores(found)[said])]
        hits = np.zeros((len(order), len(DISTANCES_M)), bool)
        errors = np.full((len(order), len(ERRORS)), np.nan)
        places = (of.boxes[rows, :2].astype(np.float64) for of, rows in ((found, order), (truth, true)))
        gap = np.linalg.norm(next(places)[:, None] - next(places)[None], axis=-1)
        for d, limit in enumerate(DISTANCES_M):
            free = np.ones(len(true), bool)
            for row in range(len(order) if len(true) else 0):
                k = int(np.argmin(np.where(free, gap[row], np.inf)))
                if free[k] and gap[row, k] < limit:
                    free[k], hits[row, d] = False, True
                    if limit == ERROR_DISTANCE_M:
                        errors[row] = _errors(truth, int(true[k]), found, int(order[row]), name)
        back = np.argsort(order, kind="stable")  # as they stand in the frame
        result.append(Matches(len(true), _scores(found)[order][back], hits[back], errors[back]))
    return result


class ClassScore(NamedTuple):
    """What one class scores: AP at each distance, and its errors; NaN of those that it does not have."""

    aps: tuple[float, ...]
    errors: tuple[float, ...]


def score_class(frames: Sequence[Matches], name: str) -> ClassScore:
    """Score a class over frames.

    Args:
        frames: its matches.
        name: of the class.
    """
    true = sum(m.true for m in frames)
    none = [float("nan") if e in WITHOUT.get(name, ()) else 1.0 for e in ERRORS]
    scores = np.concatenate([m.scores for m in frames]) if frames else np.zeros(0)
    if not true or not len(scores):
        return ClassScore((0.0,) * len(DISTANCES_M), tuple(none))
    order = _order(scores)
    scores = scores[order]
    hits = np.concatenate([m.hits for m in frames])[order]
    errors = np.concatenate([m.errors for m in frames])[order]
    recalls = np.linspace(0, 1, RECALLS)
    first = round(100 * MIN_RECALL) + 1
    aps = []
    for d, limit in enumerate(DISTANCES_M):
        good = np.cumsum(hits[:, d], dtype=float)
        if not good[-1]:
            aps.append(0.0)
            continue
        recall = good / true
        precision = np.interp(recalls, recall, good / np.arange(1, len(good) + 1), right=0)
        aps.append(float(np.clip(precision[first:] - MIN_PRECISION, 0, None).mean() / (1 - MIN_PRECISION)))
        if limit == ERROR_DISTANCE_M:
            confidence = np.interp(recalls, recall, scores, right=0)
            last = int(np.flatnonzero(confidence)[-1]) if confidence.any() else 0
            if last >= first:
                matched = hits[:, d]
                none = [
                    n if e in WITHOUT.get(name, ()) else _mean_error(errors[matched, k], scores[matched], confidence, first, last)
                    for k, (e, n) in enumerate(zip(ERRORS, none))
                ]  # fmt: skip
    return ClassScore(tuple(aps), tuple(none))


def summarise_classes(classes: Mapping[str, ClassScore], with_attributes: bool) -> dict[str, float]:
    """map, nds, nds_without_velocity and the mean errors of the scores of classes.

    Args:
        classes: by name.
        with_attributes: whether the truth has some.
    """
    found = {"map": float(np.mean([np.mean(c.aps) for c in classes.values()]))}
    errors = np.array([c.errors for c in classes.values()])
    known = ~np.isnan(errors)
    means = np.where(known.any(0), np.where(known, errors, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
    # where no class has an error, as of a set of cones, it counts as 1
    goods = {e: max(0.0, 1 - m) if m == m else 0.0 for e, m in zip(ERRORS, means)}
    found["nds"] = (AP_WEIGHT * found["map"] + sum(goods.values())) / (AP_WEIGHT + len(ERRORS))
    kept = [e for e in ERRORS if e != "ave" and (e != "aae" or with_attributes)]
    found["nds_without_velocity"] = (AP_WEIGHT * found["map"] + sum(goods[e] for e in kept)) / (AP_WEIGHT + len(kept))
    return found | {e: float(m) for e, m in zip(ERRORS, means)}


def _mean_error(values: np.ndarray, scores: np.ndarray, confidence: np.ndarray, first: int, last: int) -> float:
    known = ~np.isnan(values)
    if not known.any():
        return 1.0
    count = np.cumsum(known)
    running = np.cumsum(np.where(known, values, 0)) / np.maximum(count, 1)
    return float(np.interp(confidence[::-1], scores[::-1], running[::-1])[::-1][first : last + 1].mean())


def _errors(truth: Boxes, t: int, found: Boxes, f: int, name: str) -> tuple[float, ...]:
    true, said = truth.boxes[t].astype(np.float64), found.boxes[f].astype(np.float64)
    common = np.prod(np.minimum(true[3:6], said[3:6]))
    union = np.prod(true[3:6]) + np.prod(said[3:6]) - common
    period = np.pi if name == "barrier" else 2 * np.pi
    turn = (true[6] - said[6] + period / 2) % period - period / 2
    attribute = float("nan")
    if truth.attributes and truth.attributes[t]:
        attribute = float(not found.attributes or truth.attributes[t] != found.attributes[f])
    return (
        float(np.linalg.norm(true[:2] - said[:2])),
        float(1 - common / union),
        float(abs(turn)),
        float(np.linalg.norm(true[7:9] - said[7:9])),
        attribute,
    )


def _counted(of: Boxes, label: int, name: str) -> np.ndarray:
    near = np.linalg.norm(of.boxes[:, :2], axis=1) < RANGE_M.get(name, OTHERS_RANGE_M)
    seen = np.ones(len(near), bool) if of.num_points is None else of.num_points != 0
    return np.flatnonzero((of.labels == label) & near & seen)


def _scores(of: Boxes) -> np.ndarray:
    return np.zeros(len(of.boxes)) if of.scores is None else np.asarray(of.scores, np.float64)


def _order(scores: np.ndarray) -> np.ndarray:
    """From the highest score down; of equal ones the later first, as the devkit sorts them."""
    return np.argsort(scores, kind="stable")[::-1]
