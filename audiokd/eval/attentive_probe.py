"""Attentive probe of frozen tokens: one learnt query asks all of them, after a few self-attention blocks; a grid of heads at once.

V-JEPA 2's (facebookresearch/vjepa2, src/models/attentive_pooler.py and its evaluations): self-attention blocks on the tokens, one
cross-attention block with an MLP, a linear layer; AdamW, cross-entropy, the rate along a half cosine to 0. Every head of the grid
of rates and weight decays is trained in the same pass over the features. The head is chosen on the validation set; V-JEPA 2
reports the best of them on test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.eval.classification import Task, metric_of, score, score_summary
from audiokd.eval.table import Summary
from audiokd.nn.vit import MLP, Block, init_vit

RATES = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4)
DECAYS = (0.01, 0.1)
BLOCKS = 3


@dataclass
class TokenSet:
    """Tokens of a split.

    Attributes:
        x: of each item [T', D], any number of tokens; may be mapped from a disk.
        y: classes [N], or tags [N, C] of 0 and 1.
    """

    x: Sequence[np.ndarray]
    y: Tensor

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, T, D] float32 of items, padded, and which of them are none, or None: Bool [B, 1, 1, T], True where one is."""
        found = [torch.from_numpy(np.array(self.x[k], dtype=np.float32)) for k in rows]
        size = max(map(len, found))
        x = torch.stack([F.pad(f, (0, 0, 0, size - len(f))) for f in found]).to(self.y.device)
        if all(len(f) == size for f in found):
            return x, None
        counts = torch.tensor([len(f) for f in found], device=x.device)
        return x, (torch.arange(size, device=x.device) < counts[:, None])[:, None, None]


@dataclass
class AttentiveResult:
    """What the probe found.

    Attributes:
        metric: accuracy, or mAP.
        grid: rate and weight decay of each head.
        dev: their validation scores.
        rate, decay: of the chosen one.
        test: its test score with a bootstrap interval.
        chance: always the commonest training class; the mean share of positives for tags.
        blocks: self-attention blocks before the query.
    """

    metric: str
    grid: list[tuple[float, float]]
    dev: list[float]
    rate: float
    decay: float
    test: Summary
    chance: float
    blocks: int

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "grid": [list(g) for g in self.grid], "test": self.test.as_dict()}


class AttentiveHead(nn.Module):
    """Tokens to logits.

    Args:
        dim: of a token.
        num_heads: of attention.
        blocks: of self-attention on the tokens.
        classes: logits.
    """

    def __init__(self, dim: int, num_heads: int, blocks: int, classes: int):
        super().__init__()
        self.num_heads = num_heads
        self.blocks = nn.ModuleList(Block(dim, num_heads, qkv_bias=True) for _ in range(blocks))
        self.query = nn.Parameter(torch.empty(1, 1, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.kv, self.mlp = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), MLP(dim, 4 * dim)
        self.out = nn.Linear(dim, classes)
        self.apply(init_vit)
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [B, C] of tokens [B, T, D]; `mask` as of `Block`."""
        for block in self.blocks:
            x = block(x, mask)
        b, n, d = x.shape
        query = self.query.expand(b, -1, -1)
        q = self.q(query).view(b, 1, self.num_heads, -1).transpose(1, 2)
        k, v = self.kv(self.norm1(x)).view(b, n, 2, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(b, 1, d)
        found = query + heard
        return self.out(found + self.mlp(self.norm2(found)))[:, 0]


def attentive_probe(
    train: TokenSet,
    dev: TokenSet,
    test: TokenSet,
    classes: int,
    task: Task = "class",
    rates: Sequence[float] = RATES,
    decays: Sequence[float] = DECAYS,
    blocks: int = BLOCKS,
    epochs: int = 20,
    batch_size: int = 64,
    seed: int = 0,
) -> AttentiveResult:
    """Train a head for each rate and weight decay, all in one pass over the features, and score the one that is best on `dev`.

    Args:
        train, dev, test: tokens and labels.
        classes: how many.
        task: class, one of them each; tags, any number.
        rates: learning rates that are tried.
        decays: weight decays that are tried with each.
        blocks: self-attention blocks before the query; V-JEPA 2's probe of depth four has three.
        epochs: passes over `train`.
        batch_size: items a step.
        seed: of the first weights, the same for all heads, and of the order.

    Raises:
        AudiokdError: a split is empty, tokens of different sizes, or NaN among them.
    """
    dim = _check(train=train, dev=dev, test=test)
    num_heads = next(h for h in (16, 12, 8, 6, 4, 3, 2, 1) if dim % h == 0 and dim // h >= min(dim, 16))
    grid, device = list(product(rates, decays)), train.y.device
    with torch.random.fork_rng(devices=[device] if train.y.is_cuda else []):
        heads = []
        for _ in grid:
            torch.manual_seed(seed)
            heads.append(AttentiveHead(dim, num_heads, blocks, classes).to(device))
        order = torch.Generator().manual_seed(seed)
    groups: list[dict[str, Any]] = []
    for head, (rate, decay) in zip(heads, grid):
        for of, wd in (
            ([p for p in head.parameters() if p.ndim > 1], decay),
            ([p for p in head.parameters() if p.ndim < 2], 0.0),
        ):
            groups.append({"params": of, "lr": rate, "peak": rate, "weight_decay": wd})
    optimizer = torch.optim.AdamW(groups)
    steps = -(-len(train.x) // batch_size) * epochs
    done = 0
    for _ in range(epochs):
        for rows in torch.randperm(len(train.x), generator=order).split(batch_size):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * 0.5 * (1 + math.cos(math.pi * done / steps))
            x, mask = train.batch(rows.tolist())
            y = train.y[rows.to(device)]
            optimizer.zero_grad()
            for head in heads:  # one after another, so that one head's activations are held and not the grid's
                _loss(head(x, mask), y, task).backward()
            optimizer.step()
            done += 1
    scores = [score(logits, dev.y, task) for logits in _logits(heads, dev, batch_size)]
    best = int(np.nanargmax(scores)) if np.isfinite(scores).any() else 0
    found = score_summary(next(_logits([heads[best]], test, batch_size)), test.y, task)
    return AttentiveResult(metric_of(task), grid, scores, *grid[best], found, _chance(train.y, test.y, task), blocks)


def _loss(logits: Tensor, y: Tensor, task: Task) -> Tensor:
    if task == "tags":
        return F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype))
    return F.cross_entropy(logits, y)


@torch.no_grad()
def _logits(heads: Sequence[nn.Module], data: TokenSet, batch_size: int) -> Iterator[Tensor]:
    """Of each head, [N, C]."""
    found: list[list[Tensor]] = [[] for _ in heads]
    for rows in torch.arange(len(data.x)).split(batch_size):
        x, mask = data.batch(rows.tolist())
        for of, head in zip(found, heads):
            of.append(head(x, mask))
    return (torch.cat(of) for of in found)


def _chance(train: Tensor, scored: Tensor, task: Task) -> float:
    if task == "tags":
        return float(scored.double().mean())
    return float((scored == train.mode().values).double().mean())


def _check(**sets: TokenSet) -> int:
    """The size of a token."""
    dim = None
    for name, data in sets.items():
        if not len(data.x) or len(data.x) != len(data.y):
            raise AudiokdError(f"{name} has tokens of {len(data.x)} items and {len(data.y)} labels")
        for k, x in enumerate(data.x):
            dim = dim or x.shape[1]
            if x.shape[1] != dim or not len(x):
                raise AudiokdError(f"{name} item {k} has tokens {list(x.shape)}, the first has {dim} numbers in each")
            if not np.isfinite(x).all():
                raise AudiokdError(f"{name} tokens hold NaN or Inf, item {k} first")
    assert dim is not None
    return dim
