"""Shape of an RVQ-VAE as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from transformers import PreTrainedConfig

from audiokd.errors import AudiokdError
from audiokd.methods.rvq_vae.settings import RVQVAEShape


class RVQVAEConfig(PreTrainedConfig):
    """The fields of `RVQVAEShape`, saved as config.json."""

    model_type = "rvq_vae"

    def __init__(self, **kwargs: Any):
        names = {f.name for f in fields(RVQVAEShape)}
        shape = RVQVAEShape(**{k: v for k, v in kwargs.items() if k in names})
        for name, value in asdict(shape).items():
            setattr(self, name, list(value) if isinstance(value, tuple) else value)
        super().__init__(**{k: v for k, v in kwargs.items() if k not in names})
        problems = []
        if self.decoder_dim % 2 ** len(self.rates):
            problems.append(f"decoder_dim {self.decoder_dim} cannot be halved {len(self.rates)} times")
        if self.n_codebooks < 1:
            problems.append(f"n_codebooks {self.n_codebooks} must be above 0")
        if not 0 <= self.quantizer_dropout <= 1:
            problems.append(f"quantizer_dropout {self.quantizer_dropout} must be between 0 and 1")
        if problems:
            raise AudiokdError("; ".join(problems), where="RVQ-VAE config", fix="change the keys named")
