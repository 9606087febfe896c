"""A teacher of whom nothing is known but what it says: embeddings from a callable, or from a store that somebody else wrote.

It has no weights and no gradient to give. What asks for them (VL2V-SD trains the teacher's own tower) is refused by `weights_of`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.tokens.reader import StoredFeatures
from audiokd.tokens.remote import open_store

#: [B, ...]; or several such by name, of which a clip may have more rows than one
Views: TypeAlias = Tensor | Mapping[str, Tensor]


class BlackBox(ABC):
    """Embeddings of length 1.

    Attributes:
        name: for messages.
        queries: embeddings that were asked for.
    """

    name: str
    queries: int = 0

    @abstractmethod
    def embed(self, ids: Sequence[str], views: Views | None = None) -> Tensor:
        """Embeddings [B, D] of the items `ids`, without gradient; `views` are what a callable is given.

        Raises:
            AudiokdError: it says nothing of an item, or something that is no embedding.
        """


class CallableBlackBox(BlackBox):
    """A function of views, such as a service that answers with embeddings: it is given the augmented view (as the paper has it).

    Args:
        function: views of B items to embeddings [B, D] of any length.
        name: for messages.
    """

    def __init__(self, function: Callable[[Any], Any], name: str = "teacher"):
        self.function, self.name = function, name

    def embed(self, ids: Sequence[str], views: Views | None = None) -> Tensor:
        """As of `BlackBox`."""
        if views is None:
            raise AudiokdError("this teacher is asked with views, and there are none", where=self.name)
        self.queries += len(ids)
        given = views.detach() if isinstance(views, Tensor) else {k: v.detach() for k, v in views.items()}
        with torch.no_grad():
            found = torch.as_tensor(self.function(given), dtype=torch.float32, device=_device(views)).detach()
        if found.dim() != 2 or len(found) != len(ids):
            raise AudiokdError(f"{list(found.shape)} for {len(ids)} views, [B, D] is due", where=self.name)
        return _unit(found, ids, self.name)


class StoredBlackBox(BlackBox):
    """Embeddings of whole, plain items in a store of features, a frame each (`audiokd extract --layer clip` and its like).

    Args:
        path: store.

    Attributes:
        model_sha256: of what made it.

    Raises:
        AudiokdError: it is none of features.
    """

    def __init__(self, path: str):
        self.store = open_store(path)
        if self.store.kind != "features":
            raise AudiokdError(f"a store of {self.store.kind}, not of features", where=path, fix="audiokd extract")
        self.name, self.model_sha256 = path, str(self.store.meta.get("model_sha256", ""))

    def embed(self, ids: Sequence[str], views: Views | None = None) -> Tensor:
        """As of `BlackBox`; `views` are not looked at."""
        self.queries += len(ids)
        if lacking := [i for i in ids if i not in self.store]:
            what = f"no embedding of {len(lacking)} of {len(ids)} items, {lacking[0]} first"
            raise AudiokdError(what, where=self.name, fix="embed the same items")
        rows = []
        for i in ids:
            item = self.store[i]
            assert isinstance(item, StoredFeatures)
            if len(item.array) != 1:
                raise AudiokdError(f"{i} has {len(item.array)} frames, one embedding is due", where=self.name)
            rows.append(torch.from_numpy(item.array[0].copy()))
        found = torch.stack(rows).float()
        return _unit(found if views is None else found.to(_device(views)), ids, self.name)


def black_box(pair: Any) -> CallableBlackBox:
    """The embeddings of a pair model and nothing else of it; it goes where the views are."""

    def ask(views: Mapping[str, Tensor]) -> Tensor:
        return pair.to(next(iter(views.values())).device).embed_media(views)

    return CallableBlackBox(ask, pair.name)


def weights_of(teacher: Any, why: str) -> Any:
    """The network behind a teacher that has one, `net`.

    Args:
        teacher: a `ContrastivePair`, or a black box.
        why: what needs it, for the message.

    Raises:
        AudiokdError: it is a black box.
    """
    if isinstance(teacher, BlackBox) or not hasattr(teacher, "net"):
        where = getattr(teacher, "name", type(teacher).__name__)
        fix = "give the model itself, or distil into a student of its own (ADiP)"
        raise AudiokdError(
            f"{why} needs the teacher's weights, and this one gives embeddings alone", where=where, fix=fix
        )
    return teacher.net


def _device(views: Views) -> torch.device:
    return (views if isinstance(views, Tensor) else next(iter(views.values()))).device


def _unit(found: Tensor, ids: Sequence[str], where: str) -> Tensor:
    norms = found.norm(dim=-1)
    if len(bad := torch.nonzero(~(norms > 0) | ~norms.isfinite())[:, 0]):
        raise AudiokdError(f"the embedding of {ids[int(bad[0])]} is no direction (zero, NaN or Inf)", where=where)
    return F.normalize(found, dim=-1)
