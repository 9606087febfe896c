"""Codes that a tokenizer refuses, named before they are decoded to noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.nn.lengths import length_mask
from audiokd.tokens.codes import Codes


def check_ids(codes: Codes, size: Sequence[int], device: torch.device) -> Tensor:
    """The ids [B, Q, T'] on `device`, 0 in the padding, which may hold anything.

    Args:
        codes: of a batch.
        size: codes that each stream of the model has.
        device: of the model.

    Raises:
        AudiokdError: they cannot be the model's.
    """
    ids, lengths = codes.codes.to(device), codes.lengths.to(device)
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
