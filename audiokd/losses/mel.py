"""Multi-scale mel loss of DAC / LM-SPT (audio.md C3): sum over windows w, n_mels m of

    mean |log10 max(M_w,m x, 1e-5)^2 - log10 max(M_w,m y, 1e-5)^2|  +  mean |M_w,m x - M_w,m y|

M: mel filters (slaney scale and norm) on STFT magnitude, periodic Hann, hop w / 4, centred with reflection.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchaudio
from torch import Tensor, nn


class MultiScaleMelLoss(nn.Module):
    """Mean over batch, mel and frames; summed over scales.

    Args:
        sample_rate: Hz.
        windows, n_mels: one each a scale.

    Shape: rebuilt, original [B, T] -> scalar.
    """

    def __init__(
        self,
        sample_rate: int,
        windows: Sequence[int] = (256, 512, 1024, 2048),
        n_mels: Sequence[int] = (40, 80, 160, 320),
    ):
        super().__init__()
        self.windows = tuple(windows)
        for i, (w, m) in enumerate(zip(windows, n_mels)):
            # 40 mels on 129 bins leave some filters empty; torchaudio warns of it, the official filters are the same
            fb = _filters(w // 2 + 1, m, sample_rate)
            self.register_buffer(f"filters{i}", fb, persistent=False)
            self.register_buffer(f"window{i}", torch.hann_window(w), persistent=False)

    def mels(self, x: Tensor) -> list[Tensor]:
        """Mel magnitudes [B, m, frames] of `x` [B, T], one a scale."""
        out = []
        for i, w in enumerate(self.windows):
            window = getattr(self, f"window{i}")
            spec = torch.stft(x.float(), w, w // 4, window=window, center=True, return_complex=True)
            # |z| has no gradient at 0; silence is common in rebuilt audio
            magnitude = (spec.real.square() + spec.imag.square()).clamp(min=1e-20).sqrt()
            out.append(getattr(self, f"filters{i}") @ magnitude)
        return out

    def forward(self, rebuilt: Tensor, original: Tensor) -> Tensor:
        loss = rebuilt.new_zeros((), dtype=torch.float32)
        with torch.no_grad():
            target = self.mels(original)
        for x, y in zip(self.mels(rebuilt), target):
            log = 2.0 * (x.clamp(min=1e-5).log10() - y.clamp(min=1e-5).log10())
            loss = loss + log.abs().mean() + (x - y).abs().mean()
        return loss


def _filters(bins: int, n_mels: int, sample_rate: int) -> Tensor:
    import warnings

    with warnings.catch_warnings(), torch.device("cpu"):  # real numbers also where a model is built on meta
        warnings.simplefilter("ignore")
        fb = torchaudio.functional.melscale_fbanks(
            bins, 0.0, sample_rate / 2, n_mels, sample_rate, norm="slaney", mel_scale="slaney"
        )
    return fb.t().contiguous()
