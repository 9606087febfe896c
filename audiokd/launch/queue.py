"""Shards still to be run, and how often each was lost with its worker: what every launcher shares."""

from __future__ import annotations

import socket
import sys
from collections import deque
from collections.abc import Iterable
from typing import Any

from audiokd.errors import AudiokdError

MOST_GIVEN_UP = 10  # then it is not the shards and not a node: go no further


class Queue:
    """Tasks by number. One that is lost goes to the end of the line, `max_retries` times, and is then given up.

    Args:
        tasks: shards, or anything; `name` is what a message calls one.
        max_retries: how often a task is run again.
    """

    def __init__(self, tasks: Iterable[Any], max_retries: int):
        self.tasks = list(tasks)
        self.todo = deque(range(len(self.tasks)))
        self.max_retries = max_retries
        self._lost: dict[int, int] = {}
        self._given_up: dict[int, str] = {}

    def __bool__(self) -> bool:
        return bool(self.todo)

    def lost(self, i: int, why: str) -> bool:
        """Task `i` was not finished, which is said at once. Whether it is to be run again (it is at the end of `todo` then).

        Raises:
            AudiokdError: that many tasks are given up that the rest would be too; all are named, with the last reason.
        """
        self._lost[i] = self._lost.get(i, 0) + 1
        if self._lost[i] <= self.max_retries:
            print(f"lost, will be run again: {self.name(i)}: {why}", file=sys.stderr, flush=True)
            self.todo.append(i)
            return True
        self._given_up[i] = why
        if len(self._given_up) >= MOST_GIVEN_UP:
            self.end()
        return False

    def last_try(self, i: int) -> bool:
        """Whether task `i` was lost before and will not be run again: then it is run alone, so that it is lost by no fault of
        another's."""
        return 0 < self._lost.get(i, 0) == self.max_retries

    def end(self) -> None:
        """Say what is missing, and why.

        Raises:
            AudiokdError: a task was given up.
        """
        if not self._given_up:
            return
        rows = [f"  {self.name(i)}, run {self._lost[i]} times: {why}" for i, why in sorted(self._given_up.items())]
        raise AudiokdError(
            f"{len(rows)} of {len(self.tasks)} shards are missing\n" + "\n".join(rows),
            fix="see to the reason and run the same command again: finished shards are kept",
        )

    def name(self, i: int) -> str:
        """What a message calls task `i`."""
        task = self.tasks[i]
        return f"shard {task.name}" if hasattr(task, "name") else str(task)[:80]


def reason(e: BaseException) -> str:
    """An error that a worker met, in one line that names the machine."""
    what = str(e).strip() if isinstance(e, AudiokdError) else f"{type(e).__name__}: {e}"
    return f"on {socket.gethostname()}: " + " ".join(what.split())
