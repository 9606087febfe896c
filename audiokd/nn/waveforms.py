"""What every model refuses of a batch of waveforms before it makes noise of it."""

from __future__ import annotations

import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.nn.lengths import length_mask


def check_wav(wav: Tensor, lengths: Tensor | None, device: torch.device | str = "cpu") -> Tensor:
    """The true samples [B] of waveforms [B, T], on `device`; padding beyond them may hold anything.

    Raises:
        AudiokdError: not [B, T] floats, lengths that do not fit, an empty item, NaN or Inf (item and sample are named).
    """
    if wav.ndim != 2:
        raise AudiokdError(f"waveforms must be [B, T], not {list(wav.shape)}", fix="add a batch axis: wav[None]")
    if not wav.is_floating_point():
        raise AudiokdError(f"waveforms of {wav.dtype}", fix="give floats in [-1, 1]: int16 / 32768")
    if lengths is None:
        n = torch.full((wav.shape[0],), wav.shape[1], dtype=torch.long, device=device)
    else:
        n = torch.as_tensor(lengths, dtype=torch.long, device=device)
    if n.shape != wav.shape[:1] or bool((n > wav.shape[1]).any()):
        raise AudiokdError(f"lengths {n.tolist()} do not fit waveforms of shape {list(wav.shape)}")
    if wav.shape[0] == 0 or bool((n < 1).any()):
        raise AudiokdError(
            "an empty waveform has no codes and no features", where=f"lengths {n.tolist()}", fix="leave it out"
        )
    check_finite(wav, n)
    return n


def check_finite(wav: Tensor, lengths: Tensor | None = None, start: int = 0) -> None:
    """Fail where waveforms [B, T] hold NaN or Inf before their true `lengths` [B]. `start`: of their stream, in samples."""
    if wav.numel() == 0 or all(bool(x.isfinite()) for x in wav.aminmax()):  # NaN wins both: one pass, no copy
        return
    bad = ~wav.isfinite()
    if lengths is not None:
        bad &= length_mask(lengths.to(wav.device), wav.shape[1])
    items = bad.any(1).nonzero()[:, 0].tolist()
    if items:
        places = "; ".join(f"item {i}, sample {start + int(bad[i].int().argmax())}" for i in items)
        raise AudiokdError("NaN or Inf in the waveform, first there", where=places, fix="mend it, or leave it out")
