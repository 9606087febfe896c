"""A pool of worker processes for reading audio, whose workers end when the process that started them is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from audiokd.errors import AudiokdError

T = TypeVar("T")
R = TypeVar("R")


def pool_map(fn: Callable[[T], R], items: Iterable[T], nj: int, chunk_size: int = 1) -> Iterator[R]:
    """`map(fn, items)` in order, by `nj` processes (1: in this one). `fn` must be a module's function.

    Raises:
        AudiokdError: a worker died (out of memory, or a decoder crashed on a damaged file).
    """
    if nj <= 1:
        yield from map(fn, items)
        return
    context = multiprocessing.get_context("spawn")  # fork is not safe once torch or BLAS have threads
    with ProcessPoolExecutor(nj, mp_context=context, initializer=end_with, initargs=(os.getpid(),)) as pool:
        try:
            yield from pool.map(fn, items, chunksize=chunk_size)
        except BrokenProcessPool as e:
            fix = "run it with --nj 1 to see where; in a script of your own, call it below `if __name__ == '__main__':`"
            raise AudiokdError("a worker process died", fix=fix) from e
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def end_with(parent: int) -> None:
    """End this worker when process `parent` is gone: after kill -9 it would work on, or wait for work for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
