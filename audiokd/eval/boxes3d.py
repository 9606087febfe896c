"""Scores of found boxes over a set: the nuScenes detection score with intervals over drives, and how good pseudo labels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiokd.eval.center_ap import (
    DISTANCES_M,
    ERRORS,
    Boxes,
    ClassScore,
    Matches,
    match_frame,
    score_class,
    summarise_classes,
)
from audiokd.eval.table import Summary, summarise_drawn

DRAWS = 200
NAMES = ("map", "nds", "nds_without_velocity", *ERRORS)


def score_frames(
    truth: Mapping[str, Boxes], found: Mapping[str, Boxes], names: Sequence[str], scenes: Mapping[str, str]
) -> dict[str, Any]:
    """Score found boxes against true ones.

    Args:
        truth: by frame.
        found: by frame; of a frame that is not there nothing was found.
        names: of the classes.
        scenes: the drive of each frame: intervals are 95% bootstraps over drives. A draw is averaged over those of the set's
            classes that its drives have.

    Returns:
        `scores`: map, nds, nds_without_velocity, ate, ase, aoe, ave, aae, as `Summary.as_dict` has each (None where no class
        has the error); `classes`: AP at each distance, its mean, errors and the number of true boxes by class name.
    """
    empty = Boxes(np.zeros((0, 9)), np.zeros(0, int), np.zeros(0))
    with_attributes = any(any(t.attributes) for t in truth.values())
    matches = {i: match_frame(t, found.get(i, empty), names) for i, t in truth.items()}
    by_scene: dict[str, list[list[Matches]]] = {}
    for i, m in matches.items():
        by_scene.setdefault(scenes[i], []).append(m)

    def of_classes(frames: Sequence[Sequence[Matches]]) -> dict[str, ClassScore]:
        return {n: score_class([f[k] for f in frames], n) for k, n in enumerate(names)}

    classes = of_classes([*matches.values()])
    value = summarise_classes(classes, with_attributes)
    present = [n for k, n in enumerate(names) if any(m[k].true for m in matches.values())]
    drawn: dict[str, list[float]] = {n: [] for n in NAMES}
    rng = np.random.default_rng(0)  # the same boxes give the same interval
    drives = [*by_scene.values()]
    for _ in range(DRAWS if len(drives) > 1 else 0):
        frames = [f for k in rng.integers(0, len(drives), len(drives)) for f in drives[k]]
        had = {n for k, n in enumerate(names) if any(f[k].true for f in frames)}
        if not had:
            continue
        drawn_classes = of_classes(frames)
        # a class that these drives happen not to have was not missed: it counts as the mean of those that they have
        drawn_classes |= dict.fromkeys(set(present) - had, _mean_class([drawn_classes[n] for n in had]))
        again = summarise_classes(drawn_classes, with_attributes)
        for n in NAMES:
            drawn[n].append(again[n])
    summaries = {n: summarise_drawn(value[n], drawn[n], len(drives)).as_dict() for n in NAMES if value[n] == value[n]}
    nothing = Summary(None, None, None, 0).as_dict()
    about = {}
    for k, (name, c) in enumerate(classes.items()):
        aps = {f"ap_{d:g}m": a for d, a in zip(DISTANCES_M, c.aps)}
        errors = {e: v if v == v else None for e, v in zip(ERRORS, c.errors)}
        about[name] = {"true": sum(m[k].true for m in matches.values()), "ap": float(np.mean(c.aps)), **aps, **errors}
    return {"scores": {n: summaries.get(n, nothing) for n in NAMES}, "classes": about}


def _mean_class(of: Sequence[ClassScore]) -> ClassScore:
    """The mean of classes; an error that none of them has is NaN."""
    errors = np.array([c.errors for c in of])
    known = ~np.isnan(errors)
    means = np.where(known.any(0), np.where(known, errors, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
    return ClassScore(tuple(np.mean([c.aps for c in of], 0).tolist()), tuple(means.tolist()))


def box_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, all classes and then each, of what `audiokd boxes` wrote."""
    distances = [f"AP {d:g} m ↑" for d in DISTANCES_M]
    headers = ["class", "true boxes", "AP ↑", *distances, *(f"{e.upper()} ↓" for e in ERRORS)]
    scores = {k: Summary(**v) for k, v in result["scores"].items()}
    rows = [["all", str(sum(c["true"] for c in result["classes"].values())), scores["map"].text()]]
    rows[0] += ["-"] * len(distances) + [scores[e].text() for e in ERRORS]
    for name, c in result["classes"].items():
        aps = [f"{c[f'ap_{d:g}m']:.3f}" for d in DISTANCES_M]
        rows.append(
            [name, str(c["true"]), f"{c['ap']:.3f}", *aps, *("-" if c[e] is None else f"{c[e]:.3f}" for e in ERRORS)]
        )
    return headers, rows
