"""LM-SPT training: an adversarial codec plus distillation of a frozen encoder into its semantic stream."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError, ConfigError
from audiokd.losses.pooled_features import pooled_feature_loss
from audiokd.losses.resynthesis import resynthesis_loss
from audiokd.losses.time_axis_cosine import time_axis_cosine_loss
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.methods.lm_spt.settings import LMSPTSettings
from audiokd.nn.pooling import pool_frames
from audiokd.teachers.auto import load_teacher
from audiokd.teachers.base import FrozenTeacher
from audiokd.training.codec import AdversarialCodecModule, Rebuilt

WINDOW_S = 30  # that the paper's weight of distillation is for


class LMSPTModule(AdversarialCodecModule):
    """The whole system; only `generator`, an LMSPTModel, is exported.

    Args:
        settings: configuration.
        teacher: a frozen encoder; loaded from `settings.teacher.name` by default.

    Raises:
        ConfigError: `distill.kind`, `distill.distance` and `loss.distill` do not go together.
        AudiokdError: crops are longer than the teacher's window, or the teacher cannot be loaded.
    """

    def __init__(self, settings: LMSPTSettings, teacher: FrozenTeacher | None = None):
        s = settings
        _check(s)
        model = LMSPTModel(LMSPTConfig(**asdict(s.model)))
        n = s.model.n_semantic_codebooks
        names = [f"semantic{i}" for i in range(n)] + [f"acoustic{i}" for i in range(s.model.n_codebooks - n)]
        super().__init__(
            model, s.model.sample_rate, asdict(s.loss), model.quantizer.streams, names, s.discriminator, s.optim, s.run
        )
        self.kind, self.distance = s.distill.kind, s.distill.distance
        self.matches = self.kind in ("pooled", "time_axis")
        self.teacher = teacher
        if self.matches or s.loss.distill:
            t = s.teacher
            self.teacher = teacher or load_teacher(t.name, layer=t.layer, window=t.window, floor=t.floor)
        self.projector = nn.Linear(s.model.latent_dim, self.teacher.dim) if self.matches else None
        longest = self.teacher.max_duration_s if self.teacher is not None else None
        if longest is not None and s.data.crop_s > longest:
            raise AudiokdError(f"data.crop_s {s.data.crop_s:g} is more than the teacher's {longest:g} s window")
        # a full window's mean runs over 30 s, padding included; a crop's over its own frames: same scale, same balance
        self.distill_scale = s.data.crop_s / WINDOW_S if s.teacher.window == "crop" else 1.0
        self.weights["distill"] = s.loss.distill * self.distill_scale

    def generator_parameters(self) -> list[nn.Parameter]:
        extra = self.projector.parameters() if self.projector is not None else []
        return [*self.generator.parameters(), *extra]

    def rebuild(self, batch: dict[str, Any]) -> Rebuilt:
        out = self.generator(batch["wav"], cut_aux=self.kind != "resynthesis")
        q = out.quantized
        losses = {
            "commit_semantic": q.commit_semantic,
            "codebook_semantic": q.codebook_semantic,
            "commit_acoustic": q.commit_acoustic,
            "codebook_acoustic": q.codebook_acoustic,
        }
        if self.teacher is not None:
            original, n = self.teacher.at_rate(batch["wav"], self.generator.config.sample_rate, batch["lengths"])
            target = self.teacher.targets({"wav": original, "lengths": n})
            if self.weights["distill"]:
                losses["distill"] = self.distill(out.semantic_wav, n, target)
            if self.matches:
                losses["feature"] = self.match(q.z_semantic, n, target)
        return Rebuilt(out.wav, q.codes, q.latents, losses)

    def distill(self, semantic_wav: Tensor, lengths: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Resynthesis loss of `semantic_wav` [B, T_aux] with true `lengths` [B] at the teacher's rate."""
        teacher = self.teacher
        rebuilt, _ = teacher.at_rate(semantic_wav, self.generator.config.aux_sample_rate)
        predicted, _ = teacher(rebuilt, lengths.clamp(max=rebuilt.shape[-1]))
        n = min(predicted.shape[1], target["features"].shape[1])
        frames = target["feature_lengths"].clamp(max=n)
        kind = self.distance if self.kind == "resynthesis" else "mse"
        # a full window's lengths count its padding, as officially
        return resynthesis_loss(predicted[:, :n], target["features"][:, :n], frames, kind)

    def match(self, z_semantic: Tensor, lengths: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Feature matching of the quantised semantic stream [B, D, T'] to teacher features over true `lengths` [B]."""
        teacher, projected = self.teacher, self.projector(z_semantic.transpose(1, 2))
        frames = torch.ceil(lengths * (teacher.frame_rate / teacher.sample_rate)).long()  # without a window's padding
        frames = torch.minimum(frames, target["feature_lengths"])
        pooled, n = pool_frames(target["features"], frames, teacher.frame_rate, self.generator.frame_rate)
        size = min(pooled.shape[1], projected.shape[1])
        pooled, projected, n = pooled[:, :size], projected[:, :size], n.clamp(max=size)
        if self.kind == "time_axis":
            return time_axis_cosine_loss(projected, pooled, n)
        return pooled_feature_loss(projected, pooled, n, self.distance)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        there = checkpoint["state_dict"].get("projector.weight")
        if self.projector is not None and there is not None and there.shape != self.projector.weight.shape:
            raise AudiokdError(
                f"the run's teacher has {there.shape[0]} features, this one {self.projector.out_features}",
                fix="go on with the teacher that the run began with",
            )
        super().on_load_checkpoint(checkpoint)

    def constants(self, batch: dict[str, Any]) -> dict[str, float]:
        return {"distill_weight": self.weights["distill"]}


def _check(s: LMSPTSettings) -> None:
    d = s.distill
    allowed = {"resynthesis": ("mse", "l1"), "pooled": ("mse", "cosine")}.get(d.kind, ("mse",))
    if d.distance not in allowed:
        raise ConfigError(f"distill.kind {d.kind} has no distance {d.distance}", fix=f"use {' or '.join(allowed)}")
    if d.kind == "resynthesis" and not s.loss.distill:
        raise ConfigError("distill.kind resynthesis with loss.distill 0 learns nothing", fix="distill.kind none")
