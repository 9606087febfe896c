"""Batches of prompts, and of pictures or sounds with their conditions, each a function of (seed, step, id)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiokd.data.audio import load_crop
from audiokd.data.error_log import ErrorLog
from audiokd.data.images import IMAGE_SUFFIXES, load_image
from audiokd.data.items import Item, spaced
from audiokd.data.media import MediaSet, open_media
from audiokd.data.prompts import Prompt
from audiokd.data.replacing import ReplacingDataset
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.frontends.mel_picture import MelPicture
from audiokd.training.datamodule import StepDataModule


def open_examples(path: str, allow_pipes: bool = False) -> MediaSet:
    """Pictures, or sounds: a folder with items.jsonl of either, or an INPUT of sound with utt2label.

    Raises:
        AudiokdError: as `open_media`; pictures and sounds in one folder.
    """
    media = open_media(path, allow_pipes=allow_pipes, same_names=True)
    if media.kind == "audio":
        return media
    sounds = [i for i in media.items if not i.path.lower().endswith(IMAGE_SUFFIXES)]
    if not sounds:
        return media
    if len(sounds) < len(media.items):
        what = f"{sounds[0].id} is no picture, others are"
        raise AudiokdError(what, where=path, fix="a folder of pictures, or one of sounds")
    of = {i.id: Utterance(i.id, i.path, where=i.where) for i in sounds}
    return MediaSet("audio", media.items, media.classes, path, of)


class Examples(ReplacingDataset):
    """`id`, `pixel_values` [C, H, W] in [-1, 1] and `prompt` of items, indexed by (step, index).

    Args:
        media: pictures or sounds.
        items: of them.
        by_label: the prompt is the label, else the caption.
        size, channels: of pictures.
        mel: of sounds.
        training: whether it is trained on.
        errors: where what is unreadable is written down.
    """

    def __init__(
        self,
        media: MediaSet,
        items: Sequence[Item],
        by_label: bool,
        size: tuple[int, int],
        channels: int,
        mel: MelPicture | None,
        training: bool,
        errors: ErrorLog | None = None,
    ):
        super().__init__(items, training, errors)
        self.media, self.by_label, self.size, self.channels, self.mel = media, by_label, size, channels, mel

    def read(self, item: Item, step: int) -> dict[str, Any]:
        """As of the class."""
        prompt = Prompt(item.id, item.label, item.caption).text(self.by_label)
        if self.mel is not None:
            utt = self.media.utterances[item.id]
            x = self.mel.picture(load_crop(utt, self.mel.sample_rate, 0.0, self.mel.duration_s))
        else:
            x = scaled(load_image(item), self.size, self.channels)
        return {"id": item.id, "pixel_values": torch.from_numpy(x), "prompt": prompt}


def scaled(picture: Any, size: tuple[int, int], channels: int) -> np.ndarray:
    """float32 [channels, H, W] in [-1, 1] of a picture in RGB; a picture of another size is resized, not cropped."""
    from PIL import Image

    if channels == 1:
        picture = picture.convert("L")
    if picture.size != (size[1], size[0]):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    x = np.asarray(picture, np.float32) / 127.5 - 1
    return x[None] if channels == 1 else np.ascontiguousarray(x.transpose(2, 0, 1))


class Prompts:
    """`id` and `prompt`, indexed by (step, index).

    Args:
        prompts: to go through.
        by_label: labels are meant.
    """

    def __init__(self, prompts: Sequence[Prompt], by_label: bool):
        self.prompts, self.by_label = prompts, by_label

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        p = self.prompts[key[1]]
        return {"id": p.id, "prompt": p.text(self.by_label)}


def collate(rows: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """`ids`, `prompts` and, of examples, `pixel_values` [B, C, H, W] of the rows that are there."""
    found = [r for r in rows if r is not None]
    batch: dict[str, Any] = {"ids": [r["id"] for r in found], "prompts": [r["prompt"] for r in found]}
    if found and "pixel_values" in found[0]:
        batch["pixel_values"] = torch.stack([r["pixel_values"] for r in found])
    return batch


def example_data(
    sets: dict[str, MediaSet], how: dict[str, Any], settings: Any, run: Any, folder: Path
) -> StepDataModule:
    """Examples to train and to validate on; `how` is what `Examples` is told of them."""
    dev = spaced(sets["dev"].items, settings.val_items)
    train_set = Examples(sets["train"], sets["train"].items, training=True, errors=ErrorLog(folder, "train"), **how)
    dev_set = Examples(sets["dev"], dev, training=False, errors=ErrorLog(folder, "dev"), **how)
    return StepDataModule(train_set, dev_set, collate, settings, run)


def prompt_data(sets: dict[str, list[Prompt]], by_label: bool, settings: Any, run: Any) -> StepDataModule:
    """Prompts to train and to validate on."""
    dev = spaced(sets["dev"], settings.val_items)
    return StepDataModule(Prompts(sets["train"], by_label), Prompts(dev, by_label), collate, settings, run)
