"""Diffusion pipelines of a few thousand random weights: of labels, and as Stable Diffusion's and AudioLDM's lie in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline
from tiny_pairs import END, save_pair, tokenizer
from tiny_unets import audioldm2, unet

from audiokd.vision.tiue_pipeline import TiUEPipeline

SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def of_labels(
    labels: tuple[str, ...] = ("cat", "dog"), mel: dict[str, Any] | None = None, **changes: Any
) -> TiUEPipeline:
    """Pictures of 8 x 8, or spectrograms."""
    shape = {
        "in_channels": 1,
        "out_channels": 1,
        "encoder_hid_dim": len(labels) + 1,
        "encoder_hid_dim_type": "text_proj",
    }
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing", **changes.pop("schedule", {}))
    return TiUEPipeline(unet(**shape), scheduler, label2id={k: i for i, k in enumerate(labels)}, mel=mel, **changes)


def text_encoder() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    config = CLIPTextConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=40, pad_token_id=0,
        bos_token_id=1, eos_token_id=END, max_position_embeddings=20,
    )  # fmt: skip
    return CLIPTextModel(config).eval()


def vae(channels: int = 3) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        in_channels=channels, out_channels=channels, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, sample_size=16,
    ).eval()  # fmt: skip


def stable_diffusion(**changes: Any) -> StableDiffusionPipeline:
    parts = {"unet": unet(), "vae": vae(), "text_encoder": text_encoder(), "tokenizer": tokenizer(20)}
    scheduler = PNDMScheduler(**SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False)
    found = StableDiffusionPipeline(
        **parts | {"scheduler": scheduler} | changes,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    found.set_progress_bar_config(disable=True)
    return found


def vocoder() -> Any:
    """HiFi-GAN of spectrograms of 8 bands: latents are 4 wide, and `sample_size` high, 8."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    torch.manual_seed(0)
    config = SpeechT5HifiGanConfig(
        model_in_dim=8, sampling_rate=16000, upsample_initial_channel=8, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]], normalize_before=False,
    )  # fmt: skip
    return SpeechT5HifiGan(config).eval()


def told_by_class(width: int) -> Any:
    """A UNet whose class embedding is a text's, of `width`."""
    return unet(
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=width,
        class_embeddings_concat=True,
        cross_attention_dim=(16, 32),
    )


def save_musicldm(folder: Path) -> Path:
    """As AudioLDM's, with all of CLAP."""
    from diffusers import MusicLDMPipeline
    from transformers import ClapFeatureExtractor, ClapModel

    clap = ClapModel.from_pretrained(save_pair("clap", folder.with_name("clap")))
    MusicLDMPipeline(
        vae(1), clap.eval(), tokenizer(20), ClapFeatureExtractor(), told_by_class(24),
        DDIMScheduler(**SCHEDULE, clip_sample=False), vocoder(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_audioldm(folder: Path) -> Path:
    """With a CLAP text encoder, an autoencoder of spectrograms and a HiFi-GAN."""
    from diffusers import AudioLDMPipeline
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    torch.manual_seed(0)
    text = ClapTextConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=40, pad_token_id=0,
        max_position_embeddings=22, projection_dim=6,
    )  # fmt: skip
    AudioLDMPipeline(
        vae(1), ClapTextModelWithProjection(text).eval(), tokenizer(20), told_by_class(6),
        DDIMScheduler(**SCHEDULE, clip_sample=False), vocoder(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def letters(*special: str) -> list[str]:
    return [*special, *"abcdefghijklmnopqrstuvwxyz"]


def save_audioldm2(folder: Path) -> Path:
    """With a CLAP, a T5, a language model between them and the UNet, an autoencoder of spectrograms and a HiFi-GAN."""
    from diffusers import AudioLDM2Pipeline, AudioLDM2ProjectionModel
    from transformers import (
        ClapFeatureExtractor,
        ClapModel,
        GPT2Config,
        GPT2LMHeadModel,
        RobertaTokenizer,
        T5Config,
        T5EncoderModel,
        T5Tokenizer,
    )

    clap = ClapModel.from_pretrained(save_pair("clap", folder.with_name("clap")))
    torch.manual_seed(0)
    t5 = T5EncoderModel(T5Config(vocab_size=40, d_model=6, d_kv=3, d_ff=8, num_layers=2, num_heads=2))
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=8, n_layer=2, n_head=2, n_positions=64))
    gpt.config.max_new_tokens = 3
    projection = AudioLDM2ProjectionModel(24, 6, 8)
    for p in projection.parameters():
        torch.nn.init.normal_(p)  # diffusers begins them all as ones
    roberta = letters("<s>", "<pad>", "</s>", "<unk>", "<mask>", "\u0120")
    pieces = [(p, -1.0) for p in letters("<pad>", "</s>", "<unk>", "\u2581")]
    AudioLDM2Pipeline(
        vae(1), clap.eval(), t5.eval(), projection, gpt.eval(),
        RobertaTokenizer(vocab={p: i for i, p in enumerate(roberta)}, merges=[], model_max_length=20),
        T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=20), ClapFeatureExtractor(),
        audioldm2(), DDIMScheduler(**SCHEDULE, clip_sample=False), vocoder(),
    ).save_pretrained(folder)  # fmt: skip
    return folder
