"""The phoneme recogniser of the Python package hama 1.7 as a teacher: a small conformer that needs no model hub.

2.0 M parameters, English and Korean, CTC over 191 IPA tokens, 50 frames a second: log-mel (ln, 80 bins, hop 160), one
convolution of stride 2, four conformer blocks of 144 channels without positions, a 1x1 projection.
Source: its weight file and its library's output, which this matches (tests/teachers/test_teacher_hama.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.lengths import zero_beyond
from audiokd.teachers.base import FrozenTeacher, Layer, additive_mask
from audiokd.teachers.hama_file import read_hama

SAMPLE_RATE, N_FFT, HOP_LENGTH = 16000, 400, 160
FRAME_SIZE = 2 * HOP_LENGTH
NUM_HEADS = 4  # not in the file
BLANK = -1  # the last token; the one before it stands between words


class HamaTeacher(FrozenTeacher):
    """Features after the last conformer block, and phoneme posteriors.

    Args:
        net: the conformer.
        layer: 0 is after the convolution, k after the k-th block, "mean" all of them, null the last.
    """

    sample_rate = SAMPLE_RATE
    frame_rate = SAMPLE_RATE / FRAME_SIZE

    def __init__(self, net: HamaConformer, layer: Layer = None):
        super().__init__(net, len(net.blocks), layer)
        self.dim = net.stem.out_channels
        self.register_buffer("hann", torch.hann_window(N_FFT), persistent=False)

    @classmethod
    def from_pretrained(cls, path: str, layer: Layer = None) -> HamaTeacher:
        """From asr_waveform.hama."""
        return cls(load_hama(path), layer)

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features [B, T', D] of `wav` [B, T] at 16 kHz, and floor(n / 320) + 1 that count."""
        with torch.autocast(wav.device.type, enabled=False):
            states, frames = self._states(wav, lengths)
            return self._pick(states), frames

    def log_probs(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logarithms of phoneme posteriors [B, T', 191] and how many frames count; the last token is CTC's blank."""
        with torch.autocast(wav.device.type, enabled=False):
            states, frames = self._states(wav, lengths)
            *_, last = states
            return self.net.proj(last).log_softmax(-1), frames

    def log_mel(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """ln of the mel power spectrum, [B, n_mels, T // 160 + 1]; the waveform is reflected at each item's own ends."""
        last = (lengths - 1).clamp(min=0)[:, None]
        at = torch.arange(-(N_FFT // 2), wav.shape[-1] + N_FFT // 2, device=wav.device).abs().expand(len(wav), -1)
        at = torch.where(at > last, 2 * last - at, at).clamp(min=0)  # past a reflection as long as the item: its start
        frames = wav.float().gather(1, at).unfold(-1, N_FFT, HOP_LENGTH)
        spec = torch.fft.rfft(frames * self.hann)
        power = spec.real.square() + spec.imag.square()
        return (power @ self.net.mel_filters).clamp(min=1e-10).log().transpose(1, 2)

    def _states(self, wav: Tensor, lengths: Tensor | None) -> tuple[Iterator[Tensor], Tensor]:
        if lengths is None:
            lengths = torch.full((wav.shape[0],), wav.shape[-1], device=wav.device)
        wav = wav[:, : int(lengths.max())]
        mel = zero_beyond(self.log_mel(wav, lengths), lengths // HOP_LENGTH + 1)
        frames = lengths // FRAME_SIZE + 1
        return self.net.states(mel, frames), frames


class HamaConformer(nn.Module):
    """Log-mel to hidden states. Tensors are named as in the weight file."""

    def __init__(self, n_mels: int, dim: int, ffn_dim: int, num_blocks: int, kernel_size: int, num_tokens: int):
        super().__init__()
        self.register_buffer("mel_filters", torch.zeros(N_FFT // 2 + 1, n_mels))
        self.stem = nn.Conv1d(n_mels, dim, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_Block(dim, ffn_dim, kernel_size) for _ in range(num_blocks))
        self.proj = nn.Linear(dim, num_tokens)

    def states(self, mel: Tensor, frames: Tensor) -> Iterator[Tensor]:
        """Hidden states [B, T', D] of `mel` [B, n_mels, 2 T'], after the convolution and after each block."""
        x = F.gelu(self.stem(mel)).transpose(1, 2)
        mask = additive_mask(frames, x) if bool((frames != x.shape[1]).any()) else None
        yield x
        for block in self.blocks:
            x = block(x, frames, mask)
            yield x


class _Block(nn.Module):
    """Conformer block (arXiv 2005.08100): half feed-forward, attention, convolution, half feed-forward, norm."""

    def __init__(self, dim: int, ffn_dim: int, kernel_size: int):
        super().__init__()
        self.ffn1, self.ffn2 = _FeedForward(dim, ffn_dim), _FeedForward(dim, ffn_dim)
        self.attn_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.ModuleDict({"in_proj": nn.Linear(dim, 3 * dim), "out_proj": nn.Linear(dim, dim)})
        self.conv = _Convolution(dim, kernel_size)

    def forward(self, x: Tensor, frames: Tensor, mask: Tensor | None) -> Tensor:
        x = x + 0.5 * self.ffn1(x)
        q, k, v = self.attn["in_proj"](self.attn_norm(x)).unflatten(-1, (3, NUM_HEADS, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, mask)
        x = x + self.attn["out_proj"](y.transpose(1, 2).flatten(2))
        x = x + self.conv(x, frames)
        return self.norm(x + 0.5 * self.ffn2(x))


class _FeedForward(nn.Module):
    def __init__(self, dim: int, ffn_dim: int):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(dim), nn.Linear(dim, ffn_dim), nn.Linear(ffn_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.silu(self.fc1(self.norm(x))))


class _Convolution(nn.Module):
    """Gated pointwise, depthwise (its batch norm is folded in the file), pointwise."""

    def __init__(self, dim: int, kernel_size: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.pointwise1, self.pointwise2 = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        x = F.glu(self.pointwise1(self.norm(x)), -1).transpose(1, 2)
        return self.pointwise2(F.silu(self.depthwise(zero_beyond(x, frames))).transpose(1, 2))


def load_hama(path: str) -> HamaConformer:
    """The network of asr_waveform.hama, in eval mode.

    Raises:
        AudiokdError: not such a file, or one of another network.
    """
    tensors = read_hama(path)
    try:
        state = _rename(tensors)
        mel, stem = state["mel_filters"], state["stem.weight"]
        blocks = sum(bool(re.fullmatch(r"blocks\.\d+\.norm\.weight", k)) for k in state)
        ffn_dim, kernel_size = len(state["blocks.0.ffn1.fc1.bias"]), state["blocks.0.conv.depthwise.weight"].shape[-1]
        net = HamaConformer(mel.shape[1], len(stem), ffn_dim, blocks, kernel_size, len(state["proj.bias"]))
        net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in state.items()})
    except (KeyError, IndexError, ValueError, RuntimeError) as e:
        reason = " ".join(str(e).split())[:200]
        fix = "give asr_waveform.hama of the Python package hama 1.7"
        raise AudiokdError(f"holds another network ({reason})", where=path, fix=fix) from e
    return net.eval()


def _rename(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our names. The exporter numbered what it folded or transposed: in the order of use, a block after the other."""
    out: dict[str, np.ndarray] = {}
    numbered: dict[str, list[tuple[int, np.ndarray]]] = {"Conv": [], "MatMul": []}
    for name, x in tensors.items():
        if found := re.fullmatch(r"onnx::(Conv|MatMul)_(\d+)", name):
            numbered[found[1]].append((int(found[2]), x))
        elif name == "mel_fb":
            out["mel_filters"] = x
        elif not name.startswith("stft_"):  # a Hann window times cosines and sines: an FFT does that
            name = name.removeprefix("acoustic_model.model.").replace("in_proj_bias", "in_proj.bias")
            out[name] = x[..., 0] if x.ndim == 3 else x  # 1x1 convolutions
    convolutions, matrices = ([x for _, x in sorted(rows, key=lambda r: r[0])] for rows in numbered.values())
    out["stem.weight"], out["stem.bias"] = convolutions[:2]
    order = ("ffn1.fc1", "ffn1.fc2", "attn.in_proj", "attn.out_proj", "ffn2.fc1", "ffn2.fc2")
    for i in range(len(matrices) // len(order)):
        pair = convolutions[2 + 2 * i : 4 + 2 * i]
        out[f"blocks.{i}.conv.depthwise.weight"], out[f"blocks.{i}.conv.depthwise.bias"] = pair[0], pair[1]
        for j, name in enumerate(order):
            out[f"blocks.{i}.{name}.weight"] = matrices[i * len(order) + j].T
    return out
