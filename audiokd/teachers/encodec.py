"""EnCodec at 24 kHz (arXiv 2210.13438) as a tokenizer: MERT's acoustic teacher. Through transformers or Meta's encodec package."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.code_streams import CodeStreams
from audiokd.nn.lengths import length_mask, zero_beyond
from audiokd.nn.waveforms import check_wav
from audiokd.teachers.base import load_pretrained
from audiokd.teachers.torch_file import load_tensors
from audiokd.tokens.codes import Codes

#: what transformers' config calls it
FAMILY = "encodec"
#: 6 kbit/s at 75 Hz, as MERT and most users have it
CODEBOOKS = 8


class EncodecTokenizer(nn.Module, CodeStreams):
    """`encode` and `decode` over a frozen EnCodec of one channel that looks back only.

    Each clip is padded with zeros to whole frames: in a batch it has then the codes that it has alone, since nothing to the
    right of a frame is heard. EnCodec itself mirrors the samples there, so that the last code of a clip
    that ends in mid-frame may differ.

    Args:
        net: transformers' EncodecModel or the encodec package's.
        config: of it, with model_type, to_dict().

    Raises:
        AudiokdError: a model of another kind, such as EnCodec at 48 kHz, which is stereo and hears what follows.
    """

    def __init__(self, net: nn.Module, config: Any):
        super().__init__()
        self.__dict__["net"] = net.eval().requires_grad_(False)  # past nn.Module's registry: it is frozen
        self.config: Any = config
        if config.audio_channels != 1 or not config.use_causal_conv or config.normalize:
            fix = "use facebook/encodec_24khz, or one trained like it"
            raise AudiokdError("an EnCodec of stereo, or not causal, is no tokenizer here", fix=fix)
        q: Any = net.quantizer
        self.layers = list(q.vq.layers if hasattr(q, "vq") else q.layers)
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

    def _apply(self, fn: Any, recurse: bool = True) -> EncodecTokenizer:
        self.net._apply(fn)
        return super()._apply(fn, recurse)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The network's weights, by which a store tells what it was made by."""
        return self.net.state_dict(*args, **kwargs)

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in and out."""
        return self.config.sampling_rate

    @property
    def frame_size(self) -> int:
        """Samples a frame."""
        return math.prod(self.config.upsampling_ratios)

    @property
    def streams(self) -> list[int]:  # type: ignore[override]
        """Codes of each stream that there is; the first 8 are 6 kbit/s."""
        return [self.config.codebook_size] * len(self.layers)

    @torch.no_grad()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Codes:
        """Waveforms [B, T] float32 at `sample_rate` with true `lengths` [B] to codes of ceil(n / frame_size) frames.

        Raises:
            AudiokdError: not [B, T], an empty waveform, or NaN or Inf.
        """
        n = check_wav(wav, lengths, wav.device)
        frames = -(-n // self.frame_size)
        x = zero_beyond(wav[:, None], n)[..., : int(n.max())]
        x = F.pad(x, (0, int(frames.max()) * self.frame_size - x.shape[-1]))
        with torch.autocast(wav.device.type, enabled=False):
            residual = self.net.encoder(x.float())
            codes = []
            for layer in self.layers[: self._num_codebooks]:
                codes.append(layer.encode(residual))
                residual = residual - layer.decode(codes[-1])
        found = torch.stack(codes, 1)
        return Codes(found * length_mask(frames, found.shape[-1])[:, None], frames, n, self.sample_rate)

    @torch.no_grad()
    def decode(self, codes: Codes, semantic_only: bool = False) -> tuple[Tensor, Tensor]:
        """Codes to waveforms [B, T] and their lengths [B].

        Raises:
            AudiokdError: `semantic_only`, which EnCodec has not, or more streams than there are codebooks.
        """
        if semantic_only:
            raise AudiokdError("EnCodec has no semantic stream")
        if codes.num_codebooks > len(self.layers):
            raise AudiokdError(f"codes have {codes.num_codebooks} streams, the model {len(self.layers)}")
        ids = codes.codes.to(next(self.net.parameters()).device)
        z = sum(layer.decode(ids[:, q]) for q, layer in enumerate(self.layers[: ids.shape[1]]))
        wav = self.net.decoder(z)[:, 0]
        n = codes.num_samples if codes.num_samples is not None else codes.lengths * self.frame_size
        n = n.to(wav.device)
        return zero_beyond(wav[:, None], n)[:, 0, : int(n.max())], n


def is_encodec(name: str, family: str) -> bool:
    """Whether `name`, of transformers' `family` where it is a folder or hub id, is an EnCodec."""
    return family == FAMILY or (name.endswith(".th") and Path(name).is_file())
