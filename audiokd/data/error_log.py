"""What a run could not read: rows of its errors.jsonl, which loader workers and ranks write at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections import Counter
from pathlib import Path

from audiokd.data.items import Item
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.files import jsonl

ERRORS = "errors.jsonl"  # its name in a run's folder


class ErrorLog:
    """Rows `id, set, where, error` of RUN/errors.jsonl; an utterance or item stands there once a set, however often it is met.

    Args:
        folder: of the run.
        name: of the set, train or dev.
    """

    def __init__(self, folder: Path, name: str):
        self.path, self.name = folder / ERRORS, name

    def add(self, utt: Utterance | Item, error: AudiokdError) -> bool:
        """Write down why `utt` cannot be read; whether that is new."""
        row = {"id": utt.id, "set": self.name, "where": utt.where or utt.path, "error": error.what}
        start = jsonl([{k: row[k] for k in ("id", "set")}])[:-2] + b","
        with open(self.path, "a+b") as f:
            with contextlib.suppress(OSError):  # a network disk that has no locks
                fcntl.flock(f.fileno(), fcntl.LOCK_EX)  # until it is closed
            f.seek(0)
            rows = f.read()
            whole = rows[: rows.rfind(b"\n") + 1]
            if whole.startswith(start) or b"\n" + start in whole:
                return False
            f.truncate(len(whole))  # half a line of a process that was killed
            f.write(jsonl([row]))
            f.flush()
            os.fsync(f.fileno())
        return True


def count_errors(folder: Path) -> dict[str, int]:
    """How many utterances or items of each set a run in `folder` could not read."""
    path = folder / ERRORS
    rows = path.read_text().splitlines() if path.exists() else []
    return dict(sorted(Counter(json.loads(row)["set"] for row in rows).items()))
