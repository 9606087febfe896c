"""Sound events that somebody has only pointed at: a class and a moment within it, in points.tsv beside (or without) events.tsv.

    python -m audiokd.data.event_points data/train data/train-05 --rate 0.05 [--seed 0]

points.tsv is `filename time event_label` with tabs between, a header on top, as events.tsv has it: times count from the start of
the utterance; a row whose other columns are empty names an utterance in which nothing happens. Where an utterance has both, row i
of its points is on event i of its events in the order of time.

The command writes OUT, the set of DATA with a point on every event (`audiokd.data.mark_draw`), of which the first int(rate N)
utterances in the order of ids alone keep their events.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audiokd.data.crops import rng_of
from audiokd.data.events import EVENTS, Event, read_events, utterance_of, write_events
from audiokd.data.inputs import open_input
from audiokd.data.kaldi import write_data_dir
from audiokd.data.mark_draw import MEAN, RHO, STD, draw_within
from audiokd.data.regime import REGIME
from audiokd.data.text import read_utf8
from audiokd.errors import AudioError, AudiokdError
from audiokd.files import atomic_folder, sha256_bytes, write_json, write_text

POINTS = "points.tsv"  # its name in a data dir
COLUMNS = ("filename", "time", "event_label")
SHORTEST_S = 0.01  # of an interval that is cut to its clip


class EventPoint(NamedTuple):
    """A moment within a sound event, seconds from the start of its utterance."""

    time_s: float
    label: str


def point_of(event: Event, rng: np.random.Generator) -> EventPoint:
    """A point that somebody would set on an event."""
    u = float(draw_within(1, rng)[0])
    middle, extent = (event.start_s + event.end_s) / 2, event.end_s - event.start_s
    return EventPoint(middle + extent / 2 * (2 * u - 1) * RHO, event.label)


def read_points(path: str | os.PathLike[str]) -> dict[str, list[EventPoint]]:
    """Points by utterance id, in the order of their rows; an utterance in which nothing happens has an empty list.

    Args:
        path: such a table, or a data dir that holds a points.tsv.

    Raises:
        AudiokdError: no such file, another header, or a row that is no point (file:line).
    """
    file = Path(path) / POINTS if Path(path).is_dir() else Path(path)
    text = read_utf8(file, f"points are a table `{' '.join(COLUMNS)}`; python -m audiokd.data.event_points makes one")
    rows = list(csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or tuple(rows[0]) != COLUMNS:
        what = f"header {' '.join(rows[0]) if rows else 'missing'}"
        raise AudiokdError(what, where=f"{file}:1", fix=f"{', '.join(COLUMNS)}, with tabs between")
    found: dict[str, list[EventPoint]] = {}
    for number, row in enumerate(rows[1:], 2):
        if row:
            utt_id, point = _row(row, f"{file}:{number}")
            found.setdefault(utt_id, []).extend([point] if point else [])
    if not found:
        raise AudiokdError("holds no point", where=str(file))
    return found


def write_points(path: str | os.PathLike[str], points: Mapping[str, Sequence[EventPoint]]) -> None:
    """Write points by utterance id, sorted by id, as `read_points` reads them; times are rounded to 0.01 ms."""
    lines = ["\t".join(COLUMNS)]
    for utt_id in sorted(points):
        lines += [f"{utt_id}\t{round(p.time_s, 5)}\t{p.label}" for p in points[utt_id]]
        lines += [] if points[utt_id] else [f"{utt_id}\t\t"]
    write_text(path, "".join(f"{line}\n" for line in lines))


def check_pairs(utt_id: str, events: Sequence[Event], points: Sequence[EventPoint], where: str) -> None:
    """That row i of the points is on event i.

    Raises:
        AudiokdError: another number of them, another label, or a point outside its event.
    """
    fix = "points in the order of the events, each within its own"
    if len(events) != len(points):
        what = f"{len(points)} points, {len(events)} events"
        raise AudiokdError(what, where=f"{where}: {utt_id}", fix=fix)
    for k, (e, p) in enumerate(zip(events, points)):
        if e.label != p.label or not e.start_s - 1e-4 <= p.time_s <= e.end_s + 1e-4:
            what = f"point {k} ({p.label} at {p.time_s:g} s) is not on event {k} ({e.label}, {e.start_s:g} to {e.end_s:g} s)"
            raise AudiokdError(what, where=f"{where}: {utt_id}", fix=fix)


def check_points(times_s: Sequence[float], duration_s: float) -> None:
    """That points lie within their clip.

    Raises:
        AudioError: one does not.
    """
    for k, time_s in enumerate(times_s):
        if not 0 <= time_s <= duration_s:
            what = f"point {k} at {time_s:g} s is outside of the clip, {duration_s:g} s long"
            raise AudioError(what, fix="correct its time: seconds from the start of the utterance")


def within(intervals: np.ndarray, duration_s: float) -> np.ndarray:
    """Intervals [N, 2] cut to a clip; one that would lie outside of it is SHORTEST_S long at its end."""
    start = np.clip(intervals[:, 0], 0, max(duration_s - SHORTEST_S, 0))
    return np.stack([start, np.clip(intervals[:, 1], start + min(SHORTEST_S, duration_s), duration_s)], -1)


def write_weak_set(data: str, out: str, rate: float, seed: int = 0) -> None:
    """Write OUT: `data` with points on all events, events of the first utterances alone, and regime.json, which says of which.

    Raises:
        AudiokdError: a rate that is none, or leaves no utterance with events; an utterance without a row in events.tsv.
    """
    if not 0 < rate <= 1:
        raise AudiokdError(f"a rate of {rate:g}", fix="over 0 and up to 1")
    utterances, events = open_input(data).utterances(), read_events(data)
    if lacking := [u.id for u in utterances if u.id not in events]:
        what = f"{len(lacking)} utterances have no row in {EVENTS}, {lacking[0]} first"
        raise AudiokdError(what, where=data, fix="points are simulated from events: give the whole set")
    ids = sorted(u.id for u in utterances)
    count = int(rate * len(ids) + 1e-9)  # 0.05 * 300 is 15, whatever the float says
    if not count:
        raise AudiokdError(f"{rate:g} of {len(ids)} utterances leaves none with events", fix="a higher rate")
    points = {i: [point_of(e, rng_of(seed, "mark", i, k)) for k, e in enumerate(events[i])] for i in ids}
    kept = ids[:count]
    about = {
        "setting": "inductive",
        "steps": [{"name": "annotation", "labelled": _summary(kept, events), "pointed": _summary(ids, events)}],
        "annotation": {"rate": rate, "seed": seed, "rho": RHO, "mean": MEAN, "std": STD},
    }
    with atomic_folder(out, last="wav.scp") as folder:
        write_points(folder / POINTS, points)
        write_events(folder / EVENTS, {i: events[i] for i in kept})
        write_json(folder / REGIME, about)
        write_data_dir(folder, utterances)
    print(f"{out}: {len(ids)} utterances, the first {count} with events, all with points")


def _summary(ids: Sequence[str], events: Mapping[str, Sequence[Event]]) -> dict[str, object]:
    labels = Counter(e.label for i in ids for e in events[i])
    return {"count": len(ids), "sha256": sha256_bytes("".join(f"{i}\n" for i in ids).encode()), "labels": dict(labels)}


def _row(row: list[str], where: str) -> tuple[str, EventPoint | None]:
    if len(row) != len(COLUMNS):
        raise AudiokdError(f"{len(row)} columns, {len(COLUMNS)} expected", where=where, fix=", ".join(COLUMNS))
    name, time, label = (field.strip() for field in row)
    utt_id = utterance_of(name, where)
    if not (time or label):
        return utt_id, None
    try:
        time_s = float(time)
    except ValueError as e:
        raise AudiokdError(f"{utt_id}: {time!r} is no time", where=where, fix="seconds") from e
    if not 0 <= time_s < math.inf:
        raise AudiokdError(f"{utt_id}: {time} is no moment of it", where=where, fix="seconds from its start, from 0 on")
    if label.split() != [label]:
        raise AudiokdError(f"{utt_id}: {label!r} is no word", where=where, fix="labels are single words")
    return utt_id, EventPoint(time_s, label)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="points on sound events; events of the first utterances alone")
    parser.add_argument("data", help="data dir with events.tsv, a row for every utterance")
    parser.add_argument("out", help="data dir to write")
    parser.add_argument(
        "--rate", type=float, required=True, help="share of utterances, the first by id, that keep events"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    args = parser.parse_args(argv)
    write_weak_set(args.data, args.out, args.rate, args.seed)


if __name__ == "__main__":
    main()
