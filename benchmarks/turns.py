"""Steps of several arrangements in turns, each in a process of its own, for how one treats memory is of the whole process."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from audiokd.launch.local import keep_freed_memory


@dataclass(frozen=True)
class Arrangement:
    """What is timed.

    Attributes:
        make: gives, of `args`, what draws the inputs of a turn from its number, and the step that is timed on them.
        args: what can be pickled.
        keeps_memory: whether freed memory stays the process', as in `audiokd fit`.
    """

    make: Callable[..., tuple[Callable[[int], Any], Callable[[Any, int], Any]]]
    args: tuple[Any, ...]
    keeps_memory: bool = True


def in_turns(
    arrangements: Mapping[str, Arrangement], repeats: int, threads: int, device: str
) -> dict[str, list[float]]:
    """Seconds of each one's steps, all on the same turns' inputs; one turn before is for warming up."""
    context = multiprocessing.get_context("spawn")
    ends = {}
    for name, of in arrangements.items():
        ends[name], theirs = context.Pipe()
        context.Process(target=_worker, args=(of, threads, device, theirs), daemon=True).start()
        theirs.close()  # so that a process that dies is an end of file here
    times: dict[str, list[float]] = {name: [] for name in ends}
    for turn in range(repeats + 1):
        for name, end in ends.items():  # the others wait
            end.send(turn)
            took = end.recv()
            if turn:
                times[name].append(took)
    for end in ends.values():
        end.send(None)
    return times


def table(times: Mapping[str, list[float]], items: int, base: str, what: str) -> str:
    """`what` a second, median and range, and how many times those of `base`, of `items` a step."""
    lines = [f"| arrangement | {what} a second (median, range) | against {base} |", "| --- | --- | --- |"]
    for name, of in times.items():
        median = statistics.median(of)
        shown = f"{items / median:.2f} ({items / max(of):.2f}-{items / min(of):.2f})"
        lines.append(f"| {name} | {shown} | {statistics.median(times[base]) / median:.2f} |")
    return "\n".join(lines)


def _worker(of: Arrangement, threads: int, device: str, end: Any) -> None:
    torch.set_num_threads(threads)
    if of.keeps_memory:
        keep_freed_memory()
    draw, step = of.make(*of.args)
    for turn in iter(end.recv, None):
        inputs = draw(turn)
        _wait(device)
        start = time.perf_counter()
        step(inputs, turn)
        _wait(device)
        end.send(time.perf_counter() - start)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
