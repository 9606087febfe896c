"""A small network on rows of frozen features, trained as MARBLE trains its probes (arXiv 2306.10548).

One hidden layer of 512 units, ReLU, dropout 0.2, Adam; the rate halves when the validation score has not risen for more than six
epochs, and training ends when it has not for twenty. Features have mean 0 and variance 1 over the training set, which MARBLE leaves
out: encoders differ in level.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

HIDDEN, DROPOUT, PATIENCE, STOP = 512, 0.2, 6, 20
ROWS = 1 << 15  # that are run at once where nothing is learnt


@dataclass
class TrainedMLP:
    """A trained network.

    Attributes:
        net: of features that are standardised.
        mean, std: [D] by which they are.
        dev: its validation score.
        epochs: that were run.
    """

    net: nn.Module
    mean: Tensor
    std: Tensor
    dev: float
    epochs: int

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """What it says [N, C] of features [N, D]."""
        return torch.cat([self.net((rows - self.mean) / self.std) for rows in x.split(ROWS)])


def train_mlp(
    x: Tensor,
    y: Tensor,
    x_dev: Tensor,
    y_dev: Tensor,
    outputs: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    score: Callable[[Tensor, Tensor], float],
    lr: float = 1e-3,
    batch_size: int = 64,
    epochs: int = 100,
    seed: int = 0,
) -> TrainedMLP:
    """Train on `x`, and keep what is best on `x_dev`.

    Args:
        x, x_dev: features [N, D].
        y, y_dev: what `loss` and `score` take.
        outputs: of the network.
        loss: scalar of outputs [B, C] and their y.
        score: of all outputs of `x_dev` and `y_dev`; higher is better.
        lr: Adam's first rate.
        batch_size: rows a step.
        epochs: at most.
        seed: of the first weights, dropout and the order.
    """
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(x.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, outputs))
        mlp = TrainedMLP(net.to(x.device), mean, std, float("nan"), 0)
        optimizer = torch.optim.Adam(net.parameters(), lr=lr)
        slower = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=0.5, patience=PATIENCE, threshold=0.0, threshold_mode="abs"
        )
        best, kept, since = -math.inf, copy.deepcopy(net.state_dict()), 0
        while mlp.epochs < epochs and since < STOP:
            mlp.epochs += 1
            net.train()
            for rows in torch.randperm(len(x)).to(x.device).split(batch_size):
                of = loss(net((x[rows] - mean) / std), y[rows])
                optimizer.zero_grad()
                of.backward()
                optimizer.step()
            net.eval()
            now = score(mlp(x_dev), y_dev)
            slower.step(now)
            since += 1
            if now > best:
                best, kept, since = now, copy.deepcopy(net.state_dict()), 0
    net.load_state_dict(kept)
    net.eval()
    mlp.dev = best if math.isfinite(best) else float("nan")
    return mlp
