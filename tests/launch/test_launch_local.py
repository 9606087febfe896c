"""Processes of this machine that are killed: the run goes on without them, and says what it could not do."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from launch_stores import SHARDS, OwnDevice, Square, finished, tree

from audiokd.errors import AudiokdError
from audiokd.launch import local
from audiokd.launch.queue import Queue
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import verify_store


def killer(store: Path, at: list[int]) -> threading.Thread:
    """Kill a random worker process at each of these numbers of finished shards."""

    def kill() -> None:
        rng = random.Random(1)
        for n in at:
            deadline = time.monotonic() + 90
            while finished(store) < n and time.monotonic() < deadline:
                time.sleep(0.002)
            children = [p for p in multiprocessing.active_children() if p.name.startswith("Spawn")]
            os.kill(rng.choice(children).pid or 0, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_worker_is_killed_and_the_run_goes_on(
    tiny: str, spoken: str, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "tokens"
    thread = killer(store, [6])
    tokenize(tiny, spoken, str(store), shard_size=1, nj=2, threads=1)
    thread.join()
    said = capfd.readouterr().err
    assert "lost, will be run again: shard 000" in said
    assert f"codes 100% {SHARDS}/{SHARDS} utterances" in said  # what the killed ones had counted is not counted twice
    assert tree(store) == tree(whole)
    assert verify_store(str(store)) == []


@pytest.mark.corpus
def test_twenty_workers_are_killed_and_the_run_goes_on(
    tiny: str, two_cities: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Minutes long: after each of them two processes import torch."""
    data, store, whole = tmp_path / "data", tmp_path / "tokens", tmp_path / "whole"
    data.mkdir()
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    rows = [f"t-{i:03d} two_cities {0.4 * i:.2f} {0.4 * i + 1:.2f}\n" for i in range(100)]
    (data / "segments").write_text("".join(rows))
    tokenize(tiny, str(data), str(whole), shard_size=1, threads=1)
    thread = killer(store, list(range(2, 82, 4)))
    tokenize(tiny, str(data), str(store), shard_size=1, nj=2, threads=1)
    thread.join()
    said = capfd.readouterr().err
    assert said.count("lost, will be run again: shard ") >= 20
    assert said.count("codes 100% 100/100 utterances") == 2
    assert tree(store) == tree(whole)
    assert verify_store(str(store)) == []


@pytest.mark.slow
def test_a_shard_that_kills_its_worker_is_named(tmp_path: Path) -> None:
    results: list[int] = []
    run = local.run(Square, (str(tmp_path / "marks"),), [1, -2, 2, 3, 4], 2, 1, max_retries=1)
    with pytest.raises(AudiokdError) as e:
        results.extend(run)
    assert sorted(results) == [1, 4, 9, 16]
    assert "1 of 5 shards are missing" in str(e.value)
    assert "-2, run 2 times: its process was killed (out of memory?" in str(e.value)
    assert "run the same command again" in str(e.value)


@pytest.mark.slow
def test_a_shard_is_not_given_up_for_what_another_did(tmp_path: Path) -> None:
    """One that is still at work whenever its neighbour is killed: the last try is its own."""
    results: list[int] = []
    with pytest.raises(AudiokdError, match=r"1 of 2 shards are missing\n  -2, run 2 times"):
        results.extend(local.run(Square, (str(tmp_path / "marks"), 4.0), [2, -2], 2, 1, max_retries=1))
    assert results == [4]


def test_which_try_is_the_last() -> None:
    """By numbers, since in the test above the neighbour may be too late to do harm."""
    queue = Queue(["a", "b"], max_retries=2)
    assert [queue.last_try(i) for i in (0, 1)] == [False, False]
    assert queue.lost(0, "killed")
    assert not queue.last_try(0)
    assert queue.lost(0, "killed")
    assert [queue.last_try(i) for i in (0, 1)] == [True, False]
    assert not queue.lost(0, "killed")
    assert not Queue(["a"], max_retries=0).last_try(0)


def test_a_worker_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="marks"):
        list(local.run(Square, (str(tmp_path / "nowhere" / "marks"),), [1, 2], 2, 1))


def test_processes_share_the_gpus() -> None:
    """Three processes and two GPUs; whoever names a GPU gets that one, and one process alone the first."""
    found = set(local.run(OwnDevice, (2,), ["cuda"] * 24, 3, 1))
    devices = [device for _, device in found]
    assert len({pid for pid, _ in found}) == len(devices) == 3  # each keeps its own
    assert sorted(d.removesuffix(":0") for d in devices) == ["cuda", "cuda", "cuda:1"]
    assert {d for _, d in local.run(OwnDevice, (2,), ["cuda:1", "cpu"] * 2, 2, 1)} == {"cuda:1", "cpu"}
    assert local.own_device("cuda") == "cuda"
