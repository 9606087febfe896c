"""Log-mel features of Whisper (https://arxiv.org/abs/2212.04356), differentiable and item by item.

Same numbers as transformers' WhisperFeatureExtractor: 16 kHz, n_fft 400, hop 160, periodic Hann, slaney mel filters, last
STFT frame dropped, log10 clamped at 1e-10, floored 8 below the maximum, (x + 4) / 4. The floor's maximum is each item's
own; openai-whisper takes the batch's when handed one (`floor="batch"` gives that, for parity with official LM-SPT code).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

SAMPLE_RATE, N_FFT, HOP_LENGTH = 16000, 400, 160


class WhisperLogMel(nn.Module):
    """Waveform [B, T] at 16 kHz to log-mel [B, n_mels, T // 160]; gradients reach the waveform.

    Args:
        n_mels: 80, or 128 for large-v3.
        floor: whose maximum the floor is taken from: each "item" or the "batch".
    """

    def __init__(self, n_mels: int = 80, floor: Literal["item", "batch"] = "item"):
        super().__init__()
        self.n_mels, self.floor = n_mels, floor

    def forward(self, wav: Tensor) -> Tensor:
        with torch.autocast(wav.device.type, enabled=False):
            wav = wav.float()
            window, filters = _constants(self.n_mels, wav.device)
            spec = torch.stft(wav, N_FFT, HOP_LENGTH, window=window, center=True, return_complex=True)[..., :-1]
            power = spec.real.square() + spec.imag.square()
            log = (filters @ power).clamp(min=1e-10).log10()
            top = log.amax() if self.floor == "batch" else log.amax((-2, -1), keepdim=True)
            return (torch.maximum(log, top - 8.0) + 4.0) / 4.0


@lru_cache
def _constants(n_mels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Window [400] and mel filters [n_mels, 201]. No buffers: see audiokd.frontends.atst_mel."""
    # made in float64: torchaudio's float32 filters are off by 2e-5 after the logarithm at 128 bins
    filters = mel_filter_bank(N_FFT // 2 + 1, n_mels, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    with torch.inference_mode(False):
        return torch.hann_window(N_FFT, device=device), torch.from_numpy(filters).float().t().contiguous().to(device)
