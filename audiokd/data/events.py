"""Sound events with times: DESED's table, `filename onset offset event_label` with tabs between, a header on top.

A data dir that has event times holds them in events.tsv. Events may overlap. Times count from the start of the utterance. The
first column is the utterance id, or a file name, whose folder and suffix are dropped; a row whose other columns are empty
names an utterance without an event.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import write_text

EVENTS = "events.tsv"  # its name in a data dir
COLUMNS = ("filename", "onset", "offset", "event_label")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")


class Event(NamedTuple):
    """A sound event from `start_s` up to `end_s`, seconds from the start of its utterance."""

    start_s: float
    end_s: float
    label: str


def read_events(path: str | os.PathLike[str]) -> dict[str, list[Event]]:
    """Events by utterance id, in time order; an utterance without one has an empty list.

    Args:
        path: such a table, or a data dir that holds an events.tsv.

    Raises:
        AudiokdError: no such file, another header, or a row that is no event (file:line).
    """
    file = Path(path) / EVENTS if Path(path).is_dir() else Path(path)
    text = read_utf8(file, f"event times are a table `{' '.join(COLUMNS)}`")
    rows = list(csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or tuple(rows[0]) != COLUMNS:
        what = f"header {' '.join(rows[0]) if rows else 'missing'}"
        raise AudiokdError(what, where=f"{file}:1", fix=f"{', '.join(COLUMNS)}, with tabs between")
    events: dict[str, list[Event]] = {}
    for number, row in enumerate(rows[1:], 2):
        if row:
            utt_id, event = _row(row, f"{file}:{number}")
            events.setdefault(utt_id, []).extend([event] if event else [])
    if not events:
        raise AudiokdError("holds no event", where=str(file))
    return {utt_id: sorted(of) for utt_id, of in events.items()}


def write_events(path: str | os.PathLike[str], events: Mapping[str, Sequence[Event]]) -> None:
    """Write events by utterance id, sorted by id, as `read_events` reads them; times are rounded to 0.01 ms."""
    lines = ["\t".join(COLUMNS)]
    for utt_id in sorted(events):
        lines += [f"{utt_id}\t{round(e.start_s, 5)}\t{round(e.end_s, 5)}\t{e.label}" for e in events[utt_id]]
        lines += [] if events[utt_id] else [f"{utt_id}\t\t\t"]
    write_text(path, "".join(f"{line}\n" for line in lines))


def mean_lengths(events: Iterable[Sequence[Event]]) -> dict[str, float]:
    """Mean seconds of each label's events, labels sorted."""
    found: dict[str, list[float]] = {}
    for e in (e for of in events for e in of):
        found.setdefault(e.label, []).append(e.end_s - e.start_s)
    return {label: sum(of) / len(of) for label, of in sorted(found.items())}


def utterance_of(name: str, where: str) -> str:
    """The utterance id that a table's first column names.

    Raises:
        AudiokdError: it is empty.
    """
    # an utterance id may have dots in it: only what is a sound file's suffix goes
    file = PurePosixPath(name)
    utt_id = file.stem if file.suffix.lower() in AUDIO_SUFFIXES else file.name
    if not utt_id:
        raise AudiokdError("a row without a file name", where=where)
    return utt_id


def _row(row: list[str], where: str) -> tuple[str, Event | None]:
    if len(row) != len(COLUMNS):
        raise AudiokdError(f"{len(row)} columns, {len(COLUMNS)} expected", where=where, fix=", ".join(COLUMNS))
    name, onset, offset, label = (field.strip() for field in row)
    utt_id = utterance_of(name, where)
    if not (onset or offset or label):
        return utt_id, None
    try:
        start, end = float(onset), float(offset)
    except ValueError as e:
        raise AudiokdError(f"{utt_id}: times are not numbers: {onset!r} {offset!r}", where=where) from e
    if not 0 <= start < end < math.inf:
        what = f"{utt_id}: from {onset} to {offset} is no stretch of time"
        raise AudiokdError(what, where=where, fix="seconds: an onset from 0 on, an offset after it")
    if label.split() != [label]:
        raise AudiokdError(f"{utt_id}: {label!r} is no word", where=where, fix="labels are single words")
    return utt_id, Event(start, end, label)
