"""DNSMOS P.835: what listeners would rate the speech, the background and the whole of a clip, guessed from it alone.

Source: Reddy et al. 2022, https://arxiv.org/abs/2110.01763. The package speechmos carries the networks (MIT); its own class is
called. It was trained on noisy calls and noise suppressors: for codecs it is one more opinion, not the truth.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audiokd.data.audio import resample
from audiokd.eval.common import need, signal

if TYPE_CHECKING:
    from audiokd.eval.common import Signal

SAMPLE_RATE = 16_000


def dnsmos_ovrl(hyp: Signal, sample_rate: int, device: str = "cpu") -> float | None:
    """Overall quality, 1 (bad) to 5 (excellent). Higher is better.

    Resampled to 16 kHz, turned down to peak 1 where it is above, in windows of 9.01 s, 1 s apart; a shorter clip is repeated.

    Args:
        hyp: what is scored `[T]`, float32.
        sample_rate: Hz.
        device: not used: the networks run on the CPU.

    Returns:
        the mean over windows; None for digital silence.

    Raises:
        AudiokdError: speechmos or onnxruntime is not installed.
    """
    return _rated(hyp, sample_rate, "ovrl_mos")


def dnsmos_sig(hyp: Signal, sample_rate: int, device: str = "cpu") -> float | None:
    """Quality of the speech alone; else as `dnsmos_ovrl`."""
    return _rated(hyp, sample_rate, "sig_mos")


def dnsmos_bak(hyp: Signal, sample_rate: int, device: str = "cpu") -> float | None:
    """How little the background disturbs; else as `dnsmos_ovrl`."""
    return _rated(hyp, sample_rate, "bak_mos")


def _rated(hyp: Signal, sample_rate: int, name: str) -> float | None:
    x = signal(hyp)
    need("speechmos.dnsmos")
    if not x.any():
        return None
    wav = resample(x, sample_rate, SAMPLE_RATE)
    return _all(np.ascontiguousarray(wav / max(1.0, float(np.abs(wav).max())), dtype=np.float32).tobytes())[name]


@lru_cache(maxsize=2)
def _all(wav: bytes) -> dict[str, float]:
    """The ratings of float32 samples: one pass gives all three."""
    rated = _model()(np.frombuffer(wav, np.float32), SAMPLE_RATE, False)  # not the personalised networks
    return {k: float(v) for k, v in rated.items()}


@lru_cache(maxsize=1)
def _model() -> Any:
    """The package's model with as many threads as torch has: its own takes every core, in every process."""
    package, onnx = need("speechmos.dnsmos"), need("onnxruntime")
    folder = Path(package.__file__).parent / "dnsmos_models"
    paths = [str(folder / name) for name in ("sig_bak_ovr.onnx", "model_v8.onnx")]
    model, options = package.DNSMOS(*paths), onnx.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    model.onnx_sess, model.p808_onnx_sess = (onnx.InferenceSession(path, options) for path in paths)
    return model
