"""Random pair models of a few weights, as transformers folders with their own preprocessing and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = ["a", "photo", "of", "the", "this", "is", "sound", ".", "large", "bad", "dog", "cat", "rain", "clock", "in"]
END = len(WORDS) + 3


def tokenizer(length: int, words: list[str] = WORDS) -> Any:
    """A word is a token; <s> and </s> around them, as all models have it; </s> has the greatest id, as CLIP's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {w: i for i, w in enumerate(["<pad>", "<s>", "<unk>", *words, "</s>"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", len(words) + 3)]
    )
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=length, **special)


def save_pair(family: str, folder: Path, seed: int = 0) -> Path:
    """A tiny `clip`, `siglip`, `clap`, or a LiT of ours in `folder`: `lit_timm`, `lit_vit` or `lit_audio`."""
    if family.startswith("lit_"):
        return save_lit(family.removeprefix("lit_"), folder, seed)
    from transformers import (
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
    )

    torch.manual_seed(seed)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**layers, "vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": END}
    picture = {**layers, "image_size": 32, "patch_size": 8}
    processor: Any
    model: Any
    if family == "clip":
        text |= {"max_position_embeddings": 20, "projection_dim": 24}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=picture, projection_dim=24))
        processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    elif family == "siglip":
        text |= {"max_position_embeddings": 20, "projection_size": 32}
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=picture))
        processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    else:
        text |= {"max_position_embeddings": 22}
        heard = {
            "spec_size": 64, "num_mel_bins": 16, "patch_size": 4, "patch_stride": [4, 4], "window_size": 4, "depths": [1, 1],
            "num_attention_heads": [2, 2], "hidden_size": 32, "patch_embeds_hidden_size": 16, "num_classes": 4,
        }  # fmt: skip
        model = ClapModel(ClapConfig(text_config=text, audio_config=heard, projection_dim=24))
        processor = ClapFeatureExtractor(
            feature_size=16, sampling_rate=16_000, hop_length=160, max_length_s=2, fft_window_size=512, frequency_max=8000,
            truncation="rand_trunc",
        )  # fmt: skip
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    tokenizer(20).save_pretrained(folder)
    return folder


def bert(model_type: str = "bert", **changes: Any) -> dict[str, Any]:
    """Config of a tiny text encoder for `tokenizer`."""
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"vocab_size": 40, "pad_token_id": 0, "max_position_embeddings": 20, "hidden_act": "gelu"}
    return {"model_type": model_type, **layers, **special, "hidden_dropout_prob": 0.1, **changes}


def lit(kind: str, **changes: Any) -> Any:
    """A tiny LitModel with random weights; of `timm` the hidden heads, of the others the linear ones."""
    from audiokd.methods.lit.config import LitConfig
    from audiokd.methods.lit.model import LitModel

    media: dict[str, Any] = {
        "timm": {"model_type": "timm", "architecture": "test_efficientnet"},
        "vit": {
            "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
        },
        "audio": {"model_type": "atst", "kind": "clip", "dim": 32, "depth": 2, "heads": 2},
    }[kind]  # fmt: skip
    heads = {"media_hidden": 48, "text_hidden": 48} if kind == "timm" else {}
    seen = {} if kind == "audio" else {"preprocess": {"size": (32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}}
    return LitModel(
        LitConfig(**{"media": media, "text_config": bert(), "projection_dim": 24, **heads, **seen, **changes})
    )


def save_lit(kind: str, folder: Path, seed: int) -> Path:
    """As `audiokd export` writes it."""
    from audiokd.methods.lit.folder import write_folder

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_folder(lit(kind), tokenizer(20), folder)
    return folder
