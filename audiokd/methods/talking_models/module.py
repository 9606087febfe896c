"""Training of a student that talks with a frozen teacher, or is taught in one of the ways that this is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.losses.dkd import dkd_loss
from audiokd.losses.logit_kl import logit_kl
from audiokd.methods.talking_models.conversation import Speaker, conversation
from audiokd.methods.talking_models.messages import Interpreters
from audiokd.methods.talking_models.model import TalkModel
from audiokd.methods.talking_models.settings import TalkSettings, talks
from audiokd.nn.split_layers import LayerSplit, Passed
from audiokd.nn.state_tokens import grid_of, resize_tokens, to_tokens, width_of
from audiokd.teachers.labeller import FrozenLabeller
from audiokd.training.base import RunModule
from audiokd.training.schedules import warmup_cosine

#: what the student's and the teacher's settings are called
OPTIONS = ("--model", "--teacher")
#: samples of a stretch of sound that is short enough to be left as it is
SHORT = 1600


class TalkModule(RunModule):
    """The student; encoders, decoders and a hint's regressor beside it, which no export holds; the teacher out of torch's sight.

    best.ckpt has the best validation accuracy, or the least root mean squared error of ratings; the student answers alone.

    Args:
        settings: configuration.
        model: the student.
        targets: class (Long) or rating (float), scalar, of each item by its id.
        batch: one, by which the states' widths are known.
        layers: low and high of the student, and of the teacher; () where nothing needs them.
        teacher: frozen.
        columns: of its logits, those of the student's classes; None where its logits are not used.
    """

    exported = "model."

    def __init__(
        self,
        settings: TalkSettings,
        model: TalkModel,
        targets: Mapping[str, Tensor],
        batch: dict[str, Any],
        layers: tuple[Sequence[str], Sequence[str]] = ((), ()),
        teacher: FrozenLabeller | None = None,
        columns: Sequence[int] | None = None,
    ):
        super().__init__(settings.run)
        # pretrained encoders come in eval mode: in all ways to be taught their dropout is the same
        self.settings, self.model, self.targets = settings, model.train(), targets
        self.shown = ("score" if model.config.task == "class" else "rmse", "loss")
        self.teacher, self.columns = teacher, None if columns is None else list(columns)
        mine, theirs = layers
        self.split = LayerSplit(model, mine, "the student") if mine else None
        self.teacher_split = LayerSplit(teacher.net, theirs, teacher.name) if teacher is not None and theirs else None
        self.widths: dict[str, tuple[int, int]] = {}  # of the states at the high and the low layer
        self.interpreters: Interpreters | None = None
        self.regressor: nn.Linear | None = None
        if self.split is not None:
            self._meet(batch)

    @torch.no_grad()
    def _meet(self, batch: dict[str, Any]) -> None:
        """Make what depends on the widths of the states."""
        s, training = self.settings, self.model.training
        self.model.eval()
        speakers = self._speak(batch)
        for option, x in zip(OPTIONS, speakers):
            if x is not None:
                self.widths[option] = _widths(x)
                rank_zero_only(print)(f"{option}.low, {option}.high: {_described(x)}")
                x.split.check(x.passed)
        if (shorter := _shortened(batch)) is not None:
            self._speak(shorter)  # positions are fewer then, and channels are not
        self.model.train(training)
        widths = [self.widths.get(option) for option in OPTIONS]
        assert widths[0] is not None
        if talks(s):
            self.interpreters = Interpreters(widths[0], widths[1] if s.messages.way != "none" else None, s.messages)
            weights = sum(p.numel() for p in self.interpreters.parameters())
            rank_zero_only(print)(f"encoders and decoders of messages: {weights:,} weights beside the student's")
        if s.loss.hint:
            assert widths[1] is not None
            self.regressor = nn.Linear(widths[0][0], widths[1][0])

    def _speak(self, batch: dict[str, Any]) -> tuple[Speaker, Speaker | None]:
        s, teacher = self.settings, None
        assert self.split is not None
        student = Speaker(self.split, self.split.run(**batch["student"]), s.model.layout)
        if self.teacher_split is not None:
            teacher = Speaker(self.teacher_split, self._taught(batch), s.teacher.layout)
        for option, x in zip(OPTIONS, (student, teacher)):
            self._check_states(option, x, len(batch["ids"]))
        return student, teacher

    def _check_states(self, option: str, x: Speaker | None, items: int) -> None:
        """That there is a state for each item, with as many channels as there were at the start.

        Raises:
            AudiokdError: there is not.
        """
        if x is None:
            return
        known = self.widths.get(option, (None, None))
        for layer, state, was in zip(reversed(x.split.layers), (x.high, x.low), known):
            if len(state) != items:
                what = f"{len(state)} states at the layer {layer} of {items} items: it runs them in pieces"
                windows = "a layer outside of the windows, such as a whole block or stage"
                fix = (
                    windows if getattr(self.model, "kind", "") == "image" else f"a shorter --data.crop_s, or {windows}"
                )
                raise AudiokdError(what, where=x.split.where, fix=fix)
            if was is not None and (now := width_of(state, x.layout)) != was:
                what = f"the layer {layer} has {was} channels in one batch and {now} in another of {list(state.shape)}"
                fix = f"{option}.layout first or last, which axis they are; auto has taken positions for them"
                raise AudiokdError(what, where=x.split.where, fix=fix)

    @torch.no_grad()
    def _taught(self, batch: dict[str, Any]) -> Passed:
        """What the frozen teacher makes of a batch."""
        assert self.teacher is not None
        view = batch.get("teacher", batch["student"])
        if self.teacher_split is not None:
            return self.teacher_split.run(**self.teacher.inputs(view))
        return Passed(output=self.teacher.logits(view))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o = self.settings.optim
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.AdamW(trained, lr=o.lr, weight_decay=o.weight_decay)

    def task_loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of classes, squared error of ratings; the mean over the batch."""
        return F.cross_entropy(output.float(), y) if y.dtype == torch.long else F.mse_loss(output.float(), y)

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Parts of the loss of a batch, weighted, by name: `task`; `kd`, `dkd_target` and `dkd_others`, `hint`; and of a
        conversation `interact_n`, `message_n` and `state_n` of each round n."""
        s, y = self.settings.loss, self._targets(batch["ids"])
        student = teacher = None
        if self.split is None:
            output = self.model(**batch["student"])
            passed = None if self.teacher is None else self._taught(batch)
        else:
            student, teacher = self._speak(batch)
            output = student.passed.output
            passed = teacher.passed if teacher is not None else None
            if passed is None and self.teacher is not None:
                passed = self._taught(batch)
        parts = {"task": self.task_loss(output, y)}
        if (s.kd or s.dkd) and self.teacher is not None and passed is not None:
            parts |= self._of_answers(output, self._of_columns(self.teacher.answer(passed.output)), y)
        if self.regressor is not None and student is not None and teacher is not None:
            parts["hint"] = s.hint * hint_loss(self.regressor, student, teacher)
        if self.interpreters is not None and student is not None:
            m = self.settings.messages
            other = teacher if m.way != "none" else None
            said = conversation(student, other, self.interpreters, lambda x: self.task_loss(x, y), m, s)
            parts |= {k: getattr(s, k.partition("_")[0]) * v for k, v in said.items()}
        return parts

    def _of_answers(self, output: Tensor, said: Tensor, y: Tensor) -> dict[str, Tensor]:
        s, parts = self.settings.loss, {}
        if s.kd:
            is_class = y.dtype == torch.long
            parts["kd"] = s.kd * (
                logit_kl(output, said, s.temperature) if is_class else F.mse_loss(output.float(), said.float())
            )
        if s.dkd:
            target, others = dkd_loss(output, said, y, s.dkd_alpha, s.dkd_beta, s.temperature)
            parts |= {"dkd_target": s.dkd * target, "dkd_others": s.dkd * others}
        return parts

    def _of_columns(self, logits: Tensor) -> Tensor:
        return logits if self.columns is None or logits.ndim == 1 else logits[:, self.columns]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        optimizer: Any = self.optimizers()
        o = self.settings.optim
        lr = warmup_cosine(
            self.iteration, peak=o.lr, floor=0.0, warmup_steps=o.warmup_steps, total_steps=self.run.max_steps
        )
        for group in optimizer.param_groups:
            group["lr"] = lr
        parts = self.losses(batch)
        loss = torch.stack([*parts.values()]).sum()
        self.check_finite(loss, batch, parts)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(self.parameters(), o.grad_clip, batch)
        optimizer.step()
        self.step_done({"loss": loss, **parts, "grad_norm": norm, "lr": lr})

    def validate_batch(self, batch: dict[str, Any]) -> None:
        """`loss` of the task and, of classes, `score`, the accuracy; the teacher's as `teacher_score` where it knows them."""
        y = self._targets(batch["ids"])
        outputs = {"": self.model(**batch["student"])}
        if self.teacher is not None and (self.columns is not None or y.dtype != torch.long):
            outputs["teacher_"] = self._of_columns(self.teacher.logits(batch.get("teacher", batch["student"])))
        found = {}
        for who, output in outputs.items():
            found[f"{who}loss"] = self.task_loss(output, y)
            if y.dtype == torch.long:
                found[f"{who}score"] = (output.argmax(-1) == y).float().mean()
        self.add_val(found, len(y))

    def val_means(self) -> dict[str, float]:
        """Of ratings also `rmse` and `teacher_rmse`, of all of them together."""
        means = super().val_means()
        if self.model.config.task == "rating":
            means |= {k.replace("loss", "rmse"): v**0.5 for k, v in means.items() if k.endswith("loss")}
        return means

    def criterion(self) -> float:
        return self.val_metrics["rmse"] if self.model.config.task == "rating" else -self.val_metrics["score"]

    def _targets(self, ids: list[str]) -> Tensor:
        return torch.stack([self.targets[i] for i in ids]).to(self.device)


def _widths(x: Speaker) -> tuple[int, int]:
    """Channels at the high and the low layer."""
    return width_of(x.high, x.layout), width_of(x.low, x.layout)


def _described(x: Speaker) -> str:
    """Channels and positions of a model's states, for people: a wrong layout shows in them."""
    told = []
    for layer, state in zip(x.split.layers, (x.low, x.high)):
        at = " x ".join(map(str, grid_of(state, x.layout)))
        told.append(f"{layer}, {width_of(state, x.layout)} channels" + (f" at {at} positions" if at else ""))
    return f"{'; '.join(told)} (layout {x.layout})"


def _shortened(batch: dict[str, Any]) -> dict[str, Any] | None:
    """A batch of sound with three quarters of its samples; None of others, and of very short stretches."""
    found = dict(batch)
    for name in ("student", "teacher"):
        if name not in batch:
            continue
        if "wav" not in batch[name] or (n := batch[name]["wav"].shape[-1] * 3 // 4) < SHORT:
            return None
        found[name] = {"wav": batch[name]["wav"][..., :n], "lengths": batch[name]["lengths"].clamp(max=n)}
    return found


def hint_loss(regressor: nn.Module, student: Speaker, teacher: Speaker) -> Tensor:
    """FitNets' (arXiv 1412.6550, equation 3), the mean over all numbers: |r(H_s) - H_t|^2 with a regressor of each position.

    The student's positions are resized to the teacher's; where they have other axes, both are averaged over them.
    """
    mine, theirs = to_tokens(student.high, student.layout), to_tokens(teacher.high, teacher.layout)
    grids = grid_of(student.high, student.layout), grid_of(teacher.high, teacher.layout)
    if len(grids[0]) == len(grids[1]):
        mine = resize_tokens(mine, *grids)
    else:
        mine, theirs = mine.mean(1), theirs.mean(1)
    return F.mse_loss(regressor(mine).float(), theirs.float())
