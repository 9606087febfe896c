"""Two views of each clip, made of a batch at once on its device; what is drawn depends on (seed, step, utterance) alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiokd.data.crops import rng_of
from audiokd.data.views.frame_mask import draw_mask
from audiokd.data.views.frequency_warp import FREQUENCY_WARP
from audiokd.data.views.log_mixup import MixupMemory, log_mixup_exp
from audiokd.data.views.resize_crop import RandomResizeCrop
from audiokd.methods.atst.settings import PATCH, ViewSettings


@dataclass
class Views:
    """Both views of B clips, the second view's behind the first's.

    Attributes:
        mel: [2B, 64, F].
        frames: [2B] that are not padding.
        mask: Bool [2B, F // 4] of what the student does not see, the same in both views; None for ATST-Clip.
    """

    mel: Tensor
    frames: Tensor
    mask: Tensor | None


class ViewMaker:
    """Makes views of log-mel clips and remembers the clips for the mixup of later ones.

    Args:
        settings: what is done.
        clip: whether both axes are warped and no mask is drawn, as for ATST-Clip.
        seed: of the draws.
    """

    def __init__(self, settings: ViewSettings, clip: bool, seed: int):
        self.settings, self.clip, self.seed = settings, clip, seed
        self.both = clip if settings.both is None else settings.both
        self.warp = RandomResizeCrop() if clip else FREQUENCY_WARP
        self.memory = MixupMemory(settings.mixup_memory if settings.mixup else 0)

    def __call__(self, crops: Tensor, frames: Tensor, ids: list[str], step: int | str, mix: bool = True) -> Views:
        """Views of `crops` [B, C, 64, F], of which view v is made of crop v (or of the only one).

        Args:
            crops: log-mel.
            frames: [B] that are not padding.
            ids: of the utterances.
            step: part of the draws' key.
            mix: mix clips that went before into these, and remember these.
        """
        views = []
        for v in (0, 1):
            mel = crops[:, min(v, crops.shape[1] - 1)]
            if v == 1 or self.both:
                rngs = [rng_of(self.seed, "view", step, i, v) for i in ids]
                mel = self._change(mel, rngs, v, mix)
            views.append(mel)
        if mix:
            self.memory.push(crops)
        return Views(torch.cat(views), frames.repeat(2), self._masks(crops.shape[-1], frames, ids, step))

    def _change(self, mel: Tensor, rngs: list[np.random.Generator], view: int, mix: bool) -> Tensor:
        draws = torch.from_numpy(np.stack([r.random(2) for r in rngs])).to(mel.device, torch.float32)
        if mix and len(self.memory):
            others = self.memory.draw(draws[:, 0])
            mel = log_mixup_exp(mel, others[:, min(view, others.shape[1] - 1)], self.settings.mixup * draws[:, 1])
        if self.settings.warp:
            mel = self.warp(mel, torch.tensor([self.warp.draw(r, *mel.shape[1:]) for r in rngs]))
        return mel

    def _masks(self, size: int, frames: Tensor, ids: list[str], step: int | str) -> Tensor | None:
        if self.clip:
            return None
        s = self.settings
        mask = np.zeros((len(ids), size // PATCH), dtype=bool)
        for row, i, n in zip(mask, ids, (frames // PATCH).tolist()):
            row[:n] = draw_mask(rng_of(self.seed, "mask", step, i), n, s.mask, s.mask_share, s.mask_length)
        return torch.from_numpy(mask).to(frames.device).repeat(2, 1)

    def remember(self, batches: Any) -> None:
        """Fill the memory with `batches` of crops [B, C, 64, F], as a run that never stopped has it."""
        for crops in batches:
            self.memory.push(crops)
