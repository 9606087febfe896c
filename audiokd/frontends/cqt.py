"""Magnitudes of a constant-Q transform (Brown, 1991) with nnAudio's kernels, on the device of the waveform.

The kernels of nnAudio.features.CQT are as long as the lowest bin's, 65,536 taps at MERT's settings, and mostly zeros: here each
octave has its own, as long as its lowest bin needs. The same numbers for a third of the work and of the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CQT(nn.Module):
    """Constant-Q magnitudes, scaled as librosa's.

    Args:
        sample_rate: Hz.
        hop: samples a frame.
        fmin: Hz of the lowest bin.
        bins: how many.
        bins_per_octave: of them in an octave.

    Raises:
        ValueError: the highest bin is above half the sample rate.
    """

    def __init__(
        self,
        sample_rate: int = 24_000,
        hop: int = 320,
        fmin: float = 32.7,
        bins: int = 336,
        bins_per_octave: int = 48,
    ):
        super().__init__()
        from nnAudio.utils import create_cqt_kernels

        self.sample_rate, self.hop, self.bins = sample_rate, hop, bins
        q = 1 / (2 ** (1 / bins_per_octave) - 1)
        kernels, width, lengths, _ = create_cqt_kernels(q, sample_rate, fmin, bins, bins_per_octave)
        self.pads = []
        for octave, first in enumerate(range(0, bins, bins_per_octave)):
            k = torch.from_numpy(kernels[first : first + bins_per_octave])
            taps = k.abs().sum(0).nonzero()[:, 0]
            start, end = int(taps[0]), int(taps[-1]) + 1
            k = k[:, start:end] * lengths[first : first + len(k), None].sqrt()
            self.register_buffer(f"kernel{octave}", torch.cat([k.real, k.imag])[:, None], persistent=False)
            # where the kernel begins and ends about the middle of a frame
            self.pads.append((width // 2 - start, end - width // 2))

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop

    @torch.no_grad()
    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Magnitudes of frames centred at multiples of the hop; silence is past both ends.

        Args:
            wav: [B, T] at `sample_rate`.
            lengths: [B] samples; all of T by default.

        Returns:
            [B, T // hop + 1, bins], zeros past an item's end, and frames [B].
        """
        if lengths is None:
            lengths = torch.full((len(wav),), wav.shape[-1], device=wav.device)
        inside = torch.arange(wav.shape[-1], device=wav.device) < lengths[:, None]
        x = wav.masked_fill(~inside, 0.0)[:, None]
        with torch.autocast(wav.device.type, enabled=False):
            octaves = []
            for i, pads in enumerate(self.pads):
                parts = F.conv1d(F.pad(x.float(), pads), self.get_buffer(f"kernel{i}"), stride=self.hop)
                octaves.append(torch.hypot(*parts.chunk(2, 1)))
        frames = lengths // self.hop + 1
        out = torch.cat(octaves, 1).transpose(1, 2)
        there = torch.arange(out.shape[1], device=wav.device) < frames[:, None]
        return out * there[..., None], frames
