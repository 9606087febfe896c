"""Tokens at the layers of encoders that know nothing of them: as if each layer had been written with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from audiokd.data.audio import load_at
from audiokd.data.inputs import open_input
from audiokd.methods.mert.config import MERTConfig
from audiokd.methods.mert.model import MERTModel
from audiokd.nn.layer_prompts import layer_prompts, layers_of
from audiokd.nn.vit import Block
from audiokd.teachers.trainable import load_trainable


def written_out(
    blocks: nn.ModuleList, x: torch.Tensor, tokens: torch.Tensor, heard: torch.Tensor | None
) -> torch.Tensor:
    n = x.shape[1]
    mask = None if heard is None else torch.cat([heard, torch.ones(len(x), tokens.shape[1]).bool()], 1)[:, None, None]
    for k, block in enumerate(blocks):
        if k < len(tokens):
            x = torch.cat([x[:, :n], tokens[k].expand(len(x), -1, -1)], 1)
        x = block(x, mask)
    return x[:, :n]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_vit(depth: int) -> None:
    torch.manual_seed(0)
    blocks = nn.ModuleList(Block(16, 2) for _ in range(3))
    x, tokens = torch.randn(2, 5, 16), torch.randn(depth, 3, 16, requires_grad=True)
    heard = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    for mask in (None, heard):
        y = x
        with layer_prompts(list(blocks), tokens):
            for block in blocks:
                y = block(y, None if mask is None else mask[:, None, None])
        torch.testing.assert_close(y, written_out(blocks, x, tokens, mask))
    y.sum().backward()
    assert (tokens.grad.abs().sum((1, 2)) > 0).all()
    torch.testing.assert_close(blocks[0](x), Block.forward(blocks[0], x))  # no hook is left
    assert not blocks[0]._forward_hooks
    with (
        pytest.raises(ValueError, match="tokens of 4 layers for a tower of 3"),
        layer_prompts(list(blocks), torch.zeros(4, 1, 16)),
    ):
        pass


SSL = ["hubert", "wav2vec2", "unispeech", "unispeech-sat", "data2vec-audio"]
FAMILIES = [*SSL, "mert", "audio-spectrogram-transformer", "whisper"]


@pytest.mark.parametrize("family", FAMILIES)
def test_encoders_of_transformers(family: str, two_cities: Path, tmp_path: Path) -> None:
    """Frames stay as many; what is padded changes nothing; tokens change what is heard."""
    from transformers import (
        ASTConfig,
        ASTFeatureExtractor,
        ASTModel,
        AutoConfig,
        AutoModel,
        Wav2Vec2FeatureExtractor,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperModel,
    )  # fmt: skip

    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model: Any
    extractor: Any = Wav2Vec2FeatureExtractor()
    if family == "mert":  # ours
        model = MERTModel(MERTConfig(channels=8, dim=32, depth=2, heads=2, hidden=64))
    elif family == "whisper":
        sizes = {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
        }
        model = WhisperModel(WhisperConfig(**sizes, encoder_ffn_dim=64, decoder_ffn_dim=64))
        extractor = WhisperFeatureExtractor()
    elif family in SSL:
        convs = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
        model = AutoModel.from_config(AutoConfig.for_model(family, **small, **convs))
    else:
        model, extractor = ASTModel(ASTConfig(**small, max_length=128)), ASTFeatureExtractor(max_length=128)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    encoder = load_trainable(str(tmp_path)).eval()
    layers = layers_of(encoder)
    assert len(layers) == 2
    wav = torch.from_numpy(load_at(open_input(two_cities).utterances()[0], 16_000)[None, :32_000])
    both, lengths = torch.cat([wav, wav.flip(1)]), torch.tensor([20_000, 32_000])
    tokens = 5 * torch.randn(2, 3, 32)
    with torch.no_grad():
        plain = encoder.extract_features(wav[:, :20_000], None, 1)
        with layer_prompts(layers, tokens):
            alone, together = (
                encoder.extract_features(wav[:, :20_000], None, 1),
                encoder.extract_features(both, lengths, 1),
            )
    assert alone.hidden_states[-1].shape == plain.hidden_states[-1].shape
    assert (alone.clip - plain.clip).abs().max() > 1e-3
    torch.testing.assert_close(together.clip[:1], alone.clip, atol=1e-4, rtol=1e-3)
