"""Two processes that write one shard at once, and a third that cleans up: what is there is one writer's, whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from token_stores import META, mu_law, tree

from audiokd.tokens.store import open_store, verify_store
from audiokd.tokens.writer import StoreWriter

_WRITER = """
import sys, time
import numpy as np
from audiokd.tokens.store import StoreItem, StoreWriter

out, codes, meta, threads, times = sys.argv[1], np.load(sys.argv[2]), eval(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
writer = StoreWriter(out, "codes", meta)
errors = [{"id": "bad", "where": "f", "error": "broken"}] if threads == 2 else []
items = [StoreItem(f"{k}", np.roll(codes, threads * 7 + k), 150000, 16000) for k in range(6)]
print("up", flush=True)
sys.stdin.read()
for _ in range(times):
    writer.write_shard("00000", items, errors, {"threads": threads}, "input")
"""

_CLEANER = """
import sys, time
from pathlib import Path
from audiokd.errors import AudiokdError
from audiokd.tokens import layout
from audiokd.tokens.store import StoreWriter

writer = StoreWriter(sys.argv[1], "codes", eval(sys.argv[3]))
print("up", flush=True)
sys.stdin.read()
while not Path(sys.argv[1] + ".stop").exists():
    if writer.done("00000"):  # as two runs that finish at once would: what another writes is taken for a dead one's
        layout.remove_stale_tmp(writer.path)
        time.sleep(0.002)
"""


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    while _started:
        process = _started.pop()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


_started: list[subprocess.Popen[str]] = []


@pytest.fixture
def codes(tmp_path: Path, beckett: Path) -> Path:
    import soundfile as sf

    x = sf.read(beckett)[0][:150000]
    np.save(tmp_path / "codes.npy", np.stack([mu_law(x[::10]), mu_law(x[1::10])]))
    return tmp_path / "codes.npy"


def _start(script: str, out: Path, codes: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(out), str(codes), repr(META), *args]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n", process.stderr.read()
    return process


@pytest.mark.parametrize("threads", [("1", "2"), ("1", "1")])  # bytes that differ, and the usual case: the same
def test_two_writers_of_one_shard(tmp_path: Path, codes: Path, threads: tuple[str, str]) -> None:
    for n in set(threads):
        alone = _start(_WRITER, tmp_path / f"alone{n}", codes, n, "1")
        assert alone.communicate(timeout=60) == ("", "")
        StoreWriter(tmp_path / f"alone{n}", "codes", META).finish(["00000"])
    either = [tree(tmp_path / f"alone{n}") for n in threads]
    out = tmp_path / "raced"
    racers = [_start(_WRITER, out, codes, n, "60") for n in threads]
    cleaner = _start(_CLEANER, out, codes)
    for process in (*racers, cleaner):
        process.stdin.close()
    looked = 0
    while any(r.poll() is None for r in racers):
        shard = out / "00000"
        try:  # every look at it while they write: a whole shard or none, and never files of two
            info = json.loads((shard / "shard.json").read_bytes())
            assert {"codes.npy", "index.jsonl"} <= set(info["sha256"])
            looked += 1
        except FileNotFoundError:
            pass
        time.sleep(0.001)
    for r in racers:
        assert r.returncode == 0, r.stderr.read()
    Path(f"{out}.stop").touch()
    assert cleaner.wait(timeout=30) == 0, cleaner.stderr.read()
    assert looked > 10
    StoreWriter(out, "codes", META).finish(["00000"])
    assert tree(out) in either
    assert verify_store(out) == []
    assert open_store(out).complete


def test_all_finish_at_once(tmp_path: Path, codes: Path) -> None:
    script = _WRITER + "\n    writer.finish(['00000'])\n"
    racers = [_start(script, tmp_path / "raced", codes, "1", "40") for _ in range(2)]
    for r in racers:
        r.stdin.close()
    for r in racers:
        assert r.wait(timeout=60) == 0, r.stderr.read()
    assert verify_store(tmp_path / "raced") == []
    assert open_store(tmp_path / "raced").complete
    assert not list((tmp_path / "raced").glob(".*"))
