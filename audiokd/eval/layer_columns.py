"""One layer of features that stand side by side."""

from __future__ import annotations

import numpy as np

from audiokd.errors import AudiokdError


def layer_columns(frames: np.ndarray, k: int, layers: int) -> np.ndarray:
    """A copy in memory of layer `k`, [T', D] float32, of [T', L D], which may lie on disk.

    Raises:
        AudiokdError: they do not split into `layers`, or are not finite.
    """
    if frames.shape[1] % layers:
        raise AudiokdError(f"features of size {frames.shape[1]} are not {layers} layers'")
    size = frames.shape[1] // layers
    of = np.array(frames[:, k * size : (k + 1) * size], dtype=np.float32)
    if not np.isfinite(of).all():
        raise AudiokdError("features that are NaN or Inf")
    return of
