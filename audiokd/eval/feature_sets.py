"""Features of a set of items, read from a store: one row an item, and the frames that it is the mean of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.tokens.store import TokenStore


@dataclass(frozen=True)
class FeatureSet:
    """Features of N items.

    Attributes:
        ids: of the items.
        frames: of all of them, float64 [R, D]; of a picture one.
        item: [R] number of the item that a frame is of.
    """

    ids: tuple[str, ...]
    frames: np.ndarray
    item: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def means(self) -> np.ndarray:
        """[N, D], over the frames of each item."""
        if len(self.frames) == len(self.ids):
            return self.frames
        counts = np.bincount(self.item, minlength=len(self.ids))
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        return np.add.reduceat(self.frames, starts) / counts[:, None]


def read_feature_set(store: TokenStore, ids: Collection[str] | None = None) -> FeatureSet:
    """Of the items `ids` that the store has, all by default.

    Raises:
        AudiokdError: a store of no features or of maps, or no item.
    """
    if store.kind != "features" or store.meta.get("layer") == "map":
        what = f"a store of {store.meta.get('layer') or store.kind}, not of features"
        raise AudiokdError(what, where=str(store.path), fix="audiokd extract MODEL DATA STORE")
    found = [(i.id, i.array.astype(np.float64)) for i in store.items() if ids is None or i.id in ids]
    if not found:
        raise AudiokdError("holds none of these items", where=str(store.path))
    number = np.repeat(np.arange(len(found)), [len(x) for _, x in found])
    return FeatureSet(tuple(i for i, _ in found), np.concatenate([x for _, x in found]), number)
