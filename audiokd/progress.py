"""Progress on every long step: a bar with the time left on a terminal, a plain line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Counts work done and tells how long the rest will take. Use through `progress()`."""

    def __init__(self, name: str, total: float | None, unit: str, every_s: float):
        self.name, self.unit, self.every_s = name, unit, every_s
        self.total = None if total is None else max(total, 1e-9)
        self.done, self.note = 0.0, ""
        self._start = self._last = time.monotonic()
        self._done_at_start: float | None = None
        self._first = self._start

    def advance(self, n: float = 1, note: str = "") -> None:
        """Add `n` units of work; `note` is shown beside the count."""
        self.update(self.done + n, note)

    def update(self, done: float, note: str = "") -> None:
        """Set the work done to `done` units."""
        now = time.monotonic()
        if self._done_at_start is None and done > self.done:
            # the first piece of work pays for starting up, and a resumed run starts above zero: neither tells of the speed
            self._done_at_start, self._first = done, now
        self.done, self.note = done, note or self.note
        if now - self._last >= self.every_s:
            self._last = now
            self._show(now)

    def line(self) -> str:
        """The line that is shown: name, share, count, rate, time left, note."""
        now = time.monotonic()
        spent = now - self._start
        rate = self._rate(now)
        if self.total is None:
            text = f"{self.name} {self.done:,.0f} {self.unit} {rate:.3g}/s | {clock(spent)} spent"
            return f"{text} | {self.note}" if self.note else text
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        share = min(self.done / self.total, 1.0)
        text = f"{self.name} {share:4.0%} {self.done:,.0f}/{self.total:,.0f} {self.unit} {rate:.3g}/s"
        text += f" | {clock(spent)} spent, {clock(left)} left"
        return f"{text} | {self.note}" if self.note else text

    def _rate(self, now: float) -> float:
        since = self.done - (self._done_at_start or 0.0)
        if since > 0 and now > self._first:
            return since / (now - self._first)
        return self.done / (now - self._start) if self.done and now > self._start else 0.0

    def _show(self, now: float) -> None:
        if sys.stderr.isatty() and self.total is None:
            sys.stderr.write(f"\r\x1b[K{self.line()}")
        elif sys.stderr.isatty() and self.total is not None:
            width = 20
            full = round(width * min(self.done / self.total, 1.0))
            sys.stderr.write(f"\r\x1b[K[{'#' * full}{'.' * (width - full)}] {self.line()}")
        else:
            sys.stderr.write(self.line() + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Show the last state and end the line."""
        self._show(time.monotonic())
        if sys.stderr.isatty():
            sys.stderr.write("\n")


def clock(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`; `?` when unknown."""
    if seconds == float("inf"):
        return "?"
    s = int(seconds)
    return f"{s // 3600}:{s // 60 % 60:02d}:{s % 60:02d}" if s >= 3600 else f"{s // 60}:{s % 60:02d}"


@contextmanager
def progress(name: str, total: float | None, unit: str = "") -> Iterator[Progress]:
    """Show progress of `total` units of work (None: nobody knows) on stderr: twice a second on a terminal, every 10 s elsewhere."""
    bar = Progress(name, total, unit, every_s=0.5 if sys.stderr.isatty() else 10.0)
    try:
        yield bar
    finally:
        bar.close()
