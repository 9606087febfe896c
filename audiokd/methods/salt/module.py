"""SALT's two steps and V-JEPA's one: an encoder sees part of a clip, and what it did not see is regressed."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from audiokd.frontends.atst_mel import ATSTLogMel
from audiokd.losses.masked_regression import masked_regression, normalised
from audiokd.methods.salt.config import SALTConfig
from audiokd.methods.salt.model import SALTModel
from audiokd.methods.salt.predictor import Predictor
from audiokd.methods.salt.settings import SALTSettings
from audiokd.nn.block_masks import BlockMasker, Masks, TubeMasker
from audiokd.nn.ema import ema_update
from audiokd.nn.patches import grid_of
from audiokd.nn.vit import take_rows
from audiokd.teachers.latents import LatentTeacher
from audiokd.training.base import RunModule
from audiokd.training.collapse import effective_rank, normalized_std
from audiokd.training.optim import matrices_decay
from audiokd.training.schedules import warmup_stable_decay

#: of the masks of validation: the same for all runs, whose losses compare
VAL_SEED = -1


def config_of(s: SALTSettings) -> SALTConfig:
    """The encoder's config that the settings give."""
    chunk = crop_frames(s) // s.model.patch if s.model.kind == "audio" else 0
    return SALTConfig(chunk=chunk, step=s.step, **asdict(s.model))


def crop_frames(s: SALTSettings) -> int:
    """Log-mel frames of a crop of sound."""
    return ATSTLogMel.frames(round(s.data.crop_s * 16_000))


def grid_shape(s: SALTSettings) -> tuple[int, ...]:
    """Of what goes into the encoder: [C, T, H, W], or [1, F, T]."""
    m = s.model
    return (3, m.frames, m.size, m.size) if m.kind == "video" else (1, 64, crop_frames(s))


def masker_of(s: SALTSettings, seed: int) -> BlockMasker:
    """What draws masks as the settings have them."""
    grid = grid_of(grid_shape(s)[1:], config_of(s).patch_sizes)
    m = s.masks
    if m.kind == "tubes":
        return TubeMasker(grid, m.tubes, seed)
    shape = m.shape if m.shape != "auto" else ("square" if s.model.kind == "video" else "relative")
    return BlockMasker(grid, m.blocks, m.scales, shape, seed, m.raster)


class SALTModule(RunModule):
    """Encoder, predictor, and who gives the targets; best.ckpt has the least validation loss, but of `ema` it is the latest, for
    that loss says nothing of how good an encoder is.

    Args:
        settings: configuration.
        teacher: of step student.
        branch: checkpoint that the run goes on from.
    """

    def __init__(self, settings: SALTSettings, teacher: LatentTeacher | None = None, branch: Any = None):
        super().__init__(settings.run)
        s = self.settings = settings
        self.shown = ("loss",) if s.step == "teacher" else ("loss", "rank")
        self.encoder = SALTModel(config_of(s))
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False) if s.step == "ema" else None
        self.teacher = teacher
        width = self.encoder.dim if teacher is None else teacher.dim
        p, out = s.predictor, self.encoder.config.patch_values if s.step == "teacher" else width
        self.masker, self.val_masker = masker_of(s, s.run.seed), masker_of(s, VAL_SEED)
        self.predictor = Predictor(self.encoder.dim, p.dim, p.depth, p.heads, out, len(self.masker), s.model.init_std)
        self.kept_steps = frozenset(s.keep)
        self.branch = branch
        if branch is not None:
            self.load_state_dict(branch["state_dict"])
            self.iteration = branch["iteration"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = [*self.encoder.parameters(), *self.predictor.parameters()]
        optimizer = matrices_decay(parameters, self.settings.optim)
        if self.branch is not None:  # a run of its own that goes on overwrites it with its checkpoint's
            optimizer.load_state_dict(self.branch["optimizer_states"][0])
            self.branch = None
        return optimizer

    @torch.no_grad()
    def grids_of(self, batch: dict[str, Any]) -> Tensor:
        """What the encoder is given: clips, or log-mel [B, 1, 64, F] of whole crops; past its end a clip is silent."""
        if self.settings.model.kind == "video":
            return batch["clips"]
        return self.encoder.frontend(batch["wav"])[0][:, None]

    @torch.no_grad()
    def targets(self, grids: Tensor, patches: Tensor) -> Tensor:
        """What is to be said of each patch, [B, N, D]."""
        s = self.settings
        if s.step == "teacher":
            return normalised(patches, 1e-6) if s.loss.norm_pixels else patches
        if self.teacher is not None:
            found = self.teacher.targets({"grids": grids})["features"]
        else:
            assert self.target_encoder is not None
            found = self.target_encoder(grids)
        return normalised(found) if s.loss.norm_latents else found

    def losses(self, grids: Tensor, masks: list[Masks]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss and that of each kind of mask; and what the monitors look at: `seen` [B, M, D] of the encoder, and `said` and
        `true` [B, K, D], of the first kind."""
        patches, positions = self.encoder.patches(grids)
        target = self.targets(grids, patches)
        parts, looked = [], {}
        for kind, of in enumerate(masks):
            seen = self.encoder.net(patches, positions, of.context)
            said = self.predictor(seen, positions, of, kind)
            true = take_rows(target, of.target)
            parts.append(masked_regression(said, true, self.settings.loss.power))
            looked = looked or {"seen": seen.detach(), "said": said.detach(), "true": true}
        return {"loss": torch.stack(parts).mean(), **{f"loss{k}": v for k, v in enumerate(parts)}}, looked

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        optimizer: Any = self.optimizers()
        o = self.settings.optim
        lr = warmup_stable_decay(
            self.iteration,
            peak=o.lr,
            floor=o.min_lr,
            warmup_steps=o.warmup_steps,
            decay_steps=o.decay_steps,
            total_steps=self.run.max_steps,
        )
        for group in optimizer.param_groups:
            group["lr"] = lr
        grids = self.grids_of(batch)
        losses, looked = self.losses(grids, self.masker(batch["ids"], self.iteration, grids.device))
        self.check_finite(losses["loss"], batch, losses)
        optimizer.zero_grad()
        self.manual_backward(losses["loss"])
        trained = [*self.encoder.parameters(), *self.predictor.parameters()]
        norm = self.clip_gradient(trained, o.grad_clip, batch)
        optimizer.step()
        if self.target_encoder is not None:
            ema_update(self.target_encoder, self.encoder, self.settings.teacher.ema)
        metrics = {**losses, "grad_norm": norm, "lr": lr}
        if (self.iteration + 1) % self.run.log_every == 0 or self.iteration == 0:
            metrics |= monitors(looked)
        self.step_done(metrics)

    def validate_batch(self, batch: dict[str, Any]) -> None:
        grids = self.grids_of(batch)
        ids = batch[
            "ids"
        ]  # sizes of blocks are of a batch: of one alone they would make the task, and the loss, what it is
        losses, looked = self.losses(grids, self.val_masker(ids, f"val {ids[0]}", grids.device))
        self.add_val(losses | monitors(looked), len(grids))

    def criterion(self) -> float:
        return -float(self.iteration) if self.settings.step == "ema" else self.val_metrics["loss"]


def monitors(looked: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whether outputs collapse: spread of what is said and of what is true, and the effective rank of the encoder's tokens."""
    flat = {k: v.flatten(0, 1) for k, v in looked.items()}
    return {
        "std_student": normalized_std(flat["said"]),
        "std_teacher": normalized_std(flat["true"]),
        "rank": effective_rank(flat["seen"]),
    }
