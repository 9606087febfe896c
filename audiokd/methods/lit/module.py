"""LiT: the heads of two towers, and towers that are not locked, learn to find each other's half of a pair."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.losses.contrastive import contrastive_loss
from audiokd.losses.embedding_cosine import embedding_cosine
from audiokd.methods.lit.captions import Captions
from audiokd.methods.lit.model import LitModel
from audiokd.methods.lit.settings import LitSettings
from audiokd.nn.retrieval import recall_at_1
from audiokd.teachers.black_box import BlackBox
from audiokd.training.base import RunModule
from audiokd.training.gather import gathered
from audiokd.training.optim import matrices_decay, set_learning_rate

READ = 256  # captions at once


class LitModule(RunModule):
    """The pair model; best.ckpt has the least validation loss.

    The negatives of a pair are those of all processes' batches. In validation all pairs are one batch.

    Args:
        settings: configuration.
        model: the pair model.
        captions: of all items.
        teacher: gives embeddings of the view `teacher` that the media tower is drawn to; None is none.

    Attributes:
        locked: towers that stay as they are: in eval mode, no parameter takes a gradient.
    """

    shown = ("loss", "media_to_text_r1", "text_to_media_r1")
    exported = "model."

    def __init__(self, settings: LitSettings, model: LitModel, captions: Captions, teacher: BlackBox | None = None):
        super().__init__(settings.run)
        self.settings, self.model, self.captions, self.teacher = settings, model, captions, teacher
        m = settings.model
        towers: list[tuple[nn.Module, bool]] = [(model.media_tower, m.lock_media), (model.text_model, m.lock_text)]
        self.locked = [tower.eval().requires_grad_(False) for tower, locked in towers if locked]
        self._read: Tensor | None = None
        self._val: list[tuple[Tensor, Tensor, Tensor]] = []

    def train(self, mode: bool = True) -> LitModule:
        """As of any module, but for the locked towers."""
        super().train(mode)
        for tower in self.locked:
            tower.eval()
        return self

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return matrices_decay(self.model.parameters(), self.settings.optim)

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """A locked text encoder reads each caption now, in one order, so that a run that is resumed finds the same numbers."""
        if self.settings.model.lock_text:
            found = [
                self._pool(range(k, min(k + READ, len(self.captions.texts))))
                for k in range(0, len(self.captions.texts), READ)
            ]
            self._read = torch.cat(found)

    def _pool(self, numbers: Any) -> Tensor:
        """What the text encoder makes of captions by number, before its head: [N, H]."""
        inputs = self.captions.inputs(numbers)
        return self.model.pool_texts(**{k: v.to(self.device) for k, v in inputs.items()})

    def embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of length 1 of pictures or sound [B, D] and of their captions [B, D], and the captions' numbers [B]."""
        of_media = (
            self.model.get_image_features if self.model.config.pairs == "image" else self.model.get_audio_features
        )
        media = of_media(**batch["media"]).pooler_output
        numbers = self.captions.numbers(batch["ids"])
        pooled = self._pool(numbers.tolist()) if self._read is None else self._read[numbers.to(self._read.device)]
        texts = self.model.text_projection(pooled)
        return F.normalize(media, dim=-1), F.normalize(texts, dim=-1), numbers.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        optimizer: Any = self.optimizers()
        o = self.settings.optim
        lr = set_learning_rate(self.iteration, o, self.run, optimizer)
        media, texts, numbers = self.embed(batch)
        scale = self.model.logit_scale.exp()
        parts = {"contrastive": contrastive_loss(*(gathered(x) for x in (media, texts)), scale, gathered(numbers))}
        if self.teacher is not None:
            said = self.teacher.embed(batch["ids"], batch["teacher"])
            parts["embedding"] = self.settings.teacher.weight * (1 + embedding_cosine(media, said, said, 1.0))
        loss = torch.stack([*parts.values()]).sum()
        self.check_finite(loss, batch, parts)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(self.model.parameters(), o.grad_clip, batch)
        optimizer.step()
        self.model.clamp_scale()
        self.step_done({"loss": loss, **(parts if self.teacher else {}), "scale": scale, "grad_norm": norm, "lr": lr})

    def validate_batch(self, batch: dict[str, Any]) -> None:
        media, texts, numbers = self.embed(batch)
        self._val.append((media.float().cpu(), texts.float().cpu(), numbers.cpu()))
        self.add_val({}, len(media))

    def val_means(self) -> dict[str, float]:
        """Loss of the validation set as one batch, and recall at 1 in all of it, both ways."""
        super().val_means()  # says so where not one row can be read
        rows = [row for part in self.of_processes(self._val) for row in part]
        self._val = []
        media, texts, numbers = (torch.cat(x) for x in zip(*rows))
        loss = contrastive_loss(media, texts, self.model.logit_scale.exp().cpu(), numbers)
        return {
            "loss": float(loss),
            "media_to_text_r1": recall_at_1(media, texts, numbers),
            "text_to_media_r1": recall_at_1(texts, media, numbers),
        }
