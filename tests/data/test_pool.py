"""The pool keeps order, says when a worker died, and leaves nobody behind after kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiokd.data.pool import pool_map
from audiokd.errors import AudioError, AudiokdError


def fail(x: int) -> int:
    if x == 3:
        raise AudioError("no good", where=f"item {x}", fix="mend it")
    return -x


def test_order_and_errors():
    assert list(pool_map(fail, [5, 1, 4], 2)) == list(pool_map(fail, [5, 1, 4], 1)) == [-5, -1, -4]
    with pytest.raises(AudioError, match=r"item 3: no good\n  mend it"):
        list(pool_map(fail, range(5), 2))


def test_dead_worker():
    with pytest.raises(AudiokdError, match="a worker process died"):
        list(pool_map(os._exit, [1], 2))


def test_workers_end_with_their_parent(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import time\nfrom audiokd.data.pool import pool_map\n"
        "if __name__ == '__main__':\n    list(pool_map(time.sleep, [100, 100], 2))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, str(script)], env=env)

    def children() -> list[int]:
        return [int(p) for p in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]

    until = time.monotonic() + 60
    while len(children()) < 3 and time.monotonic() < until:  # two workers and multiprocessing's resource tracker
        time.sleep(0.05)
    workers = children()
    assert len(workers) == 3
    time.sleep(1)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    while any(alive(w) for w in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [w for w in workers if alive(w)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
