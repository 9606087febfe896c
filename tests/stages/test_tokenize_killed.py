"""Stage 7 killed, interrupted and out of space: what is written is whole, and the same command goes on from there."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tokenized import codes_of, tree

from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import open_store, verify_store

AUDIOKD = str(Path(sys.executable).with_name("audiokd"))
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}

DRIVER = """
import os, sys
import torch, torchaudio, transformers  # once: what is killed below is work, not imports
import audiokd.hub.auto, audiokd.methods.lm_spt.model
from audiokd.stages.tokenize import tokenize
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        tokenize(*sys.argv[1:4], shard_size=1, threads=1)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_killed_twenty_times(model_dir: str, two_cities: Path, tmp_path: Path) -> None:
    data, killed = tmp_path / "data", tmp_path / "killed"
    data.mkdir()
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    (data / "segments").write_text(
        "".join(f"t-{i:03d} two_cities {0.35 * i:.2f} {0.35 * i + 1:.2f}\n" for i in range(120))
    )
    tokenize(model_dir, str(data), str(tmp_path / "whole"), shard_size=1, threads=1)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, model_dir, str(data), str(killed)],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    )

    def finished() -> int:
        return len(list(killed.glob("[0-9]*/shard.json")))

    def start() -> int:
        driver.stdin.write("go\n")
        while not (line := driver.stdout.readline()).strip().isdigit():  # what tokenize says
            assert line
        return int(line)

    def ended() -> int:
        while (line := driver.stdout.readline()) and not line.strip().lstrip("-").isdigit():
            pass
        return int(line)

    def begun() -> set[str]:
        return {p.name for p in killed.glob(".0*.tmp*")}

    rng, seen, half = random.Random(1), [], set()
    try:
        for kill in range(20):
            before, pid = finished(), start()
            deadline = time.monotonic() + 60
            while finished() == before:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.04))
            while kill % 2 and not begun():  # every other time in the middle of a shard, however fast the machine
                assert time.monotonic() < deadline
            os.kill(pid, signal.SIGKILL)
            assert ended() == -signal.SIGKILL, "it was done before it could be killed"
            seen.append(finished())
            half |= begun()
            for item in open_store(str(killed)).items():  # what is there can be read
                assert item.array.shape == (8, 13)
        assert seen == sorted(seen)
        assert 20 <= seen[-1] < 120
        assert half  # some kills came in the middle of a shard's files
        assert not (killed / "complete.json").exists()
        start()
        assert ended() == 0
    finally:
        driver.stdin.close()
        driver.stdout.close()
        driver.wait(timeout=60)
    assert tree(killed) == tree(tmp_path / "whole")
    assert verify_store(str(killed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("nj", [1, 2])
def test_ctrl_c(model_dir: str, two_cities: Path, tmp_path: Path, nj: int) -> None:
    data, out = tmp_path / "data", tmp_path / "tokens"
    data.mkdir()
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    (data / "segments").write_text("".join(f"t-{i:03d} two_cities {i / 10} {i / 10 + 2:g}\n" for i in range(400)))
    args = [AUDIOKD, "tokenize", model_dir, str(data), str(out), "--shard_size", "1", "--nj", str(nj), "--threads", "1"]
    process = subprocess.Popen(
        args, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("[0-9]*/shard.json"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to everyone
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "interrupted; what is written is whole" in said
    assert "Traceback" not in said
    assert not list(out.rglob(".*tmp*"))
    assert not (out / "complete.json").exists()
    done = open_store(str(out))
    assert 3 <= len(done.shards) < 400
    assert all(item.array.shape == (8, 25) for item in done.items())


@pytest.fixture
def growing(two_cities: Path, tmp_path: Path) -> Path:
    """A data dir of utterances of 1 s, then one of 40 s."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    rows = [f"t-{i} two_cities {i} {i + 1}\n" for i in range(3)] + ["u-long two_cities 0 40\n"]
    (data / "segments").write_text("".join(rows))
    return data


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


def test_a_file_that_may_not_grow(model_dir: str, growing: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    args = [AUDIOKD, "tokenize", model_dir, str(growing), str(out), "--shard_size", "1", "--threads", "1"]
    run = subprocess.run(args, env=ENV, capture_output=True, text=True, preexec_fn=limit_file_size)
    _says_so(run, "no space left while writing (File too large)", out)
    _three_are_whole_and_the_run_goes_on(model_dir, growing, out)


def test_a_full_disk(model_dir: str, growing: Path, tmp_path: Path) -> None:
    """A disk of 11 pages: store.json and three shards of three files leave one, the fourth's codes need two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    # in a mount namespace of its own, which ends with the command
    script = 'mount -t tmpfs -o size=44k tmpfs "$0" || exit 77; "$@"; code=$?; cp -r "$0/tokens" "$0.kept"; exit $code'
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    out = disk / "tokens"
    args = [AUDIOKD, "tokenize", model_dir, str(growing), str(out), "--shard_size", "1", "--threads", "1"]
    run = subprocess.run([*namespace, "sh", "-c", script, str(disk), *args], env=ENV, capture_output=True, text=True)
    if run.returncode == 77 or "unshare:" in run.stderr:  # a machine that lets nobody mount has no disk to fill
        test_a_file_that_may_not_grow(model_dir, growing, tmp_path)
        return
    _says_so(run, "no space left while writing (No space left on device)", out)
    _three_are_whole_and_the_run_goes_on(model_dir, growing, Path(f"{disk}.kept"))


def _says_so(run: subprocess.CompletedProcess[str], what: str, out: Path) -> None:
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert what in run.stderr
    assert str(out) in run.stderr
    assert "run the same command again" in run.stderr


def _three_are_whole_and_the_run_goes_on(model_dir: str, data: Path, out: Path) -> None:
    assert not list(out.rglob(".*tmp*"))
    assert open_store(str(out)).shards == ["00000", "00001", "00002"]
    before = {k: v for k, v in tree(out).items() if not k.startswith("00003")}
    tokenize(model_dir, str(data), str(out), shard_size=1, threads=1)
    after = tree(out)
    assert {k: after[k] for k in before} == before
    assert verify_store(str(out)) == []
    assert codes_of(out)["u-long"].shape == (8, 500)
