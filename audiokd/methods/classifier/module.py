"""Fine-tuning of an encoder on labelled clips, alone or taught by models that were fine-tuned before (ATST-C2F)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.data.crops import rng_of
from audiokd.data.views.resize_crop import RandomResizeCrop
from audiokd.errors import AudiokdError
from audiokd.losses.label_distillation import label_distillation_loss, label_loss
from audiokd.methods.classifier.model import ClassifierModel
from audiokd.methods.classifier.settings import ClassifierSettings
from audiokd.nn.average_precision import mean_average_precision
from audiokd.training.base import RunModule
from audiokd.training.layer_decay import layer_decay_groups
from audiokd.training.schedules import warmup_cosine


class ClassifierModule(RunModule):
    """The student and its teachers; best.ckpt has the best validation score.

    Args:
        settings: configuration.
        model: the student.
        labels: [C] of 0 and 1 by utterance id.
        teachers: fine-tuned models of the same labels.
        logits: [C] of cached teachers by utterance id.
    """

    shown = ("score", "loss")
    exported = "model."

    def __init__(
        self,
        settings: ClassifierSettings,
        model: ClassifierModel,
        labels: Mapping[str, Tensor],
        teachers: Sequence[ClassifierModel] = (),
        logits: Sequence[Mapping[str, Tensor]] = (),
    ):
        super().__init__(settings.run)
        self.settings, self.model, self.labels, self.cached = settings, model, labels, list(logits)
        for teacher in teachers:
            if teacher.config.labels != model.config.labels:
                strange = sorted(set(teacher.config.labels) ^ set(model.config.labels))[:5]
                raise AudiokdError(f"a teacher of other labels, such as {', '.join(strange) or 'another order'}")
            if teacher.sample_rate != model.sample_rate:
                what = f"a teacher at {teacher.sample_rate} Hz, the student takes {model.sample_rate}"
                raise AudiokdError(what, fix="extract its logits and give teachers.logits")
        # past nn.Module's registry: no optimiser, checkpoint or .train() reaches them
        self.__dict__["teachers"] = [t.eval().requires_grad_(False) for t in teachers]
        #: whether augmented batches are log-mel, which all of them take; else waveforms, each its own way from there
        self.on_mel = all(m.takes_mel and _front_end(m) == _front_end(model) for m in (model, *teachers))
        if settings.augment.warp and not self.on_mel:
            what = "a log-mel is warped, and these models have none in common"
            raise AudiokdError(what, where="augment.warp", fix="--augment.warp false; waveforms are mixed all the same")
        self.warp = RandomResizeCrop((1.0, 1.5))
        self._said: list[Tensor] = []
        self._true: list[Tensor] = []

    def _apply(self, fn: Any, recurse: bool = True) -> ClassifierModule:
        for teacher in self.teachers:
            teacher._apply(fn)
        return super()._apply(fn, recurse)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o, encoder = self.settings.optim, self.model.encoder
        groups = layer_decay_groups(encoder, self.model.head, self.model.depth, o.layer_decay)
        return torch.optim.SGD(groups, lr=o.lr, momentum=o.momentum)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        optimizer: Any = self.optimizers()
        o = self.settings.optim
        lr = warmup_cosine(
            self.iteration, peak=o.lr, floor=o.min_lr, warmup_steps=o.warmup_steps, total_steps=self.run.max_steps
        )
        for group in optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        x, n, labels, cached = self._augmented(batch)
        logits = self._logits(self.model, x, n)
        said = [*cached, *self._ask(x, n)]
        loss = label_distillation_loss(logits, labels, said, self.settings.teachers.weight, self.kind)
        self.check_finite(loss, batch["ids"])
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), o.grad_clip)
        optimizer.step()
        self.step_done({"loss": loss, "grad_norm": norm, "lr": lr})

    @property
    def kind(self) -> Any:
        """Of the loss: softmax for single labels that nothing is mixed into."""
        single = self.settings.model.task == "class" and not self.settings.augment.mixup
        return "softmax" if single else "binary"

    @torch.no_grad()
    def _ask(self, x: Tensor, n: Tensor) -> list[Tensor]:
        """The teachers' logits of the very batch that the student sees."""
        for teacher in self.teachers:
            teacher.train(self.settings.teachers.training_mode)
        return [self._logits(t, x, n) for t in self.teachers]

    def _logits(self, model: ClassifierModel, x: Tensor, n: Tensor) -> Tensor:
        return model.logits_of(x, n) if self.on_mel else model(x, n)

    @torch.no_grad()
    def _front(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Log-mel [B, F, T] with frames [B], or the waveforms [B, T] with samples [B]."""
        fewest = max(m.min_samples for m in (self.model, *self.teachers))
        wav, lengths = batch["wav"], batch["lengths"].clamp(min=fewest)
        wav = F.pad(wav, (0, max(0, fewest - wav.shape[-1])))
        return self.model.encoder.frontend(wav, lengths) if self.on_mel else (wav, lengths)

    def _of_ids(self, table: Mapping[str, Tensor], ids: list[str]) -> Tensor:
        return torch.stack([table[i] for i in ids]).to(self.device)

    def _augmented(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Log-mel or waveforms, their lengths, labels and the cached teachers' logits of a training batch.

        Crops that are mixed or warped count whole, silence at their end, as officially: else a short clip's view would depend
        on the longest of its batch.
        """
        a, ids = self.settings.augment, batch["ids"]
        if a.mixup or a.warp:
            batch = {**batch, "lengths": torch.full_like(batch["lengths"], batch["wav"].shape[-1])}
        x, n = self._front(batch)
        labels = self._of_ids(self.labels, ids).float()
        cached = [self._of_ids(table, ids) for table in self.cached]
        rngs = [rng_of(self.run.seed, "augment", self.iteration, i) for i in ids]
        if a.mixup and len(ids) > 1:
            share = torch.tensor([r.beta(a.mixup, a.mixup) for r in rngs], dtype=x.dtype, device=x.device)
            shift = 1 + int(rng_of(self.run.seed, "partner", self.iteration).integers(len(ids) - 1))
            x, labels, *cached = (_mixed(t, share, shift) for t in (x, labels, *cached))
        if a.warp:
            x = self.warp(x, torch.tensor([self.warp.draw(r, *x.shape[1:]) for r in rngs]))
        return x, n, labels, cached

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        logits = self._logits(self.model, *self._front(batch))
        labels = self._of_ids(self.labels, batch["ids"]).float()
        self._said.append(logits.float())
        self._true.append(labels)
        self.add_val({"loss": label_loss(logits, labels, self.kind)})

    def on_validation_epoch_end(self) -> None:
        if self._said:
            said, true = self._of_all_processes(torch.cat(self._said)), self._of_all_processes(torch.cat(self._true))
            if self.settings.model.task == "class":
                score = (said.argmax(-1) == true.argmax(-1)).float().mean()
            else:
                score = torch.tensor(mean_average_precision(said, true), device=said.device)
            self._sums["score"] = score * self._batches
            self._said, self._true = [], []
        super().on_validation_epoch_end()

    def _of_all_processes(self, rows: Tensor) -> Tensor:
        """Rows [N, C] of every process, for a score of parts is no part of a score."""
        if self.trainer.world_size == 1:
            return rows
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, rows.cpu())
        return torch.cat(parts).to(rows.device)

    def criterion(self) -> float:
        return -self.val_metrics["score"]


def _front_end(model: ClassifierModel) -> tuple[Any, ...]:
    """What two models have in common that can be given one log-mel."""
    front = model.encoder.frontend
    return type(front), vars(front).get("win_length")


def _mixed(x: Tensor, share: Tensor, shift: int) -> Tensor:
    """Each row of `x` [B, ...] with its `share` [B], and with the rest of it another's."""
    s = share.view(-1, *[1] * (x.ndim - 1))
    return s * x + (1 - s) * x.roll(shift, 0)
