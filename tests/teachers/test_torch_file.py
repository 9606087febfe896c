"""Files of other programs: their tensors are read, and nothing else that is pickled in them runs."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiokd.errors import AudiokdError
from audiokd.teachers.torch_file import Unknown, load_tensors


class Runs:
    """Pickled, it makes a folder where it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class Stateful(dict):
    """An object with a state and items of its own."""


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_it_runs(zipped: bool, tmp_path: Path) -> None:
    path, made = tmp_path / "a.pt", tmp_path / "made"
    weights = {"w": torch.randn(3, 4), "half": torch.ones(2).half(), "n": torch.tensor([1, 2])}
    odd = Stateful(a=1)
    odd.more = 2  # type: ignore[attr-defined]
    whole = {"model": weights, "args": Namespace(heads=4), "odd": odd, "runs": [Runs(made)], "steps": 3}
    torch.save(whole, path, _use_new_zipfile_serialization=zipped)
    found = load_tensors(path)
    assert not made.exists()
    assert isinstance(found["runs"][0], Unknown)
    assert isinstance(found["odd"], Unknown)
    assert (found["args"].heads, found["steps"]) == (4, 3)
    assert all(torch.equal(found["model"][k], w) for k, w in weights.items())
    torch.load(path, weights_only=False)  # what would have been
    assert made.is_dir()


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"")
    with pytest.raises(AudiokdError, match="cannot be read"):
        load_tensors(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(AudiokdError, match="holds a list, not the dict"):
        load_tensors(path)
    with pytest.raises(AudiokdError, match="cannot be read"):
        load_tensors(tmp_path / "nothing.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    with pytest.raises(AudiokdError, match="not the dict"):
        load_tensors(path)
