"""What the metrics share: two signals cut to one length, and optional packages."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from audiokd.errors import AudiokdError

if TYPE_CHECKING:
    import torch

    Signal: TypeAlias = np.ndarray | torch.Tensor


def signal(x: Signal, what: str = "signal") -> np.ndarray:
    """`x` as a float32 numpy array `[T]`; refuses what no metric can read.

    Raises:
        AudiokdError: not one channel, empty, or holds NaN or infinity.
    """
    a = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=np.float32)
    if a.ndim != 1:
        raise AudiokdError(
            f"{what} has shape {list(a.shape)}, a metric reads one channel [T]", fix="give one channel of one utterance"
        )
    if not a.size:
        raise AudiokdError(f"{what} is empty")
    if not np.isfinite(a).all():
        bad = int((~np.isfinite(a)).sum())
        raise AudiokdError(f"{what} holds {bad} samples that are NaN or infinite", fix="the model or decoder diverged")
    return a


def pair(ref: Signal, hyp: Signal) -> tuple[np.ndarray, np.ndarray]:
    """Both signals as float32 `[T]`, cut at the end to the shorter one.

    The rule of every metric here that compares two signals: they start at the same sample, and what only one of them
    has at its end is not scored (a codec pads the last frame). A delay is not searched for.
    """
    r, h = signal(ref, "the reference"), signal(hyp, "the signal to score")
    n = min(r.size, h.size)
    return r[:n], h[:n]


def need(module: str) -> Any:
    """Import an optional package, of the extra `score` or `sed`.

    Raises:
        AudiokdError: it cannot be imported; says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise AudiokdError(
            f"the package {module} cannot be imported ({e})",
            fix="pip install 'audiokd[score,sed]'; 'audiokd score' can leave out the metric that needs it: --metrics",
        ) from e
