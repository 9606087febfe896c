"""Teachers that spoke before: logits of utterances in a feature store that `audiokd extract` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.tokens.store import open_store


class StoredLogits(Mapping[str, Tensor]):
    """Logits [T', C] by utterance id, read from disk when they are asked for; of a model of whole clips T' is 1.

    Args:
        path: feature store.
        ids: utterances that are needed; there is at least one.
        labels: names, in the order of the logits.
        layer: that the store has to hold.
        frame_rate: that its frames have to have; None is any.

    Raises:
        AudiokdError: the store lacks an utterance, or holds something else.
    """

    def __init__(
        self, path: str, ids: Sequence[str], labels: Sequence[str], layer: str, frame_rate: float | None = None
    ):
        self.store, self.ids = open_store(path), list(ids)
        meta = self.store.meta
        for key, wanted in (("layer", layer), ("frame_rate", frame_rate)):
            if wanted is not None and meta.get(key, wanted) != wanted:
                raise AudiokdError(
                    f"its {key} is {meta[key]}, not {wanted}", where=path, fix=f"audiokd extract --layer {layer}"
                )
        theirs = list(meta.get("labels", labels))
        if theirs != list(labels):
            strange = sorted(set(theirs) ^ set(labels))[:5]
            raise AudiokdError(f"logits of other labels, such as {', '.join(strange) or 'another order'}", where=path)
        lacking = [i for i in self.ids if i not in self.store]
        if lacking:
            raise AudiokdError(f"no logits of {len(lacking)} training utterances, {lacking[0]} first", where=path)
        size = self[self.ids[0]].shape[-1]
        if size != len(labels):
            raise AudiokdError(f"logits of {size} labels, the training set has {len(labels)}", where=path)

    def __getitem__(self, utt_id: str) -> Tensor:
        return torch.from_numpy(self.store[utt_id].array.copy()).float()

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)
