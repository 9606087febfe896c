"""S3A's batches: a weak and a strong view of each item, and all of them plainly, for clustering."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from audiokd.data.error_log import ErrorLog
from audiokd.data.media import MediaSet
from audiokd.data.views.strong_sound import StrongSound
from audiokd.errors import AudiokdError
from audiokd.methods.s3a.model import S3AModel
from audiokd.methods.s3a.settings import S3ASettings
from audiokd.training.views import PairView, PictureView, View, ViewDataModule, ViewDataset


class S3ADataModule(ViewDataModule):
    """Batches `weak` and `strong` to train on, `plain` to validate on.

    Args:
        train, dev: items.
        views: of `views_of`.
        settings: configuration.
        folder: of the run.
    """

    def __init__(self, train: MediaSet, dev: MediaSet, views: dict[str, View], settings: S3ASettings, folder: Path):
        plain = {"plain": views["plain"]}
        trained = {name: views[name] for name in ("weak", "strong")}
        super().__init__(train, dev, trained, plain, settings.data, settings.run, folder)
        self.plain_set = ViewDataset(train, plain, None, settings.data.val_crop_s, ErrorLog(folder, "train"))

    def plain_batches(self, rank: int = 0, world_size: int = 1) -> DataLoader:
        """The training items of one process, each once and plainly; what cannot be read is left out."""
        size = self.settings.batch_size
        mine = [(0, i) for i in range(rank, len(self.plain_set), world_size)]
        return self._loader(self.plain_set, [mine[k : k + size] for k in range(0, len(mine), size)])


def views_of(model: S3AModel, seed: int) -> dict[str, View]:
    """`weak`, `strong` and `plain` views as the model takes them, drawn by `seed`."""
    if model.kind == "image":
        p = model.preprocess
        return {"weak": PictureView(p, "weak", seed), "strong": PictureView(p, "strong", seed), "plain": PictureView(p)}
    heard = PairView(model.pair)
    return {"weak": heard, "strong": PairView(model.pair, StrongSound(seed)), "plain": heard}


@torch.no_grad()
def embed_all(model: S3AModel, batches: Iterable[dict[str, Any]]) -> tuple[list[str], Tensor]:
    """Ids and embeddings [N, D], on the model's device, of `plain` views.

    Raises:
        AudiokdError: there is not one.
    """
    ids: list[str] = []
    rows = []
    for batch in batches:
        if batch["ids"]:
            ids += batch["ids"]
            rows.append(model.embed(batch["plain"]).float())
    if not rows:
        raise AudiokdError("not one item can be read", fix="errors.jsonl in the run's folder says why of each")
    return ids, torch.cat(rows)
