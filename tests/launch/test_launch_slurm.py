"""The SLURM launcher: what it submits, jobs that really run under a stand-in for SLURM, and jobs that are stopped or die."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from launch_stores import Square, finished, tree

from audiokd.errors import AudiokdError
from audiokd.launch.shard_job import DoneList, ShardJob
from audiokd.launch.slurm import Slurm
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import verify_store

HERE = Path(__file__).parent


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """sbatch, srun, sacct, scontrol and scancel on PATH that run jobs here; the folder where they keep them."""
    jobs = tmp_path / "slurm"
    jobs.mkdir()
    monkeypatch.setenv("PATH", str(HERE / "fake_slurm"), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_SLURM", str(jobs))
    yield jobs
    for file in jobs.glob("*.pid"):
        try:
            os.kill(int(file.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            continue


def end_of(slurm: Path, job: str) -> str:
    """How a job ended; it may still be leaving when all that it had to do is done."""
    deadline = time.monotonic() + 60
    while (state := (slurm / f"{job}.state").read_text().strip()) == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.05)
    return state


@pytest.mark.slow
def test_a_job_is_preempted_and_one_dies(slurm: Path, tiny: str, spoken: str, whole: Path, tmp_path: Path) -> None:
    store = tmp_path / "tokens"

    def trouble() -> None:
        deadline = time.monotonic() + 90
        while finished(store) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(int((slurm / "100_0.pid").read_text()), signal.SIGUSR2)  # SLURM's word before it takes the node
        os.kill(int((slurm / "100_1.pid").read_text()), signal.SIGKILL)  # no word

    thread = threading.Thread(target=trouble)
    thread.start()
    options = "partition=cpu cpus=1 time_min=30 mem_gb=2 parallel=7 poll_s=0.2"
    tokenize(tiny, spoken, str(store), shard_size=1, launcher="slurm", launcher_options=options, nj=2)
    thread.join()
    assert (slurm / "100_0.requeued").exists()
    assert end_of(slurm, "100_0") == "COMPLETED"
    assert end_of(slurm, "100_1") == "FAILED"
    assert end_of(slurm, "101") == "COMPLETED"  # what it had left
    assert tree(store) == tree(whole)
    assert verify_store(str(store)) == []
    script = (slurm / "100.sh").read_text()
    for line in (
        "--array=0-1%2",
        "--partition=cpu",
        "--time=30",
        "--cpus-per-task=1",
        "--mem=2GB",
        "--job-name=audiokd",
        "--signal=USR2@90",
    ):
        assert f"#SBATCH {line}\n" in script
    assert "--gpus" not in script
    log = next(Path(f"{store}.log").glob("100_0_0_log.out")).read_text()
    assert "00000\n" in log


def test_gpus_and_all_else_that_sbatch_is_told(tmp_path: Path, slurm: Path) -> None:
    options = Slurm(
        partition="gpu", account="lab", qos="high", constraint="a100", gpus=1, parallel=3, setup="module load cuda",
        logs=str(tmp_path / "logs"),
    )  # fmt: skip
    executor = options._executor()
    text = executor._executor._make_submission_file_text("python job", "0")
    for line in ("partition=gpu", "account=lab", "qos=high", "constraint=a100", "gpus-per-node=1", "cpus-per-task=1"):
        assert f"#SBATCH --{line}\n" in text
    assert "--mem" not in text
    assert text.index("module load cuda") < text.index("srun")
    assert executor._executor.parameters["array_parallelism"] == 3


@pytest.mark.slow
def test_what_fails_is_named_and_the_rest_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By submitit's executor for one machine: the same code as for SLURM."""
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    results: list[int] = []
    options = Slurm(cluster="local", logs=str(tmp_path / "logs"), max_retries=1, poll_s=0.2)
    run = options.run(Square, (str(tmp_path / "marks"),), [1, -1, 2, 3, -2, 4, 5], 2, 3)
    with pytest.raises(AudiokdError) as e:
        results.extend(run)
    assert sorted(results) == [1, 4, 9, 16, 25]
    said = str(e.value)
    assert "2 of 7 shards are missing" in said
    assert "-1, run 2 times: on " in said
    assert "ValueError: no square of it" in said
    assert "-2, run 2 times: job " in said
    assert "_log.err" in said
    rows = [line.split() for line in (tmp_path / "marks").open()]
    assert {row[-2] for row in rows} == {"3"}  # threads, in every job
    did = [row[1] for row in rows if row[0] == "task"]
    assert all(did.count(str(n)) == 1 for n in (1, 2, 3, 4, 5))


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudiokdError, match=r"no SLURM here(.|\n)*login node"):
        list(Slurm(logs=str(tmp_path / "logs")).run(Square, (str(tmp_path / "m"),), [1], 1, 1))


def test_a_job_that_gets_nowhere_is_not_queued_for_ever(tmp_path: Path) -> None:
    file = str(tmp_path / "list")
    job = ShardJob(Square, (str(tmp_path / "marks"),), [(0, 3), (1, 4)], 1, file, max_stops=2)
    for _ in range(2):
        job = pickle.loads(pickle.dumps(job.checkpoint().function))
    DoneList(file).add(0, 9, None)  # it got on, and may be stopped as often again
    for _ in range(3):
        job = pickle.loads(pickle.dumps(job.checkpoint().function))
    assert job.checkpoint() is None


def test_a_torn_line_is_no_line(tmp_path: Path) -> None:
    writer, reader = DoneList(str(tmp_path / "list")), DoneList(str(tmp_path / "list"))
    assert reader.read() == []
    writer.add(0, {"seconds": 1.5}, None)
    assert reader.read() == [(0, {"seconds": 1.5}, None)]
    with open(tmp_path / "list", "ab") as f:
        f.write(b"\ngASVE")
    assert reader.read() == []
    writer.add(1, None, "broken")
    rows: list[Any] = reader.read()
    assert rows == [(1, None, "broken")]
