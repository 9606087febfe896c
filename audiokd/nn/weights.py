"""Weights into a model, and what is said of those that are another's."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError


def read_checkpoint(path: str | os.PathLike[str], fix: str, safe: Iterable[Any] = ()) -> Any:
    """What torch.save wrote to `path`, on the CPU. Nothing of it is run: tensors, plain values and the classes `safe` alone.

    Raises:
        AudiokdError: it is not there, is no such file, is damaged, or holds objects of another class (the first is named).
    """
    try:
        with torch.serialization.safe_globals(list(safe)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as e:
        raise AudiokdError("no such file", where=str(path), fix=fix) from e
    except Exception as e:  # of a damaged file, anything from IndexError to struct.error
        found = re.search(r"GLOBAL (\S+)", str(e))
        what = (
            f"holds an object of {found[1]}, code of which would have to run"
            if found
            else "no checkpoint of torch, or not whole"
        )
        raise AudiokdError(what, where=str(path), fix=fix) from e


def weights_sha256(model: nn.Module) -> str:
    """Over every tensor by name, type and shape: the same for a folder, a hub id and a device."""
    h = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        t = tensor.detach().cpu().contiguous()
        h.update(f"{name} {t.dtype} {list(t.shape)}\n".encode())
        h.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()


def weight_problems(
    expected: Mapping[str, Any], found: Mapping[str, Any], say: Callable[[str], str] = lambda key: key
) -> list[str]:
    """A line for each key that is missing, unknown, or of another shape.

    Args:
        expected: tensors, or their shapes, by key.
        found: the same.
        say: how a key is named to the user.
    """
    want, have = ({k: getattr(v, "shape", v) for k, v in side.items()} for side in (expected, found))
    return [
        *(f"missing: {say(k)}" for k in sorted(want.keys() - have.keys())),
        *(f"unknown: {k}" for k in sorted(have.keys() - want.keys())),
        *(
            f"{say(k)}: {list(have[k])} there, {list(want[k])} expected"
            for k in sorted(want.keys() & have.keys())
            if have[k] != want[k]
        ),
    ]


def check_weights(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str, fix: str) -> None:
    """That every tensor is there, of the same shape, and no other.

    Raises:
        AudiokdError: it is not so; the first three differences are named.
    """
    if problems := weight_problems(expected, found):
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        what = f"weights of another model: {'; '.join(problems[:3])}{more}"
        raise AudiokdError(what, where=where, fix=fix)


def load_weights(model: nn.Module, found: Mapping[str, Tensor], where: str) -> None:
    """`model.load_state_dict(found)` of a checkpoint's part, whose run's config.yaml made the model.

    Raises:
        AudiokdError: as `check_weights`.
    """
    check_weights(model.state_dict(), found, where, "config.yaml and the checkpoint must be of one run")
    model.load_state_dict(found)
