"""metrics.csv of a run in long form (step,split,name,value): append-only, so a kill costs one row and a resume goes on."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from audiokd.files import write_text

HEADER = "step,split,name,value\n"


class LongCSVLogger(Logger):
    """Rows of `path`. Rows past `resume_step` are dropped first: the steps after a checkpoint are run again.

    Args:
        path: the file.
        resume_step: step of the checkpoint that the run goes on from, 0 for a new one.
    """

    def __init__(self, path: Path, resume_step: int = 0):
        super().__init__()
        self.path, self._resume_step, self._ready = path, resume_step, False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> int:
        return 0

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """config.yaml of the run holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one row a metric; `split/name` keys are split at the first slash."""
        if not self._ready:
            self._start()
        with open(self.path, "a", newline="") as f:
            writer = csv.writer(f, lineterminator="\n")
            for key, value in metrics.items():
                split, _, name = key.partition("/")
                writer.writerow([step, split, name, f"{value:.8g}"])
            f.flush()
            os.fsync(f.fileno())

    def _start(self) -> None:
        kept = []
        if self.path.exists() and self._resume_step:
            for line in self.path.read_text().splitlines(keepends=True)[1:]:
                if line.endswith("\n") and line.count(",") == 3 and self._stands(line):
                    kept.append(line)
        write_text(self.path, HEADER + "".join(kept))
        self._ready = True

    def _stands(self, line: str) -> bool:
        """A row from before the checkpoint; validation at its very step is done again on resume."""
        step, split = line.split(",")[:2]
        if not step.isdigit():
            return False
        return int(step) < self._resume_step or (int(step) == self._resume_step and split == "train")
