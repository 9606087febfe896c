"""A real Ray cluster of several nodes on this machine: a node dies, a task fails, nothing is lost and nothing hidden."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launch_stores import Square, finished, tree

from audiokd.errors import AudiokdError
from audiokd.launch.ray import Ray
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import verify_store

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as env:
        # a process that is gone answers at once, one on a busy machine late: dead in 5 s, and patience for the other
        env.setenv("RAY_health_check_period_ms", "500")
        env.setenv("RAY_health_check_failure_threshold", "10")
        env.setenv("RAY_health_check_timeout_ms", "60000")
        env.setenv("RAY_prestart_worker_first_driver", "0")
        env.setenv("RAY_enable_worker_prestart", "0")
        env.setenv("RAY_usage_stats_enabled", "0")
        env.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))  # the nodes find this folder's modules too
        cluster = Cluster(initialize_head=True, head_node_args=head)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def nodes(cluster: Any) -> Any:
    """The cluster with two nodes that work, whatever the test before did to them."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(**NODE)
    return cluster


def kill_a_node(cluster: Any, when: Callable[[], bool]) -> threading.Thread:
    """Take a node's processes away, as a power cut does, as soon as `when()`."""

    def wait() -> None:
        deadline = time.monotonic() + 90
        while not when() and time.monotonic() < deadline:
            time.sleep(0.02)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_node_dies_while_tokens_are_made(nodes: Any, tiny: str, spoken: str, whole: Path, tmp_path: Path) -> None:
    store = tmp_path / "tokens"
    killer = kill_a_node(nodes, lambda: finished(store) >= 4)
    options = f"address={nodes.address} num_cpus=1"
    tokenize(tiny, spoken, str(store), shard_size=1, launcher="ray", launcher_options=options, nj=2)
    killer.join()
    assert tree(store) == tree(whole)
    assert verify_store(str(store)) == []


@pytest.mark.slow
def test_shards_of_a_dead_node_are_run_elsewhere(
    nodes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marks = tmp_path / "marks"
    marks.touch()
    victim = next(iter(nodes.worker_nodes)).node_id
    killer = kill_a_node(nodes, lambda: len({line.split()[-1] for line in marks.open() if "task" in line}) == 2)
    ray = Ray(address=nodes.address)
    results = list(ray.run(Square, (str(marks), 0.3), range(1, 31), 2, 2))
    killer.join()
    assert sorted(results) == [n * n for n in range(1, 31)]
    rows = [line.split() for line in marks.open()]
    did = [row[1] for row in rows if row[0] == "task"]
    assert set(did) == {str(n) for n in range(1, 31)}
    # what the dead node was at, or had been given and not begun
    lost = set(re.findall(r"lost, will be run again: (\d+): its worker on \S+ died", capsys.readouterr().err))
    assert lost
    last = {row[1]: row[-1] for row in rows if row[0] == "task"}
    assert victim in {row[-1] for row in rows}
    assert victim not in {last[t] for t in lost}
    assert {t for t in did if did.count(t) > 1} <= lost
    assert {row[-2] for row in rows} == {"2"}  # threads, on every node
    made = [row for row in rows if row[0] == "made"]
    assert len(made) <= 4  # one model an actor, not one a task


@pytest.mark.slow
def test_two_workers_share_a_gpu(cluster: Any, tmp_path: Path) -> None:
    """One that Ray counts and that is not there; the nodes without it get no worker, and a third finds no place."""
    node = cluster.add_node(**NODE, num_gpus=1)
    try:
        marks = tmp_path / "marks"
        ray = Ray(address=cluster.address, num_cpus=0.25, num_gpus=0.5)
        assert sorted(ray.run(Square, (str(marks), 0.5), range(1, 25), 3, 1)) == [n * n for n in range(1, 25)]
        rows = [line.split() for line in marks.open()]
        assert {row[-1] for row in rows} == {node.node_id}
        assert len({row[-3] for row in rows}) == 2
    finally:
        cluster.remove_node(node)


@pytest.mark.slow
def test_what_fails_is_named_and_the_rest_is_done(nodes: Any, tmp_path: Path) -> None:
    results: list[int] = []
    run = Ray(address=nodes.address, max_retries=1).run(Square, (str(tmp_path / "marks"),), [1, -1, 2, -2, 3], 2, 1)
    with pytest.raises(AudiokdError) as e:
        results.extend(run)
    assert sorted(results) == [1, 4, 9]
    assert "2 of 5 shards are missing" in str(e.value)
    assert "-1, run 2 times: on " in str(e.value)
    assert "ValueError: no square of it" in str(e.value)
    assert "-2, run 2 times: its worker on " in str(e.value)
    assert "died" in str(e.value)
    assert "run the same command again" in str(e.value)


def test_no_cluster(tmp_path: Path) -> None:
    import ray

    ray.shutdown()
    with pytest.raises(AudiokdError, match=r"no Ray cluster(.|\n)*ray start --head"):
        list(Ray(address="127.0.0.1:1").run(Square, (str(tmp_path / "m"),), [1], 1, 1))
