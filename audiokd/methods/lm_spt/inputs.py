"""What a tokenizer refuses: waveforms and codes that cannot be, named before they are encoded or decoded to noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.nn.lengths import length_mask
from audiokd.tokens.codes import Codes

if TYPE_CHECKING:
    from audiokd.methods.lm_spt.model import LMSPTModel


def check_wav(model: LMSPTModel, wav: Tensor, lengths: Tensor | None) -> Tensor:
    """The true samples [B] of waveforms [B, T], on the model's device; padding beyond them may hold anything."""
    if wav.ndim != 2:
        raise AudiokdError(f"waveforms must be [B, T], not {list(wav.shape)}", fix="add a batch axis: wav[None]")
    if not wav.is_floating_point():
        raise AudiokdError(f"waveforms of {wav.dtype}", fix="give floats in [-1, 1]: int16 / 32768")
    if lengths is None:
        n = torch.full((wav.shape[0],), wav.shape[1], dtype=torch.long, device=model.device)
    else:
        n = torch.as_tensor(lengths, dtype=torch.long, device=model.device)
    if n.shape != wav.shape[:1] or bool((n > wav.shape[1]).any()):
        raise AudiokdError(f"lengths {n.tolist()} do not fit waveforms of shape {list(wav.shape)}")
    if wav.shape[0] == 0 or bool((n < 1).any()):
        raise AudiokdError("an empty waveform has no codes", where=f"lengths {n.tolist()}", fix="leave it out")
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


def check_codes(model: LMSPTModel, codes: Codes) -> Tensor:
    """The ids [B, Q, T'] on the model's device, 0 in the padding, which may hold anything; errors where they cannot be."""
    size, ids, lengths = model.quantizer.cardinality, codes.codes.to(model.device), codes.lengths.to(model.device)
    if ids.shape[1] > len(size):
        raise AudiokdError(f"codes have {ids.shape[1]} streams, the model {len(size)}")
    if ids.is_floating_point() or ids.is_complex():
        raise AudiokdError(f"codes of {ids.dtype}", fix="give the integers that `encode` gave")
    if 0 in ids.shape[:2]:
        raise AudiokdError(f"codes of shape {list(ids.shape)}", fix="give [B, Q, T'] with at least one item and stream")
    if bool(((lengths < 0) | (lengths > ids.shape[-1])).any()):
        raise AudiokdError(f"lengths {lengths.tolist()} do not fit codes of {ids.shape[-1]} frames")
    ids = ids.masked_fill(~length_mask(lengths, ids.shape[-1])[:, None], 0)
    for q in range(ids.shape[1] if ids.numel() else 0):
        low, high = int(ids[:, q].min()), int(ids[:, q].max())
        if low < 0 or high >= size[q]:
            odd = low if low < 0 else high
            raise AudiokdError(
                f"stream {q} holds code {odd}, the model has {size[q]}", fix="these codes are another model's"
            )
    return ids
