"""What a job of a batch system does: its share of the shards, one line a shard in a list that another process reads."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audiokd.launch.local import use_threads
from audiokd.launch.queue import reason

_MOST_FAILURES = 3  # in a row: then it is this node


class DoneList:
    """A file to which a job appends (task number, result, error), and of which its launcher reads what is new.

    Lines are pickles in base64: one that a kill has torn is no line and is left out. The files are the launcher's own.
    """

    def __init__(self, file: str):
        self.file = file
        self._at = 0

    def add(self, i: int, result: Any, error: str | None) -> None:
        """Append a line; it begins with a newline, as a torn one may be before it."""
        line = base64.b64encode(pickle.dumps((i, result, error)))
        with open(self.file, "ab") as f:
            f.write(b"\n" + line + b"\n")

    def read(self) -> list[tuple[int, Any, str | None]]:
        """The lines that are new since the last call."""
        if not Path(self.file).exists():
            return []
        with open(self.file, "rb") as f:
            f.seek(self._at)
            whole = f.read()
        whole = whole[: whole.rfind(b"\n") + 1]
        self._at += len(whole)
        rows = []
        for line in whole.split():
            try:
                rows.append(pickle.loads(base64.b64decode(line, validate=True)))
            except (ValueError, EOFError, pickle.UnpicklingError):  # torn
                continue
        return rows


class ShardJob:
    """One job of an array. submitit pickles it, and calls `checkpoint` where the job is stopped, to be queued again.

    Args:
        make_worker, args, threads: as `launch.local.run`.
        tasks: numbered.
        file: of its DoneList.
        max_stops: how often in a row it may be stopped before it has finished a shard.
    """

    def __init__(
        self,
        make_worker: Callable[..., Any],
        args: tuple[Any, ...],
        tasks: list[tuple[int, Any]],
        threads: int,
        file: str,
        max_stops: int,
    ):
        self.make_worker, self.args, self.tasks, self.threads = make_worker, args, tasks, threads
        self.file, self.max_stops = file, max_stops
        self.stops, self.seen = 0, 0

    def __call__(self) -> None:
        """Run the tasks that are not in the list yet.

        Raises:
            RuntimeError: three tasks in a row have failed here, for the reasons in the list.
        """
        done_list = DoneList(self.file)
        done = {i for i, _, _ in done_list.read()}
        worker: Any = None
        failures = 0
        use_threads(self.threads)
        for i, task in self.tasks:
            if i in done:
                continue
            print(f"{getattr(task, 'name', task)}", flush=True)
            result, error = None, None
            try:
                worker = worker or self.make_worker(*self.args)
                result = worker(task)
                failures = 0
            except Exception as e:
                error, worker = reason(e), None  # a GPU that failed once fails again
                failures += 1
                print(error, flush=True)
            done_list.add(i, result, error)
            if failures == _MOST_FAILURES:
                raise RuntimeError(f"{failures} shards in a row failed, the last {error}")

    def checkpoint(self) -> Any:
        """What is to be run when the job's turn comes again; None ends it, as time after time it finished nothing."""
        import submitit

        count = len(DoneList(self.file).read())
        self.stops, self.seen = (self.stops + 1 if count == self.seen else 0), count
        if self.stops > self.max_stops:
            print(
                f"stopped {self.stops} times before it finished a shard: more time, or a smaller --shard_size",
                flush=True,
            )
            return None
        return submitit.helpers.DelayedSubmission(self)
