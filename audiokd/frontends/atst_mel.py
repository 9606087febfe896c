"""Log-mel features of ATST (Li and Li, arXiv 2204.12076 and 2306.04186), clip by clip whatever the batch.

16 kHz, n_fft and window 1024 (periodic Hann; 640 for ATST-Frame small), hop 160, 64 HTK mel bands from 60 to 7800 Hz without
normalisation, power, 10 log10 clamped at 1e-10, floored 80 dB below the clip's own maximum, then a fixed affine map of
[-79.6482, 50.6842] dB to [-1, 1] (audiossl, methods/atstframe/transform.py). The frame at t is centred on sample 160 t; the
signal is mirrored at both ends, at a clip's own end and not at its batch's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import torch
import torchaudio
from torch import Tensor, nn

from audiokd.errors import AudiokdError

SAMPLE_RATE, N_FFT, HOP_LENGTH, N_MELS = 16000, 1024, 160, 64
F_MIN, F_MAX, TOP_DB = 60.0, 7800.0, 80.0
LOWEST_DB, HIGHEST_DB = -79.6482, 50.6842
MIN_SAMPLES = N_FFT // 2 + 1  # less cannot be mirrored
Count = TypeVar("Count", int, Tensor)
PIECE = 6000  # frames whose complex spectra are held at once


class ATSTLogMel(nn.Module):
    """Waveforms [B, T] at 16 kHz to log-mel [B, 64, T // 160 + 1]; frames past a clip's own are zeros.

    A CPU takes the clips one by one, which keeps their spectra in its caches; other devices take all at once.

    Args:
        win_length: of the window, at most 1024: the published ATST-Frame small has 640.
        top_db: how far below a clip's maximum it is floored; 0: nowhere but at 1e-10, so that no frame goes by how loud others are.
    """

    def __init__(self, win_length: int = N_FFT, top_db: float = TOP_DB):
        super().__init__()
        self.win_length, self.top_db = win_length, top_db

    @staticmethod
    def frames(samples: Count) -> Count:
        """Frames of a clip of so many samples, or of each of several, Long [B]."""
        return samples // HOP_LENGTH + 1

    @staticmethod
    def seconds(frames: int) -> float:
        """Shortest clip of so many frames."""
        return (frames - 1) * HOP_LENGTH / SAMPLE_RATE

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-mel and frames of each clip.

        Args:
            wav: [B, T].
            lengths: [B] samples of each clip; all of T by default.

        Returns:
            Log-mel [B, 64, F] float32 and its frames [B], n // 160 + 1.

        Raises:
            AudiokdError: a clip is shorter than 513 samples (32 ms).
        """
        if lengths is None:
            lengths = torch.full((len(wav),), wav.shape[-1], device=wav.device)
        if int(lengths.min()) < MIN_SAMPLES:
            short = int(lengths.argmin())
            raise AudiokdError(
                f"item {short} has {int(lengths[short])} samples; ATST needs {MIN_SAMPLES} at 16 kHz (32 ms)",
                fix="leave it out or pad it",
            )
        frames = self.frames(lengths)
        with torch.autocast(wav.device.type, enabled=False):
            if wav.device.type == "cpu":
                out = wav.new_zeros(len(wav), N_MELS, int(frames.max()), dtype=torch.float32)
                for i, (clip, n) in enumerate(zip(wav, lengths.tolist())):
                    out[i, :, : int(frames[i])] = self._log_mel(_mirror_ends(clip[None, :n].float()))
                return out, frames
            padded = _mirror_each_end(wav.float(), lengths)
            valid = torch.arange(int(frames.max()), device=wav.device) < frames[:, None]
            return self._log_mel(padded, valid[:, None]), frames

    def _log_mel(self, padded: Tensor, valid: Tensor | None = None) -> Tensor:
        frames = (padded.shape[-1] - N_FFT) // HOP_LENGTH + 1
        mel = torch.cat([self._mel(padded, f, min(PIECE, frames - f)) for f in range(0, frames, PIECE)], -1)
        if valid is not None:
            mel = mel[..., : valid.shape[-1]].masked_fill(~valid, 0.0)
        db = 10.0 * mel.clamp(min=1e-10).log10()
        if self.top_db:
            db = torch.maximum(db, db.amax((-2, -1), keepdim=True) - self.top_db)
        scaled = (db - LOWEST_DB) / (HIGHEST_DB - LOWEST_DB) * 2.0 - 1.0
        return scaled if valid is None else scaled.masked_fill(~valid, 0.0)

    def _mel(self, padded: Tensor, first: int, frames: int) -> Tensor:
        start = first * HOP_LENGTH
        window, filters = _constants(self.win_length, padded.device)
        piece = padded[:, start : start + (frames - 1) * HOP_LENGTH + N_FFT]
        spec = torch.stft(piece, N_FFT, HOP_LENGTH, self.win_length, window, center=False, return_complex=True)
        return filters @ (spec.real.square() + spec.imag.square())


@lru_cache
def _constants(win_length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Window [win_length] and mel filters [64, 513]. No buffers: transformers builds a model on the meta device, where they would
    stay, and nothing in a checkpoint brings them back."""
    with torch.inference_mode(False):
        filters = torchaudio.functional.melscale_fbanks(N_FFT // 2 + 1, F_MIN, F_MAX, N_MELS, SAMPLE_RATE)
        return torch.hann_window(win_length, device=device), filters.t().contiguous().to(device)


def _mirror_ends(wav: Tensor) -> Tensor:
    return nn.functional.pad(wav, (N_FFT // 2, N_FFT // 2), mode="reflect")


def _mirror_each_end(wav: Tensor, lengths: Tensor) -> Tensor:
    """`wav` [B, T] mirrored at sample 0 and at each clip's last sample: [B, T + 1024], zeros past that."""
    half = N_FFT // 2
    at = torch.arange(-half, wav.shape[-1] + half, device=wav.device).abs()
    last = lengths[:, None] - 1
    at = torch.where(at > last, 2 * last - at, at)
    return wav.gather(1, at.clamp(min=0)).masked_fill(at < 0, 0.0)
