"""Arrays that wait on disk for their turn in the store: batches go by length, a shard is written in the order of its utterances."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import say_why


class Spill:
    """An unnamed file with arrays [T', N] of one width and dtype each; it is gone when this is closed, or its process ends.

    Args:
        folder: on the disk that is written to.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".spill.tmp")  # noqa: SIM115 - closed by close()
        except OSError as e:
            say_why(e, folder)
            raise
        self._at: dict[str, tuple[int, tuple[int, int], np.dtype]] = {}
        self._end = 0

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the disk back."""
        with suppress(OSError):  # it would write what a full disk did not take
            self._file.close()

    def add(self, key: str, blocks: Iterable[np.ndarray]) -> None:
        """Keep `blocks` [t, N], one after another, as the array of `key`. An error on the way leaves nothing of it.

        Raises:
            AudiokdError: the disk is full, or blocks differ in width or dtype.
        """
        start, rows, like = self._end, 0, None
        self._file.seek(start)
        for block in blocks:
            if like is None:
                like = block[:0]
            if block.ndim != 2 or block.shape[1:] != like.shape[1:] or block.dtype != like.dtype:
                what = f"frames of {block.dtype} {list(block.shape)} after {like.dtype} [., {like.shape[-1]}]"
                raise AudiokdError(what, where=key)
            try:
                self._file.write(np.ascontiguousarray(block).data)
                self._file.flush()
            except OSError as e:
                say_why(e, self.folder)
                raise
            rows += len(block)
        if like is None:
            raise AudiokdError("no frames at all", where=key)
        self._at[key] = (start, (rows, like.shape[1]), like.dtype)
        self._end = start + rows * like.shape[1] * like.dtype.itemsize

    def array(self, key: str) -> np.ndarray:
        """The array of `key`, mapped: its pages are the system's to drop."""
        start, shape, dtype = self._at[key]
        if not shape[0] * shape[1]:
            return np.zeros(shape, dtype)
        return np.memmap(self._file, dtype, "r", start, shape)
