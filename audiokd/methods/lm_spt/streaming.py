"""A causal LM-SPT on a stream: chunks in, codes or sound out, with the state of every layer handed on.

Each convolution keeps its last inputs, each attention block the keys and values of its window, the inverse STFT its last frames:
chunked == whole, and no sample is computed twice. Both directions run without delay beyond the frame itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.codec.causal import Cache
from audiokd.nn.waveforms import check_finite

if TYPE_CHECKING:
    from audiokd.methods.lm_spt.model import LMSPTModel

State = tuple[Tensor, ...]


class EncoderState(NamedTuple):
    """A stream of `encode_step`: samples [B, n] that do not fill a frame yet, what the layers of each encoder keep, its streams."""

    wav: Tensor
    semantic: State | None
    acoustic: State | None
    num_codebooks: int


class DecoderState(NamedTuple):
    """A stream of `decode_step`: what the decoder's layers keep."""

    cache: State
    semantic_only: bool


def encode_step(
    model: LMSPTModel, wav: Tensor, state: EncoderState | None, last: bool
) -> tuple[Tensor, EncoderState | None]:
    """See LMSPTModel.encode_step."""
    _check(model, "encode_long")
    if wav.ndim != 2:
        raise AudiokdError(f"a chunk must be [B, n], not {list(wav.shape)}", fix="add a batch axis: wav[None]")
    check_finite(wav)
    wav, acoustic = wav.to(model.device, model.dtype), model.needs_acoustic and not model.config.shared_encoder
    before = state or EncoderState(wav[:, :0], None, None, model.num_codebooks)
    if len(before.wav) != len(wav):
        raise AudiokdError(f"a chunk of {len(wav)} items in a stream of {len(before.wav)}")
    if before.num_codebooks != model.num_codebooks:
        what = f"the stream began with {before.num_codebooks} codebooks, the model is set to {model.num_codebooks}"
        raise AudiokdError(what, fix="set_num_codebooks before a stream starts")
    wav = torch.cat([before.wav, wav], 1)
    if last and model.config.pad_to_frame:
        wav = F.pad(wav, (0, -wav.shape[1] % model.frame_size))
    n = wav.shape[1] if last else wav.shape[1] // model.frame_size * model.frame_size
    if n == 0:
        codes = torch.zeros(len(wav), model.num_codebooks, 0, dtype=torch.long, device=wav.device)
        return codes, None if last else before._replace(wav=wav)
    x, rest = wav[:, None, :n], wav[:, n:].clone()
    cache = Cache(before.semantic)
    z_s, z_a = model.semantic_encoder(x, None, cache)[0], None
    after = before._replace(wav=rest, semantic=cache.state)
    if acoustic:
        cache = Cache(before.acoustic)
        z_a = model.acoustic_encoder(x, None, cache)[0]
        after = after._replace(acoustic=cache.state)
    elif model.needs_acoustic:
        z_a = z_s
    return model.quantizer.encode(z_s, z_a, model.num_codebooks), None if last else after


def decode_step(
    model: LMSPTModel, ids: Tensor, state: DecoderState | None, semantic_only: bool
) -> tuple[Tensor, DecoderState]:
    """See LMSPTModel.decode_step; `ids` [B, Q, t] are checked."""
    _check(model, "decode_long")
    if ids.shape[-1] == 0:
        raise AudiokdError("a chunk of no frames", fix="wait until `encode_step` gives some")
    if state is not None and state.semantic_only != semantic_only:
        raise AudiokdError("semantic_only changed within a stream", fix="keep one state for each of the two decoders")
    if state is not None and len(state.cache[0]) != len(ids):
        raise AudiokdError(f"a chunk of {len(ids)} items in a stream of {len(state.cache[0])}")
    net = model.aux_decoder if semantic_only else model.decoder
    embed = model.quantizer.decode_semantic if semantic_only else model.quantizer.decode
    cache = Cache(None if state is None else state.cache)
    wav = net(embed(ids), None, cache)[0][:, 0]
    return wav, DecoderState(cache.state, semantic_only)


def _check(model: LMSPTModel, instead: str) -> None:
    if not model.config.causal:
        raise AudiokdError(
            "this model is not causal: a frame hears what comes after it, so it cannot run on a stream",
            fix=f"use tok.{instead} for long recordings, or train with --model.causal true",
        )
