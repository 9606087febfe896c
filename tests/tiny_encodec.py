"""EnCodecs of random weights whose codebooks are filled: a fresh one has zeros, and says code 0 to everything."""

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


def published_size(sound: torch.Tensor, root: Path) -> tuple[Path, Path]:
    """One set of random weights of the 24 kHz model's size, filled with what it says of `sound` [T]: transformers' folder and the
    package's file."""
    from encodec.model import EncodecModel as Package
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    package = Package.encodec_model_24khz(pretrained=False)
    with torch.no_grad():
        fill(package.quantizer.vq.layers[:8], package.encoder(sound[None, None]))
    theirs = EncodecModel(EncodecConfig())
    theirs.load_state_dict(as_transformers(package.state_dict(), theirs.state_dict()))
    torch.save(package.state_dict(), root / "encodec_24khz.th")
    return save(theirs, root / "hf"), root / "encodec_24khz.th"


def as_transformers(weights: dict[str, torch.Tensor], there: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The package's tensors under transformers' names: both hold the same parts in the same order."""

    def of(names: list[str], part: str) -> list[str]:
        return [n for n in names if n.startswith(part)]

    found = {}
    for part in ("encoder.", "decoder."):
        mine, theirs = of(list(weights), part), of(list(there), part)
        pools = {k: [n for n in mine if n.endswith(k)] for k in {n.rsplit(".", 1)[1] for n in mine}}
        for name in theirs:
            last = name.rsplit(".", 1)[1]
            last = {"original0": "weight_g", "original1": "weight_v"}.get(last, last)
            found[name] = weights[pools[last].pop(0)]
            assert found[name].shape == there[name].shape, name
        assert not any(pools.values())
    for name in of(list(there), "quantizer."):
        _, _, number, _, last = name.split(".")
        found[name] = weights[f"quantizer.vq.layers.{number}._codebook.{last}"]
    return found
