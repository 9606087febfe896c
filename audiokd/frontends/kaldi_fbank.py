"""Kaldi's log-mel filter bank as w2v-BERT 2.0 and AST take it, differentiable.

Same numbers as transformers' SeamlessM4TFeatureExtractor before it normalises: 16 kHz, samples scaled by 2^15, frames of 400
every 160 without padding, mean removed and pre-emphasis 0.97 within each frame, Povey window, 512-point power spectrum,
triangles on Kaldi's mel scale from 20 Hz on, ln(max(., 2^-23)). ASTFeatureExtractor (torchaudio.compliance.kaldi.fbank) has a
Hann window and does not scale.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

SAMPLE_RATE, WIN_LENGTH, HOP_LENGTH, N_FFT = 16000, 400, 160, 512


class KaldiFbank(nn.Module):
    """Waveform [B, T] at 16 kHz to log-mel [B, 1 + (T - 400) // 160, n_mels]; a frame sees its own 400 samples alone.

    Args:
        n_mels: bands.
        window: Kaldi's own (a Hann window to the power of 0.85) or Hann's; neither is periodic.
        scale: what samples are multiplied by; Kaldi's are 16-bit integers.
    """

    def __init__(self, n_mels: int = 80, window: Literal["povey", "hann"] = "povey", scale: float = 2.0**15):
        super().__init__()
        self.n_mels, self.power, self.scale = n_mels, {"povey": 0.85, "hann": 1.0}[window], scale

    def forward(self, wav: Tensor) -> Tensor:
        with torch.autocast(wav.device.type, enabled=False):
            x = (wav.float() * self.scale).unfold(-1, WIN_LENGTH, HOP_LENGTH)
            x = x - x.mean(-1, keepdim=True)
            x = torch.cat([x[..., :1] * (1 - 0.97), x[..., 1:] - 0.97 * x[..., :-1]], -1)
            window, filters = _constants(self.n_mels, self.power, wav.device)
            spec = torch.fft.rfft(x * window, N_FFT)
            power = spec.real.square() + spec.imag.square()
            return (power @ filters).clamp(min=2.0**-23).log()


@lru_cache
def _constants(n_mels: int, power: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Hann window to a power [400] and mel filters [257, n_mels]. No buffers: see audiokd.frontends.atst_mel."""
    options = {"norm": None, "mel_scale": "kaldi", "triangularize_in_mel_space": True}
    filters = mel_filter_bank(N_FFT // 2 + 1, n_mels, 20.0, SAMPLE_RATE / 2, SAMPLE_RATE, **options)
    with torch.inference_mode(False):
        window = torch.hann_window(WIN_LENGTH, periodic=False, dtype=torch.float64).pow(power).float()
        return window.to(device), torch.from_numpy(filters).float().to(device)
