"""Learning the prompts of a frozen pair model from a few labelled items (PromptSRC, arXiv 2307.06948)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from audiokd.losses.prompt_consistency import prompt_consistency
from audiokd.methods.promptsrc.settings import PromptSRCSettings
from audiokd.teachers.prompted_pair import PromptedPair
from audiokd.training.base import RunModule
from audiokd.training.optim import set_prompt_rate
from audiokd.training.prompt_averaging import GaussianAverage


class PromptSRCModule(RunModule):
    """Prompts, and the pair model without them that they are kept near.

    Args:
        settings: configuration.
        prompted: what is trained.
        texts: of the classes, as `prompted` reads them.
        frozen: the pair model's own vectors of these classes [C, D].
        labels: number of the class by item id.
    """

    exported = "prompted."

    def __init__(
        self,
        settings: PromptSRCSettings,
        prompted: PromptedPair,
        texts: Sequence[str],
        frozen: Tensor,
        labels: Mapping[str, int],
    ):
        super().__init__(settings.run)
        self.settings, self.prompted, self.texts, self.labels = settings, prompted, list(texts), labels
        self.register_buffer("frozen", frozen, persistent=False)
        a = settings.average
        self.average = GaussianAverage(prompted, a.points, a.mean, a.std, settings.run.max_steps) if a.points else None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o = self.settings.optim
        return torch.optim.SGD(self.prompted.parameters(), lr=o.lr, momentum=o.momentum)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        s, o = self.settings, self.settings.optim
        optimizer: Any = self.optimizers()
        lr = set_prompt_rate(self.iteration, o, self.run, optimizer)
        parts = self.parts(batch)
        weights = {"ce": 1.0, "text": s.weights.text, "image": s.weights.image, "logits": s.weights.logits}
        loss = torch.stack([weights[k] * v for k, v in parts.items()]).sum()
        self.check_finite(loss, batch, parts)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(self.prompted.parameters(), o.grad_clip, batch)
        optimizer.step()
        if self.average is not None:
            self.average.step(self.iteration + 1, self.prompted)
        self.step_done({"loss": loss, **parts, "grad_norm": norm, "lr": lr})

    def parts(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms of the loss by name, unweighted (`audiokd.losses.prompt_consistency`)."""
        pair, inputs = self.prompted.pair, batch["media"]
        with torch.no_grad():
            seen = pair.embed_media(inputs)
            said = pair.logits(seen, self.frozen)
        media, texts = self.prompted.embed_media(inputs), self.prompted.embed_texts(self.texts)
        logits = self.prompted.logits(media, texts)
        return prompt_consistency(logits, self._labels(batch), media, texts, seen, self.frozen, said)

    def _labels(self, batch: dict[str, Any]) -> Tensor:
        return torch.tensor([self.labels[i] for i in batch["ids"]], device=self.device)

    def validate_batch(self, batch: dict[str, Any]) -> None:
        texts = self._val_texts()
        logits = self.prompted.logits(self.prompted.embed_media(batch["media"]), texts).float()
        labels = self._labels(batch)
        right = (logits.argmax(-1) == labels).float()
        self.add_val({"loss": torch.nn.functional.cross_entropy(logits, labels), "score": right.mean()}, len(logits))

    def _val_texts(self) -> Tensor:
        """Class vectors of the prompts as they are, made once a validation."""
        if self._val_rows == 0 or not hasattr(self, "_texts"):
            self._texts = self.prompted.embed_texts(self.texts)
        return self._texts

    def criterion(self) -> float:
        return -self.val_metrics["score"]
