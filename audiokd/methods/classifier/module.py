"""Fine-tuning of an encoder on labelled clips, alone or taught by models that were fine-tuned before (ATST-C2F)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from audiokd.data.crops import rng_of
from audiokd.data.views.label_mixup import LabelMixup
from audiokd.data.views.resize_crop import RandomResizeCrop
from audiokd.losses.label_distillation import label_distillation_loss, label_loss, probabilities
from audiokd.methods.classifier.model import ClassifierModel
from audiokd.methods.classifier.settings import ClassifierSettings
from audiokd.nn.average_precision import mean_average_precision
from audiokd.training.taught import TaughtModule


class ClassifierModule(TaughtModule):
    """The student and its teachers.

    Args:
        settings: configuration.
        model: the student.
        labels: [C] of 0 and 1 by utterance id.
        teachers: fine-tuned models of the same labels.
        logits: [C] of cached teachers by utterance id.
    """

    def __init__(
        self,
        settings: ClassifierSettings,
        model: ClassifierModel,
        labels: Mapping[str, Tensor],
        teachers: Sequence[ClassifierModel] = (),
        logits: Sequence[Mapping[str, Tensor]] = (),
    ):
        super().__init__(settings.run, settings.optim, settings.teachers, model, teachers, settings.augment.warp)
        self.settings, self.labels, self.cached = settings, labels, list(logits)
        self.warp = RandomResizeCrop((1.0, 1.5))
        self._said: list[Tensor] = []
        self._true: list[Tensor] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        x, n, labels, cached = self._augmented(batch)
        logits = self.logits(self.model, x, n)
        said = [*cached, *self._ask(x, n)]
        loss = label_distillation_loss(logits, labels, said, self.taught.weight, self.kind)
        self.step_done(self.learn(loss, batch))

    @property
    def kind(self) -> Any:
        """Of the loss: softmax for single labels that nothing is mixed into."""
        single = self.settings.model.task == "class" and not self.settings.augment.mixup
        return "softmax" if single else "binary"

    def _ask(self, x: Tensor, n: Tensor) -> list[Tensor]:
        """The teachers' probabilities [B, C] of the very batch that the student sees."""
        return [probabilities(said, self.kind) for said in self.ask(lambda t: self.logits(t, x, n))]

    def _of_ids(self, table: Mapping[str, Tensor], ids: list[str]) -> Tensor:
        return torch.stack([table[i] for i in ids]).to(self.device)

    def _augmented(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Log-mel or waveforms, their lengths, labels and the cached teachers' probabilities [B, C] of a training batch.

        Two that are mixed are as long as the longer one, and each is warped within its own length: what follows, up to the
        crop's, counts as little as in scoring.
        """
        a, ids = self.settings.augment, batch["ids"]
        x, n = self.front(batch, silence=a.mixup > 0)
        labels = self._of_ids(self.labels, ids).float()
        cached = [probabilities(self._of_ids(table, ids), self.kind) for table in self.cached]
        rngs = [rng_of(self.run.seed, "augment", self.iteration, i) for i in ids]
        if a.mixup and len(ids) > 1:
            drawn = [r.beta(a.mixup, a.mixup) for r in rngs]
            # draws of their own: whether a crop is mixed moves nothing else
            chances = [rng_of(self.run.seed, "mixed", self.iteration, i).random() for i in ids]
            shares = [d if c < a.mixup_prob else 1.0 for d, c in zip(drawn, chances)]
            share = torch.tensor(shares, dtype=x.dtype, device=x.device)
            shift = 1 + int(rng_of(self.run.seed, "partner", self.iteration).integers(len(ids) - 1))
            mix = LabelMixup(share, torch.arange(len(ids), device=x.device).roll(shift))
            x, n, labels, cached = mix(x), mix.lengths(n), mix(labels), [mix(c) for c in cached]
        x = x[..., : int(n.max())]
        if self.warped:
            boxes = [self.warp.draw(r, x.shape[1], frames) for r, frames in zip(rngs, n.tolist())]
            x = self.warp(x, torch.tensor(boxes), n)
        return x, n, labels, cached

    def validate_batch(self, batch: dict[str, Any]) -> None:
        logits = self.logits(self.model, *self.front(batch))
        labels = self._of_ids(self.labels, batch["ids"]).float()
        self._said.append(logits.float())
        self._true.append(labels)
        self.add_val({"loss": label_loss(logits, labels, self.kind)}, len(logits))

    def val_means(self) -> dict[str, float]:
        means = super().val_means()
        said, true = self.of_all_processes(self._said), self.of_all_processes(self._true)
        self._said, self._true = [], []
        if self.settings.model.task == "class":
            return means | {"score": float((said.argmax(-1) == true.argmax(-1)).double().mean())}
        return means | {"score": mean_average_precision(said, true)}
