"""CTranslate2 binaries taken apart and put together, without audiokd's own reader."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

KINDS = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
Variables = dict[str, np.ndarray]


def read(path: Path) -> tuple[Variables, dict[str, str]]:
    """Variables as they are stored, and aliases."""
    data, at = path.read_bytes(), 0

    def take(fmt: str):
        nonlocal at
        at += struct.calcsize(fmt)
        out = struct.unpack_from(fmt, data, at - struct.calcsize(fmt))
        return out[0] if len(out) == 1 else out

    def text() -> str:
        return take(f"<{take('<H')}s")[:-1].decode()

    assert take("<I") == 6
    assert text() == "WhisperSpec"
    assert take("<I") == 3
    variables, aliases = {}, {}
    for _ in range(take("<I")):
        name = text()
        shape = [take("<I") for _ in range(take("<B"))]
        dtype = np.dtype(KINDS[take("<B")])
        size = take("<I")
        variables[name] = np.frombuffer(data, dtype, size // dtype.itemsize, at).reshape(shape)
        at += size
    for _ in range(take("<I")):
        alias = text()
        aliases[alias] = text()
    assert at == len(data)
    return variables, aliases


def write(
    path: Path, variables: Variables, aliases: dict[str, str], spec: str = "WhisperSpec", kind: int | None = None
) -> None:
    """A binary of version 6; `kind` overrides the dtype id of every variable."""

    def text(s: str) -> bytes:
        return struct.pack("<H", len(s) + 1) + s.encode() + b"\0"

    out = [struct.pack("<I", 6), text(spec), struct.pack("<II", 3, len(variables))]
    ids = {np.dtype(v): k for k, v in KINDS.items()}
    for name, a in variables.items():
        out += [text(name), struct.pack(f"<B{a.ndim}I", a.ndim, *a.shape)]
        out += [struct.pack("<BI", ids[a.dtype] if kind is None else kind, a.nbytes), a.tobytes()]
    out.append(struct.pack("<I", len(aliases)))
    for alias, name in aliases.items():
        out += [text(alias), text(name)]
    path.write_bytes(b"".join(out))


def quantise(variables: Variables, dtype: str) -> Variables:
    """Weights of linear, convolution and embedding layers as ct2-transformers-converter --quantization stores them."""
    out: Variables = {}
    for name, a in variables.items():
        if not name.endswith("/weight"):
            out[name] = a
            continue
        w = a.astype(np.float32)
        if dtype == "int8":
            high = np.abs(w.reshape(len(w), -1)).max(1)
            scale = 127 / np.where(high == 0, 127, high)
            q = np.rint(w * scale.reshape(-1, *[1] * (w.ndim - 1)))
        else:
            scale = np.float32(2**10 / np.abs(w).max())  # ten bits, so that products leave room to add up
            q = np.rint(w * scale)
        out[name], out[f"{name}_scale"] = q.astype(dtype), np.asarray(scale, np.float32)
    return out
