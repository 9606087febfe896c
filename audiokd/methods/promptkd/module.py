"""Prompt distillation: a student learns what a pair model says of items without labels (PromptKD, arXiv 2403.02781)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.losses.logit_kl import logit_kl
from audiokd.methods.promptkd.model import PromptKDModel
from audiokd.methods.promptkd.settings import PromptKDSettings
from audiokd.training.base import RunModule
from audiokd.training.collapse import effective_rank
from audiokd.training.optim import set_prompt_rate


class PromptKDModule(RunModule):
    """The student, and its teacher out of torch's sight.

    Args:
        settings: configuration.
        model: the student, with the teacher's class vectors.
        teacher: a `ContrastivePair`, or a `PromptedPair`.
        labels: number of the class by item id, of validation items where they are known.
    """

    exported = "model."

    def __init__(self, settings: PromptKDSettings, model: PromptKDModel, teacher: Any, labels: Mapping[str, int]):
        super().__init__(settings.run)
        self.settings, self.model, self.labels = settings, model, labels
        self._seen: list[Tensor] = []
        self._said: list[tuple[int, int, int]] = []
        self.__dict__["teacher"] = teacher.eval().requires_grad_(False)
        model.train_body(settings.model.learns == "all")
        if settings.model.learns == "projector" and model.prompts is not None:
            model.prompts.requires_grad_(False)

    def _apply(self, fn: Any, recurse: bool = True) -> PromptKDModule:
        self.teacher._apply(fn)
        return super()._apply(fn, recurse)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o = self.settings.optim
        return torch.optim.SGD([p for p in self.model.parameters() if p.requires_grad], lr=o.lr, momentum=o.momentum)

    @torch.no_grad()
    def said(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The teacher's embeddings [B, D] and logits [B, C] of a batch."""
        media = self.teacher.embed_media(batch["teacher"])
        return media, self.teacher.logits(media, self.model.class_vectors)

    def loss(self, embedded: Tensor, media: Tensor, said: Tensor) -> Tensor:
        """The objective, unweighted, of the student's directions and the teacher's embeddings [B, D] and logits [B, C]."""
        o = self.settings.objective
        if o.name == "logit_kl":
            return logit_kl(self.model.logits_of(embedded), said, o.temperature, o.reduction)
        return (F.l1_loss if o.name == "feature_l1" else F.mse_loss)(embedded.float(), media.float())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        o: Any = self.settings.optim
        optimizer: Any = self.optimizers()
        lr = set_prompt_rate(self.iteration, o, self.run, optimizer)
        value = self.loss(self.model.embed(batch["student"]), *self.said(batch))
        loss = self.settings.objective.weight * value
        self.check_finite(loss, batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(self.model.parameters(), o.grad_clip, batch)
        optimizer.step()
        self.step_done({"loss": loss, self.settings.objective.name: value, "grad_norm": norm, "lr": lr})

    def validate_batch(self, batch: dict[str, Any]) -> None:
        embedded = self.model.embed(batch["student"])
        media, said = self.said(batch)
        weight = self.settings.objective.weight
        self.add_val({"loss": weight * self.loss(embedded, media, said)}, len(embedded))
        self._seen.append(embedded.float().cpu())
        mine, theirs = self.model.logits_of(embedded).argmax(-1).tolist(), said.argmax(-1).tolist()
        self._said += [(self.labels.get(i, -1), a, b) for i, a, b in zip(batch["ids"], mine, theirs)]

    def val_means(self) -> dict[str, float]:
        """Also the rank of the student's directions, and the accuracy of student and teacher on the items that have a label."""
        means = super().val_means()
        parts = self.of_processes((self._seen, self._said))
        self._seen, self._said = [], []
        means["rank"] = float(effective_rank(torch.cat([x for seen, _ in parts for x in seen])))
        known = [row for _, said in parts for row in said if row[0] >= 0]
        if known:
            means["score"] = sum(true == mine for true, mine, _ in known) / len(known)
            means["teacher_score"] = sum(true == theirs for true, _, theirs in known) / len(known)
        return means
