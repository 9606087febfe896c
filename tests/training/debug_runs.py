"""What the tests of training share: data dirs of a real recording, and settings of the packaged debug config."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from method_settings import settings_of

from audiokd.hub.auto import part
from audiokd.stages.fit import flatten


def data_dir(folder: Path, recording: Path, first: int, count: int, seconds: float = 4.0) -> Path:
    """A Kaldi data dir: `count` segments of `seconds` from segment number `first` on."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wav.scp").write_text(f"{recording.stem} {recording}\n")
    rows = [
        f"{recording.stem}-{i:02d} {recording.stem} {seconds * i:g} {seconds * (i + 1):g}\n"
        for i in range(first, first + count)
    ]
    (folder / "segments").write_text("".join(rows))
    return folder


def debug_settings(teacher: Path, **changes: Any) -> Any:
    """Settings of lm_spt/debug; `changes` by key with `__` for the dot: `run__max_steps=3`."""
    flat = {"teacher.name": str(teacher), "run.accelerator": "cpu"}
    known = flatten(dataclasses.asdict(part("lm_spt", "settings")()))
    for key, value in changes.items():
        key = key.replace("__", ".")
        assert key in known, key
        flat[key] = value
    return settings_of("lm_spt", "debug", flat)
