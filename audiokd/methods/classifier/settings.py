"""Configuration of fine-tuning. The defaults are those of ATST's official fine-tuning (audio.md A6, A7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import CropSettings, RunSettings, SGDSettings, TeachersSettings


@dataclass
class ClassifierShape:
    """The model.

    Args:
        encoder: folder or hub id of a pretrained encoder, ours or one of transformers'.
        task: class, one label a clip; tags, any number.
        clip_blocks: last blocks of the encoder that the clip embedding is made of.
        drop_path: of the encoder's last block in training.
    """

    encoder: str = ""
    task: Literal["class", "tags"] = "class"
    clip_blocks: int = 1
    drop_path: float = 0.1


@dataclass
class AugmentSettings:
    """What is done to the log-mel of training crops.

    Args:
        mixup: a of Beta(a, a), by which a crop and its labels are mixed with another's of the batch; 0 mixes nothing.
        mixup_prob: probability that a crop is mixed; 0.5 officially for AudioSet-2M.
        warp: resize random crops of both axes of the log-mel; null where there is one that all models take.
    """

    mixup: float = 0.5
    mixup_prob: float = 1.0
    warp: bool | None = None


@dataclass
class LabelledCropSettings(CropSettings):
    """Training crops with labels.

    Args:
        labels: data dirs or files with utt2label, of the training and the validation set.
        balance: draw utterances with replacement, the more often the rarer their labels are (data/balance.py), instead of each
            once an epoch.
    """

    crop_s: float = 10.0
    batch_size: int = 64
    val_crop_s: float = 12.0
    val_utterances: int = 1_000_000
    labels: tuple[str, ...] = ()
    balance: bool = False


@dataclass
class ClassifierSettings:
    """Everything `audiokd fit classifier` can be told.

    Args:
        model: encoder and task.
        teachers: whose labels are learnt as well.
        augment: of the training crops.
        data: crops and labels.
        optim: optimiser.
        run: how long and where.
    """

    model: ClassifierShape = field(default_factory=ClassifierShape)
    teachers: TeachersSettings = field(default_factory=TeachersSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    data: LabelledCropSettings = field(default_factory=LabelledCropSettings)
    optim: SGDSettings = field(default_factory=SGDSettings)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=10_000))
