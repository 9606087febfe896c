"""ATST pretraining: a student predicts what its own average over time makes of the other view of the same clip."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.frontends.atst_mel import ATSTLogMel
from audiokd.losses.byol import byol_loss
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.atst.settings import PATCH, ATSTSettings
from audiokd.methods.atst.views import ViewMaker, Views
from audiokd.nn.ema import ema_update
from audiokd.nn.heads import MLPHead
from audiokd.nn.lengths import length_mask
from audiokd.nn.vit import take_rows
from audiokd.training.base import RunModule, share_of_rows
from audiokd.training.collapse import effective_rank, normalized_std
from audiokd.training.optim import matrices_decay, set_learning_rate
from audiokd.training.schedules import cosine


def trained_frames(settings: ATSTSettings) -> int:
    """Frames that the exported encoder is to run at once: those of a crop, whose positions are trained, if nothing is said."""
    shape = settings.model
    crop = ATSTLogMel.frames(round(settings.data.crop_s * shape.sample_rate))
    return shape.chunk_frames or min(shape.max_frames, crop)


class Branch(nn.Module):
    """Encoder, projector and, for the student, predictor. Parameters in this order, which the average relies on.

    Args:
        settings: configuration.
        predictor: whether there is one.
    """

    def __init__(self, settings: ATSTSettings, predictor: bool):
        super().__init__()
        dim, h = settings.model.dim, settings.heads
        self.encoder = ATSTModel(ATSTConfig(**asdict(settings.model) | {"chunk_frames": trained_frames(settings)}))
        self.projector: nn.Module
        self.predictor: nn.Module = nn.Identity()
        if settings.teacher.average_blocks:
            self.projector = nn.Linear(dim, dim) if predictor else nn.Identity()
            return
        self.projector = MLPHead(dim, h.hidden, h.out)
        if predictor:
            self.predictor = MLPHead(h.out, h.hidden, h.out)


class ATSTModule(RunModule):
    """Student, teacher and their training; only the teacher's encoder is exported.

    No label says which checkpoint is best, and the loss is smallest where all outputs are the same: best.ckpt is the
    latest that was validated.

    Args:
        settings: configuration.
    """

    shown = ("loss", "rank", "std_student")
    exported = "teacher.encoder."

    def __init__(self, settings: ATSTSettings):
        super().__init__(settings.run)
        s = self.settings = settings
        if s.teacher.average_blocks > s.model.depth:
            raise AudiokdError(f"teacher.average_blocks {s.teacher.average_blocks} of a model of depth {s.model.depth}")
        if (frames := ATSTLogMel.frames(round(s.data.crop_s * s.model.sample_rate))) > s.model.max_frames:
            what = f"data.crop_s {s.data.crop_s:g} is {frames} frames, more than model.max_frames {s.model.max_frames}"
            raise AudiokdError(
                what, fix=f"at most {ATSTLogMel.seconds(s.model.max_frames):g} s, or a larger model.max_frames"
            )
        self.clip = s.model.kind == "clip"
        self.crops = 2 if self.clip else 1
        self.student, self.teacher = Branch(s, predictor=True), Branch(s, predictor=False)
        self.teacher.encoder.load_state_dict(self.student.encoder.state_dict())
        if not s.teacher.average_blocks:
            self.teacher.projector = copy.deepcopy(self.student.projector)
        self.teacher.requires_grad_(False)
        self.views = ViewMaker(s.views, self.clip, s.run.seed)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return matrices_decay(self.student.parameters(), self.settings.optim)

    def on_train_start(self) -> None:
        """Give a resumed run the clips that its mixup would remember."""
        memory = self.views.memory
        if memory.size and self.iteration and not memory.seen:
            steps = -(-memory.size // self.settings.data.batch_size)
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            self.views.remember(
                self.crops_of(self.transfer_batch_to_device(b, self.device, 0))[0]
                for b in data.steps(max(0, self.iteration - steps), self.iteration)
            )

    @torch.no_grad()
    def crops_of(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Log-mel [B, crops, 64, F] of a batch, and frames [B] that are not padding.

        A short clip's padding is heard as the silence that it is, 80 dB below the clip's loudest: others are mixed with it, and
        a value that means nothing there would be noise to them. ATST-Clip's crops count whole, as officially: a warp of time
        moves the end of a clip that is shorter.
        """
        wav = batch["wav"].view(len(batch["wav"]), self.crops, -1)
        mel, frames = self.student.encoder.frontend(wav.flatten(0, 1))
        frames = frames[:: self.crops]
        if not self.clip:
            lengths = batch["lengths"].clamp(min=self.student.encoder.min_samples)
            frames = self.student.encoder.frontend.frames(lengths)
        return mel.unflatten(0, (-1, self.crops)), frames

    def outputs(self, views: Views) -> tuple[Tensor, Tensor, Tensor]:
        """What the student predicts [N, D], what the teacher says [N, D], and the teacher's representation [N, D]; the rows
        of the first view, then as many of the second."""
        blocks = self.settings.teacher.average_blocks
        rows, wanted = self._rows(views)
        with torch.no_grad():
            encoder = self.teacher.encoder
            if blocks:
                seen = take_rows(encoder.averaged(views.mel, views.frames, blocks)[0], rows)
            else:
                seen, _ = encoder(views.mel, views.frames, rows=rows)
            representation = seen[wanted]
            target = self.teacher.projector(representation)
        student, _ = self.student.encoder(views.mel, views.frames, views.mask, rows)
        return self.student.predictor(self.student.projector(student[wanted])), target, representation

    def _rows(self, views: Views) -> tuple[Tensor, Tensor]:
        """Tokens [B, M] that the loss is on, and which of them are no padding, Bool [B, M]: ATST-Clip's own token, or the
        frames that the student does not see."""
        if views.mask is None:
            rows = torch.zeros(len(views.mel), 1, dtype=torch.long, device=views.mel.device)
            return rows, torch.ones_like(rows, dtype=torch.bool)
        hidden = views.mask & length_mask(views.frames // PATCH, views.mask.shape[1])
        counts = hidden.sum(1)
        # the hidden ones first, in their order
        rows = hidden.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : int(counts.max())]
        return rows, length_mask(counts, rows.shape[1])

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Each view predicted against the teacher's other view; both directions' mean."""
        (p1, p2), (z1, z2) = prediction.chunk(2), target.chunk(2)
        return (byol_loss(p1, z2) + byol_loss(p2, z1)) / 2

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        optimizer: Any = self.optimizers()
        scheduled = self._schedule(optimizer)
        crops, frames = self.crops_of(batch)
        views = self.views(crops, frames, batch["ids"], self.iteration)
        prediction, target, representation = self.outputs(views)
        loss = self.loss(prediction, target)
        self.check_finite(loss, batch)
        optimizer.zero_grad()
        self.manual_backward(loss * share_of_rows(len(prediction), loss.device))
        norm = self.clip_gradient(self.student.parameters(), self.settings.optim.grad_clip, batch)
        optimizer.step()
        ema = cosine(self.iteration + 1, first=self.settings.teacher.ema, last=1.0, total_steps=self.run.max_steps)
        ema_update(self.teacher.encoder, self.student.encoder, ema)
        ema_update(self.teacher.projector, self.student.projector, ema)
        metrics = {"loss": loss, "grad_norm": norm, "ema": ema, **scheduled}
        if (self.iteration + 1) % self.run.log_every == 0 or self.iteration == 0:
            metrics |= self._monitors(prediction, target, representation, views)
        self.step_done(metrics)

    def _schedule(self, optimizer: Any) -> dict[str, float]:
        o = self.settings.optim
        lr = set_learning_rate(self.iteration, o, self.run, optimizer)
        decay = cosine(self.iteration, first=o.weight_decay, last=o.last_weight_decay, total_steps=self.run.max_steps)
        optimizer.param_groups[0]["weight_decay"] = decay
        return {"lr": lr, "weight_decay": decay}

    @staticmethod
    def _monitors(prediction: Tensor, target: Tensor, representation: Tensor, views: Views) -> dict[str, Tensor]:
        """Whether the outputs collapse, and how much is hidden."""
        found = {
            "std_student": normalized_std(prediction.detach()),
            "std_teacher": normalized_std(target),
            "rank": effective_rank(representation),
        }
        if views.mask is not None:
            found["mask_share"] = views.mask.sum() / (views.frames // PATCH).sum()
        return found

    def validate_batch(self, batch: dict[str, Any]) -> None:
        crops, frames = self.crops_of(batch)
        views = self.views(crops, frames, batch["ids"], "val", mix=False)
        prediction, target, representation = self.outputs(views)
        monitors = self._monitors(prediction, target, representation, views)
        self.add_val({"loss": self.loss(prediction, target), **monitors}, len(crops))

    def criterion(self) -> float:
        return -float(self.iteration)
