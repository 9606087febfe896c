"""How many threads a process gets: all cores together, never more than the user allows."""

from __future__ import annotations

import os

import pytest

from audiokd.launch.local import default_threads

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("said", "nj", "threads"),
    [
        (None, 1, CORES),
        (None, CORES, 1),
        (None, 4 * CORES, 1),
        ("1", 1, 1),
        ("999", 1, CORES),
        ("0", 1, 1),
        ("", 1, CORES),
    ],
)
def test_default_threads(monkeypatch: pytest.MonkeyPatch, said: str | None, nj: int, threads: int) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert default_threads(nj) == threads
