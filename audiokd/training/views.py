"""Batches of pictures or sound as several models see them: views by name, each a function of (seed, step, id).

A view turns what was read (a picture in RGB, or an `audiokd.data.media.Stretch`) into a dict of tensors whose first axis is the
batch; a model is called with that dict. Two views of one item can be two models' own preprocessing of the same crop, or a weak and
a strong augmentation of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiokd.data.error_log import ErrorLog
from audiokd.data.items import Item
from audiokd.data.media import Loader, MediaSet, Stretch
from audiokd.data.replacing import ReplacingDataset
from audiokd.nn.lengths import fit_length
from audiokd.training.datamodule import StepDataModule
from audiokd.training.settings import MediaSettings, RunSettings
from audiokd.vision.transforms import Preprocess, plain_view, preprocess_of, random_view

#: what was read, the step, the item's id -> tensors [1, ...] by name
View = Callable[[Any, int, str], dict[str, Tensor]]


class PictureView:
    """A model's own view of a picture, `pixel_values` [1, 3, H, W].

    Args:
        preprocess: of the model.
        view: random view (`audiokd.vision.transforms.VIEWS`); "" is the one that models are tested on.
        seed: of the run.
    """

    def __init__(self, preprocess: Preprocess, view: str = "", seed: int = 0):
        self.preprocess, self.view, self.seed = preprocess, view, seed

    def __call__(self, picture: Any, step: int, id: str) -> dict[str, Tensor]:
        if not self.view:
            return {"pixel_values": plain_view(picture, self.preprocess)[None]}
        return {"pixel_values": random_view(self.view, picture, self.preprocess, self.seed, step, id)[None]}


class SoundView:
    """A stretch of sound as waveform, `wav` [1, T] and `lengths` [1] samples.

    Args:
        sample_rate: Hz.
        change: of the samples that are no padding, float32 [T] to [T], with step and id; None leaves them as they are.
    """

    def __init__(self, sample_rate: int, change: Callable[[np.ndarray, int, str], np.ndarray] | None = None):
        self.sample_rate, self.change = sample_rate, change

    def __call__(self, stretch: Stretch, step: int, id: str) -> dict[str, Tensor]:
        wav, length = stretch.at(self.sample_rate), stretch.length(self.sample_rate)
        if self.change is not None:
            wav = np.concatenate([self.change(wav[:length], step, id), wav[length:]])
        return {"wav": torch.from_numpy(wav)[None], "lengths": torch.tensor([length])}


class PairView:
    """What a pair model of sound takes (`audiokd.teachers.pair.ContrastivePair.preprocess`), of a stretch without its padding.

    Args:
        pair: such a model.
        change: of the samples, float32 [T] to [T], with step and id; None leaves them as they are.
    """

    def __init__(self, pair: Any, change: Callable[[np.ndarray, int, str], np.ndarray] | None = None):
        self.pair, self.change = pair, change

    def __call__(self, stretch: Stretch, step: int, id: str) -> dict[str, Tensor]:
        rate = self.pair.sample_rate
        wav = stretch.at(rate)[: stretch.length(rate)]
        return self.pair.preprocess([torch.from_numpy(wav if self.change is None else self.change(wav, step, id))])


def pair_view(pair: Any, view: str = "", seed: int = 0) -> View:
    """What a pair model takes, by its own preprocessing: of a picture the random `view`, or the one it is tested on."""
    return PictureView(preprocess_of(pair.processor), view, seed) if pair.kind == "image" else PairView(pair)


class ViewDataset(ReplacingDataset):
    """Views of items, indexed by (step, index).

    Args:
        media: pictures or sound.
        views: by name.
        seed: of the stretches; None is validation.
        crop_s: seconds of a stretch of sound.
        errors: where what is unreadable is written down.
    """

    def __init__(
        self,
        media: MediaSet,
        views: Mapping[str, View],
        seed: int | None,
        crop_s: float = 0.0,
        errors: ErrorLog | None = None,
    ):
        super().__init__(media.items, seed is not None, errors)
        self.load, self.views = Loader(media, seed, crop_s), views

    def read(self, item: Item, step: int) -> dict[str, Any]:
        """`id`, and tensors by the name of each view."""
        found = self.load(item, step)
        return {"id": item.id} | {name: view(found, step, item.id) for name, view in self.views.items()}


class ViewDataModule(StepDataModule):
    """Views of pictures or sound to train and to validate on.

    Args:
        train, dev: items.
        train_views, dev_views: by name.
        settings, run: configuration.
        folder: of the run, whose errors.jsonl names what cannot be read.
        weights: probability of each training item, drawn with replacement; each once an epoch if left out.
        groups: indices of training items, `settings.batch_size` of each of which are in every batch.
    """

    def __init__(
        self,
        train: MediaSet,
        dev: MediaSet,
        train_views: Mapping[str, View],
        dev_views: Mapping[str, View],
        settings: MediaSettings,
        run: RunSettings,
        folder: Path,
        weights: np.ndarray | None = None,
        groups: Sequence[Sequence[int]] = (),
    ):
        dev = dev.of(dev.items[: settings.val_items])
        train_set = ViewDataset(train, train_views, run.seed, settings.crop_s, ErrorLog(folder, "train"))
        dev_set = ViewDataset(dev, dev_views, None, settings.val_crop_s, ErrorLog(folder, "dev"))
        super().__init__(train_set, dev_set, collate_views, settings, run)
        self.weights, self.groups = weights, groups


def collate_views(rows: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """`ids`, and of each view its tensors, one after another, of the rows that are there."""
    found = [r for r in rows if r is not None]
    batch: dict[str, Any] = {"ids": [r["id"] for r in found]}
    for name in (k for k in (found[0] if found else {}) if k != "id"):
        batch[name] = {key: _join([r[name][key] for r in found]) for key in found[0][name]}
    return batch


def _join(tensors: list[Tensor]) -> Tensor:
    """One after another; waveforms of unlike length, whose true one stands beside them, are padded with zeros."""
    size = max(t.shape[-1] for t in tensors)
    return torch.cat([fit_length(t, size) for t in tensors] if tensors[0].ndim > 1 else tensors)
