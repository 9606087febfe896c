"""Shape of an ATST encoder as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from transformers import PreTrainedConfig

from audiokd.errors import AudiokdError
from audiokd.methods.atst.settings import PATCH, ATSTShape


class ATSTConfig(PreTrainedConfig):
    """The fields of `ATSTShape`, saved as config.json; the defaults are the published ATST-Frame base."""

    model_type = "atst"

    def __init__(self, **kwargs: Any):
        names = {f.name for f in fields(ATSTShape)}
        shape = ATSTShape(**{k: v for k, v in kwargs.items() if k in names})
        for name, value in asdict(shape).items():
            setattr(self, name, value)
        super().__init__(**{k: v for k, v in kwargs.items() if k not in names})
        rules = ("weighted", "official_half", "official_all")
        if self.chunks not in rules:
            raise AudiokdError(f"chunks {self.chunks} is not known", where="ATST config", fix=f"use {', '.join(rules)}")
        if self.kind not in ("frame", "clip"):
            raise AudiokdError(f"kind {self.kind} is not known", where="ATST config", fix="use frame or clip")
        if self.chunk_frames and not PATCH <= self.chunk_frames <= self.max_frames:
            what = f"chunk_frames {self.chunk_frames} is none of {PATCH} to {self.max_frames}, the positions there are"
            raise AudiokdError(what, where="ATST config", fix="0 for as many as are sensible")
        if self.dim % self.heads:
            raise AudiokdError(f"dim {self.dim} does not split into {self.heads} heads", where="ATST config")
