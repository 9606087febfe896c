"""One process's share of a corpus of pictures or videos: decodes ahead, runs the model on batches, writes shards."""

from __future__ import annotations

import os
from itertools import groupby
from typing import Any

import numpy as np

from audiokd.data.images import load_image
from audiokd.data.items import Item
from audiokd.data.video import clip_times, read_frames, read_times
from audiokd.errors import ImageError, VideoError
from audiokd.stages.corpus_worker import Read, Worker, error_row
from audiokd.tokens.store import StoreItem


class PictureWorker(Worker):
    """As `Worker`, of items in the place of utterances: a picture [3, H, W] in that of a waveform, one frame [1, D] of each, or its
    rows [H, W] by a model of pixels."""

    def _set_up(self) -> None:
        self.sample_rate = 1  # a store has one; with no samples the seconds are 0
        if self.job.plan["device"] != "cpu":  # on a CPU the threads are the model's, here they wait for a GPU
            self.readers = self.job.plan["threads"]

    def _item(self, utt: Any, num_samples: int, spill: Any) -> StoreItem:
        return StoreItem(utt.id, spill.array(utt.id), num_samples, self.sample_rate)

    def _batches(self, utterances: list[Any], errors: dict[str, dict[str, str]]) -> list[Any]:
        size = self.job.plan["batch_size"]
        return [utterances[i : i + size] for i in range(0, len(utterances), size)]

    def _view(self, item: Item) -> np.ndarray:
        """What the model is given of an item."""
        from audiokd.vision.transforms import plain_view

        if view := getattr(self.model, "view", None):  # a model of pixels sees pictures as large as they are
            return view(load_image(item)).numpy()
        return plain_view(load_image(item), self.model.preprocess).numpy()

    def _read(self, batch: list[Any]) -> Read:
        views: list[tuple[Any, np.ndarray | None]] = []
        errors = {}
        for item in batch:
            try:
                views.append((item, self._view(item)))
            except (ImageError, VideoError) as e:
                row = error_row(item, e)  # names the file, and a store holds no path
                errors[item.id] = row | {"error": row["error"].replace(item.path, os.path.basename(item.path))}
        return Read(views, errors)

    def _samples(self, wav: np.ndarray) -> int:
        return 0

    def _run(self, wavs: list[np.ndarray]) -> list[np.ndarray]:
        import torch

        found: list[np.ndarray] = []
        for _, alike in groupby(wavs, key=lambda w: w.shape):
            batch = torch.from_numpy(np.stack([*alike])).to(self.device)
            found += [self._numpy(f) for f in self.model.extract(batch, None, self.job.layer)[0]]
        return found


class VideoWorker(PictureWorker):
    """As `PictureWorker`, of the clip in the middle of each video."""

    def _view(self, item: Item) -> np.ndarray:
        c, times = self.model.config, read_times(item)
        wanted = times.frames_at(clip_times(times, item, c.frames, c.fps, 0.5))
        return self.model.clip(read_frames(item, wanted.tolist(), times)).numpy()
