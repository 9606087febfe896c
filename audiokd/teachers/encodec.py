"""EnCodec at 24 kHz (arXiv 2210.13438) as a tokenizer: MERT's acoustic teacher. Through transformers or Meta's encodec package."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.nn.held_convs import HeldConvs
from audiokd.teachers.base import load_pretrained
from audiokd.teachers.frozen_codec import FrozenCodec, Run, residual_codes, residual_sum
from audiokd.teachers.torch_file import load_tensors

#: 6 kbit/s at 75 Hz, as MERT and most users have it
CODEBOOKS = 8


class EncodecTokenizer(FrozenCodec):
    """`encode` and `decode` over a frozen EnCodec of one channel that looks back only.

    Each clip is padded with zeros to whole frames: in a batch it has then the codes that it has alone, since nothing to the
    right of a frame is heard. EnCodec itself mirrors the samples there, so that the last code of a clip
    that ends in mid-frame may differ. Long recordings go through in pieces, and the LSTM's state is handed on: they have the
    codes of the whole.

    Args:
        net: transformers' EncodecModel or the encodec package's.
        config: of it, with model_type, to_dict().

    Raises:
        AudiokdError: a model of another kind, such as EnCodec at 48 kHz, which is stereo and hears what follows.
    """

    family = "EnCodec"

    def __init__(self, net: nn.Module, config: Any):
        if config.audio_channels != 1 or not config.use_causal_conv or config.normalize:
            fix = "use facebook/encodec_24khz, or one trained like it"
            raise AudiokdError("an EnCodec of stereo, or not causal, is no tokenizer here", fix=fix)
        super().__init__(net, config)
        self._num_codebooks = min(CODEBOOKS, len(self.layers))

    @classmethod
    def from_pretrained(cls, name: str) -> EncodecTokenizer:
        """From a hub id ("facebook/encodec_24khz"), a transformers folder, or a weights file of the encodec package (.th).

        Raises:
            AudiokdError: it cannot be loaded.
        """
        if name.endswith(".th"):
            return cls.from_package(name)
        from transformers import EncodecModel

        net = load_pretrained(EncodecModel, name, "the EnCodec", dtype=torch.float32)
        return cls(net, net.config)

    @classmethod
    def from_package(cls, path: str) -> EncodecTokenizer:
        """From a file of weights as the encodec package publishes them, such as encodec_24khz-d7cc33bc.th.

        Raises:
            AudiokdError: there is no such file, or it is of another model.
        """
        from encodec.model import EncodecModel
        from transformers import EncodecConfig

        net = EncodecModel.encodec_model_24khz(pretrained=False)
        weights = load_tensors(path)
        try:
            net.load_state_dict(weights)
        except (RuntimeError, TypeError) as e:
            fix = "give the encodec package's file of its 24 kHz model"
            raise AudiokdError(f"cannot load the EnCodec: {str(e).splitlines()[0]}", where=path, fix=fix) from e
        return cls(net, EncodecConfig())  # whose defaults are that model

    @property
    def layers(self) -> list[Any]:
        """The codebooks, from the first on."""
        q: Any = self.net.quantizer
        return list(q.vq.layers if hasattr(q, "vq") else q.layers)

    @property
    def frame_size(self) -> int:  # type: ignore[override]
        """Samples a frame."""
        return math.prod(self.config.upsampling_ratios)

    @property
    def streams(self) -> list[int]:  # type: ignore[override]
        """Codes of each stream that there is; the first 8 are 6 kbit/s."""
        return [self.config.codebook_size] * len(self.layers)

    def encoder(self) -> Run:
        """Samples to codes, piece after piece."""
        before, lstm, after = _parts(self.net.encoder)
        convs, memory, last = HeldConvs(before, in_size=self.frame_size), _Memory(lstm), HeldConvs(after)
        return lambda x, _: residual_codes(self.layers[: self._num_codebooks], last(memory(convs(x))))

    def decoder(self) -> Run:
        """Codes to samples, piece after piece."""
        before, lstm, after = _parts(self.net.decoder)
        first, memory, convs = HeldConvs(before), _Memory(lstm), HeldConvs(after, out_size=self.frame_size)
        return lambda ids, _: convs(memory(first(residual_sum(self.layers, ids))))


class _Memory:
    """EnCodec's LSTM beside a skip connection, [B, D, t] to the same, which goes on where the piece before ended."""

    def __init__(self, lstm: nn.LSTM):
        self.lstm = lstm
        self.state: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        x = x.permute(2, 0, 1)
        y, self.state = self.lstm(x, self.state)
        return (y + x).permute(1, 2, 0)


def _parts(net: Any) -> tuple[nn.Module, nn.LSTM, nn.Module]:
    """An encoder's or decoder's convolutions before the LSTM, the LSTM, and those after it."""
    layers = list(net.layers if hasattr(net, "layers") else net.model)
    (at,) = (i for i, layer in enumerate(layers) if hasattr(layer, "lstm"))
    return nn.Sequential(*layers[:at]), layers[at].lstm, nn.Sequential(*layers[at + 1 :])
