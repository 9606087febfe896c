"""Source separation with frozen features: Open-Unmix's network with an encoder's frames in place of its spectrogram.

As MARBLE's task on MUSDB18 (arXiv 2306.10548): linear layer, batch norm and tanh; three LSTM layers forwards in time, and a way
round them; two more linear layers, whose output is a mask on the mixture's magnitudes (Stöter et al., "Open-Unmix", JOSS 2019);
mean squared error of magnitudes, Adam. One channel at the encoder's rate, a spectrum a frame. A source is what one Wiener step
against all else leaves of the mixture.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.eval.layer_columns import layer_columns
from audiokd.eval.mlp_probe import MLPProbeResult
from audiokd.eval.sdr import sdr
from audiokd.eval.table import summarise

N_FFT = 2048
HIDDEN, LAYERS, DROPOUT = 512, 3, 0.4
#: of a song in a pass over the training set, and how long
CROPS, CROP_S = 64, 6.0
#: passes without a better dev score: with more than so many the rate halves, with so many training ends
PATIENCE, STOP = 2, 5
LEAST = 1e-12  # of powers that are divided by


@dataclass
class SongSet:
    """Songs of a split.

    Attributes:
        frames: features [T', L D] of each mixture, which may lie on disk.
        audio: gives each mixture and its source, [T] float32 of one rate and length.
    """

    frames: Sequence[np.ndarray]
    audio: Sequence[Callable[[], tuple[np.ndarray, np.ndarray]]]


class SeparationNetwork(nn.Module):
    """Features to the magnitudes of a source.

    Args:
        dim: size of a frame.
        hidden: units of a layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        bins = N_FFT // 2 + 1
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.squeeze, self.squeeze_norm = nn.Linear(dim, hidden, bias=False), nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(hidden, hidden, LAYERS, batch_first=True, dropout=DROPOUT)
        self.first, self.first_norm = nn.Linear(2 * hidden, hidden, bias=False), nn.BatchNorm1d(hidden)
        self.second, self.second_norm = nn.Linear(hidden, bins, bias=False), nn.BatchNorm1d(bins)
        self.scale, self.shift = nn.Parameter(torch.ones(bins)), nn.Parameter(torch.ones(bins))

    def forward(self, x: Tensor, magnitude: Tensor) -> Tensor:
        """Magnitudes [B, T, 1025] of the source, of features [B, T', D] and the mixture's magnitudes [B, T, 1025].

        An encoder has a frame or two fewer than there are spectra; what is missing at the end counts as the training set's mean.
        """
        x = (x[:, : magnitude.shape[1]] - self.mean) / self.std
        x = F.pad(x, (0, 0, 0, magnitude.shape[1] - x.shape[1]))
        x = torch.tanh(_normed(self.squeeze_norm, self.squeeze(x)))
        x = torch.cat([x, self.lstm(x)[0]], -1)
        x = F.relu(_normed(self.first_norm, self.first(x)))
        x = _normed(self.second_norm, self.second(x))
        return F.relu(x * self.scale + self.shift) * magnitude


def _normed(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    return norm(x.flatten(0, 1)).view_as(x)


def spectrum(wav: Tensor, hop: int) -> Tensor:
    """Complex [B, T // hop + 1, 1025] of waveforms [B, T]."""
    window = torch.hann_window(N_FFT, device=wav.device)
    return torch.stft(wav, N_FFT, hop, window=window, return_complex=True).transpose(1, 2)


def waveform(of: Tensor, hop: int, length: int) -> Tensor:
    """[B, length] of complex [B, T, 1025]."""
    window = torch.hann_window(N_FFT, device=of.device)
    return torch.istft(of.transpose(1, 2), N_FFT, hop, window=window, length=length)


def wiener(magnitude: Tensor, mixture: Tensor) -> Tensor:
    """The share of a complex mixture that is a source of this magnitude, all that is left taken for another: one step of
    expectation and maximisation on one channel, as openunmix.filtering.wiener takes it with a residual."""
    source, rest = magnitude.square(), (mixture.abs() - magnitude).square()
    return mixture * (source / (source + rest + LEAST))


def separation_probe(
    train: SongSet,
    dev: SongSet,
    test: SongSet,
    sample_rate: int,
    hop: int,
    layers: int = 1,
    lr: float = 1e-3,
    batch_size: int = 32,
    epochs: int = 50,
    seed: int = 0,
    device: str = "cpu",
) -> MLPProbeResult:
    """Train a network a layer, and score the one that is best on `dev` on `test`, by SDR over whole songs.

    The training songs are held in memory, their sound at half precision and one layer's frames: of MUSDB18 2 GB at 24 kHz, and 5 GB
    of 768 numbers 75 times a second.

    Args:
        train, dev, test: features, mixtures and sources.
        sample_rate: of the audio, Hz.
        hop: samples a frame of the features.
        layers: that the features are of.
        lr: Adam's first rate.
        batch_size: crops of 6 s a step.
        epochs: passes of 64 crops a song, at most.
        seed: of the first weights, dropout and the crops.
        device: where it is trained.

    Raises:
        AudiokdError: frames that are too long for the spectra, features that do not split into layers, or a mixture and a source of
            different length.
    """
    if hop > N_FFT // 2:
        raise AudiokdError(
            f"frames of {hop} samples are too long: spectra of {N_FFT} samples lie half a length apart at most"
        )
    audio = [tuple(a.astype(np.float16) for a in _pair(load)) for load in train.audio]
    best: tuple[float, int, SeparationNetwork, int] | None = None
    scores = []
    for k in range(layers):
        with torch.random.fork_rng(devices=[torch.device(device)] if device.startswith("cuda") else []):
            torch.manual_seed(seed)
            net, score, used = _train(
                train, audio, dev, sample_rate, hop, k, layers, lr, batch_size, epochs, seed, device
            )
        scores.append(score)
        if best is None or score > best[0]:
            best = score, k, net, used
    assert best is not None
    _, k, net, used = best
    found = [(sdr(s, e), sdr(s, m)) for m, s, e in _separated(net, test, hop, k, layers, device)]
    more = {"SDR of the mixture": float(np.mean([m for _, m in found]))}
    return MLPProbeResult("SDR", k + 1, scores, summarise([s for s, _ in found]), more, used)


def _train(
    train: SongSet, audio: Sequence[tuple[np.ndarray, ...]], dev: SongSet, sample_rate: int, hop: int, k: int, layers: int,
    lr: float, batch_size: int, epochs: int, seed: int, device: str,
) -> tuple[SeparationNetwork, float, int]:  # fmt: skip
    """The network of layer `k` that is best on `dev`, its SDR there, and passes that were run."""
    frames = [layer_columns(f, k, layers) for f in train.frames]
    net = SeparationNetwork(frames[0].shape[1], HIDDEN)
    n = sum(len(f) for f in frames)
    mean = sum(f.sum(0, dtype=np.float64) for f in frames) / n
    var = sum(((f - mean) ** 2).sum(0) for f in frames) / n
    net.mean.copy_(torch.from_numpy(mean))
    net.std.copy_(torch.from_numpy(np.sqrt(var)).clamp(min=1e-6))
    average, silence = net.mean.clone(), torch.zeros(())
    net.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    slower = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=PATIENCE, threshold=0.0, threshold_mode="abs"
    )
    rng = np.random.default_rng(seed)
    size = round(CROP_S * sample_rate / hop)
    best, kept, since, epoch = -math.inf, copy.deepcopy(net.state_dict()), 0, 0
    while epoch < epochs and since < STOP:
        epoch += 1
        net.train()
        for songs in np.array_split(
            rng.permutation(np.arange(len(frames)).repeat(CROPS)), -(-len(frames) * CROPS // batch_size)
        ):
            starts = [int(rng.integers(max(1, len(frames[i]) - size + 1))) for i in songs]
            x = torch.stack([_crop(frames[i], s, size, average) for i, s in zip(songs, starts)])
            wav = [
                torch.stack([_crop(audio[i][j], s * hop, size * hop, silence) for i, s in zip(songs, starts)])
                for j in (0, 1)
            ]
            mixture, source = (spectrum(w.to(device), hop).abs() for w in wav)
            loss = F.mse_loss(net(x.to(device), mixture), source)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        now = float(np.mean([sdr(s, e) for _, s, e in _separated(net, dev, hop, k, layers, device)]))
        slower.step(now)
        since += 1
        if now > best:
            best, kept, since = now, copy.deepcopy(net.state_dict()), 0
    net.load_state_dict(kept)
    return net, best, epoch


@torch.no_grad()
def _separated(net: SeparationNetwork, songs: SongSet, hop: int, k: int, layers: int, device: str):
    """Mixture, source and what was separated, [T] each, song by song."""
    net.eval()
    for frames, load in zip(songs.frames, songs.audio):
        mixture, source = _pair(load)
        of = spectrum(torch.from_numpy(mixture)[None].to(device), hop)
        x = torch.from_numpy(layer_columns(frames, k, layers))[None].to(device)
        yield mixture, source, waveform(wiener(net(x, of.abs()), of), hop, len(mixture))[0].cpu().numpy()


def _pair(load: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    mixture, source = load()
    if len(mixture) != len(source):
        raise AudiokdError(f"a mixture of {len(mixture)} samples, its source has {len(source)}")
    return mixture, source


def _crop(x: np.ndarray, start: int, size: int, past: Tensor) -> Tensor:
    """`size` rows from `start`, `past` past the end, float32."""
    out = past.repeat(size, *[1] * past.ndim)
    piece = torch.from_numpy(x[start : start + size]).float()
    out[: len(piece)] = piece
    return out
