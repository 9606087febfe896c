"""A frozen Whisper encoder as teacher; a waveform's gradient passes through it.

`window="full"` pads every clip to 30 s, as the paper does: 3,000 mel frames, 1,500 features, padding included in a mean.
`window="crop"` runs the same weights over the true length only: conv1, conv2, the first T' positions, the layers with
padded frames masked as keys, the final norm. At 30 s both agree; below it crop costs 4 to 20 times less and says
something a little different, so teacher and student must be seen through the same window.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.frontends.log_mel import SAMPLE_RATE, WhisperLogMel
from audiokd.nn.lengths import zero_beyond
from audiokd.teachers.base import FrozenTeacher, Layer, additive_mask, load_pretrained

WINDOW_S = 30
FRAME_SIZE = 320  # samples a feature: hop 160, one stride of 2


class WhisperTeacher(FrozenTeacher):
    """Features of a Whisper encoder, by default after its final layer norm.

    Args:
        encoder: transformers' WhisperEncoder.
        window: "full" or "crop".
        floor: of the log-mel, see WhisperLogMel.
        layer: 0 is after the positions, k after the k-th layer and the last one after the final norm too, as null is
            (transformers' `hidden_states[layer]`).

    Raises:
        AudiokdError: no such window or layer.
    """

    sample_rate = SAMPLE_RATE
    frame_rate = SAMPLE_RATE / FRAME_SIZE
    max_duration_s = WINDOW_S
    final_norm = "layer_norm"

    def __init__(
        self,
        encoder: nn.Module,
        window: Literal["full", "crop"] = "crop",
        floor: Literal["item", "batch"] = "item",
        layer: Layer = None,
    ):
        super().__init__(encoder, encoder.config.encoder_layers, layer)
        if window not in ("full", "crop"):
            raise AudiokdError(f"window {window!r}", fix="use full or crop")
        self.window = window
        self.dim = encoder.config.d_model
        self.log_mel = WhisperLogMel(encoder.config.num_mel_bins, floor)

    @classmethod
    def from_pretrained(cls, name: str, window: Literal["full", "crop"] = "crop", **kwargs) -> WhisperTeacher:
        """From a hub id ("openai/whisper-large-v3") or a transformers folder."""
        from transformers import WhisperModel

        fix = "give a hub id or a transformers folder; 'audiokd convert whisper_ct2 SRC DST' makes one from CTranslate2"
        model = load_pretrained(WhisperModel, name, "a Whisper model", fix, dtype=torch.float32)
        return cls(model.encoder, window, **kwargs)

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features [B, T', D] of `wav` [B, T] at 16 kHz; of them count 1500 in a full window, ceil(n / 320) in a crop.

        Raises:
            AudiokdError: more than 30 s.
        """
        limit = WINDOW_S * SAMPLE_RATE
        if wav.shape[-1] > limit:
            raise AudiokdError(
                f"{wav.shape[-1] / SAMPLE_RATE:.1f} s is more than Whisper's 30 s window", fix="use shorter crops"
            )
        if lengths is None:
            lengths = torch.full((wav.shape[0],), wav.shape[-1], device=wav.device)
        wav = zero_beyond(wav[:, None], lengths)[:, 0]
        if self.window == "full":
            mel = self.log_mel(F.pad(wav, (0, limit - wav.shape[-1])))
            return self._encode(mel, None), torch.full_like(lengths, mel.shape[-1] // 2)
        frames = -(-lengths // FRAME_SIZE)
        size = int(frames.max())
        # past the end lie zeros, as in a full window, never a reflection: the same alone and in a batch
        mel = self.log_mel(F.pad(wav, (0, (size + 2) * FRAME_SIZE - wav.shape[-1])))[..., : 2 * size]
        ragged = bool((frames != size).any())
        return self._encode(mel, frames if ragged else None), frames

    def _encode(self, mel: Tensor, frames: Tensor | None) -> Tensor:
        """The encoder's forward over any number of mel frames [B, n_mels, 2 T'] -> [B, T', D]."""
        net = self.net
        with torch.autocast(mel.device.type, enabled=False):
            x = F.gelu(net.conv1(zero_beyond(mel.to(net.conv1.weight.dtype), None if frames is None else 2 * frames)))
            x = F.gelu(net.conv2(zero_beyond(x, None if frames is None else 2 * frames))).transpose(1, 2)
            mask = None if frames is None else additive_mask(frames, x)
            return self._pick(self._states(x, mask)).float()

    def _states(self, x: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
        """transformers' `hidden_states`, the last one normed, or what `_state` makes of them."""
        net = self.net
        x = x + net.embed_positions.weight[: x.shape[1]]
        for k, layer in enumerate(net.layers):
            yield self._state(k, x)
            x = layer(x, mask)
        yield net.layer_norm(x)
