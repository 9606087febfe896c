"""Teachers that spoke before: logits of utterances in a feature store that `audiokd extract` wrote."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.tokens.store import open_store


def read_logits(path: str, ids: Sequence[str], labels: Sequence[str]) -> dict[str, Tensor]:
    """Logits [T', C] by utterance id; of a model of whole clips T' is 1.

    Args:
        path: feature store.
        ids: utterances that are needed; there is at least one.
        labels: names, in the order of the logits.

    Raises:
        AudiokdError: the store lacks an utterance, or its logits are of other labels.
    """
    store = open_store(path)
    theirs = store.meta.get("labels")
    if theirs is not None and list(theirs) != list(labels):
        strange = sorted(set(theirs) ^ set(labels))[:5]
        raise AudiokdError(f"logits of other labels, such as {', '.join(strange) or 'another order'}", where=path)
    wanted = set(ids)
    found = {i.id: torch.from_numpy(i.array.copy()).float() for i in store.items() if i.id in wanted}
    lacking = [i for i in ids if i not in found]
    if lacking:
        raise AudiokdError(f"no logits of {len(lacking)} training utterances, {lacking[0]} first", where=path)
    size = found[ids[0]].shape[-1]
    if size != len(labels):
        raise AudiokdError(f"logits of {size} labels, the training set has {len(labels)}", where=path)
    return found
