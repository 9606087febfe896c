"""kill -9 at any moment, then run again: the bytes of a store that was never disturbed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from token_stores import META, mu_law, tree

from audiokd.tokens.store import open_store, verify_store

_WRITER = """
import sys
import numpy as np
from audiokd.tokens.store import StoreItem, StoreWriter

out, codes, meta = sys.argv[1], np.load(sys.argv[2]), eval(sys.argv[3])
print("up", flush=True)
writer = StoreWriter(out, "codes", meta)
names = [f"{i:05d}" for i in range(25)]
for n, name in enumerate(names):
    if writer.done(name, name):
        continue
    items = [StoreItem(f"{name}-{k}", np.roll(codes, n * 7 + k), 150000, 16000, text=f"t{k}") for k in range(20)]
    writer.write_shard(name, items, [{"id": f"{name}-x", "where": "f", "error": "broken"}], {"threads": 1}, name)
writer.finish(names)
"""


def test_killed_in_a_loop_then_resumed(tmp_path: Path, beckett: Path) -> None:
    import soundfile as sf

    x = sf.read(beckett)[0][:150000]
    np.save(tmp_path / "codes.npy", np.stack([mu_law(x[::10]), mu_law(x[1::10])]))

    def start(out: Path) -> subprocess.Popen:
        args = [sys.executable, "-c", _WRITER, str(out), str(tmp_path / "codes.npy"), repr(META)]
        return subprocess.Popen(args, stdout=subprocess.PIPE)

    whole = start(tmp_path / "whole")
    whole.stdout.readline()
    started = time.monotonic()
    assert whole.wait() == 0
    spent = time.monotonic() - started
    rng = random.Random(0)
    seen, kills = set(), 0
    for _ in range(200):
        process = start(tmp_path / "killed")
        process.stdout.readline()
        time.sleep(rng.uniform(0, spent / 5))
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        process.stdout.close()
        if code == 0:
            break
        kills += 1
        if (tmp_path / "killed" / "store.json").exists() and not (tmp_path / "killed" / "complete.json").exists():
            store = open_store(tmp_path / "killed")  # what is there can be read, whole
            seen.add(len(store.shards))
            assert sum(u.codes.shape[1] for u in store.items()) == 15000 * len(store)
            assert len(store) == 20 * len(store.shards)
    if code != 0:
        assert start(tmp_path / "killed").wait() == 0
    assert kills >= 3
    assert len(seen) >= 3  # it was killed at different places, not before it began
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")
    assert verify_store(tmp_path / "killed") == []
    whole.stdout.close()
