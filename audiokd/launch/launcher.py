"""Where shards run, by name: one interface to processes here, SLURM and Ray; the engine distributes, shards are the unit."""

from __future__ import annotations

import dataclasses
import difflib
import shlex
import typing
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol

from audiokd.errors import AudiokdError, ConfigError
from audiokd.launch import local
from audiokd.launch.ray import Ray
from audiokd.launch.slurm import Slurm


class Launcher(Protocol):
    """Runs tasks somewhere; its dataclass fields are its options."""

    def default_threads(self, nj: int) -> int:
        """Threads of a worker, where the user says nothing."""

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
        """As `launch.local.run`; `anew` is for processes that count their work as they go, which those of other machines do not."""


@dataclasses.dataclass(frozen=True)
class Local:
    """Processes of this machine.

    Args:
        max_retries: how often a shard is run again whose process was killed.
    """

    max_retries: int = 3

    def default_threads(self, nj: int) -> int:
        return local.default_threads(nj)

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
        return local.run(make_worker, args, tasks, nj, threads, tick, anew, self.max_retries)


LAUNCHERS: dict[str, type] = {"local": Local, "slurm": Slurm, "ray": Ray}


def open_launcher(name: str, options: str = "", device: str = "cpu", logs: str = "log") -> Launcher:
    """The launcher `name` with its options.

    Args:
        name: local, slurm or ray.
        options: "key=value key=value", the fields of its class; a value with spaces is quoted as in a shell.
        device: where a worker's model runs: one GPU each is asked for where it is no CPU and the options do not say.
        logs: folder for the logs of jobs, where the options do not say.

    Raises:
        ConfigError: no such launcher, no such option, or a value of another type.
    """
    if name not in LAUNCHERS:
        raise ConfigError(f"unknown launcher {name!r}", fix=f"one of {', '.join(LAUNCHERS)}")
    cls = LAUNCHERS[name]
    types = typing.get_type_hints(cls)
    given: dict[str, Any] = {}
    try:
        words = shlex.split(options)
    except ValueError as e:
        raise ConfigError(f"--launcher_options: {e}", where=options) from e
    for word in words:
        key, is_pair, value = word.partition("=")
        if not is_pair:
            raise ConfigError(f"{word!r} is not key=value", where="--launcher_options", fix='say "cpus=4 time_min=60"')
        if key not in types:
            near = difflib.get_close_matches(key, types, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{name} has no option {key!r}{hint}", fix=f"its options: {', '.join(types)}")
        try:
            given[key] = types[key](value)
        except ValueError as e:
            what = f"{key}={value}: {'a whole number' if types[key] is int else 'a number'} is needed"
            raise ConfigError(what, where="--launcher_options") from e
    gpus = {"slurm": "gpus", "ray": "num_gpus"}.get(name)
    if gpus and device.split(":")[0] != "cpu":
        given.setdefault(gpus, 1)
    if name == "slurm":
        given.setdefault("logs", logs)
    return cls(**given)


def share(split: str) -> tuple[int, int]:
    """Which part of the shards a command does that is one of several by hand: "2/4" is (1, 4), every fourth from the second.

    Raises:
        ConfigError: it is no JOB/NJ with 1 <= JOB <= NJ.
    """
    if not split:
        return 0, 1
    job, _, nj = split.partition("/")
    if not (job.isdecimal() and nj.isdecimal() and 1 <= int(job) <= int(nj)):
        raise ConfigError(f"--split {split}: not JOB/NJ, such as 1/4 to 4/4")
    return int(job) - 1, int(nj)


def not_here(store: str, names: list[str]) -> AudiokdError:
    """For shards that their workers say are written, and that this machine does not see."""
    return AudiokdError(
        f"{len(names)} shards are written elsewhere and cannot be seen here, such as {names[0]}",
        where=store,
        fix="the store, the input and the model must be on a disk that all nodes share, at one path",
    )
