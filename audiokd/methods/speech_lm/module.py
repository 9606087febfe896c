"""Training of the speech language model: cross-entropy of the target side, both directions in one batch."""

from __future__ import annotations

import math
from typing import Any

import torch

from audiokd.methods.speech_lm.examples import KINDS
from audiokd.methods.speech_lm.model import SpeechLM
from audiokd.methods.speech_lm.settings import SpeechLMSettings
from audiokd.training.base import RunModule
from audiokd.training.optim import matrices_decay, set_learning_rate


class SpeechLMModule(RunModule):
    """The model and its optimiser.

    The training loss is the mean of -ln p over the target tokens of the batch (all streams). Validation's `loss` is that
    mean over both directions of the dev set; beside it bits per second of audio (text -> speech) and bits per character
    (speech -> text), each with the end token's bits.

    Args:
        settings: configuration.
        model: the language model.
    """

    shown = ("tts_bits_per_second", "stt_bits_per_character")

    def __init__(self, settings: SpeechLMSettings, model: SpeechLM):
        super().__init__(settings.run)
        self.model, self.optim = model, settings.optim

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return matrices_decay(self.model.parameters(), self.optim)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        optimizer: Any = self.optimizers()
        lr = set_learning_rate(self.iteration, self.optim, self.run, optimizer)
        nats, counts = self.model(batch)
        loss = nats.sum() / counts.sum()
        self.check_finite(loss, batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(self.model.parameters(), self.optim.grad_clip, batch)
        optimizer.step()
        filled = (batch["owner"] >= 0).double().mean()
        by_kind = self._by_kind(batch, nats, counts)
        self.step_done({"loss": loss, **by_kind, "grad_norm": norm, "lr": lr, "filled": filled})

    @staticmethod
    def _by_kind(batch: dict[str, Any], nats: torch.Tensor, counts: torch.Tensor) -> dict[str, float]:
        """Mean nats of a target token, for each kind that the batch has."""
        found = {}
        for i, kind in enumerate(KINDS):
            mine = (batch["kinds"] == i).to(nats.device)
            if bool(mine.any()):
                found[f"{kind}_nats"] = float(nats.detach()[mine].sum() / counts[mine].sum())
        return found

    def validate_batch(self, batch: dict[str, Any]) -> None:
        nats, counts = self.model(batch)
        for i, (kind, size) in enumerate((("tts", "seconds"), ("stt", "characters"))):
            mine = batch["kinds"] == i
            here = mine.to(nats.device)
            self.add_val(
                {
                    f"{kind}/nats": nats[here].sum(),
                    f"{kind}/tokens": counts[here].sum(),
                    f"{kind}/size": batch[size][mine].sum().float(),
                },
                rows=1,
            )

    def val_means(self) -> dict[str, float]:
        """The rates that are logged, of sums over the dev set: every utterance counts by its length."""
        # how many batches the means are of goes out in every ratio; tensors, for one kind may be missing
        sums = {k: torch.tensor(v, dtype=torch.double) for k, v in super().val_means().items()}
        tokens = sums["tts/tokens"] + sums["stt/tokens"]
        rates = {
            "loss": (sums["tts/nats"] + sums["stt/nats"]) / tokens,
            "tts_bits_per_second": sums["tts/nats"] / math.log(2) / sums["tts/size"],
            "stt_bits_per_character": sums["stt/nats"] / math.log(2) / sums["stt/size"],
        }
        return {k: float(v) for k, v in rates.items()}
