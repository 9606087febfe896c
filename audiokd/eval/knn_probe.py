"""k nearest neighbours of frozen features, without training (Wu et al., arXiv 1805.01978): cosine similarity, votes weighted by
exp(similarity / TEMPERATURE). How many neighbours is chosen on the validation set.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.eval.classification import metric_of, score, score_summary
from audiokd.eval.linear_probe import ProbeResult, ProbeSet, chance_of, check_sets

NEIGHBOURS = (1, 5, 10, 20, 50)
TEMPERATURE = 0.07
ROWS = 1024  # queries at once


def knn_probe(
    train: ProbeSet, dev: ProbeSet, test: ProbeSet, classes: int, neighbours: Sequence[int] = NEIGHBOURS
) -> ProbeResult:
    """Score the number of neighbours that is best on `dev` on `test`.

    Args:
        train, dev, test: features and classes; features are centred by the mean over `train`.
        classes: how many.
        neighbours: numbers that are tried, those alone that `train` has.

    Returns:
        Whose `rate` and `rates` are numbers of neighbours.

    Raises:
        AudiokdError: what `check_sets` refuses, or no number of neighbours that `train` has.
    """
    check_sets(train, dev, test)
    tried = [k for k in neighbours if k <= len(train.x)]
    if not tried:
        raise AudiokdError(f"{len(train.x)} training rows, and {min(neighbours)} neighbours at least are asked for")
    keys = F.normalize(train.x - train.x.mean(0), dim=1)

    def votes(x: Tensor, k: int) -> Tensor:
        found = []
        for rows in F.normalize(x - train.x.mean(0), dim=1).split(ROWS):
            near, which = (rows @ keys.T).topk(k, 1)
            of = train.x.new_zeros(len(rows), classes)
            found.append(of.scatter_add_(1, train.y[which], (near / TEMPERATURE).exp()))
        return torch.cat(found)

    scores = [score(votes(dev.x, k), dev.y, "class") for k in tried]
    best = tried[max(range(len(tried)), key=scores.__getitem__)]
    found = score_summary(votes(test.x, best), test.y, "class", test.groups)
    return ProbeResult(metric_of("class"), list(tried), scores, best, found, chance_of(train, test, "class"))
