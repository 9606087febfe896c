"""Shards on a Ray cluster: an actor a worker, with its model; a shard whose node dies is run on another."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from audiokd.errors import AudiokdError
from audiokd.launch.local import use_threads
from audiokd.launch.queue import Queue, reason

_PATIENCE_S = 30.0  # without a worker; then say what is waited for
_MOST_FAILED_STARTS = 10  # in a row


def _knock(address: str) -> None:
    """Connect to "host:port" and let go: `ray.init` tries for minutes where nobody listens.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if host and "/" not in address and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


@dataclass(frozen=True)
class Ray:
    """Actors on a Ray cluster that is there. Those that find no place wait for one: an autoscaler sees what is missing.

    Args:
        address: of the cluster, as `ray.init` takes it: "auto" is the one this machine is part of, "local" starts one here.
        num_cpus: of a worker.
        num_gpus: of a worker; 0.25 puts four on one GPU.
        max_retries: how often a shard is run again whose worker died or failed.
    """

    address: str = "auto"
    num_cpus: float = 1
    num_gpus: float = 0
    max_retries: int = 3

    def default_threads(self, nj: int) -> int:
        return max(1, int(self.num_cpus))

    def run(
        self,
        make_worker: Callable[..., Any],
        args: tuple[Any, ...],
        tasks: Iterable[Any],
        nj: int,
        threads: int,
        tick: Callable[[], None] = lambda: None,
        anew: Callable[[], None] = lambda: None,
    ) -> Generator[Any, None, None]:
        """As `launch.local.run`, by `nj` actors. A failure is a loss too: the shard goes to another actor, a new one comes.

        Raises:
            AudiokdError: no cluster; no worker could be started; or what is missing, and why, after all else is done.
        """
        try:
            import ray
        except ImportError as e:
            raise AudiokdError("ray is not installed", fix="pip install 'audiokd[ray]'") from e
        mine = not ray.is_initialized()
        if mine:
            try:
                _knock(self.address)
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError) as e:
                fix = "start one (ray start --head; on other nodes ray start --address=HEAD:6379), or give address=..."
                raise AudiokdError(f"no Ray cluster ({e})", where=f"address={self.address}", fix=fix) from e
        cluster = _Cluster(self, make_worker, args, threads)
        queue = Queue(tasks, self.max_retries)
        try:
            while queue or cluster.busy:
                cluster.feed(queue, nj)
                for i, result, error in cluster.finished():
                    if error is None:
                        yield result
                    else:
                        queue.lost(i, error)
                tick()
            queue.end()
        finally:
            cluster.close()
            if mine:
                ray.shutdown()


class _Worker:
    """The actor. The worker is made by its first task, so that what fails then is that task's error."""

    def __init__(self, make_worker: Callable[..., Any], args: tuple[Any, ...], threads: int, folder: str):
        self.make_worker, self.args, self.threads, self.folder = make_worker, args, threads, folder
        self.worker: Any = None

    def place(self) -> str:
        """The node's name, as soon as there is one."""
        import socket

        return socket.gethostname()

    def call(self, task: Any) -> tuple[Any, str | None]:
        """The task's result, or the error: as text, for a class that only the node knows cannot be read elsewhere."""
        try:
            if self.worker is None:
                os.chdir(self.folder)  # paths of the input may be relative to where the command was given
                use_threads(self.threads)
                self.worker = self.make_worker(*self.args)
            return self.worker(task), None
        except Exception as e:
            return None, reason(e)


class _Cluster:
    """Actors that start, are idle, or have a task."""

    def __init__(self, options: Ray, make_worker: Callable[..., Any], args: tuple[Any, ...], threads: int):
        import ray

        self.ray = ray
        what = {"num_cpus": options.num_cpus, "num_gpus": options.num_gpus, "max_restarts": 0}
        actor: Any = ray.remote(_Worker)
        start = (make_worker, args, threads, os.getcwd())
        self._new = lambda: actor.options(scheduling_strategy="SPREAD", **what).remote(*start)
        self._asked = f"{options.num_cpus:g} CPUs and {options.num_gpus:g} GPUs"
        self._starting: dict[Any, Any] = {}
        self._idle: list[tuple[Any, str]] = []
        self._running: dict[Any, tuple[Any, str, int]] = {}
        self._failed_starts = 0
        self._alone_since: float | None = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a task runs."""
        return bool(self._running)

    def feed(self, queue: Queue, nj: int) -> None:
        """Give idle actors a task each, ask for up to `nj` in all, and let go those that are of no more use."""
        while queue and self._idle:
            (actor, node), i = self._idle.pop(), queue.todo.popleft()
            self._running[actor.call.remote(queue.tasks[i])] = (actor, node, i)
        while len(self._starting) < min(len(queue.todo), nj - len(self._running)):
            actor = self._new()
            self._starting[actor.place.remote()] = actor
        while self._idle:  # its place is another's; a shard that is lost after this gets a new actor
            self._end(self._idle.pop()[0])

    def finished(self) -> Generator[tuple[int, Any, str | None], None, None]:
        """Wait half a second at most; (task, result, error) of the tasks that ended."""
        refs = [*self._starting, *self._running]
        self.ray.wait(refs, num_returns=1, timeout=0.5)
        for ref in self.ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
            actor, node, i = self._running.pop(ref, (None, "", -1))
            if actor is None:
                self._started(ref, self._starting.pop(ref))
                continue
            try:
                result, error = self.ray.get(ref)
            except self.ray.exceptions.RayError as e:  # the actor, its node, or what it gave is gone
                result, error = None, f"its worker on {node} died: {_said(e)}"
            if error is None:
                self._idle.append((actor, node))
            else:
                self._end(actor)  # a GPU that failed once fails again
            yield i, result, error
        self._complain()

    def close(self) -> None:
        """End all actors."""
        for actor in [
            *self._starting.values(),
            *(a for a, _ in self._idle),
            *(a for a, _, _ in self._running.values()),
        ]:
            self._end(actor)

    def _started(self, ref: Any, actor: Any) -> None:
        try:
            self._idle.append((actor, self.ray.get(ref)))
            self._failed_starts = 0
        except self.ray.exceptions.RayError as e:
            self._end(actor)
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS:
                fix = "all nodes need this version of audiokd and what it imports"
                raise AudiokdError(f"no worker could be started on the cluster: {_said(e)}", fix=fix) from e

    def _end(self, actor: Any) -> None:
        with suppress(Exception):  # it may be dead
            self.ray.kill(actor)

    def _complain(self) -> None:
        if self._running or self._idle:
            self._alone_since = time.monotonic()
        elif self._alone_since is not None and time.monotonic() - self._alone_since > _PATIENCE_S:
            self._alone_since = None  # once
            there = {k: v for k, v in self.ray.cluster_resources().items() if k in ("CPU", "GPU")}
            print(
                f"waiting for a place on the cluster: a worker needs {self._asked}; all in all: {there}",
                file=sys.stderr,
            )


def _said(e: BaseException) -> str:
    """The first and the last line of Ray's long words: what it is, and what it comes from."""
    lines = [" ".join(re.sub(r"\x1b\[\d*m", "", line).split()) for line in str(e).splitlines() if line.strip()]
    return " ... ".join(dict.fromkeys([lines[0], lines[-1]])) if lines else type(e).__name__
