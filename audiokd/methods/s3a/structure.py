r"""Names for clusters by vote (S3A, arXiv 2308.12960; CVPR's first two steps: cluster, vote).

Every item votes for the name of the whole vocabulary that is nearest to it; a cluster's share of votes for each name is

.. math:: M_{kv} = \frac{1}{|c_k|} \sum_{n \in c_k} [v_n = v]

and the clusters get names, no two the same, so that the sum of their shares is greatest (Kuhn, 1955). Then every item goes to the
nearest of these names, which makes new clusters, three times over in the official code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: rows whose similarities with all names are in memory at once
ROWS = 4096


@dataclass(frozen=True)
class Structure:
    """What the vote found.

    Attributes:
        labels: [N] the name of each item, its number in the vocabulary.
        names: [K] that of each cluster.
        shares: [K, V] float32 of the last vote: of the clusters' members, for each name.
        clusters: [N] that each item was in when the last vote was held.
    """

    labels: np.ndarray
    names: np.ndarray
    shares: np.ndarray
    clusters: np.ndarray


def nearest_names(items: Tensor, names: Tensor) -> np.ndarray:
    """The number [N] of the name with the greatest product with each item.

    Args:
        items: embeddings [N, D].
        names: [V, D]; both of length 1.
    """
    return torch.cat([(rows @ names.T).argmax(-1) for rows in items.split(ROWS)]).cpu().numpy()


def vote_shares(votes: np.ndarray, clusters: np.ndarray, count: int, vocabulary: int) -> np.ndarray:
    """M [K, V] float32 of `votes` [N] and `clusters` [N]; nothing but zeros where a cluster has no member."""
    shares = np.zeros((count, vocabulary), dtype=np.float32)
    np.add.at(shares, (clusters, votes), 1.0)
    return shares / np.maximum(np.bincount(clusters, minlength=count), 1).astype(np.float32)[:, None]


def centre_shares(items: Tensor, names: Tensor, clusters: np.ndarray, count: int) -> np.ndarray:
    """In place of M, without a vote: the cosine [K, V] of each cluster's centre with each name, 0 where it is below."""
    sums = torch.zeros(count, items.shape[1], device=items.device)
    sums.index_add_(0, torch.from_numpy(clusters).to(items.device), items.float())
    return (torch.nn.functional.normalize(sums, dim=-1) @ names.T).clamp(min=0).cpu().numpy()


def one_name_each(shares: np.ndarray) -> np.ndarray:
    """The name [K] of each cluster, no two the same, with the greatest sum of `shares` [K, V].

    Raises:
        ValueError: fewer names than clusters.
    """
    from scipy.optimize import linear_sum_assignment

    if shares.shape[0] > shares.shape[1]:
        raise ValueError(f"{shares.shape[0]} clusters, and a vocabulary of {shares.shape[1]} names")
    return linear_sum_assignment(shares, maximize=True)[1]


def structure(
    items: Tensor, names: Tensor, clusters: np.ndarray, rounds: int = 3, vote: bool = True, count: int = 0
) -> Structure:
    """Vote and move, `rounds` times.

    Args:
        items: embeddings [N, D].
        names: of the vocabulary [V, D]; both of length 1, of one pair model.
        clusters: [N], 0 to K - 1.
        rounds: of vote, names, and new clusters.
        vote: False goes by each cluster's centre instead (ablation); `shares` are its cosines with the names then.
        count: K; one more than the greatest of `clusters` by default.

    Raises:
        ValueError: no round, or fewer names than clusters.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds: one at least is due")
    votes, count = nearest_names(items, names), count or int(clusters.max()) + 1
    for _ in range(rounds):
        voted = clusters
        if vote:
            shares = vote_shares(votes, clusters, count, len(names))
        else:
            shares = centre_shares(items, names, clusters, count)
        chosen = one_name_each(shares)
        clusters = nearest_names(items, names[torch.from_numpy(chosen).to(names.device)])
    return Structure(chosen[clusters], chosen, shares, voted)
