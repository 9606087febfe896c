"""Runs of `audiokd fit` as processes of their own, and what they leave behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
import warm

Rows = dict[tuple[int, str, str], str]


def start(command: list[str], exp: Path, *more: str) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    args = [warm.command(), *command[1:], "--exp_dir", str(exp), *more]
    return subprocess.Popen(
        args, env=env, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(command: list[str], exp: Path, *more: str) -> str:
    run = start(command, exp, *more)
    out = run.communicate(timeout=300)[0]
    assert run.returncode == 0, out
    return out


def rows(exp: Path) -> Rows:
    with open(exp / "metrics.csv") as f:
        found = [((int(r["step"]), r["split"], r["name"]), r["value"]) for r in csv.DictReader(f)]
    assert len(found) == len(dict(found)), "a number stands twice"
    return dict(found)


def reached(exp: Path) -> int:
    """The last step in metrics.csv."""
    path = exp / "metrics.csv"
    lines = path.read_text().split("\n")[1:-1] if path.exists() else []
    return max((int(line.split(",")[0]) for line in lines if line[:1].isdigit()), default=-1)


def kill_at(step: int, command: list[str], exp: Path, *more: str) -> int:
    """Start a run, kill it once it has shown `step`, and say how far it had come."""
    run = start(command, exp, *more)
    deadline = time.monotonic() + 200
    while reached(exp) < step and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    come = reached(exp)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL, "it ended before it was killed"
    return come


def assert_same_run(a: Path, b: Path) -> None:
    """The same numbers in the logs and, to the bit, the same checkpoints."""
    assert rows(a) == rows(b)
    for name in ("last", "best"):
        mine, theirs = checkpoint(a, name), checkpoint(b, name)
        for part in ("state_dict", "optimizer_states", "iteration", "callbacks"):
            assert differences(mine[part], theirs[part], part) == [], name


def checkpoint(exp: Path, name: str) -> dict[str, Any]:
    return torch.load(exp / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=True)


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Where two trees of tensors and plain values differ, to the bit."""
    if isinstance(a, torch.Tensor):
        return [] if isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b) else [at]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{at}: keys {a.keys() ^ b.keys()}"]
        return [d for k in a for d in differences(a[k], b[k], f"{at}.{k}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [at]
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{at}[{i}]")]
    return [] if a == b else [f"{at}: {a} {b}"]
