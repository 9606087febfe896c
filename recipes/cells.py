"""What the grids of recipes share: cells that are trained and scored once, wherever, and their rows in results.jsonl.

A cell's work lies in exp/grid/<name>-<seed>/; a finished cell is a row of results.jsonl and is not run again, there or anywhere.
Each command is a process of one thread, forked from one that has its imports; every command skips what stands, so a killed grid is
started again as it was.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import multiprocessing
import os
import statistics
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from audiokd.errors import AudiokdError
from audiokd.files import jsonl, write_bytes

SERVED = multiprocessing.get_context("forkserver")
SERVED.set_forkserver_preload([
    "lightning.pytorch.loggers", "transformers", "audiokd.stages.fit", "audiokd.stages.export", "audiokd.stages.corpus",
    "audiokd.eval.linear_probe", "audiokd.methods.atst.module", "audiokd.methods.classifier.module",
])  # fmt: skip
RESULTS, GRID = Path("results.jsonl"), Path("exp/grid")
WRITING = threading.Lock()
WAITS = "waits for what is made elsewhere"
POLL_S = 5.0


@dataclass(frozen=True)
class Cell(ABC):
    """One system of one seed; a subclass has what makes it."""

    name: str
    seed: int

    @property
    @abstractmethod
    def key(self) -> dict[str, Any]:
        """Everything that makes the cell: another setting is another cell."""

    @property
    def folder(self) -> Path:
        return GRID / f"{self.name}-{self.seed}"

    @property
    def sha256(self) -> str:
        """Of what makes the cell."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()


AnyCell = TypeVar("AnyCell", bound=Cell)


def run(cell: Cell, *words: str) -> None:
    """One audiokd command of one thread; its words and output go to the cell's log. A result that stands is left."""
    if "--out" in words and Path(words[words.index("--out") + 1]).exists():
        return
    cell.folder.mkdir(parents=True, exist_ok=True)
    log = cell.folder / "log"
    with open(log, "ab") as f:
        f.write(f"# audiokd {' '.join(words)}\n".encode())
    if code := command(words, log):
        last = log.read_text(errors="replace").splitlines()[-1]
        raise AudiokdError(f"'audiokd {words[0]}' ended with {code}: {last}", where=str(log))


def command(words: Sequence[str], log: Path) -> int:
    """What `audiokd WORDS` returns, in a process of its own that is forked from one which has made the imports: they take longer
    than a probe. Its output is appended to `log`."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported
    process = SERVED.Process(target=_command, args=(list(words), str(log)))
    process.start()
    process.join()
    return process.exitcode or 0


def _command(words: list[str], log: str) -> None:
    with open(log, "ab", buffering=0) as f:
        for number in (1, 2):
            os.dup2(f.fileno(), number)
    from audiokd.cli import main

    sys.argv = ["audiokd", *words]
    main(words)


def options(keys: dict[str, Any]) -> list[str]:
    return [f"--{k}={json.dumps(v) if isinstance(v, (list, bool)) else v}" for k, v in keys.items()]


def add_row(row: dict[str, Any]) -> None:
    """Append a row to RESULTS."""
    # threads share a process and processes a folder: two rows at once must not be one
    GRID.mkdir(parents=True, exist_ok=True)
    with WRITING, open(GRID / ".lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        write_bytes(RESULTS, (RESULTS.read_bytes() if RESULTS.exists() else b"") + jsonl([row]))


def finished() -> dict[str, dict[str, Any]]:
    """Rows of the grid's cells by their configuration."""
    lines = RESULTS.read_bytes().splitlines() if RESULTS.exists() else []
    rows = [json.loads(line) for line in lines]
    return {r["config_sha256"]: r for r in rows if r["system"].startswith("grid/")}


def spread(rows: list[dict[str, Any]], key: str) -> str:
    kept = [r["scores"][key] for r in rows if r["scores"].get(key) is not None]
    if not kept:
        return "-"
    mean = f"{statistics.mean(kept):.3f}"
    if len(kept) > 1:
        return f"{mean} ({min(kept):.3f} to {max(kept):.3f})"
    low, high = rows[0]["intervals"].get(key, (None, None))
    return mean if low is None else f"{mean} [{low:.3f}, {high:.3f}]"


def file_sha256(paths: Sequence[str]) -> list[str]:
    """Of config files: a change in one is a change of the cells."""
    return [hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in paths]


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


class Busy(Exception):
    """What a cell stands on is being made elsewhere."""


@contextlib.contextmanager
def making(folder: Path) -> Iterator[None]:
    """Make what is in the folder, alone.

    Raises:
        Busy: another process or thread is at it; other cells can be worked on meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".making", "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(str(folder)) from None
        yield


def grid_parser(doc: str | None) -> argparse.ArgumentParser:
    """What every grid's script is asked; `doc` is the script's own."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n\n")[0])
    parser.add_argument("grid", help="such as conf/grid.yaml")
    parser.add_argument("--nj", type=int, default=1, help="cells at once, a thread each")
    parser.add_argument("--only", default="", help="cells whose name holds this")
    parser.add_argument("--tables", action="store_true", help="print the tables of finished cells")
    return parser


def attempt(cell: Cell, do: Callable[[], str | None]) -> str:
    """`do` what is left of a cell and say how it ended; one that fails says so and stops no other."""
    with alone(cell.folder) as mine:
        if not mine:
            return "is being worked on elsewhere"
        if cell.sha256 in finished():  # since this process began
            return "was done elsewhere"
        try:
            return do() or "done"
        except Busy:
            return WAITS
        except AudiokdError as e:
            return f"failed: {e}"
        except Exception as e:  # a fault of the grid's own: the next cell may not have it, and the log keeps all of it
            with open(cell.folder / "log", "a") as f:
                traceback.print_exc(file=f)
            return f"failed: {type(e).__name__}: {e} (see {cell.folder}/log)"


def unfinished(cells: Sequence[AnyCell]) -> list[AnyCell]:
    """The cells that have no row yet; says how many have one."""
    done = finished()
    left = [c for c in cells if c.sha256 not in done]
    print(f"{len(cells) - len(left)} of {len(cells)} cells are in {RESULTS}", flush=True)
    return left


def work_through(left: Sequence[AnyCell], nj: int, work: Callable[[AnyCell], str]) -> None:
    """Work on cells, `nj` at once, those last that wait for what is made elsewhere; exit 1 if one failed."""
    failed = 0
    with ThreadPoolExecutor(nj) as pool:
        while left:
            waiting = []
            for cell, said in zip(left, pool.map(work, left)):
                if said == WAITS:
                    waiting.append(cell)
                    continue
                print(f"{cell.name} seed {cell.seed}: {said}", flush=True)
                failed += said.startswith("failed")
            if len(waiting) == len(left):
                time.sleep(POLL_S)
            left = waiting
    if failed:
        sys.exit(1)
