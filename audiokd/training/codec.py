"""Adversarial training of a waveform codec with two optimisers: one discriminator step, one generator step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.losses.adversarial import discriminator_loss, generator_loss
from audiokd.losses.feature_matching import feature_matching_loss
from audiokd.losses.mel import MultiScaleMelLoss
from audiokd.nn.codec.discriminators import CodecDiscriminator
from audiokd.nn.quantizers.fsq import FSQ
from audiokd.nn.quantizers.vq import VectorQuantizer
from audiokd.training.base import RunModule
from audiokd.training.codebook_usage import CodebookUsage
from audiokd.training.optim import set_learning_rate
from audiokd.training.revival import CodebookRevival
from audiokd.training.settings import CodecOptimSettings, DiscriminatorSettings, RunSettings


@dataclass
class Rebuilt:
    """A generator's forward: `wav` [B, T], `codes` [B, Q, T'], `latents` [B, d, T'] a stream, the method's own losses."""

    wav: Tensor
    codes: Tensor
    latents: list[Tensor]
    losses: dict[str, Tensor]


class AdversarialCodecModule(RunModule):
    """A codec with its discriminators. A method gives the generator, `rebuild`, and the weights of its losses by name.

    Args:
        generator: the network that is exported.
        sample_rate: Hz of its waveforms.
        weights: of every loss: mel, adversarial, feature_matching, and the method's own.
        quantizers, stream_names: one a stream, for the collapse monitor and the revival of dead codes.
        discriminator, optim, run: settings.
    """

    def __init__(
        self,
        generator: nn.Module,
        sample_rate: int,
        weights: dict[str, float],
        quantizers: list[VectorQuantizer | FSQ],
        stream_names: list[str],
        discriminator: DiscriminatorSettings,
        optim: CodecOptimSettings,
        run: RunSettings,
    ):
        super().__init__(run)
        d = discriminator
        self.generator = generator
        self.discriminator = CodecDiscriminator(d.periods, d.windows, d.period_channels, d.band_channels)
        self.mel_loss = MultiScaleMelLoss(sample_rate)
        self.weights, self.optim = weights, optim
        self._moved = 0
        self.usage = CodebookUsage([q.codebook_size for q in quantizers], stream_names)
        self.revival = CodebookRevival(quantizers, optim.revive_after)

    def rebuild(self, batch: dict[str, Any]) -> Rebuilt:
        """One generator forward with the method's own losses."""
        raise NotImplementedError

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        o = self.optim
        return [
            torch.optim.AdamW(parameters, lr=o.lr, betas=(o.beta1, o.beta2), weight_decay=o.weight_decay)
            for parameters in (self.generator_parameters(), self.discriminator.parameters())
        ]

    def generator_parameters(self) -> list[nn.Parameter]:
        """What the generator's optimiser moves; a method adds what it needs in training only."""
        return list(self.generator.parameters())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        opt_g, opt_d = self.optimizers()
        lr = set_learning_rate(self.iteration, self.optim, self.run, opt_g, opt_d)
        if self.optim.official_discriminator_lr:
            for group in opt_d.param_groups:
                group["lr"] = 1e-3
        out = self.rebuild(batch)

        # discriminator: on detached audio, so that its graph ends there
        self.discriminator.requires_grad_(True)
        d_loss = discriminator_loss(self.discriminator(out.wav.detach()), self.discriminator(batch["wav"]))
        self.check_finite(d_loss, batch, {"discriminator": d_loss})
        opt_d.zero_grad()
        self.manual_backward(d_loss)
        d_norm = self.clip_gradient(self.discriminator.parameters(), self.optim.grad_clip, batch)
        opt_d.step()

        # generator: through the discriminator, whose own weights need no gradient here
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real = self.discriminator(batch["wav"])
        fake = self.discriminator(out.wav)
        losses = {
            "mel": self.mel_loss(out.wav, batch["wav"]),
            "adversarial": generator_loss(fake),
            "feature_matching": feature_matching_loss(fake, real),
            **out.losses,
        }
        total = self.total(losses)
        self.check_finite(total, batch, losses)
        opt_g.zero_grad()
        self.manual_backward(total)
        g_norm = self.clip_gradient(self.generator_parameters(), self.optim.grad_clip, batch)
        opt_g.step()
        self.discriminator.requires_grad_(True)

        self.usage.add(out.codes)
        self._moved += self.revival.step(out.codes, out.latents)
        self.step_done(
            {
                **losses,
                "total": total,
                "discriminator": d_loss,
                "grad_norm/generator": g_norm,
                "grad_norm/discriminator": d_norm,
                "lr": lr,
                **self.constants(batch),
            }
        )

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of losses by name."""
        return sum(self.weights[k] * v for k, v in losses.items())

    def constants(self, batch: dict[str, Any]) -> dict[str, float]:
        """Numbers that a method wants beside its losses in the log."""
        return {}

    def extra_metrics(self) -> dict[str, float]:
        moved, self._moved = self._moved, 0
        return {**self.usage.read(), "codebook/revived": float(moved)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["monitor"] = {"counts": self.usage.counts, "moved": self._moved}  # of the row that is not full yet

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.usage.counts, self._moved = checkpoint["monitor"]["counts"], checkpoint["monitor"]["moved"]

    def on_validation_epoch_start(self) -> None:
        self.extra_metrics()  # forget what training counted

    def validate_batch(self, batch: dict[str, Any]) -> None:
        out = self.rebuild(batch)
        losses = {"mel": self.mel_loss(out.wav, batch["wav"]), **out.losses}
        self.usage.add(out.codes)
        self.add_val({**losses, "loss": self.total(losses)}, len(batch["ids"]))
