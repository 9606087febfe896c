"""MERT pretraining: what teachers say of hidden frames, predicted from sound that other sound was mixed into."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audiokd.data.crops import rng_of
from audiokd.data.views.frame_mask import draw_mask
from audiokd.data.views.noise_mixture import NoiseMixture, mix_in_batch
from audiokd.errors import AudiokdError, ConfigError
from audiokd.frontends.cqt import CQT
from audiokd.losses.masked_codes import masked_codes
from audiokd.methods.mert.config import FRAME_SIZE, MIN_SAMPLES, MERTConfig
from audiokd.methods.mert.model import MERTModel
from audiokd.methods.mert.settings import MERTSettings
from audiokd.nn.code_heads import CodeHeads
from audiokd.nn.hubert import grad_multiplied
from audiokd.nn.lengths import fit_length, length_mask
from audiokd.teachers.codes import CodeTeacher, load_code_teacher
from audiokd.training.base import RunModule, share_of_rows
from audiokd.training.optim import set_learning_rate
from audiokd.training.schedules import warmup_linear
from audiokd.training.stored_codes import StoredCodeTeacher


class MERTModule(RunModule):
    """Student, heads and teachers; the student alone is exported, the heads beside it.

    Args:
        settings: configuration.
        teacher: of codes; loaded as `settings.teacher` says by default.

    Raises:
        ConfigError: there is no target.
        AudiokdError: a teacher cannot be loaded, or is of another sample or frame rate.
    """

    shown = ("loss", "accuracy", "cqt")
    exported = "student."

    def __init__(self, settings: MERTSettings, teacher: CodeTeacher | StoredCodeTeacher | None = None):
        super().__init__(settings.run)
        s = self.settings = settings
        t = s.teacher
        if not (t.codes or t.stored_codes or t.cqt or teacher):
            raise ConfigError("nothing to predict", fix="--teacher.codes, --teacher.stored_codes or --teacher.cqt true")
        self.student = MERTModel(MERTConfig(**asdict(s.model)))
        if teacher is None and t.stored_codes:
            teacher = StoredCodeTeacher(t.stored_codes)
        elif teacher is None and t.codes:
            teacher = load_code_teacher(t.codes)
        self._check_teacher(teacher, t.stored_codes or t.codes)
        self.teacher = teacher
        dim, rate = s.model.dim, s.model.sample_rate
        self.code_heads: CodeHeads | None = None
        if teacher is not None:
            self.code_heads = CodeHeads(
                dim, len(teacher.cardinality), max(teacher.cardinality), s.loss.out, s.loss.temperature
            )
        self.cqt = CQT(rate, FRAME_SIZE, t.cqt_fmin, t.cqt_bins, t.cqt_bins_per_octave) if t.cqt else None
        self.cqt_head = nn.Linear(dim, t.cqt_bins) if t.cqt else None
        m = s.mixture
        self.noise = NoiseMixture(m.probability, m.most, round(m.shortest * rate), round(m.longest * rate))

    def _check_teacher(self, teacher: CodeTeacher | StoredCodeTeacher | None, where: str) -> None:
        if teacher is None:
            return
        if teacher.frame_rate != self.student.frame_rate:
            what = f"the teacher gives {teacher.frame_rate:g} frames a second, the encoder {self.student.frame_rate:g}"
            raise AudiokdError(what, where=where, fix="a tokenizer of the encoder's frame rate, or another sample_rate")
        if teacher.sample_rate != self.student.sample_rate:
            what = f"the teacher hears {teacher.sample_rate} Hz, the encoder {self.student.sample_rate}"
            raise AudiokdError(what, where=where, fix="a tokenizer of the encoder's sample rate")

    def learning_parts(self) -> dict[str, nn.Module]:
        """What is trained, by name: the student, and the heads there are."""
        parts = {"student": self.student, "code_heads": self.code_heads, "cqt_head": self.cqt_head}
        return {k: v for k, v in parts.items() if v is not None}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o = self.settings.optim
        parameters = [p for part in self.learning_parts().values() for p in part.parameters()]
        return torch.optim.AdamW(parameters, lr=o.lr, betas=(o.beta1, o.beta2), eps=o.eps, weight_decay=o.weight_decay)

    @torch.no_grad()
    def targets(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the teachers say of the clean crops: `codes` [B, Q, T'], `cqt` [B, T', F], those there are; and `frames` [B] that
        all of them and the encoder have."""
        wav, lengths = batch["wav"], batch["lengths"]
        frames = self.student.feature_extractor.frames(lengths.clamp(min=MIN_SAMPLES))
        size = int(self.student.feature_extractor.frames(torch.tensor(wav.shape[-1])))
        found: dict[str, Tensor] = {}
        if self.teacher is not None:
            said = self.teacher.targets(batch)
            # a tokenizer says nothing past the longest clip of the batch, which may be shorter than the crop
            found["codes"], frames = fit_length(said["codes"], size), torch.minimum(frames, said["code_lengths"])
        if self.cqt is not None:
            said = self.cqt.targets(batch)
            found["cqt"], frames = said["cqt"][:, :size], torch.minimum(frames, said["cqt_lengths"])
        return found | {"frames": frames}

    def losses(self, batch: dict[str, Any], step: int | str) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
        """Losses by name (each codebook's apart, in `codes`), what is logged besides, and how many frames were hidden.

        `step` is part of the key of what is drawn; the noise is mixed in for numbers only.
        """
        s = self.settings
        target = self.targets(batch)
        wav, lengths, frames = batch["wav"], batch["lengths"].clamp(min=MIN_SAMPLES), target["frames"]
        if isinstance(step, int) and s.mixture.probability:
            wav = mix_in_batch(wav, batch["lengths"], self._plans(batch, step))
        features, _ = self.student.convolve(wav, lengths)
        valid = length_mask(frames, features.shape[1])
        penalty = features.float().square().mean(-1)[valid].mean()
        mask = self._masks(batch["ids"], frames, features.shape[1], step)
        state = None
        for state in self.student.states(grad_multiplied(features, s.optim.feature_grad), frames, mask):  # noqa: B007
            pass
        hidden = self.student.normed(state)[mask]
        losses = {"features": penalty}
        logged: dict[str, Tensor] = {"mask_share": mask.sum() / frames.sum()}
        if self.code_heads is not None:
            codes = target["codes"].transpose(1, 2)[mask].t()
            losses["codes"], accuracy = masked_codes(self.code_heads(hidden), codes)
            logged |= {f"accuracy/codebook{q}": a for q, a in enumerate(accuracy)} | {"accuracy": accuracy.mean()}
        if self.cqt_head is not None:
            error = self.cqt_head(hidden).float() - target["cqt"][mask]
            losses["cqt"] = error.square().mean() if len(error) else error.sum()
        return losses, logged, len(hidden)

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum."""
        w = {"features": self.settings.loss.features, "cqt": self.settings.loss.cqt, "codes": 1.0}
        return sum((w[k] * v.sum() for k, v in losses.items()), torch.zeros((), device=self.device))

    def _masks(self, ids: list[str], frames: Tensor, size: int, step: int | str) -> Tensor:
        m, mask = self.settings.mask, np.zeros((len(ids), size), dtype=bool)
        for row, i, n in zip(mask, ids, frames.tolist()):
            row[:n] = draw_mask(rng_of(self.run.seed, "mask", step, i), n, "block", m.share, m.length)
        return torch.from_numpy(mask).to(frames.device)

    def _plans(self, batch: dict[str, Any], step: int) -> Tensor:
        lengths = batch["lengths"].tolist()
        rngs = [rng_of(self.run.seed, "noise", step, i) for i in batch["ids"]]
        plans = [self.noise.draw(r, n, sum(lengths) - n) for r, n in zip(rngs, lengths)]
        return torch.from_numpy(np.stack(plans))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        optimizer: Any = self.optimizers()
        lr = set_learning_rate(self.iteration, self.settings.optim, self.run, optimizer, schedule=warmup_linear)
        losses, logged, rows = self.losses(batch, self.iteration)
        total = self.total(losses)
        named = _by_name(losses)
        self.check_finite(total, batch, named)
        optimizer.zero_grad()
        self.manual_backward(total * share_of_rows(rows, total.device))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = self.clip_gradient(parameters, self.settings.optim.grad_clip, batch)
        optimizer.step()
        scale = {} if self.loss_scaler is None else {"loss_scale": self.loss_scaler.get_scale()}
        self.step_done({"loss": total, **named, **logged, "grad_norm": norm, "lr": lr, **scale})

    def validate_batch(self, batch: dict[str, Any]) -> None:
        losses, logged, rows = self.losses(batch, "val")
        self.add_val({"loss": self.total(losses), **_by_name(losses), **logged}, rows)


def _by_name(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Losses for the log: a row of its own for each codebook."""
    apart = {k: v for k, v in losses.items() if k != "codes"}
    return apart | {f"codebook{q}": v for q, v in enumerate(losses.get("codes", []))}
