"""Gaussian averaging of prompts over a run (PromptSRC, arXiv 2307.06948, section 3.3): early prompts are not mature, late ones too
much those of the few classes that they are learnt on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GaussianAverage(nn.Module):
    """A running weighted mean of a module's parameters; its state is in checkpoints.

    Args:
        of: whose parameters are averaged.
        points: at which they are taken: at every `total_steps` / `points` steps.
        mean, std: of the Gaussian of weights, as shares of the run.
        total_steps: of the run.

    Raises:
        ValueError: more points than steps, or no width.
    """

    def __init__(self, of: nn.Module, points: int, mean: float, std: float, total_steps: int):
        super().__init__()
        if not 0 < points <= total_steps or std <= 0:
            raise ValueError(f"an average over {points} points of {total_steps} steps, std {std}")
        self.points, self.mean, self.std, self.total_steps = points, mean, std, total_steps
        for name, p in of.named_parameters():
            self.register_buffer(_key(name), torch.zeros_like(p))

    def weight(self, point: int) -> float:
        """That of a point, 1 to `points`; they sum to 1."""
        each = [math.exp(-0.5 * ((k / self.points - self.mean) / self.std) ** 2) for k in range(1, self.points + 1)]
        return each[point - 1] / sum(each)

    @torch.no_grad()
    def step(self, done: int, of: nn.Module) -> None:
        """Take the parameters where a point has come, `done` steps being done; at the last, give `of` the average."""
        point = done * self.points // self.total_steps
        if point == (done - 1) * self.points // self.total_steps:
            return
        for name, p in of.named_parameters():
            sum_: Tensor = self.get_buffer(_key(name))
            sum_ += self.weight(point) * p
            if point == self.points:
                p.copy_(sum_)


def _key(name: str) -> str:
    """A parameter's name where a dot may not be."""
    return "mean/" + name.replace(".", "/")
