"""Time marks of phones: Kaldi's CTM, `utterance-id channel start duration phone [confidence]` a line, times in seconds.

A data dir that has phone times holds them in phones.ctm. Times count from the start of the utterance, not of its recording.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from audiokd.errors import AudiokdError
from audiokd.files import write_text

PHONES = "phones.ctm"  # its name in a data dir
OVERLAP_S = 2e-3  # by which a phone may start before the one ahead of it ends: times are written rounded


class Phone(NamedTuple):
    """A phone from `start_s` up to `end_s`, seconds from the start of its utterance."""

    start_s: float
    end_s: float
    label: str


def read_ctm(path: str | os.PathLike[str]) -> dict[str, list[Phone]]:
    """Phones by utterance id, in time order. Stretches that no phone covers are allowed.

    Args:
        path: a CTM file, or a data dir that holds a phones.ctm.

    Raises:
        AudiokdError: no such file, or a line that is no phone, or one that overlaps the phone ahead of it (file:line).
    """
    file = Path(path) / PHONES if Path(path).is_dir() else Path(path)
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError as e:
        fix = "phone times are lines `utterance-id channel start duration phone`, as an aligner writes them"
        raise AudiokdError("no such file", where=str(file), fix=fix) from e
    phones: dict[str, list[Phone]] = {}
    for number, raw in enumerate(lines, 1):
        if not raw.strip() or raw.lstrip().startswith(b";;"):  # ";;" begins a comment in a CTM
            continue
        utt_id, phone = _line(raw, f"{file}:{number}")
        of_utterance = phones.setdefault(utt_id, [])
        if of_utterance and phone.start_s < of_utterance[-1].end_s - OVERLAP_S:
            before = of_utterance[-1]
            what = f"{utt_id}: {phone.label} starts at {phone.start_s:g} s, in {before.label} that ends at {before.end_s:g} s"
            raise AudiokdError(
                what, where=f"{file}:{number}", fix="sort the file by utterance and start: one phone a time"
            )
        of_utterance.append(phone)
    if not phones:
        raise AudiokdError("holds no phone", where=str(file))
    return phones


def write_ctm(path: str | os.PathLike[str], phones: Mapping[str, Sequence[Phone]]) -> None:
    """Write phones by utterance id, sorted by id; times are rounded to 0.01 ms."""
    lines = [
        f"{utt_id} 1 {round(p.start_s, 5)} {round(p.end_s - p.start_s, 5)} {p.label}\n"
        for utt_id in sorted(phones)
        for p in phones[utt_id]
    ]
    write_text(path, "".join(lines))


def _line(raw: bytes, where: str) -> tuple[str, Phone]:
    try:
        fields = raw.decode().split()
    except UnicodeDecodeError as e:
        raise AudiokdError(f"not UTF-8: byte 0x{raw[e.start]:02x} at column {e.start + 1}", where=where) from e
    if len(fields) not in (5, 6):
        fix = "a line is `utterance-id channel start duration phone`"
        raise AudiokdError(f"{len(fields)} fields, 5 or 6 expected", where=where, fix=fix)
    try:
        start, duration = float(fields[2]), float(fields[3])
    except ValueError as e:
        raise AudiokdError(f"times are not numbers: {fields[2]} {fields[3]}", where=where) from e
    if not (0 <= start < math.inf and 0 < duration < math.inf):
        what = f"{fields[0]}: start {fields[2]} and duration {fields[3]} are no stretch of an utterance"
        raise AudiokdError(what, where=where, fix="seconds are expected: a start from 0 on, a duration above 0")
    return fields[0], Phone(start, start + duration, fields[4])
