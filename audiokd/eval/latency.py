"""How long models take for one picture, measured in turns: what else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

WARM_UP, TIMED = 5, 50  # calls of each; those of the warm-up are not counted


class Latency(NamedTuple):
    """Of one picture.

    Attributes:
        median_ms, low_ms, high_ms: the middle and the quartiles of the calls, milliseconds.
        threads: that compute.
        clock: processor (of one thread, whatever else runs) or wall.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    threads: int
    clock: str

    @property
    def per_second(self) -> float:
        """Pictures a second, one after another."""
        return 1000 / self.median_ms

    def as_dict(self) -> dict[str, Any]:
        return {**self._asdict(), "per_second": round(self.per_second, 2)}


def latencies(calls: Mapping[str, Callable[[], object]], threads: int = 1, timed: int = TIMED) -> dict[str, Latency]:
    """Time calls in turns, each once a round.

    Args:
        calls: by name, each of one picture.
        threads: of torch, meanwhile. Of one the processor's time is taken, of more the wall's.
        timed: rounds that are counted.
    """
    import torch

    clock, name = (time.thread_time, "processor") if threads == 1 else (time.perf_counter, "wall")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    spent: dict[str, list[float]] = {k: [] for k in calls}
    try:
        with torch.inference_mode():
            for number in range(WARM_UP + timed):
                for key, call in calls.items():
                    began = clock()
                    call()
                    if number >= WARM_UP:
                        spent[key].append(1000 * (clock() - began))
    finally:
        torch.set_num_threads(before)
    return {k: _of(times, threads, name) for k, times in spent.items()}


def latencies_of(models: Mapping[str, Any], threads: int = 1, timed: int = TIMED) -> dict[str, Latency]:
    """Latencies of picture models (`audiokd.hub.auto.load_for_inference`), a batch of one picture of each one's own size."""
    import torch

    def call(model: Any) -> Callable[[], object]:
        x = torch.zeros(1, 3, *model.preprocess.size)
        return lambda: model.extract(x, None, model.feature_layers[0])

    return latencies({k: call(m) for k, m in models.items()}, threads, timed)


def _of(times: Sequence[float], threads: int, clock: str) -> Latency:
    low, median, high = statistics.quantiles(times, n=4)
    return Latency(round(median, 3), round(low, 3), round(high, 3), threads, clock)
