"""Batches of pictures with masks, each a function of (seed, step, id)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiokd.data.error_log import ErrorLog
from audiokd.data.images import load_image
from audiokd.data.items import Item
from audiokd.data.masks import load_mask
from audiokd.data.replacing import ReplacingDataset
from audiokd.errors import AudiokdError
from audiokd.training.datamodule import StepDataModule
from audiokd.training.settings import MaskSettings, RunSettings
from audiokd.vision.mask_views import pixels, random_pair


class MaskDataset(ReplacingDataset):
    """Pictures and masks, indexed by (step, index).

    Args:
        items: with masks.
        mean, std: of each channel, as the model sees pictures.
        settings: how large training crops are, and whether they are turned.
        seed: of the crops; None is validation: whole pictures as they are.
        errors: where what is unreadable is written down.
    """

    def __init__(
        self,
        items: Sequence[Item],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        settings: MaskSettings,
        seed: int | None,
        errors: ErrorLog | None = None,
    ):
        super().__init__(items, seed is not None, errors)
        self.mean, self.std, self.settings, self.seed = mean, std, settings, seed

    def read(self, item: Item, step: int) -> dict[str, Any]:
        """`id`, `pixel_values` [3, H, W], `mask` float32 [H, W] of 0 and 1."""
        picture = np.asarray(load_image(item))
        mask = load_mask(item, picture.shape[:2])
        if self.seed is not None:
            s = self.settings
            picture, mask = random_pair(picture, mask, s.crop, s.symmetries, self.seed, step, item.id)
        x = pixels(picture, self.mean, self.std)
        return {"id": item.id, "pixel_values": x, "mask": torch.from_numpy(mask.astype(np.float32))}


class MaskDataModule(StepDataModule):
    """Pictures with masks to train and to validate on.

    Args:
        train, dev: items.
        mean, std: as of `MaskDataset`.
        settings, run: configuration.
        folder: of the run, whose errors.jsonl names what cannot be read.
    """

    def __init__(
        self,
        train: Sequence[Item],
        dev: Sequence[Item],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        settings: MaskSettings,
        run: RunSettings,
        folder: Path,
    ):
        dev = dev[: settings.val_items]
        train_set = MaskDataset(train, mean, std, settings, run.seed, ErrorLog(folder, "train"))
        dev_set = MaskDataset(dev, mean, std, settings, None, ErrorLog(folder, "dev"))
        super().__init__(train_set, dev_set, collate_masks, settings, run)


def collate_masks(rows: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """`ids`, `pixel_values` [B, 3, H, W] and `masks` [B, H, W] of the rows that are there.

    Raises:
        AudiokdError: pictures of several sizes.
    """
    found = [r for r in rows if r is not None]
    batch: dict[str, Any] = {"ids": [r["id"] for r in found]}
    if found:
        first = found[0]["mask"].shape
        if other := next((r for r in found if r["mask"].shape != first), None):
            sizes = f"{found[0]['id']} has {list(first)} pixels, {other['id']} {list(other['mask'].shape)}"
            fix = "cut the set into tiles of one size, or --data.batch_size 1; of training sets --data.crop will do"
            raise AudiokdError(f"pictures of one batch have several sizes: {sizes}", fix=fix)
        batch |= {"pixel_values": torch.stack([r["pixel_values"] for r in found])}
        batch |= {"masks": torch.stack([r["mask"] for r in found])}
    return batch
