"""What pretraining and distillation share: a UNet that learns beside frozen parts, its average, and Adam."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audiokd.data.crops import rng_of
from audiokd.methods.tiue.settings import TiUEOptim, TiUESettings
from audiokd.nn.ema import ema_update
from audiokd.training.base import RunModule
from audiokd.vision.load_pipeline import networks
from audiokd.vision.tiue_pipeline import Conditions, TiUEPipeline


class DiffusionModule(RunModule):
    """A UNet that learns, and the exponential moving average of its weights, which is exported.

    Args:
        settings: configuration.
        pipeline: with frozen parts: what turns prompts into conditions, and of distill the teacher.
        student: what learns.
    """

    shown = ("loss",)
    exported = "ema."

    def __init__(self, settings: TiUESettings, pipeline: TiUEPipeline, student: nn.Module):
        super().__init__(settings.run)
        self.settings, self.student = settings, student.train().requires_grad_(True)
        self.ema = copy.deepcopy(student).eval().requires_grad_(False)
        if settings.distill.checkpointing:
            student.enable_gradient_checkpointing()
        # past nn.Module's registry: no optimiser, checkpoint or .train() reaches it
        self.__dict__["pipeline"] = pipeline
        for part in self.frozen():
            part.eval().requires_grad_(False)

    def frozen(self) -> list[nn.Module]:
        """The pipeline's parts that do not learn."""
        return [m for m in networks(self.pipeline).values() if m is not self.student]

    def _apply(self, fn: Any, recurse: bool = True) -> DiffusionModule:
        for part in self.frozen():
            part._apply(fn)
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True) -> DiffusionModule:
        """As of torch, but the average stays in eval mode."""
        super().train(mode)
        self.ema.eval()
        return self

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [adam([*self.student.parameters()], self.settings.optim, self.settings.optim.lr)]

    def update(
        self, network: nn.Module | list[nn.Parameter], optimizer: Any, peak: float, parts: dict[str, Tensor], batch: Any
    ) -> Tensor:
        """One step down the sum of `parts`; the norm that the gradient had.

        Raises:
            AudiokdError: a loss or a gradient that is no number.
        """
        parameters = network if isinstance(network, list) else [*network.parameters()]
        loss = torch.stack([*parts.values()]).sum()
        self.check_finite(loss, batch, parts)
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (self.iteration + 1) / max(1, self.settings.optim.warmup_steps))
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(parameters, self.settings.optim.grad_clip, batch)
        optimizer.step()
        return norm

    def average(self) -> None:
        """Move the average towards the student."""
        warm = (1 + self.iteration) / (10 + self.iteration)
        ema_update(self.ema, self.student, min(self.settings.optim.ema_decay, warm))

    def dropped(self, prompts: list[str], share: float) -> Conditions:
        """Conditions of prompts, a share of them replaced by the empty one at random."""
        gone = (torch.rand(len(prompts)) < share).tolist()
        return self.pipeline.conditions([None if g else p for p, g in zip(prompts, gone)])

    def empty(self, batch: int) -> Conditions:
        """The empty condition `batch` times, of one run of the text encoder: it is the same in each step."""
        if "null" not in self.__dict__:
            with torch.inference_mode(False):  # the first batch may be one of validation
                self.__dict__["null"] = self.pipeline.conditions([None])
        null: Conditions = self.__dict__["null"]
        return {k: None if v is None else v.to(self.device).expand(batch, *v.shape[1:]) for k, v in null.items()}

    def drawn(self, ids: list[str], shape: tuple[int, ...], name: str = "val") -> Tensor:
        """Noise [B, *shape] of validation: the same each time, whatever the batch."""
        found = [rng_of(self.run.seed, name, i).standard_normal(shape, np.float32) for i in ids]
        return torch.from_numpy(np.stack(found)).to(self.device)

    def times(self, ids: list[str], low: int, high: int) -> Tensor:
        """Timesteps [B] of validation, `low` to `high` - 1."""
        return torch.tensor([int(rng_of(self.run.seed, "t", i).integers(low, high)) for i in ids], device=self.device)


def alphas(scheduler: Any, timesteps: Tensor) -> Tensor:
    """The schedule's cumulative product, float32 [B], at timesteps [B]."""
    return scheduler.alphas_cumprod.to(timesteps.device, torch.float32)[timesteps]


def adam(parameters: list[nn.Parameter], optim: TiUEOptim, lr: float) -> torch.optim.AdamW:
    """AdamW of a run's settings; without weight decay it is Adam."""
    betas = (optim.beta1, optim.beta2)
    return torch.optim.AdamW(parameters, lr=lr, betas=betas, eps=optim.eps, weight_decay=optim.weight_decay)
