r"""Sound event detection from strong labels (frames), weak ones (clips) and none: the loss of the DCASE task 4 baseline.

.. math::
    \mathcal{L} = (1 - \lambda) \left(\ell_{strong} + w_{weak}\, \ell_{weak}\right) + \lambda\, \ell_{taught}
        + w_{mean} \left(\mathrm{MSE}_{frames} + \mathrm{MSE}_{clips}\right)

l_strong is the binary cross-entropy of frames of strongly labelled clips, l_weak of clip predictions of weakly labelled ones,
l_taught of all clips' frames against the probabilities of models that were fine-tuned before; without such models lambda is 0.
The MSE is between the probabilities of the student and of its moving average, over all clips (Tarvainen and Valpola,
arXiv 1703.01780; DCASE 2021 task 4 baseline, local/sed_trainer.py). Every term is a mean over frames that are not padding, and
labels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError


def frame_loss(logits: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """Binary cross-entropy of the frames that count, 0 where none does.

    Args:
        logits: [B, T', C].
        labels: [B, T', C] in [0, 1]; no gradient goes there.
        counted: Bool [B, T'].

    Raises:
        AudiokdError: the shapes differ.
    """
    if labels.shape != logits.shape:
        raise AudiokdError(f"labels of frames {list(labels.shape)}, logits {list(logits.shape)}")
    return _mean(F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none"), counted)


def clip_loss(logits: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """Binary cross-entropy of clips [B, C] against labels [B, C] in [0, 1], over those in `counted` [B]; 0 where none is."""
    return _mean(F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none"), counted)


def consistency_loss(events: Tensor, clips: Tensor, mean_events: Tensor, mean_clips: Tensor, counted: Tensor) -> Tensor:
    """Mean squared difference of probabilities of frames, plus that of clips.

    Args:
        events, mean_events: logits [B, T', C] of the student and of its average; no gradient goes to the latter.
        clips, mean_clips: logits [B, C].
        counted: Bool [B, T'].
    """
    frames = (events.float().sigmoid() - mean_events.detach().float().sigmoid()).square()
    return _mean(frames, counted) + (clips.float().sigmoid() - mean_clips.detach().float().sigmoid()).square().mean()


def _mean(x: Tensor, counted: Tensor) -> Tensor:
    """Over the labels of `x` [..., C] where `counted` [...]."""
    c = counted[..., None].to(x.dtype)
    return (x * c).sum() / (c.sum() * x.shape[-1]).clamp(min=torch.finfo(x.dtype).tiny)
