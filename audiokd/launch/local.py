"""Where shards run on this machine: in this process, or in `nj` processes of their own that die with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing as mp
import os
import signal
import struct
import sys
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

from audiokd.data.pool import end_with
from audiokd.launch.queue import Queue

_ADDED = struct.Struct("<qd")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_make_worker: Any = None
_worker: Any = None
_number = 0  # of this process among its pool's


class Counter:
    """Work done by any number of processes, any of which may be killed. Give it to a worker as an argument of `make_worker`.

    Processes write to a pipe, each addition at once and whole: a lock in shared memory would stay taken by one that is killed
    while it has it, and all others would wait for ever.

    Args:
        on_add: called after each addition made in this process.
        shared: several processes add; else it is a plain number and takes no pipe.
    """

    def __init__(self, on_add: Callable[[], None], shared: bool):
        ends: Any = mp.get_context("spawn").Pipe(duplex=False) if shared else (None, None)
        self._reader, self._writer = ends
        self._n, self._audio_s = 0, 0.0
        self._on_add: Callable[[], None] | None = on_add

    def __getstate__(self) -> dict[str, Any]:
        return {"_reader": None, "_writer": self._writer, "_n": 0, "_audio_s": 0.0, "_on_add": None}

    def value(self) -> tuple[int, float]:
        """The sums of all additions: their number, seconds of audio."""
        while self._reader is not None and self._reader.poll():
            n, audio_s = _ADDED.unpack(self._reader.recv_bytes())
            self._n, self._audio_s = self._n + n, self._audio_s + audio_s
        return self._n, self._audio_s

    def add(self, n: int, audio_s: float = 0.0) -> None:
        """Count `n` more, with so many seconds of audio."""
        if self._reader is None and self._writer is not None:
            self._writer.send_bytes(_ADDED.pack(n, audio_s))
        else:
            self._n, self._audio_s = self._n + n, self._audio_s + audio_s
        if self._on_add is not None:
            self._on_add()

    def reset(self, n: int, audio_s: float) -> None:
        """Count from there: what processes that were killed have added is void."""
        self.value()
        self._n, self._audio_s = n, audio_s


def run(
    make_worker: Callable[..., Any],
    args: tuple[Any, ...],
    tasks: Iterable[Any],
    nj: int,
    threads: int,
    tick: Callable[[], None] = lambda: None,
    anew: Callable[[], None] = lambda: None,
    max_retries: int = 3,
) -> Generator[Any, None, None]:
    """Yield `make_worker(*args)(task)` for every task, as they finish (in order when `nj` is 1).

    Where a process is killed, the tasks that were under way are run again, by new processes, when all others are done; the last
    time each by itself, since whose fault it was nobody knows.

    Args:
        make_worker: a module-level function or class; called once a process, so a model is loaded once.
        args: its arguments, picklable.
        tasks: picklable.
        nj: processes; 1 runs everything here.
        threads: of each process's numeric libraries.
        tick: called twice a second while other processes work, to show their progress.
        anew: called when no process is left, after the results of all finished tasks, before new ones start on the others.
        max_retries: how often one task is run again.

    Raises:
        AudiokdError: a worker's own error, at once; or the tasks that were killed too often, after all else is done.
    """
    if nj == 1:
        use_threads(threads, environ=False)
        worker = make_worker(*args)
        for task in tasks:
            yield worker(task)
        return
    before = {k: os.environ.get(k) for k in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))  # read when a child imports torch
    queue = Queue(tasks, max_retries)
    try:
        while queue:
            yield from _run_pool(queue, (make_worker, args, threads), nj, tick)
            anew()
        queue.end()
    finally:
        for k, v in before.items():
            os.environ.pop(k, None) if v is None else os.environ.__setitem__(k, v)


def _run_pool(queue: Queue, start: tuple[Any, ...], nj: int, tick: Callable[[], None]) -> Generator[Any, None, None]:
    """Run the queue until it is empty or a process is killed, with which the whole pool is of no more use."""
    from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool

    context = mp.get_context("spawn")
    pool = ProcessPoolExecutor(nj, context, _start, (*start, os.getpid(), context.Value("q", 0)))
    running: dict[Future[Any], int] = {}

    def has_room() -> bool:  # for no more than run: what is killed with the pool is known
        alone = any(map(queue.last_try, (*running.values(), queue.todo[0])))
        return len(running) < (1 if alone else nj)

    try:
        while queue or running:
            while queue and has_room():
                i = queue.todo[0]
                future = pool.submit(_call, queue.tasks[i])  # a pool that broke meanwhile raises: `i` is still to do
                running[future] = queue.todo.popleft()
            finished = wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done
            tick()
            for future in finished:
                result = future.result()
                del running[future]
                yield result
    except BrokenProcessPool:
        for future, i in running.items():
            if future.done() and future.exception() is None:  # it was faster
                yield future.result()
            else:
                queue.lost(i, "its process was killed (out of memory? then a smaller --nj helps)")
    finally:
        pool.shutdown(cancel_futures=True)  # waits: a pool that is gone before its thread looks cancels nothing


def own_device(device: str) -> str:
    """`device`; of "cuda" without a number this process's own: the processes of a pool share the GPUs of the machine."""
    if device != "cuda" or not _number:
        return device
    import torch

    return f"cuda:{_number % max(1, torch.cuda.device_count())}"


def _start(make_worker: Callable[..., Any], args: tuple[Any, ...], threads: int, parent: int, started: Any) -> None:
    global _make_worker, _number
    end_with(parent)
    with started.get_lock():
        _number = started.value
        started.value += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    use_threads(threads, environ=False)
    _make_worker = partial(make_worker, *args)


def _call(task: Any) -> Any:
    global _worker
    if _worker is None:  # not in _start: a pool says nothing of what fails there
        _worker = _make_worker()
    return _worker(task)


def use_threads(threads: int, environ: bool = True) -> None:
    """So many threads for the numeric libraries of this process; with `environ` also for what is not imported yet."""
    if environ:
        os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    keep_freed_memory()
    import torch

    torch.set_num_threads(threads)


def keep_freed_memory() -> None:
    """glibc: keep freed activations instead of giving them back to the system after every layer.

    Page faults on 100 MB activations are half the time of a convolutional encoder's first stages; with this the same
    pages are used again and the numbers stay bit-equal.
    """
    if sys.platform != "linux":
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no allocation gets a mapping of its own
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back
    except (OSError, AttributeError):
        return


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads(nj: int) -> int:
    """Threads of each of `nj` processes so that together they fill the cores, but no more than OMP_NUM_THREADS says.

    Whoever sets that shares the machine: a thread that waits for one whose core is taken spins, and was measured to make
    a busy machine's encoding several times slower.
    """
    cores, said = usable_cores(), os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores // nj, int(said) if said.isdigit() else cores))
