"""Log-mel and chroma of a frame of music, as librosa defines them."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N_FFT = 2048
AMIN = 1e-10


class MelChroma(nn.Module):
    """Waveform to log-mel in decibels (librosa's power_to_db without a floor below the maximum) and chroma (chroma_stft with tuning
    0, each frame's maximum 1).

    Frame k is centred on samples hop k to hop (k + 1), which are the ones that it stands for; zeros lie past both ends.

    Args:
        sample_rate: Hz.
        hop: samples a frame.
        n_mels: bands.
    """

    def __init__(self, sample_rate: int = 24_000, hop: int = 320, n_mels: int = 80):
        super().__init__()
        self.sample_rate, self.hop, self.n_mels = sample_rate, hop, n_mels

    def forward(self, wav: Tensor, first: int = 0, frames: int | None = None) -> tuple[Tensor, Tensor]:
        """Log-mel [B, T', n_mels] and chroma [B, T', 12] of waveforms [B, T], zeros past an item's end.

        Args:
            wav: [B, T] at `sample_rate`.
            first: frame to begin at.
            frames: how many; all that begin in the waveform by default.
        """
        total = -(-wav.shape[-1] // self.hop)
        n = total - first if frames is None else min(frames, total - first)
        before = (N_FFT - self.hop) // 2
        start = first * self.hop - before
        stop = start + (n - 1) * self.hop + N_FFT
        part = F.pad(wav[:, max(0, start) : stop].float(), (max(0, -start), max(0, stop - wav.shape[-1])))
        window, mel, chroma = _constants(self.sample_rate, self.n_mels, wav.device)
        with torch.autocast(wav.device.type, enabled=False):
            spec = torch.stft(part, N_FFT, self.hop, window=window, center=False, return_complex=True)
            power = (spec.real.square() + spec.imag.square()).transpose(1, 2)
            classes = power @ chroma
            level = classes.amax(-1, keepdim=True)
            return 10 * (power @ mel).clamp(min=AMIN).log10(), classes / level.clamp(min=torch.finfo(level.dtype).tiny)


@lru_cache
def _constants(sample_rate: int, n_mels: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Window, mel filters [1025, n_mels] and chroma filters [1025, 12]."""
    import librosa

    mel = librosa.filters.mel(sr=sample_rate, n_fft=N_FFT, n_mels=n_mels)
    chroma = librosa.filters.chroma(sr=sample_rate, n_fft=N_FFT, tuning=0.0)
    with torch.inference_mode(False):
        tensors = (torch.from_numpy(f).float().t().contiguous().to(device) for f in (mel, chroma))
        return torch.hann_window(N_FFT, device=device), *tensors  # type: ignore[return-value]
