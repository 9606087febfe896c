"""Configuration of LiT. Learning rate and weight decay are those of LiT's official config, betas and eps CLIP's (2103.00020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import AdamWSettings, MediaSettings, RunSettings


@dataclass
class LitShape:
    """The towers, which of them are locked, and the heads.

    Args:
        media: an image backbone by timm's name; vit, a small one that begins at random; or the folder or hub id of an audio
            encoder, ours or one of transformers'.
        media_weights: of timm's backbone, a file, folder or hub id; empty draws them at random.
        media_size: height and width of the pictures that timm's backbone sees, pixels; 0 is its own.
        text: folder or hub id of a text encoder built as BERT is, with its tokenizer.
        lock_media: leave the media tower as it is and learn its head alone.
        lock_text: the same of the text encoder, which then reads each caption once.
        projection_dim: size of an embedding.
        media_hidden: width of the hidden layer of the media tower's head; 0 is a linear head.
        text_hidden: of the text encoder's.
        clip_blocks: last layers of an audio encoder that its clip embedding is made of.
    """

    media: str = ""
    media_weights: str = ""
    media_size: int = 0
    text: str = ""
    lock_media: bool = True
    lock_text: bool = True
    projection_dim: int = 512
    media_hidden: int = 0
    text_hidden: int = 0
    clip_blocks: int = 1


@dataclass
class VitShape:
    """Sizes of `--model.media vit`; the defaults are ViT-Ti's (arXiv 2012.12877) at 64 pixels.

    Args:
        image_size: height and width, pixels.
        patch_size: of a patch, pixels.
        width: of a token.
        depth: layers.
        heads: of attention.
    """

    image_size: int = 64
    patch_size: int = 8
    width: int = 192
    depth: int = 12
    heads: int = 3


@dataclass
class LitTeacher:
    """A pair model that the media tower is drawn to beside its captions, as in feature distillation of CLIP (arXiv 2307.12732).

    Args:
        pair: folder or hub id of it; empty is none. Its embeddings are of `model.projection_dim` numbers.
        weight: of 1 - cosine with its embedding of the same view; the contrastive loss has 1.
    """

    pair: str = ""
    weight: float = 1.0


@dataclass
class LitDataSettings(MediaSettings):
    """Pictures or crops of sound, and how pictures are seen in training.

    Args:
        view: random view of a picture (`audiokd.vision.transforms`); plain is the one that models are tested on.
    """

    val_items: int = 5000
    view: Literal["crop", "domainbed", "unflipped", "weak", "strong", "plain"] = "crop"


@dataclass
class LitOptimSettings(AdamWSettings):
    """AdamW as LiT's and CLIP's."""

    lr: float = 1e-3
    min_lr: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    weight_decay: float = 0.01


@dataclass
class LitSettings:
    """Everything `audiokd fit lit` can be told.

    Args:
        model: towers and heads.
        vit: sizes of a media tower that begins at random.
        teacher: another pair model to learn from, or none.
        data: pictures or crops of sound.
        optim: optimiser.
        run: how long and where.
    """

    model: LitShape = field(default_factory=LitShape)
    vit: VitShape = field(default_factory=VitShape)
    teacher: LitTeacher = field(default_factory=LitTeacher)
    data: LitDataSettings = field(default_factory=LitDataSettings)
    optim: LitOptimSettings = field(default_factory=LitOptimSettings)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=10_000))
