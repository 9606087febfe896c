"""Fine-tuning with labels by SGD, and with what models that were fine-tuned before say of the very batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.training.base import RunModule
from audiokd.training.layer_decay import layer_decay_groups
from audiokd.training.schedules import warmup_cosine
from audiokd.training.settings import RunSettings, SGDSettings, TeachersSettings


class TaughtModule(RunModule):
    """The student and its teachers; best.ckpt has the best validation score.

    Args:
        run, optim, taught: configuration.
        model: the student, `OnEncoder` with a `head` and labels in its config.
        teachers: fine-tuned models of the same labels.
        warp: whether log-mels are warped; None where there is one that all models take.

    Attributes:
        on_mel: whether all models take one log-mel; else each is given waveforms, and goes its own way from there.
        warped: whether log-mels are.

    Raises:
        AudiokdError: a teacher has other labels or another sample rate, or there is no log-mel to warp.
    """

    shown = ("score", "loss")
    exported = "model."

    def __init__(
        self,
        run: RunSettings,
        optim: SGDSettings,
        taught: TeachersSettings,
        model: Any,
        teachers: Sequence[Any],
        warp: bool | None,
    ):
        super().__init__(run)
        self.optim, self.taught, self.model = optim, taught, model
        for teacher in teachers:
            if teacher.config.labels != model.config.labels:
                strange = sorted(set(teacher.config.labels) ^ set(model.config.labels))[:5]
                raise AudiokdError(f"a teacher of other labels, such as {', '.join(strange) or 'another order'}")
            if teacher.sample_rate != model.sample_rate:
                what = f"a teacher at {teacher.sample_rate} Hz, the student takes {model.sample_rate}"
                raise AudiokdError(what, fix="extract its logits and give teachers.logits")
        self.on_mel = _share_log_mel([model, *teachers])
        if warp and not self.on_mel:
            what = "a log-mel is warped, and these models have none in common"
            raise AudiokdError(what, where="augment.warp", fix="--augment.warp false; waveforms are mixed all the same")
        self.warped = self.on_mel if warp is None else warp
        # past nn.Module's registry: no optimiser, checkpoint or .train() reaches them
        self.__dict__["teachers"] = [t.eval().requires_grad_(False) for t in teachers]

    def _apply(self, fn: Any, recurse: bool = True) -> TaughtModule:
        for teacher in self.teachers:
            teacher._apply(fn)
        return super()._apply(fn, recurse)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o, model = self.optim, self.model
        groups = layer_decay_groups(model.encoder, model.head, model.depth, o.layer_decay)
        return torch.optim.SGD(groups, lr=o.lr, momentum=o.momentum)

    @torch.no_grad()
    def front(self, batch: dict[str, Any], silence: bool = False) -> tuple[Tensor, Tensor]:
        """What the models are given of a batch.

        Args:
            batch: `wav` [B, T] and `lengths` [B]; clips too short for one of the models are padded.
            silence: whether past its end a clip is silence, as what it is mixed with may be longer, and not nothing.

        Returns:
            Log-mel [B, F, T'] with frames [B], or, not `on_mel`, the waveforms with samples.
        """
        fewest = max(m.min_samples for m in (self.model, *self.teachers))
        wav, lengths = batch["wav"], batch["lengths"].clamp(min=fewest)
        wav = nn.functional.pad(wav, (0, max(0, fewest - wav.shape[-1])))
        if not self.on_mel:
            return wav, lengths
        frontend = self.model.encoder.frontend
        x, n = frontend(wav, torch.full_like(lengths, wav.shape[-1]) if silence else lengths)
        return (x, frontend.frames(lengths)) if silence else (x, n)

    def logits(self, model: Any, x: Tensor, n: Tensor) -> Any:
        """What a model says of `front`'s."""
        return model.logits_of(x, n) if self.on_mel else model(x, n)

    @torch.no_grad()
    def ask(self, question: Callable[[Any], Tensor]) -> list[Tensor]:
        """What `question` gets of each teacher, without gradients."""
        for teacher in self.teachers:
            teacher.train(self.taught.training_mode)
        return [question(t) for t in self.teachers]

    def learn(self, loss: Tensor, batch: dict[str, Any], parts: dict[str, Tensor] | None = None) -> dict[str, Any]:
        """One update by the gradient of `loss` at the step's learning rate.

        Args:
            loss: scalar.
            batch: that the step was given.
            parts: scalars that `loss` is made of, by name.

        Returns:
            `loss`, `grad_norm` and `lr`, for the logs.

        Raises:
            AudiokdError: the loss is not finite.
        """
        optimizer: Any = self.optimizers()
        o = self.optim
        lr = warmup_cosine(
            self.iteration, peak=o.lr, floor=o.min_lr, warmup_steps=o.warmup_steps, total_steps=self.run.max_steps
        )
        for group in optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        self.check_finite(loss, batch, parts)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(self.model.parameters(), o.grad_clip, batch)
        optimizer.step()
        return {"loss": loss, "grad_norm": norm, "lr": lr}

    def of_all_processes(self, batches: Sequence[Tensor]) -> Tensor:
        """Rows [N, C] on the CPU of every process' `batches` of rows, for a score of parts is no part of a score."""
        return torch.cat([rows for part in self.of_processes([b.cpu() for b in batches]) for rows in part])

    def criterion(self) -> float:
        return -self.val_metrics["score"]


def _share_log_mel(models: Sequence[Any]) -> bool:
    if not all(m.takes_mel for m in models):
        return False
    ends = [m.encoder.frontend for m in models]
    return len({(type(e), vars(e).get("win_length")) for e in ends}) == 1
