"""Batches of clips of videos, each a function of (seed, step, id)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiokd.data.crops import rng_of
from audiokd.data.error_log import ErrorLog
from audiokd.data.items import Item
from audiokd.data.replacing import ReplacingDataset
from audiokd.data.video import Decoder, VideoTimes, clip_times, read_frames, read_times
from audiokd.training.datamodule import StepDataModule
from audiokd.training.settings import RunSettings
from audiokd.vision.clip_view import clip_tensor


@dataclass(frozen=True)
class ClipShape:
    """How clips are cut.

    Attributes:
        frames: of a clip.
        fps: frames a second of a clip; 0 takes a video's own.
        size: pixels a side.
        mean, std: of each channel.
        decoder: pyav, torchcodec or auto.
        keep: hold whole videos in memory once they are decoded.
    """

    frames: int
    fps: float
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    decoder: Decoder = "pyav"
    keep: bool = False


class ClipDataset(ReplacingDataset):
    """Clips, indexed by (step, index).

    Args:
        items: videos.
        shape: of the clips.
        scale: share of the picture that a random crop takes.
        seed: of where clips begin and of crops; None is validation: the middle of each.
        errors: where what cannot be read is written down.
    """

    def __init__(
        self,
        items: Sequence[Item],
        shape: ClipShape,
        scale: tuple[float, float],
        seed: int | None,
        errors: ErrorLog | None = None,
    ):
        super().__init__(items, seed is not None, errors)
        self.shape, self.scale, self.seed = shape, scale, seed
        self._kept: dict[str, tuple[VideoTimes, np.ndarray | None]] = {}

    def read(self, item: Item, step: int) -> dict[str, Any]:
        """`id` and `clip` float32 [3, T, S, S]."""
        s = self.shape
        times, kept = self._kept.get(item.id) or self._opened(item)
        rng = None if self.seed is None else rng_of(self.seed, "clip", step, item.id)
        wanted = times.frames_at(clip_times(times, item, s.frames, s.fps, 0.5 if rng is None else rng))
        frames = kept[wanted] if kept is not None else read_frames(item, wanted.tolist(), times, s.decoder)
        return {"id": item.id, "clip": clip_tensor(frames, s.size, s.mean, s.std, rng, self.scale)}

    def _opened(self, item: Item) -> tuple[VideoTimes, np.ndarray | None]:
        """Times of the frames of a video, and where they are kept the frames, uint8 [T, H, W, 3]."""
        times = read_times(item)
        if not self.shape.keep:
            return times, None
        self._kept[item.id] = times, read_frames(item, range(len(times.start_s)), times, self.shape.decoder)
        return self._kept[item.id]


class ClipDataModule(StepDataModule):
    """Clips to train and to validate on.

    Args:
        train, dev: videos.
        shape, scale: as of `ClipDataset`.
        settings: has `batch_size`, `num_workers` and `val_items`.
        run: configuration.
        folder: of the run, whose errors.jsonl names what cannot be read.
    """

    def __init__(
        self,
        train: Sequence[Item],
        dev: Sequence[Item],
        shape: ClipShape,
        scale: tuple[float, float],
        settings: Any,
        run: RunSettings,
        folder: Path,
    ):
        train_set = ClipDataset(train, shape, scale, run.seed, ErrorLog(folder, "train"))
        dev_set = ClipDataset(dev[: settings.val_items], shape, scale, None, ErrorLog(folder, "dev"))
        super().__init__(train_set, dev_set, collate_clips, settings, run)


def collate_clips(rows: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """`ids` and `clips` [B, 3, T, S, S] of the rows that are there."""
    found = [r for r in rows if r is not None]
    batch: dict[str, Any] = {"ids": [r["id"] for r in found]}
    return batch | ({"clips": torch.stack([r["clip"] for r in found])} if found else {})
