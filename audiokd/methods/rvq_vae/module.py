"""RVQ-VAE training: an adversarial codec and nothing besides."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from audiokd.methods.rvq_vae.config import RVQVAEConfig
from audiokd.methods.rvq_vae.model import RVQVAEModel
from audiokd.methods.rvq_vae.settings import RVQVAESettings
from audiokd.training.codec import AdversarialCodecModule, Rebuilt


class RVQVAEModule(AdversarialCodecModule):
    """Codec and discriminators; only `generator`, an RVQVAEModel, is exported.

    Args:
        settings: configuration.
    """

    shown = ("mel",)

    def __init__(self, settings: RVQVAESettings):
        s = settings
        model = RVQVAEModel(RVQVAEConfig(**asdict(s.model)))
        names = [f"level{i}" for i in range(s.model.n_codebooks)]
        super().__init__(
            model,
            s.model.sample_rate,
            asdict(s.loss),
            list(model.quantizer.quantizers),  # type: ignore[arg-type]
            names,
            s.discriminator,
            s.optim,
            s.run,
        )

    def rebuild(self, batch: dict[str, Any]) -> Rebuilt:
        out = self.generator(batch["wav"])
        return Rebuilt(out.wav, out.codes, out.latents, {"commit": out.commit, "codebook": out.codebook})
