"""Jobs that somebody else starts: --split JOB/NJ under recipes/run.sh, with logs as Kaldi's run.pl writes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from launch_stores import tree

from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import open_store

RUN = Path(__file__).parents[2] / "recipes" / "run.sh"
AUDIOKD = str(Path(sys.executable).with_name("audiokd"))


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(RUN), *args], cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
def test_two_jobs_make_one_store(tiny: str, spoken: str, whole: Path, tmp_path: Path) -> None:
    command = [AUDIOKD, "tokenize", tiny, spoken, "tokens", "--shard_size", "1", "--threads", "1", "--split", "JOB/2"]
    done = run("--num-threads", "1", "JOB=1:2", "log/tokenize.JOB.log", *command, cwd=tmp_path)
    assert done.returncode == 0, [p.read_text() for p in (tmp_path / "log").iterdir()]
    assert tree(tmp_path / "tokens") == tree(whole)
    for job in "12":
        lines = (tmp_path / "log" / f"tokenize.{job}.log").read_text().splitlines()
        assert lines[0] == "# " + " ".join([*command[:-1], f"{job}/2"])
        assert lines[1].startswith("# Started at ")
        assert re.fullmatch(r"# Accounting: time=\d+ threads=1", lines[-2])
        assert re.fullmatch(r"# Ended \(code 0\) at .*, elapsed time \d+ seconds", lines[-1])
        assert any("12 utterances" in line or "24 utterances" in line for line in lines)


def test_whoever_is_last_completes_the_store(
    tiny: str, spoken: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "tokens"
    first = tokenize(tiny, spoken, str(store), shard_size=1, threads=1, split="2/3")
    assert first["utterances"] == 8
    assert not open_store(str(store)).complete
    assert "split 2/3 is done, 16 shards of others are not yet" in capsys.readouterr().out
    tokenize(tiny, spoken, str(store), shard_size=1, threads=1, split="1/3")
    last = tokenize(tiny, spoken, str(store), shard_size=1, threads=1, split="3/3")
    assert last["utterances"] == 24
    assert tree(store) == tree(whole)


def test_a_job_that_fails(tmp_path: Path) -> None:
    script = 'echo "this is $1"; exit $(($1 == 2 ? 7 : 0))'
    done = run("--max-jobs-run", "2", "JOB=1:3", "log/x.JOB.log", "bash", "-c", script, "x", "JOB", cwd=tmp_path)
    assert done.returncode == 1
    assert "1 / 3 failed; the log of one is in log/x.2.log" in done.stderr
    assert "# Ended (code 7) at " in (tmp_path / "log" / "x.2.log").read_text()
    assert "this is 3\n# Accounting" in (tmp_path / "log" / "x.3.log").read_text()


def test_what_run_refuses(tmp_path: Path) -> None:
    assert run("JOB=1:2", "log/x.log", "true", cwd=tmp_path).returncode == 2
    assert run("--nice", "3", "log/x.log", "true", cwd=tmp_path).returncode == 2
    assert run("log/x.log", cwd=tmp_path).returncode == 2
    assert run("--mem", "4G", "log/one.log", "true", cwd=tmp_path).returncode == 0
    assert os.listdir(tmp_path / "log") == ["one.log"]
