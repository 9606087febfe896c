"""A tokenizer as a teacher: which codes a frame of sound has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.teachers.base import load_pretrained, read_family
from audiokd.teachers.codecs import codec_family, load_codec


class CodeTeacher(nn.Module):
    """A frozen tokenizer out of torch's sight, as `FrozenTeacher` holds its network.

    Args:
        tokenizer: has `encode(wav, lengths) -> Codes`, `sample_rate`, `frame_rate`, `cardinality`.

    Attributes:
        sample_rate: Hz of the waveform it takes.
        frame_rate: frames a second.
        cardinality: codes of each codebook.
    """

    def __init__(self, tokenizer: Any):
        super().__init__()
        self.__dict__["net"] = tokenizer.eval().requires_grad_(False)
        self.sample_rate: int = tokenizer.sample_rate
        self.frame_rate: float = tokenizer.frame_rate
        self.cardinality: list[int] = list(tokenizer.cardinality)

    def _apply(self, fn: Any, recurse: bool = True) -> CodeTeacher:
        self.net._apply(fn)
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def targets(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`codes` int64 [B, Q, T'] and `code_lengths` [B] of `wav` [B, T] at `sample_rate` with `lengths` [B]; in float32
        whatever the autocast, so that they are those that `audiokd tokenize` stores."""
        with torch.autocast(batch["wav"].device.type, enabled=False):
            codes = self.net.encode(batch["wav"], batch.get("lengths"))
        return {"codes": codes.codes, "code_lengths": codes.lengths}


def load_code_teacher(name: str) -> CodeTeacher:
    """A tokenizer by folder, hub id or .th file: a codec of `audiokd.teachers.codecs.CODECS`, or one that audiokd exported.

    Raises:
        AudiokdError: it cannot be loaded, or is no tokenizer.
    """
    from transformers import AutoModel

    family = ""
    if not name.endswith(".th"):
        family = read_family(name)
    if codec := codec_family(name, family):
        return CodeTeacher(load_codec(name, codec))
    tokenizer = load_pretrained(AutoModel, name, "the tokenizer")
    if not (hasattr(tokenizer, "encode") and hasattr(tokenizer, "cardinality")):
        fix = "give an EnCodec, Mimi, DAC or X-Codec, or a model of 'audiokd fit rvq_vae', 'audiokd fit lm_spt' or 'audiokd kmeans'"
        raise AudiokdError(f"a {family} model is no tokenizer", where=name, fix=fix)
    return CodeTeacher(tokenizer.fold() if hasattr(tokenizer, "fold") else tokenizer)
