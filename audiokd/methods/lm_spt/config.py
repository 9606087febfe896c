"""Shape of an LM-SPT model as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import Any

from transformers import PreTrainedConfig

from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.settings import LMSPTShape


class LMSPTConfig(PreTrainedConfig):
    """The fields of `LMSPTShape`, saved as config.json; the defaults are the released 12.5 Hz model."""

    model_type = "lm_spt"

    def __init__(self, **kwargs: Any):
        names = {f.name for f in fields(LMSPTShape)}
        shape = LMSPTShape(**{k: v for k, v in kwargs.items() if k in names})
        for name, value in asdict(shape).items():
            setattr(self, name, list(value) if isinstance(value, tuple) else value)
        super().__init__(**{k: v for k, v in kwargs.items() if k not in names})
        self._check()

    def _check(self) -> None:
        size, aux = math.prod(self.encoder_rates), math.prod(self.aux_rates)
        problems = []
        if math.prod(self.decoder_rates) != size:
            problems.append(f"encoder_rates give {size} samples a frame, decoder_rates {math.prod(self.decoder_rates)}")
        if aux * self.sample_rate != size * self.aux_sample_rate:
            want = size * self.aux_sample_rate / self.sample_rate
            problems.append(f"aux_rates give {aux} samples a frame; {self.aux_sample_rate} Hz needs {want:g}")
        for name, dim, rates in (
            ("decoder", self.decoder_dim, self.decoder_rates),
            ("aux", self.aux_dim, self.aux_rates),
        ):
            if dim % 2 ** len(rates):
                problems.append(f"{name}_dim {dim} cannot be halved {len(rates)} times")
        if not 0 < self.n_semantic_codebooks < self.n_codebooks:
            problems.append("n_semantic_codebooks must be above 0 and below n_codebooks")
        if problems:
            raise AudiokdError("; ".join(problems), where="LM-SPT config", fix="change the keys named")
