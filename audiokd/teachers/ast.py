"""The Audio Spectrogram Transformer (AST, arXiv 2104.01778) as a teacher: a ViT over patches of a log-mel.

Front end and network give what transformers' ASTFeatureExtractor and ASTModel give; the front end here passes the gradient on to
the waveform. The network takes log-mels of one size (`config.max_length` frames, 10.24 s) and hears zeros past a shorter clip's
end. A longer clip goes through it in chunks of that size, each starting where the patches of the one before it stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.frontends.kaldi_fbank import HOP_LENGTH, SAMPLE_RATE, WIN_LENGTH, KaldiFbank
from audiokd.nn.lengths import conv_length, length_mask
from audiokd.teachers.base import FrozenTeacher, Layer, load_pretrained

SPECIAL = 2  # tokens before the patches: of the class, and of the distillation


class ASTTeacher(FrozenTeacher):
    """Features of an AST: its patches, averaged over frequency.

    A frame is one column of patches, 160 ms wide (16 log-mel frames), one every 100 ms in the published models: 10 a second.

    Args:
        model: transformers' ASTModel.
        mean: of the log-mel, which is taken from it.
        std: of the log-mel; twice of it divides.
        layer: 0 is the first layer's input, k after the k-th layer (transformers' `hidden_states[layer]`), "mean" all of them;
            null is after the final norm.
    """

    sample_rate = SAMPLE_RATE
    final_norm = "layernorm"
    preprocessor: ClassVar[dict[str, str]] = {"mean": "mean", "std": "std"}

    def __init__(self, model: nn.Module, mean: float, std: float, layer: Layer = None):
        config = model.config
        super().__init__(model, config.num_hidden_layers, layer)
        self.mean, self.std, self.dim = mean, std, config.hidden_size
        self.rows, self.columns = model.embeddings.get_shape(config)
        self.frame_rate = SAMPLE_RATE / (HOP_LENGTH * config.time_stride)
        self.min_samples = WIN_LENGTH + (config.patch_size - 1) * HOP_LENGTH
        self.fbank = KaldiFbank(config.num_mel_bins, window="hann", scale=1.0)

    @classmethod
    def from_pretrained(cls, name: str, layer: Layer = None) -> ASTTeacher:
        """From a hub id ("MIT/ast-finetuned-audioset-10-10-0.4593") or a transformers folder with preprocessor_config.json."""
        from transformers import ASTFeatureExtractor, ASTModel

        model = load_pretrained(ASTModel, name, "an AST", dtype=torch.float32)
        extractor = load_pretrained(ASTFeatureExtractor, name, "preprocessor_config.json")
        mean, std = (extractor.mean, extractor.std) if extractor.do_normalize else (0.0, 0.5)
        return cls(model, mean, std, layer)

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features [B, T', D] of `wav` [B, T] at 16 kHz: as many as whole patches fit (none below 2800 samples)."""
        if lengths is None:
            lengths = torch.full((wav.shape[0],), wav.shape[-1], device=wav.device)
        with torch.autocast(wav.device.type, enabled=False):
            chunks, held, frames = self.front_end(wav, lengths)
            feature = self._pick(self._states(chunks.to(self.net.embeddings.patch_embeddings.projection.weight.dtype)))
        out = feature.new_zeros(*held.shape, *feature.shape[1:], dtype=torch.float32)
        out[held] = feature.float()
        out = out.flatten(1, 2)[:, : int(frames.max())]
        return out * length_mask(frames, out.shape[1])[..., None], frames

    def front_end(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised log-mel in chunks, zeros (before the normalisation) past an item's end.

        Returns:
            Chunks [N, max_length, n_mels] of all items in order, which of an item's there are [B, C], and its frames [B].
        """
        config = self.net.config
        n = conv_length(lengths, WIN_LENGTH, HOP_LENGTH)
        frames = conv_length(n, config.patch_size, config.time_stride)
        held = (-(-frames // self.columns)).clamp(min=1)
        step, count = self.columns * config.time_stride, int(held.max())
        x = self.fbank(F.pad(wav, (0, max(0, WIN_LENGTH - wav.shape[-1]))))
        x = x.masked_fill(~length_mask(n, x.shape[1])[..., None], 0.0)
        size = (count - 1) * step + config.max_length
        x = (F.pad(x, (0, 0, 0, max(0, size - x.shape[1])))[:, :size] - self.mean) / (2 * self.std)
        there = length_mask(held, count)
        return x.unfold(1, config.max_length, step)[there].transpose(1, 2), there, frames

    def _states(self, chunks: Tensor) -> Iterator[Tensor]:
        """Frames [N, columns, D] of transformers' `hidden_states`, or of what `_state` makes of them."""
        x = self.net.embeddings(chunks)
        yield self._frames(0, x)
        for k, layer in enumerate(self.net.layers, 1):
            x = layer(x)
            yield self._frames(k, x)

    def _frames(self, k: int, x: Tensor) -> Tensor:
        return self._state(k, x)[:, SPECIAL:].unflatten(1, (self.rows, self.columns)).mean(1)
