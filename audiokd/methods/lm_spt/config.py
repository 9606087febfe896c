"""Shape of an LM-SPT model as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
        problems = [*self._decoder_problems(), *self._bottleneck_problems(), *self._quantizer_problems()]
        if problems:
            raise AudiokdError("; ".join(problems), where="LM-SPT config", fix="change the keys named")

    def _decoder_problems(self) -> Iterator[str]:
        """Both decoders must give as many samples a frame as the encoders take."""
        size, aux = math.prod(self.encoder_rates), math.prod(self.aux_rates)
        want = size * self.aux_sample_rate / self.sample_rate
        if self.decoder_type == "dac" and math.prod(self.decoder_rates) != size:
            yield f"encoder_rates give {size} samples a frame, decoder_rates {math.prod(self.decoder_rates)}"
        if self.aux_type == "dac" and aux != want:
            yield f"aux_rates give {aux} samples a frame; {self.aux_sample_rate} Hz needs {want:g}"
        for name, samples in (("decoder", size), ("aux", want)):
            kind, dim, rates, layers = (getattr(self, f"{name}_{k}") for k in ("type", "dim", "rates", "layers"))
            if kind not in ("dac", "vocos"):
                yield f"{name}_type {kind} is not known (dac, vocos)"
            elif kind == "dac" and dim % 2 ** len(rates):
                yield f"{name}_dim {dim} cannot be halved {len(rates)} times"
            elif kind == "vocos":
                if samples % (2 * math.prod(rates)):
                    yield f"{name}_rates {list(rates)} do not split {samples:g} samples a frame into hops of even length"
                if layers < 1:
                    yield f"{name}_layers must be above 0"

    def _bottleneck_problems(self) -> Iterator[str]:
        if not self.bottleneck_layers:
            return
        dim, heads = self.bottleneck_dim, self.bottleneck_heads
        if dim % (2 * heads):
            yield f"bottleneck_dim {dim} does not give {heads} bottleneck_heads an even dimension each"
        if self.attention_window is not None and self.attention_window < 1:
            yield f"attention_window {self.attention_window} must be above 0, or null"
        if self.causal and self.attention_window is None:
            yield "a causal model needs an attention_window: a stream has no end, its memory must"

    def _quantizer_problems(self) -> Iterator[str]:
        if not 0 < self.n_semantic_codebooks < self.n_codebooks:
            yield "n_semantic_codebooks must be above 0 and below n_codebooks"
        if self.semantic_quantizer not in ("vq", "fsq"):
            yield f"semantic_quantizer {self.semantic_quantizer} is not known (vq, fsq)"
        if self.semantic_quantizer == "fsq":
            if self.n_semantic_codebooks != 1:
                yield "semantic_quantizer fsq has one stream: n_semantic_codebooks must be 1"
            if not self.fsq_levels or min(self.fsq_levels) < 2:
                yield f"fsq_levels {list(self.fsq_levels)} must be above 1 each"
        for name in ("quantizer_dropout", "quantizer_bypass"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name} {getattr(self, name)} must be between 0 and 1"
