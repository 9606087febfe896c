"""Reading ahead: threads decode the next pieces of work while the model is at the present one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class ReadAhead(Generic[R]):
    """`map(read, items)` in order, by threads that are at most `ahead` items in front of who iterates. Once.

    libsndfile and torch's resampler let go of Python's lock, so that a thread reads while the model runs.

    Args:
        read: what is done in a thread; an error of it is raised where its item's turn comes.
        items: what for.
        threads: that read.
        ahead: items that may wait, read or being read.

    Attributes:
        waited_s: seconds that who iterates has waited for an item so far.
    """

    def __init__(self, read: Callable[[T], R], items: Iterable[T], threads: int = 1, ahead: int = 4):
        self.read, self.items = read, items
        self.threads, self.ahead = threads, max(1, ahead)
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[R]:
        waiting: deque[Future[R]] = deque()
        pool = ThreadPoolExecutor(self.threads, "read", _one_thread)
        try:
            for item in self.items:
                waiting.append(pool.submit(self.read, item))
                if len(waiting) >= self.ahead:
                    yield self._next(waiting)
            while waiting:
                yield self._next(waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _next(self, waiting: deque[Future[R]]) -> R:
        start = time.perf_counter()
        try:
            return waiting.popleft().result()
        finally:
            self.waited_s += time.perf_counter() - start


def _one_thread() -> None:
    """Resampling in a reader's thread takes that thread alone: the others are the model's."""
    import torch

    torch.set_num_threads(1)  # of this thread: OpenMP counts for each
