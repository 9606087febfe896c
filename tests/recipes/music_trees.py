"""Small trees in the layouts of published music corpora, and what a recipe's data stage makes of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import soundfile as sf
from recipe_copies import ENV, REPO, copy_recipe

from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir
from audiokd.data.labels import read_labels


def data_stage(recipe: str, tmp_path: Path, *options: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The data folder of a copy of a recipe, and its run of local/data.sh with these options."""
    task = tmp_path / "egs" / "corpus" / "tok1"
    if not task.exists():
        copy_recipe(REPO / "egs" / recipe, tmp_path)
    run = subprocess.run(["local/data.sh", *options], cwd=task, env=ENV, capture_output=True, text=True)
    return task / "data", run


def made(recipe: str, tmp_path: Path, *options: str) -> tuple[Path, str, str]:
    """The data folder, and what was said on stdout and stderr."""
    data, run = data_stage(recipe, tmp_path, *options)
    assert run.returncode == 0, run.stderr
    return data, run.stdout, run.stderr


def refused(recipe: str, tmp_path: Path, *options: str) -> str:
    """What is said where the data stage refuses: a message, not a traceback."""
    _, run = data_stage(recipe, tmp_path, *options)
    assert run.returncode == 1, run.stderr
    assert run.stderr.splitlines()[-1 if "\n  " not in run.stderr else -2].startswith("error: "), run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr


def write(path: Path, wav: np.ndarray, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wav, rate)
    return path


def check(folder: Path, labels: dict[str, tuple[str, ...]], name: str = "utt2label") -> None:
    """A sound data dir of these utterances, each of which is a file, with these labels."""
    assert [str(f) for f in check_data_dir(folder) if f.fatal] == []
    utterances = list(open_input(folder).utterances())
    assert {u.id for u in utterances} == labels.keys()
    assert len(utterances) == len(labels)
    assert all(Path(u.path).is_file() for u in utterances)
    assert read_labels(folder / name) == labels
