"""An encoder of SALT as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from transformers import PreTrainedConfig

from audiokd.errors import AudiokdError
from audiokd.methods.salt.settings import SALTShape

#: ImageNet's, as V-JEPA 2 sees frames
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
N_MELS = 64


class SALTConfig(PreTrainedConfig):
    """The fields of `SALTShape`, and what the encoder was trained by.

    Args:
        chunk: of audio: patches along time that go through the encoder at once, those of a training crop; 0 is all there are.
        step: teacher, student or ema; empty where it was not trained.
        flops: of its training: `step`, operations of one; `steps`; `teacher`, of the teacher's whole training; `total`.
    """

    model_type = "salt"

    def __init__(self, chunk: int = 0, step: str = "", flops: dict[str, float] | None = None, **kwargs: Any):
        names = {f.name for f in fields(SALTShape)}
        shape = SALTShape(**{k: v for k, v in kwargs.items() if k in names})
        for name, value in asdict(shape).items():
            setattr(self, name, value)
        self.chunk, self.step, self.flops = chunk, step, flops or {}
        super().__init__(**{k: v for k, v in kwargs.items() if k not in names})
        where = "SALT config"
        if self.kind not in ("video", "audio"):
            raise AudiokdError(f"kind {self.kind} is not known", where=where, fix="use video or audio")
        if self.dim % self.heads:
            raise AudiokdError(f"dim {self.dim} does not split into {self.heads} heads", where=where)
        if self.dim // self.heads < 2 * self.axes:
            what = f"a head of {self.dim // self.heads} channels has no pair for each of {self.axes} axes"
            raise AudiokdError(what, where=where, fix="fewer heads, or a greater dim")
        if self.kind == "audio" and N_MELS % self.patch:
            raise AudiokdError(f"patches of {self.patch} bands do not fill {N_MELS}", where=where, fix="4, 8, 16 or 32")
        if self.kind == "video" and (self.size % self.patch or self.frames % self.tubelet):
            what = f"{self.frames} frames of {self.size} pixels are no whole patches of {self.tubelet} x {self.patch}"
            raise AudiokdError(what, where=where, fix="a size that patch divides, and frames that tubelet divides")

    @property
    def axes(self) -> int:
        """Of the grid: time, height, width; or bands, time."""
        return 3 if self.kind == "video" else 2

    @property
    def patch_sizes(self) -> tuple[int, ...]:
        """Along each axis of the grid."""
        return (self.tubelet, self.patch, self.patch) if self.kind == "video" else (self.patch, self.patch)

    @property
    def patch_values(self) -> int:
        """Numbers in a patch."""
        return 3 * self.tubelet * self.patch**2 if self.kind == "video" else self.patch**2
