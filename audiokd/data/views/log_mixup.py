"""Log-mixup-exp with clips that went before (Niizumi et al., BYOL for Audio, arXiv 2103.06695, section IV-A)."""

from __future__ import annotations

import torch
from torch import Tensor


def log_mixup_exp(mel: Tensor, background: Tensor, share: Tensor) -> Tensor:
    """log((1 - share) exp(mel) + share exp(background)), a sum of powers where the features are natural logarithms.

    ATST mixes features that are scaled to [-1, 1] already, and so does this.

    Args:
        mel: [B, F, T].
        background: [B, F, T].
        share: [B], of the background.
    """
    a = share[:, None, None].to(mel.dtype)
    return torch.log((1.0 - a) * mel.exp() + a * background.exp() + torch.finfo(mel.dtype).eps)


class MixupMemory:
    """The last `size` clips in the order in which they came, on the device that they came from.

    Args:
        size: clips that are kept.
    """

    def __init__(self, size: int):
        self.size = size
        self.seen = 0
        self._kept: Tensor | None = None

    def __len__(self) -> int:
        return min(self.seen, self.size)

    def push(self, clips: Tensor) -> None:
        """Add clips [B, ...], the latest last."""
        if not self.size:
            return
        if self._kept is None:
            self._kept = clips.new_empty(self.size, *clips.shape[1:])
        clips = clips[-self.size :]
        at = (self.seen + torch.arange(len(clips), device=clips.device)) % self.size
        self._kept[at] = clips
        self.seen += len(clips)

    def draw(self, u: Tensor) -> Tensor:
        """The clips [B, ...] at `u` [B] in [0, 1): 0 is the oldest.

        Raises:
            IndexError: nothing is there yet.
        """
        if self._kept is None:
            raise IndexError("the memory is empty")
        rank = (u * len(self)).long().clamp(max=len(self) - 1)
        oldest = self.seen - len(self)
        return self._kept[((oldest + rank) % self.size).to(self._kept.device)]
