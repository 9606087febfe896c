"""A .hama weight file (of the Python package hama, Apache-2.0) as named arrays.

Little-endian: "HAMAPK", u8 version, u8 kind, u32 number of tensors; each: u16 length + name, u8 dtype, u8 rank, u32 dims,
u64 offset, u64 bytes; then the payload, which ends with the file. Read from files of version 1.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError

MAGIC = b"HAMAPK"
ASR = 2  # kind of a waveform acoustic model
DTYPES = {0: np.float32, 1: np.float16}


def read_hama(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All tensors of an acoustic model by name, float32.

    Raises:
        AudiokdError: no such file, another kind of file, or one that is cut off.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as e:
        fix = "it lies in the Python package hama: hama/assets/asr_waveform.hama"
        raise AudiokdError(f"cannot be read ({e.strerror})", where=str(path), fix=fix) from e
    at = len(MAGIC)
    if data[:at] != MAGIC:
        raise AudiokdError("not a .hama file", where=str(path), fix="it must begin with HAMAPK")

    def take(fmt: str) -> tuple[Any, ...]:
        nonlocal at
        size = struct.calcsize("<" + fmt)
        if at + size > len(data):
            raise AudiokdError("ends in the middle of its table", where=str(path), fix="download it again")
        at += size
        return struct.unpack_from("<" + fmt, data, at - size)

    version, kind, count = take("BBI")
    if (version, kind) != (1, ASR):
        what = f"version {version}, kind {kind}: only version 1, kind {ASR} (a waveform acoustic model) can be read"
        raise AudiokdError(what, where=str(path), fix="give asr_waveform.hama of the Python package hama 1.7")
    table = []
    for _ in range(count):
        (length,) = take("H")
        name = take(f"{length}s")[0].decode("utf-8", "replace")
        dtype, rank = take("BB")
        shape, (offset, size) = take(f"{rank}I"), take("QQ")
        if dtype not in DTYPES or size != np.dtype(DTYPES[dtype]).itemsize * int(np.prod(shape, dtype=np.int64)):
            what = f"{name}: {size} bytes of data type {dtype} for shape {list(shape)}"
            raise AudiokdError(what, where=str(path), fix="download it again")
        table.append((name, DTYPES[dtype], shape, offset, size))
    base = len(data) - max((offset + size for *_, offset, size in table), default=0)
    if base < at:
        what = f"cut off: its table promises {at - base} bytes more than are there"
        raise AudiokdError(what, where=str(path), fix="download it again")
    return {
        name: np.frombuffer(data, dtype, size // np.dtype(dtype).itemsize, base + offset).reshape(shape).astype("f4")
        for name, dtype, shape, offset, size in table
    }
