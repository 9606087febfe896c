"""The floor of every probe: an encoder without weights, which knows what a log-mel says by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from audiokd.frontends.atst_mel import HOP_LENGTH, MIN_SAMPLES, N_MELS, SAMPLE_RATE, ATSTLogMel
from audiokd.hub.auto import LOG_MEL
from audiokd.nn.features import AudioFeatures, part_names
from audiokd.nn.lengths import length_mask
from audiokd.nn.waveforms import check_wav

STACK = 4  # frames of 10 ms


class LogMelConfig(PreTrainedConfig):
    """Nothing to configure."""

    model_type = LOG_MEL


class LogMelEncoder(nn.Module):
    """ATST's log-mel: four frames of 10 ms side by side are a frame, mean and standard deviation of each band over a clip are
    its embedding."""

    sample_rate, frame_size, frame_rate, min_samples = SAMPLE_RATE, HOP_LENGTH * STACK, 25.0, MIN_SAMPLES
    dim = N_MELS * STACK
    feature_layers = part_names(1)

    def __init__(self) -> None:
        super().__init__()
        self.frontend = ATSTLogMel()
        self.config: Any = LogMelConfig()
        self.where = nn.Parameter(torch.zeros(0), requires_grad=False)  # what finds a model's device asks for one

    def extract_features(
        self, wav: Tensor, lengths: Tensor | None = None, clip_blocks: int | None = None
    ) -> AudioFeatures:
        """Frames [B, T', 256] at 25 Hz, one layer of them, and the clip embedding [B, 128].

        Args:
            wav: [B, T] at 16 kHz.
            lengths: [B] samples; all of T by default.
            clip_blocks: has no meaning here.

        Raises:
            AudiokdError: a waveform that cannot be, or under 513 samples.
        """
        mel, frames = self.frontend(wav, check_wav(wav, lengths, wav.device))
        valid = length_mask(frames, mel.shape[-1])[:, None]
        mean = (mel * valid).sum(-1) / frames[:, None]
        var = ((mel - mean[..., None]).square() * valid).sum(-1) / frames[:, None]
        tokens = frames // STACK
        n = int(tokens.max())
        stacked = mel[..., : n * STACK].unflatten(-1, (n, STACK)).permute(0, 2, 1, 3).flatten(2)
        stacked = stacked * length_mask(tokens, n)[..., None]
        return AudioFeatures([stacked], tokens, torch.cat([mean, var.sqrt()], -1))

    def extract(self, wav: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers`: [B, T', D] and [B] frames; the clip embedding is one frame."""
        return self.extract_features(wav, lengths).part(layer)
