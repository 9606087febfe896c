"""In-batch noise mixture of MERT (arXiv 2306.00107): stretches of other clips are added to a clip, which is to be heard through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseMixture:
    """How much is added.

    Args:
        probability: that a clip gets any.
        most: stretches a clip; from 1 on each number is as likely.
        shortest, longest: samples of a stretch, which is as long as the clip at most.
    """

    probability: float = 0.5
    most: int = 3
    shortest: int = 12_000
    longest: int = 24_000

    def draw(self, rng: np.random.Generator, samples: int, others: int) -> np.ndarray:
        """Stretches for a clip of `samples` among `others` samples of other clips, one after another: int64 [most, 3], where each
        begins in the others and in the clip, and how long it is; rows of zeros where there are fewer."""
        plan = np.zeros((self.most, 3), dtype=np.int64)
        if not others or rng.random() >= self.probability:
            return plan
        for row in plan[: rng.integers(1, self.most + 1)]:
            n = min(int(rng.integers(self.shortest, self.longest + 1)), samples, others)
            row[:] = rng.integers(0, others - n + 1), rng.integers(0, samples - n + 1), n
        return plan


def mix_in_batch(wav: Tensor, lengths: Tensor, plans: Tensor) -> Tensor:
    """`wav` [B, T] with stretches of its other clips added, at their own loudness.

    Args:
        wav: [B, T].
        lengths: [B] samples that are no padding.
        plans: [B, K, 3] as `NoiseMixture.draw` gives them for each clip.

    Returns:
        [B, T] anew; what is past a clip's length stays.
    """
    size = int(plans[..., 2].max())
    if not size:
        return wav.clone()
    joined = wav[torch.arange(wav.shape[1], device=wav.device) < lengths[:, None]]
    ends = lengths.cumsum(0)
    source, place, n = plans.to(wav.device).unbind(-1)
    ramp = torch.arange(size, device=wav.device)
    at = source[..., None] + ramp
    # in the concatenation of all clips, where one's own is to be stepped over
    own, skip = (ends - lengths)[:, None, None], lengths[:, None, None]
    at = torch.where(at >= own, at + skip, at).clamp(max=len(joined) - 1)
    heard = ramp < n[..., None]
    added = joined[at] * heard
    to = (place[..., None] + ramp).clamp(max=wav.shape[1] - 1)
    return wav.scatter_add(1, to.flatten(1), added.flatten(1))
