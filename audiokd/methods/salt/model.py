"""The encoder of SALT: a video or a log-mel spectrogram to tokens, a patch a token, in any number of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.frontends.atst_mel import HOP_LENGTH, MIN_SAMPLES, SAMPLE_RATE, ATSTLogMel
from audiokd.methods.salt.config import MEAN, STD, SALTConfig
from audiokd.nn.features import LAYERS, clip_blocks_of, layer_index, part_names
from audiokd.nn.patches import grid_of, grid_positions, to_patches
from audiokd.nn.rope_vit import RopeViT
from audiokd.nn.waveforms import check_wav

#: features by the patch, in the order of the grid
TOKENS = "tokens"


class SALTModel(PreTrainedModel):
    """`forward` takes clips [B, 3, T, H, W] or spectrograms [B, 1, 64, F]; `extract` also takes waveforms."""

    config_class = SALTConfig
    base_model_prefix = "salt"
    main_input_name = "x"

    def __init__(self, config: SALTConfig):
        super().__init__(config)
        c = config
        self.net = RopeViT(c.patch_values, c.dim, c.depth, c.heads, c.mlp_ratio, c.init_std)
        self.frontend = ATSTLogMel(top_db=c.top_db) if c.kind == "audio" else nn.Identity()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Of what a folder lacks; a whole network has its own."""

    def init_weights(self) -> None:
        """As drawn by `RopeViT`."""

    @property
    def kind(self) -> str:
        """What it takes: video or audio."""
        return self.config.kind

    @property
    def dim(self) -> int:
        """Size of a token."""
        return self.config.dim

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """What `extract` can give: tokens; for audio also frames, the tokens of a time side by side over the bands."""
        names = part_names(self.config.depth)
        return (TOKENS, *(n for n in names if self.kind == "audio" or n not in ("frames", LAYERS)))

    def patches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Patches [B, N, P] of clips or spectrograms, and their positions [1, N, A].

        Raises:
            AudiokdError: less than a patch along an axis.
        """
        sizes = self.config.patch_sizes
        grid = grid_of(x.shape[2:], sizes)
        if 0 in grid:
            raise AudiokdError(
                f"{list(x.shape[2:])} is less than a patch of {list(sizes)}", fix="a longer or larger clip"
            )
        return to_patches(x, sizes), grid_positions(grid, x.device)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Tokens [B, N, D] through the final norm, or of the patches `rows` [B, M] alone, which see no other: [B, M, D]."""
        return self.net(*self.patches(x), rows)

    def extract(self, x: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers`: [B, T', D] and [B] of how many count.

        Args:
            x: clips [B, 3, T, H, W] of a video model; waveforms [B, T] at 16 kHz of an audio model.
            lengths: [B] samples of waveforms.
            layer: of `feature_layers`.
        """
        if self.kind == "video":
            out = torch.stack([self._part(list(self._states(clip[None])), layer, 1)[0] for clip in x])
            return out, torch.full((len(x),), out.shape[1], device=x.device)
        n = check_wav(x, lengths, x.device)
        found = [self._of_wave(wav[:k], layer) for wav, k in zip(x, n.tolist())]  # alone: no mate is seen
        frames = torch.tensor([len(f) for f in found], device=x.device)
        size = int(frames.max())
        return torch.stack([F.pad(f, (0, 0, 0, size - len(f))) for f in found]), frames

    def _of_wave(self, wav: Tensor, layer: str) -> Tensor:
        """Features [T', D] of a waveform [T]; one shorter than a patch is heard with silence behind it."""
        if len(wav) < MIN_SAMPLES:
            raise AudiokdError(f"{len(wav)} samples, at least {MIN_SAMPLES} are needed", fix="leave it out, or pad it")
        wav = F.pad(wav, (0, max(0, (self.config.patch - 1) * HOP_LENGTH - len(wav))))
        mel = self.frontend(wav[None])[0][:, None]
        patch, chunk = self.config.patch, self.config.chunk * self.config.patch
        whole = mel.shape[-1] // patch * patch
        parts = mel[..., :whole].split(chunk or whole, -1)
        states = [list(self._states(part)) for part in parts]
        bands = mel.shape[2] // patch
        # [1, bands time, D] of each part to [1, time bands, D], so that parts stand one after another in time
        in_time = [[s.unflatten(1, (bands, -1)).transpose(1, 2).flatten(1, 2) for s in of] for of in states]
        return self._part([torch.cat(s, 1) for s in zip(*in_time)], layer, bands)[0]

    def _states(self, x: Tensor) -> Any:
        """What each block leaves, through the final norm."""
        return (self.net.norm(s) for s in self.net.states(*self.patches(x)))

    def _part(self, states: list[Tensor], layer: str, bands: int) -> Tensor:
        depth = self.config.depth
        if layer == TOKENS:
            return states[-1]
        if blocks := clip_blocks_of(layer, depth):
            return torch.cat([s.mean(1, keepdim=True) for s in states[-blocks:]], -1)
        frames = [s.unflatten(1, (-1, bands)).flatten(2) for s in states] if bands > 1 else states
        return torch.cat(frames, -1) if layer == LAYERS else frames[layer_index(layer, depth)]

    def clip(self, frames: np.ndarray) -> Tensor:
        """uint8 frames [T, H, W, 3] of a video as the model sees them, [3, T, S, S]."""
        from audiokd.vision.clip_view import clip_tensor

        return clip_tensor(frames, self.config.size, MEAN, STD)

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in."""
        return SAMPLE_RATE

    @property
    def frame_size(self) -> int:
        """Samples a frame."""
        return HOP_LENGTH * self.config.patch

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return SAMPLE_RATE / self.frame_size

    @property
    def min_samples(self) -> int:
        """Samples that a clip of sound needs."""
        return MIN_SAMPLES
