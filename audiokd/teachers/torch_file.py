"""Tensors out of another program's pickle: whatever else is in it stays a name, and nothing of it runs."""

from __future__ import annotations

import os
import pickle
from types import SimpleNamespace
from typing import Any

import torch

from audiokd.errors import AudiokdError

#: what a file of tensors and plain values is made of
SAFE = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("argparse", "Namespace"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch.serialization", "_get_layout"),
    *(("builtins", n) for n in ("dict", "list", "set", "tuple", "int", "float", "str", "bool", "complex", "bytearray")),
    *(
        ("torch", n)
        for n in ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
    ),
    *(
        ("torch", f"{n}Storage")
        for n in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
    ),
}


class Unknown:
    """Stands for an object of a class that is not `SAFE`; of its state nothing is kept."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """A list's, as pickle calls it."""

    def extend(self, items: Any) -> None:
        """A list's, as pickle calls it."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(module, name) if (module, name) in SAFE else Unknown


def load_tensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The dict that torch.save wrote, with every object in it but tensors and plain values replaced by `Unknown`.

    fairseq, for one, keeps its dictionaries in a checkpoint, whose code would have to be installed, and trusted, to read them;
    torch's own weights_only refuses such a file whole.

    Raises:
        AudiokdError: not a file that torch wrote, a damaged one, or one that holds no dict.
    """
    reader: Any = SimpleNamespace(
        __name__="tensors", Unpickler=_Unpickler, load=lambda f, **kw: _Unpickler(f, **kw).load()
    )
    try:
        # not weights_only, for it would not look at `reader`, which lets through what is SAFE and nothing else
        found = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    except Exception as e:  # what a damaged pickle can raise has no end; all of it is said
        said = (str(e).splitlines() or [type(e).__name__])[0]
        raise AudiokdError(f"cannot be read: {said}", where=os.fspath(path)) from e
    if not isinstance(found, dict):
        what = f"holds a {type(found).__name__}, not the dict of a checkpoint"
        raise AudiokdError(what, where=os.fspath(path), fix="give a file that torch.save wrote of a state dict")
    return found
