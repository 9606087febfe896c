"""A disk that cannot be written and a clock that jumps: a clear message, and the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launch_stores import tree

from audiokd.errors import AudiokdError
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import open_store

AUDIOKD = str(Path(sys.executable).with_name("audiokd"))


@pytest.mark.slow
def test_a_read_only_disk(tiny: str, spoken: str, whole: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    shutil.copytree(whole, disk / "tokens")
    shutil.rmtree(disk / "tokens" / "00003")
    (disk / "tokens" / "complete.json").unlink()
    before = tree(disk)
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 77; exec "$@"'
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    args = [AUDIOKD, "tokenize", tiny, spoken, str(disk / "tokens"), "--shard_size", "1", "--threads", "1"]
    run = subprocess.run([*namespace, "sh", "-c", script, str(disk), *args], capture_output=True, text=True)
    if (
        run.returncode == 77 or "unshare:" in run.stderr
    ):  # a machine that lets nobody mount: its folders say no all the same
        _a_folder_that_is_not_ours(tiny, spoken, disk / "tokens")
    else:
        assert run.returncode == 1, run.stderr
        assert "Traceback" not in run.stderr
        assert f"{disk}/tokens: cannot be written (Read-only file system)" in run.stderr
        assert "a folder that you may write to" in run.stderr
    assert tree(disk) == before


def _a_folder_that_is_not_ours(model: str, data: str, store: Path) -> None:
    store.chmod(0o555)
    try:
        with pytest.raises(AudiokdError, match="00003: cannot be written"):
            tokenize(model, data, str(store), shard_size=1, threads=1)
    finally:
        store.chmod(0o755)


def test_a_clock_that_jumps(
    tiny: str, spoken: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the year 2100 and of 1970, and a clock that goes back and forth by years between any two looks."""
    store = tmp_path / "tokens"
    shutil.copytree(whole, store)
    (store / "complete.json").unlink()
    for name in ("00001", "00005", "00017"):
        shutil.rmtree(store / name)
    (store / ".00005.tmp0123456789ab").mkdir()  # of a writer that died
    (store / ".00005.tmp0123456789ab" / "codes.npy").write_bytes(b"half")
    for n, file in enumerate([*store.rglob("*"), *Path(spoken).iterdir()]):
        os.utime(file, (4102444800, 4102444800) if n % 2 else (0, 0))
    rng = random.Random(0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + rng.uniform(-3e7, 3e7))
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + rng.uniform(-3e7, 3e7)) * 1e9))
    tokenize(tiny, spoken, str(store), shard_size=1, threads=1)
    assert tree(store) == tree(whole)
    assert open_store(str(store)).complete
