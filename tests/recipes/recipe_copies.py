"""A recipe in a tree of its own, for the tests of the shell side."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import warm

REPO = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
RECIPES = REPO / "recipes"
# `audiokd` is the one of warm.py, which conftest.py starts
ENV = {**os.environ, "PATH": f"{warm.folder()}:{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "AUDIOKD_ROOT": ""}
# the least training that saves, validates and logs
FIT = "--run.max_steps 4 --run.val_every 2 --run.ckpt_every 2 --run.log_every 1 --data.batch_size 1"
FIT += " --data.val_crop_s 1.28 --run.accelerator cpu"


def bash(script: str, *args: str, cwd: Path = RECIPES) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script, "script", *args], cwd=cwd, env=ENV, capture_output=True, text=True)


def tree(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def copy_recipe(source: Path, root: Path) -> Path:
    """recipes/ and one task's own files in a tree of their own, so that what is made lands there."""
    shutil.copytree(RECIPES, root / "recipes")
    task = root / "egs" / "corpus" / "tok1"
    task.mkdir(parents=True)
    for name in ("run.sh", "conf", "local"):
        if (source / name).is_dir():
            shutil.copytree(source / name, task / name)
        elif (source / name).exists():
            shutil.copy2(source / name, task / name)
    return task


def asked(task: Path, *options: str) -> list[list[str]]:
    """What a task's run.sh asks of audiokd, by one that does nothing.

    Raises:
        ValueError: it failed, with what it said.
    """
    (task / "bin").mkdir(exist_ok=True)
    (task / "bin" / "audiokd").write_text('#!/bin/sh\nprintf "%s\\0" "$@" >>calls\nprintf "\\n\\0" >>calls\n')
    (task / "bin" / "audiokd").chmod(0o755)
    (task / "calls").write_text("")
    env = ENV | {"PATH": f"{task / 'bin'}:{ENV['PATH']}"}
    done = subprocess.run(["./run.sh", *options], cwd=task, env=env, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)
    found: list[list[str]] = [[]]
    for word in (task / "calls").read_text().split("\0")[:-1]:
        found.append([]) if word == "\n" else found[-1].append(word)
    return found[:-1]
