"""What --launcher, --launcher_options and --split take, and what they say of anything else."""

from __future__ import annotations

import pytest

from audiokd.cli import main
from audiokd.errors import AudiokdError, ConfigError
from audiokd.launch.launcher import Local, open_launcher, share
from audiokd.launch.queue import MOST_GIVEN_UP, Queue
from audiokd.launch.ray import Ray
from audiokd.launch.slurm import Slurm


def test_options_are_typed() -> None:
    slurm = open_launcher("slurm", "partition=gpu,cpu time_min=90 mem_gb=1.5 setup='module load cuda'", logs="s.log")
    assert slurm == Slurm(partition="gpu,cpu", time_min=90, mem_gb=1.5, setup="module load cuda", logs="s.log")
    assert open_launcher("ray", "num_gpus=0.25", "cuda") == Ray(num_gpus=0.25)
    assert open_launcher("local") == Local(max_retries=3)


def test_a_gpu_is_asked_for_where_the_device_is_one() -> None:
    assert open_launcher("ray", "", "cuda") == Ray(num_gpus=1)
    assert open_launcher("slurm", "cpus=8", "cuda:0") == Slurm(gpus=1, cpus=8)
    assert open_launcher("slurm", "cpus=8").default_threads(4) == 8


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("kubernetes", "", "unknown launcher 'kubernetes'(.|\n)*local, slurm, ray"),
        ("slurm", "partion=gpu", "slurm has no option 'partion'; did you mean partition?"),
        ("ray", "partition=gpu", "ray has no option 'partition'(.|\n)*address, num_cpus, num_gpus, max_retries"),
        ("slurm", "gpus=one", "gpus=one: a whole number is needed"),
        ("ray", "num_gpus=half", "num_gpus=half: a number is needed"),
        ("slurm", "gpu", "'gpu' is not key=value"),
        ("slurm", "setup='module", "No closing quotation"),
    ],
)
def test_anything_else_is_refused(name: str, options: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_launcher(name, options)


def test_share() -> None:
    names = list("abcdefg")
    shares = [names[k::n] for k, n in (share(f"{j}/3") for j in (1, 2, 3))]
    assert sorted(name for part in shares for name in part) == names
    assert share("") == (0, 1)
    for bad in ("0/3", "4/3", "3", "1/0", "-1/2", "a/b", "1/2/3"):
        with pytest.raises(ConfigError, match=f"--split {bad}: not JOB/NJ"):
            share(bad)


def test_the_command_line_takes_them(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    with pytest.raises(SystemExit):
        main(["tokenize", "--help"])
    said = capsys.readouterr().out
    assert all(option in said for option in ("--launcher ", "--launcher_options ", "--split "))


def test_a_run_that_fails_everywhere_ends_soon() -> None:
    queue = Queue(range(1000), max_retries=0)
    for _ in range(MOST_GIVEN_UP - 1):
        assert queue.lost(queue.todo.popleft(), "no disk") is False
    with pytest.raises(AudiokdError, match=f"{MOST_GIVEN_UP} of 1000 shards are missing(.|\n)*0, run 1 times: no disk"):
        queue.lost(queue.todo.popleft(), "no disk")


def test_what_is_lost_comes_last() -> None:
    queue = Queue("abc", max_retries=1)
    assert queue.lost(queue.todo.popleft(), "killed") is True
    assert [queue.name(i) for i in queue.todo] == ["b", "c", "a"]
