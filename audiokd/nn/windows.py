"""Features of recordings that are longer than an encoder takes: through windows that overlap, each giving its middle's frames.

An encoder with global attention has no receptive field to overlap by. What its long recordings' features are is said here:
windows of `window_s` every `hop_s`, which the feature store records. They are the same whatever the batch, and one window at a
time is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.nn.lengths import stack_padded
from audiokd.nn.pieces import Piece, pieces

#: longest recording that an encoder is given whole, where it says nothing (`window_s`): ours cut it themselves
WINDOW_S = 600.0


def window_of(model: Any) -> tuple[float, float]:
    """`window_s`, the longest recording in seconds that `model` is given whole, and `hop_s`: longer ones' windows start so far
    apart."""
    encoder = getattr(model, "encoder", None)
    if not hasattr(model, "window_s") and hasattr(encoder, "extract"):  # a classifier's or detector's
        return window_of(encoder)
    window = getattr(model, "window_s", WINDOW_S)
    return window, getattr(model, "hop_s", window)


def long_features(model: Any, blocks: Iterable[Tensor], layer: str, together: int = 1) -> Iterator[Tensor]:
    """Frames [t, D] of one recording, window after window; of a layer with one frame a clip, its mean over the windows, [1, D],
    each weighted by the time that is its own.

    Args:
        model: an encoder: `extract(wav, lengths, layer)`, `sample_rate`, `frame_size`, `frame_rate`, `min_samples`.
        blocks: of the recording at its rate, [n] each.
        layer: one of its `feature_layers`.
        together: windows in a batch.

    Raises:
        AudiokdError: the model refuses a window, or gives fewer frames for it than its frame rate says.
    """
    window_s, hop_s = window_of(model)
    hop = max(1, round(hop_s * model.frame_rate))
    margin = max(0, round(window_s * model.frame_rate) - hop) // 2
    least = getattr(model, "min_samples", 1)
    after = max(margin * model.frame_size, least - model.frame_size)
    mean, weight = None, 0
    for batch in _batches(pieces(blocks, model.frame_size, hop, margin, after), least, together):
        lengths = torch.tensor([len(p.wav) for p in batch], device=model_device(model))
        wav = stack_padded([p.wav for p in batch]).to(lengths.device)
        found, frames = model.extract(wav, lengths, layer)
        for piece, x, n in zip(batch, found, frames.tolist()):
            if n == 1 and hop > 1:
                total = x[:1].double() * piece.samples
                mean, weight = total if mean is None else mean + total, weight + piece.samples
                like = x
                continue
            stop = n if piece.frames is None else piece.skip + piece.frames
            if stop > n and len(piece.wav) >= stop * model.frame_size + after:  # else the recording ends here
                what = f"{n} frames for a window of {len(piece.wav)} samples, {stop} expected"
                raise AudiokdError(what, fix=f"cut the recording to at most {window_s:g} s")
            yield x[piece.skip : stop]
    if mean is not None:
        yield (mean / weight).to(like.dtype)


def _batches(found: Iterable[Piece], least: int, together: int) -> Iterator[list[Piece]]:
    """Pieces, `together` at a time; a rest too short for a frame of its own is left out, as at the end of any clip."""
    batch: list[Piece] = []
    for piece in found:
        if len(piece.wav) >= least or not piece.start:
            batch.append(piece)
        if len(batch) == together:
            yield batch
            batch = []
    if batch:
        yield batch


def model_device(model: Any) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device
