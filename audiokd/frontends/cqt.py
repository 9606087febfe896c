"""Magnitudes of a constant-Q transform (Brown, 1991) with nnAudio's kernels, on the device of the waveform.

nnAudio.features.CQT convolves with kernels as long as the lowest bin's, 65,536 taps at MERT's settings. Here whole waveforms are
multiplied with the kernels' spectra, which are nothing outside a narrow band, and what is kept is a frame's every hop: a product
folded onto 1 / hop of the frequencies. The same numbers, some hundred times cheaper.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: amplitude of a kernel's spectrum, over its greatest, that counts as nothing
NOTHING = 1e-6
#: lengths of audio whose spectra of kernels are kept
KEPT = 4


@dataclass
class _Octave:
    """Bins of one octave.

    Attributes:
        kernels: [K, L] complex, without the zeros around them.
        before: taps before a frame's middle.
    """

    kernels: Tensor
    before: int

    @property
    def after(self) -> int:
        """Taps from a frame's middle on."""
        return self.kernels.shape[1] - self.before


class CQT(nn.Module):
    """Constant-Q magnitudes, scaled as librosa's.

    Args:
        sample_rate: Hz.
        hop: samples a frame; even.
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
        self._octaves = []
        for first in range(0, bins, bins_per_octave):
            k = torch.from_numpy(kernels[first : first + bins_per_octave])
            taps = k.abs().sum(0).nonzero()[:, 0]
            start, end = int(taps[0]), int(taps[-1]) + 1
            k = k[:, start:end] * lengths[first : first + len(k), None].sqrt()
            self._octaves.append(_Octave(k, width // 2 - start))
        self._spectra: OrderedDict[tuple[int, torch.device], list[tuple[int, Tensor]]] = OrderedDict()

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
        x = wav.masked_fill(~inside, 0.0)
        count = wav.shape[-1] // self.hop + 1
        # a circle that the longest kernel goes round once, with silence past both ends of the sound
        longest = max(o.before + o.after for o in self._octaves)
        size = _smooth(-(-(wav.shape[-1] + longest) // self.hop) + 1)
        with torch.autocast(wav.device.type, enabled=False):
            x = torch.fft.rfft(x.float(), size * self.hop)
            octaves = []
            for first, kernels in self._spectra_of(size, wav.device):
                part = x[:, first * size : (first + kernels.shape[1]) * size]
                part = part.unflatten(1, (kernels.shape[1], size)).permute(2, 0, 1)  # [size, B, blocks]
                folded = torch.bmm(part, kernels)  # [size, B, K]
                octaves.append(torch.fft.ifft(folded, dim=0)[:count].abs())
        frames = lengths // self.hop + 1
        out = torch.cat(octaves, -1).transpose(0, 1)
        there = torch.arange(out.shape[1], device=wav.device) < frames[:, None]
        return out * there[..., None], frames

    def targets(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """As a teacher: `cqt` [B, T', bins] and `cqt_lengths` [B] of `wav` [B, T] with `lengths` [B]."""
        magnitudes, frames = self(batch["wav"], batch.get("lengths"))
        return {"cqt": magnitudes, "cqt_lengths": frames}

    def _spectra_of(self, size: int, device: torch.device) -> list[tuple[int, Tensor]]:
        """Of each octave, for audio of `size` hops: its first block of `size` frequencies, and spectra [size, blocks, K]."""
        key = (size, device)
        if key not in self._spectra:
            self._spectra[key] = [self._spectrum(o, size, device) for o in self._octaves]
            if len(self._spectra) > KEPT:
                self._spectra.popitem(last=False)
        self._spectra.move_to_end(key)
        return self._spectra[key]

    def _spectrum(self, octave: _Octave, size: int, device: torch.device) -> tuple[int, Tensor]:
        n = size * self.hop
        whole = torch.fft.fft(octave.kernels.to(torch.complex128), n)
        # a frame's middle is sample 0; the hop's share of what the inverse transform of all frequencies would give
        shift = torch.exp(2j * torch.pi * torch.arange(n, dtype=torch.float64) * octave.before / n)
        half = (whole * shift).conj()[:, : n // 2] / self.hop
        loud = half.abs()
        known = (loud > NOTHING * loud.amax(1, keepdim=True)).any(0).nonzero()[:, 0]
        first, last = int(known[0]) // size, int(known[-1]) // size + 1
        blocks = half[:, first * size : last * size].unflatten(1, (last - first, size))
        return first, blocks.permute(2, 1, 0).to(torch.complex64).contiguous().to(device)


def _smooth(n: int) -> int:
    """The next number from `n` on without prime factors above 5, which Fourier transforms are quick at."""
    while True:
        rest = n
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
        n += 1
