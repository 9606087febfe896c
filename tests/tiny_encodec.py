"""Small EnCodecs of random weights whose codebooks are filled: a fresh one has zeros, and says code 0 to everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


@torch.no_grad()
def tiny_encodec(codebooks: int = 2, seed: int = 0, **changes: Any) -> Any:
    """transformers' EncodecModel at 24 kHz and 75 Hz, with so many codebooks of 64 codes."""
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "num_filters": 2,
        "hidden_size": 16,
        "codebook_dim": 16,
        "codebook_size": 64,
        "num_lstm_layers": 1,
        # kbit/s of one codebook of 6 bits at 75 Hz, times the codebooks
        "target_bandwidths": [0.45 * codebooks],
    }
    net = EncodecModel(EncodecConfig(**(shape | changes))).eval()
    for name, p in net.encoder.named_parameters():  # or all frames are nearly the same, and codes near ties
        if "bias" in name:
            p.zero_()
    net.encoder.layers[-1].conv.parametrizations.weight.original0.mul_(100)
    fill(net.quantizer.layers, net.encoder(torch.randn(1, 1, 24_000) * torch.linspace(0.01, 0.3, 24_000)))
    return net


@torch.no_grad()
def fill(layers: Any, latents: torch.Tensor, seed: int = 1) -> None:
    """Into every codebook what is left over of some `latents` [1, D, T] and some noise, so that many codes are used."""
    rng = torch.Generator().manual_seed(seed)
    residual = latents
    for level, layer in enumerate(layers):
        book = layer._codebook if hasattr(layer, "_codebook") else layer.codebook
        frames = residual[0].t()
        chosen = frames[torch.randint(len(frames), (len(book.embed),), generator=rng)]
        book.embed.copy_(chosen + (0.1 + 0.1 * level) * frames.std(0) * torch.randn(chosen.shape, generator=rng))
        residual = residual - layer.decode(layer.encode(residual))


def save(net: Any, folder: Path) -> Path:
    """A folder as transformers has it."""
    net.save_pretrained(folder)
    return folder
