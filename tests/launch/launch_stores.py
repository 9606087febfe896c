"""What the tests of launchers share: the bytes of a folder, and workers that tell where they ran."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

from audiokd.launch.local import own_device

SHARDS = 24


def tree(folder: Path) -> dict[str, str]:
    """Every file below `folder`, hidden ones too, with its sha256."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def finished(store: Path) -> int:
    """How many shards of a store are whole."""
    return len(list(store.glob("[0-9]*/shard.json")))


class Square:
    """A worker: the square of its task, and a line in `marks` that says who did it. Some tasks end otherwise."""

    def __init__(self, marks: str, nap_s: float = 0.0):
        self.marks, self.nap_s = Path(marks), nap_s
        self._mark("made")

    def __call__(self, task: int) -> int:
        self._mark(f"task {task}")
        if task == -2:  # as the system does where there is no memory left
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.nap_s)
        if task == -1:
            raise ValueError("no square of it")
        return task * task

    def _mark(self, what: str) -> None:
        with open(self.marks, "a") as f:  # one short line: appended whole
            f.write(f"{what} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')} {_node()}\n")


class OwnDevice:
    """A worker: the device that its process takes of `count` GPUs; it naps, so that no process does all tasks."""

    def __init__(self, count: int):
        import torch

        torch.cuda.device_count = lambda: count

    def __call__(self, task: str) -> tuple[int, str]:
        time.sleep(0.5)
        return os.getpid(), own_device(task)


def _node() -> str:
    import sys

    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray is not None and ray.is_initialized() else "-"
