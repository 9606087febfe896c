"""MOS: what listeners would rate a clip, guessed from the clip alone by a network.

Source: Distill-MOS, Stahl and Gamper 2025, https://arxiv.org/abs/2502.05356 (an XLS-R speech quality model distilled
into a small one; the package distillmos carries the weights). It plays UTMOS's part here; the two scales differ.
"""

from __future__ import annotations

import contextlib
import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from audiokd.data.audio import resample
from audiokd.eval.common import need, signal

if TYPE_CHECKING:
    from audiokd.eval.common import Signal

SAMPLE_RATE = 16_000
WINDOW, HOP = 122_880, 16_000  # samples: the network's input, and the largest step between two of them
CROPS = 4  # windows in one forward pass: the memory of an hour is that of half a minute


def mos(hyp: Signal, sample_rate: int, device: str = "cpu") -> float | None:
    """Predicted mean opinion score of speech quality, without a reference. Higher is better.

    Resampled to 16 kHz, scaled to peak 1, in windows of 7.68 s at most 1 s apart; the mean over windows, as the
    package does it. A shorter clip is padded with zeros.

    Args:
        hyp: what is scored `[T]`, float32.
        sample_rate: Hz.
        device: torch device of the network.

    Returns:
        1 (bad) to 5 (excellent); None for digital silence, which the network was not trained on.

    Raises:
        AudiokdError: distillmos is not installed.
    """
    x = signal(hyp)
    model = _model(device)
    if not x.any():
        return None
    wave = torch.from_numpy(np.ascontiguousarray(resample(x, sample_rate, SAMPLE_RATE)))
    wave = torch.nn.functional.pad(wave, (0, max(0, WINDOW - wave.numel())))
    over = wave.numel() - WINDOW
    starts = [int(c * over) for c in np.linspace(0, 1, int(np.ceil(over / HOP)) + 1)]
    crops = torch.stack([wave[s : s + WINDOW] for s in starts])
    with torch.inference_mode():
        values = [model(c.to(device)).float().cpu().flatten() for c in crops.split(CROPS)]
    return float(torch.cat(values).mean())


@lru_cache(maxsize=2)
def _model(device: str) -> torch.nn.Module:
    package = need("distillmos")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights are
        model = package.ConvTransformerSQAModel()
    return model.eval().requires_grad_(False).to(device)
