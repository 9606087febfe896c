"""Codecs of transformers at random weights, of the real structure and small, whose codebooks are filled from sound.

Fresh codebooks are zeros, or nowhere near what the encoder says: code 0 to everything, or a few codes.
"""

from __future__ import annotations

from typing import Any

import torch
from tiny_encodec import tiny_encodec
from torch import Tensor, nn

BOOK = 256


def tiny_codec(family: str, sound: Tensor, **changes: Any) -> Any:
    """transformers' model of a family, its codebooks filled from `sound` [T] at its rate."""
    return {"encodec": _encodec, "mimi": _mimi, "dac": _dac, "xcodec": _xcodec}[family](sound, **changes)


@torch.no_grad()
def _encodec(sound: Tensor, **changes: Any) -> Any:
    shape = {"codebook_size": BOOK, "target_bandwidths": [1.8], "num_lstm_layers": 2}
    net = tiny_encodec(**(shape | changes))
    _fill(net.quantizer.layers, net.encoder(sound[None, None]))
    return net


@torch.no_grad()
def _mimi(sound: Tensor, **changes: Any) -> Any:
    """Of a window of 20 frames, 0.8 s, in each of 2 layers."""
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    shape = {
        "num_filters": 2,
        "hidden_size": 32,
        "codebook_size": BOOK,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "num_quantizers": 4,
        "num_semantic_quantizers": 1,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "sliding_window": 20,
        "upsample_groups": 32,
        "layer_scale_initial_scale": 0.5,  # 0.01 as published would hide a wrong attention
    }
    net = MimiModel(MimiConfig(**(shape | changes))).eval()
    _loud(net.encoder.encoder_seanet)
    found = net.encoder(sound[None, None]).latents
    for part in (net.quantizer.semantic_residual_vector_quantizer, net.quantizer.acoustic_residual_vector_quantizer):
        _fill(part.layers, part.input_proj(found))
    return net


@torch.no_grad()
def _dac(sound: Tensor, **changes: Any) -> Any:
    from transformers import DacConfig, DacModel

    torch.manual_seed(0)
    shape = {"encoder_hidden_size": 2, "decoder_hidden_size": 16, "n_codebooks": 3, "codebook_size": BOOK}
    net = DacModel(DacConfig(**(shape | changes))).eval()
    for part in (net.encoder, net.decoder, net.quantizer):
        _loud(part)
    residual = net.encoder(sound[None, None])
    for layer in net.quantizer.quantizers:
        frames = layer.in_proj(residual)[0].t()
        layer.in_proj.bias.sub_(frames.mean(0))  # in all directions: those of one are near ties once they have length 1
        frames = frames - frames.mean(0)
        layer.codebook.weight.copy_(_some(frames, BOOK))
        residual = residual - layer(residual)[0]
    return net


@torch.no_grad()
def _xcodec(sound: Tensor, semantic: str = "hubert", **changes: Any) -> Any:
    from transformers import DacConfig, HubertConfig, WavLMConfig, XcodecConfig, XcodecModel

    torch.manual_seed(0)
    acoustic = DacConfig(
        encoder_hidden_size=2, decoder_hidden_size=16, downsampling_ratios=[8, 5, 4, 2], hidden_size=16
    )
    acoustic.hidden_size, acoustic.upsampling_ratios = 16, [8, 5, 4, 2]
    config = {"hubert": HubertConfig, "wavlm": WavLMConfig}[semantic](
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
    )
    shape = {"codebook_size": BOOK, "target_bandwidths": [0.45, 1.25], "codebook_dim": 40}
    net = XcodecModel(XcodecConfig(acoustic_model_config=acoustic, semantic_model_config=config, **(shape | changes)))
    net = net.eval()
    for part in (net.acoustic_encoder, net.acoustic_decoder):
        _loud(part)
    heard: list[Tensor] = []
    hook = net.fc.register_forward_hook(lambda _, args, y: heard.append(y.transpose(1, 2)))
    net.encode(sound[None, None])
    hook.remove()
    _fill(net.quantizer.quantizers, heard[0])
    return net


def _fill(layers: Any, residual: Tensor) -> None:
    for layer in layers:
        book, frames = layer.codebook, residual[0].t()
        (book.embed_sum if hasattr(book, "embed_sum") else book.embed).copy_(_some(frames, BOOK))
        book._embed = None  # Mimi's, made of the zeros there were
        residual = residual - layer.decode(layer.encode(residual))


def _some(frames: Tensor, size: int) -> Tensor:
    """`size` of the frames [N, D], and noise, so that codes are many and few are near ties."""
    rng = torch.Generator().manual_seed(1)
    chosen = frames[torch.randint(len(frames), (size,), generator=rng)]
    return chosen + 0.3 * frames.std(0) * torch.randn(chosen.shape, generator=rng)


def _loud(net: nn.Module) -> None:
    """Weights that about keep the variance, and small biases: fresh ones let the sound fade into the biases."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            if layer.kernel_size == (1,):  # the last of a branch, or every unit would double the variance
                layer.weight.mul_(0.3)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.01)
