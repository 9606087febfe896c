"""CLIP score (arXiv 2104.08718, as torchmetrics scales it): 100 max(cos(picture, text), 0), by any pair model, of sound too.

The model is part of the number: what one pair model scores is not compared with another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from audiokd.errors import AudiokdError
from audiokd.eval.table import Summary, summarise

if TYPE_CHECKING:
    from audiokd.data.media import MediaSet
    from audiokd.teachers.pair import ContrastivePair

BATCH = 32


@torch.no_grad()
def clip_scores(pair: ContrastivePair, media: Sequence[Any], texts: Sequence[str]) -> list[float]:
    """A score for each RGB picture (or waveform [T] at the pair's rate) and its text."""
    with_media = pair.embed_media(pair.preprocess(media))
    return (100 * (with_media * pair.embed_texts(texts)).sum(-1).clamp(min=0)).tolist()


def clip_score(pair: ContrastivePair, media: MediaSet, texts: dict[str, str]) -> Summary:
    """The mean over the items that `texts` (by id) has, with its 95% bootstrap interval over them. Items that cannot be read are
    left out: that they cannot is said where their features are.

    Raises:
        AudiokdError: sound for a model of pictures, or the other way round; no item that can be read.
    """
    from audiokd.data.audio import load_at
    from audiokd.data.images import load_image

    if pair.kind != media.kind:
        raise AudiokdError(f"a pair model of {pair.kind}, and {media.kind} is generated", where=pair.name)
    values: list[float] = []
    wanted = [i for i in media.items if i.id in texts]
    for k in range(0, len(wanted), BATCH):
        found: list[Any] = []
        said: list[str] = []
        for item in wanted[k : k + BATCH]:
            try:
                if media.kind == "image":
                    found.append(load_image(item))
                else:
                    found.append(torch.from_numpy(load_at(media.utterances[item.id], pair.sample_rate)))
            except AudiokdError:
                continue
            said.append(texts[item.id])
        values += clip_scores(pair, found, said) if found else []
    if not values:
        raise AudiokdError("no item with a text that can be read", where=media.path)
    return summarise(values)
