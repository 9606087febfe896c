#!/usr/bin/env python
"""Train and score many variants of one recipe: a grid that goes on where it stopped, on any machine.

    cd egs/festvox_ru/tok1 && ../../../recipes/grid.py conf/grid.yaml --nj 2

conf/grid.yaml holds what all cells share (`config` files, INPUTs, `fit` keys) and the cells by name: `fit` keys of their own,
`like` another cell's, `seeds` (0 by default). A cell's work lies in exp/grid/<name>-<seed>/; a finished cell is a row of
results.jsonl and is not run again, there or anywhere. Each command is a process of one thread, --nj cells at once.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from audiokd.errors import AudiokdError, ConfigError


@dataclass(frozen=True)
class Cell:
    """One training run: `name`, `seed`, and the `fit` keys that make it."""

    name: str
    seed: int
    fit: dict[str, Any]
    shared: dict[str, Any]

    @property
    def folder(self) -> Path:
        return Path("exp/grid") / f"{self.name}-{self.seed}"

    @property
    def sha256(self) -> str:
        """Of everything that makes the cell: another setting is another cell."""
        key = {"fit": self.fit, "seed": self.seed, **self.shared}
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def read_cells(path: str) -> list[Cell]:
    """The cells of a grid file, headline cells' further seeds last.

    Raises:
        ConfigError: a cell is like one that is not there.
    """
    tree = yaml.safe_load(Path(path).read_text())
    shared = {k: tree[k] for k in ("config", "train", "dev", "score") if k in tree}
    # a change in a config file is a change of the cells
    shared["config_sha256"] = [hashlib.sha256(Path(c).read_bytes()).hexdigest() for c in tree["config"]]
    cells = []
    for name, cell in tree["cells"].items():
        fit, like = dict(tree.get("fit", {})), cell.get("like")
        if like is not None:
            if like not in tree["cells"]:
                raise ConfigError(f"cell {name} is like {like}, which is not there", where=path)
            fit |= tree["cells"][like].get("fit", {})
        fit |= cell.get("fit", {})
        cells += [Cell(name, seed, fit, shared) for seed in cell.get("seeds", [0])]
    return sorted(cells, key=lambda c: c.seed)


def run(cell: Cell, *words: str) -> None:
    """One audiokd command of one thread; its words and output go to the cell's log."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = cell.folder / "log"
    with open(log, "ab") as f:
        f.write(f"# audiokd {' '.join(words)}\n".encode())
        f.flush()
        done = subprocess.run([sys.executable, "-m", "audiokd.cli", *words], env=env, stdout=f, stderr=f)
    if done.returncode:
        last = log.read_text(errors="replace").splitlines()[-1]
        raise AudiokdError(f"'audiokd {words[0]}' ended with {done.returncode}: {last}", where=str(log))


def train(cell: Cell) -> None:
    words = [w for c in cell.shared["config"] for w in ("--config", c)]
    for key, value in {**cell.fit, "run.seed": cell.seed}.items():
        words.append(f"--{key}={json.dumps(value) if isinstance(value, (list, bool)) else value}")
    exp = str(cell.folder)
    run(cell, "fit", "lm_spt", *words, "--train", cell.shared["train"], "--dev", cell.shared["dev"], "--exp_dir", exp)
    run(cell, "export", exp, f"{exp}/export")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether this process has the cell; another one that has it is left to its work."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def work(cell: Cell) -> str:
    """Do what is left of a cell; one that fails says so and stops no other."""
    with alone(cell.folder) as mine:
        if not mine:
            return "is being worked on elsewhere"
        try:
            train(cell)
        except AudiokdError as e:
            return f"failed: {e}"
    return "done"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("grid", help="such as conf/grid.yaml")
    parser.add_argument("--nj", type=int, default=1, help="cells at once, a thread each")
    parser.add_argument("--only", default="", help="cells whose name holds this")
    args = parser.parse_args()
    cells = [c for c in read_cells(args.grid) if args.only in c.name]
    with ThreadPoolExecutor(args.nj) as pool:
        for cell, said in zip(cells, pool.map(work, cells)):
            print(f"{cell.name} seed {cell.seed}: {said}", flush=True)


if __name__ == "__main__":
    main()
