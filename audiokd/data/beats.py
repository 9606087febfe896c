"""Times of beats: `utterance-id seconds [seconds ...]` a line, in the file utt2beats of a data dir.

Times count from the start of the utterance, not of its recording. An id alone has no beat.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import write_text

BEATS = "utt2beats"  # its name in a data dir


def read_beats(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Seconds [N] float64 by utterance id.

    Args:
        path: such a file, or a data dir that holds one.

    Raises:
        AudiokdError: no such file, an utterance that stands twice, or times that are no numbers from 0 up (file:line).
    """
    file = Path(path) / BEATS if Path(path).is_dir() else Path(path)
    found: dict[str, np.ndarray] = {}
    for number, line in enumerate(
        read_utf8(file, "beats are lines `utterance-id seconds [seconds ...]`").splitlines(), 1
    ):
        if not line.strip():
            continue
        utt_id, *words = line.split()
        where = f"{file}:{number}"
        if utt_id in found:
            raise AudiokdError(f"{utt_id} stands there before", where=where, fix="give all its beats at once")
        try:
            times = np.array([float(w) for w in words])
        except ValueError as e:
            raise AudiokdError(f"{utt_id}: {e}", where=where, fix="times in seconds") from e
        steps = np.diff(times, prepend=-1e-9)
        if not (np.isfinite(times).all() and (steps > 0).all()):
            k = int(np.argmin(np.isfinite(times) & (steps > 0)))
            raise AudiokdError(
                f"{utt_id}: beat {k + 1} is at {words[k]}", where=where, fix="seconds from 0 on, in order"
            )
        found[utt_id] = times
    if not found:
        raise AudiokdError("holds no beats", where=str(file))
    return found


def write_beats(path: str | os.PathLike[str], beats: Mapping[str, Sequence[float]]) -> None:
    """Write times in seconds by utterance id, sorted by id, to the tenth of a millisecond."""
    write_text(path, "".join(f"{i} {' '.join(f'{t:.4f}' for t in beats[i])}".rstrip() + "\n" for i in sorted(beats)))
