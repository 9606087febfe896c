"""Recordings longer than a piece: through the networks in pieces that overlap by the receptive field, the same as of the whole.

A model with global attention has no such overlap. Its long recordings are cut at whole pieces that do not see each other; then
that is what their codes are, however they come in.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from audiokd.data.blocks import load_blocks
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.nn.pieces import Piece, pieces
from audiokd.nn.waveforms import check_finite
from audiokd.tokens.codes import Codes

if TYPE_CHECKING:
    import numpy as np

    from audiokd.nn.codec.tokenizer import CodecTokenizer, Latents


def source_blocks(
    source: Tensor | np.ndarray | Utterance | str | os.PathLike | Iterable, sample_rate: int
) -> Iterator[Tensor]:
    """Blocks [n] at `sample_rate` of a waveform [T] or [1, T], of an audio file or utterance (resampled), or of an iterable of
    such blocks."""
    if isinstance(source, (str, os.PathLike)):
        source = Utterance(os.path.basename(source), os.fspath(source))
    if isinstance(source, Utterance):
        yield from map(torch.from_numpy, load_blocks(source, sample_rate))
        return
    heard = 0
    for block in [source] if hasattr(source, "shape") else source:
        x = torch.as_tensor(block)
        x = x[0] if x.ndim == 2 and len(x) == 1 else x
        if x.ndim != 1 or not x.is_floating_point():
            raise AudiokdError(
                f"a block of {x.dtype} {list(x.shape)}", fix="give one recording: float [T] or [1, T], in [-1, 1]"
            )
        check_finite(x[None], start=heard)
        heard += len(x)
        yield x


def codes_in_pieces(
    source: Any, sample_rate: int, frame_size: int, piece: int, margin: int, run: Callable[[Piece], Tensor]
) -> Codes:
    """Codes of one recording that need not be in memory whole, in bounded memory.

    Args:
        source: as of `source_blocks`.
        sample_rate: Hz.
        frame_size: samples a frame.
        piece: frames that go through at once.
        margin: frames before and after them that they depend on.
        run: codes [1, Q, t] of a piece, without its margins.

    Returns:
        Codes of a batch of one.

    Raises:
        AudiokdError: no samples, or a block that `source_blocks` refuses.
    """
    found, heard = [], 0
    for p in pieces(source_blocks(source, sample_rate), frame_size, piece, margin, margin * frame_size):
        heard = p.heard
        found.append(run(p))
    if not heard:
        raise AudiokdError("an empty waveform has no codes", fix="leave it out")
    codes = torch.cat(found, -1)
    lengths, samples = torch.tensor([[codes.shape[-1]], [heard]], device=codes.device)
    return Codes(codes, lengths, samples, sample_rate)


def latent_pieces(model: CodecTokenizer, blocks: Iterable[Tensor], wanted: bool) -> Iterator[tuple[Latents, int]]:
    """The frames [1, D, t] that `model.latents` gives, piece after piece, of one recording that comes in blocks [n]; and its
    samples so far. What is held is one piece with its margins, and a block.

    Args:
        model: whose latents they are.
        blocks: of the recording.
        wanted: handed to `model.latents`.
    """
    piece, (before, after) = max(1, int(model.piece_s * model.frame_rate)), margins(model)
    n = 0
    for p in pieces(blocks, model.frame_size, piece, before, after * model.frame_size, model.frames_of):
        if p.start == piece and math.isinf(model.encoder_field[0]):
            warnings.warn(
                f"attention_window is null: audio longer than {model.piece_s:g} s is cut every {model.piece_s:g} s, and what "
                "is cut does not hear its neighbours",
                stacklevel=2,
            )
        n = p.heard
        _, found = model.latents(p.wav[None], torch.tensor([len(p.wav)], device=model.device), wanted)
        stop = None if p.frames is None else p.skip + p.frames
        yield tuple(z if z is None else z[..., p.skip : stop] for z in found), n
    if not n:
        raise AudiokdError("an empty waveform has no codes", fix="leave it out")


def margins(model: CodecTokenizer) -> tuple[int, int]:
    """Frames before and after a piece that its own frames can depend on."""
    left, right = model.encoder_field
    if math.isinf(left):
        return 0, 0
    margin = max(math.ceil(left / model.frame_size), math.ceil(right / model.frame_size)) + 1
    return margin, 0 if model.config.causal else margin


def wave_pieces(net, embed: Callable[[Tensor], Tensor], ids: Tensor, piece: int) -> Iterator[Tensor]:
    """Waveform [t] of one code sequence [1, Q, T'], `piece` frames at a time, overlapping by the decoder's receptive field."""
    size, frames, (left, right) = net.frame_size, ids.shape[-1], net.receptive_field
    for start in range(0, frames, piece):
        stop = min(start + piece, frames)
        a, b = max(0, start - left - 1), min(stop + right + 1, frames)
        wav = net(embed(ids[..., a:b]))[0][0, 0]
        yield wav[(start - a) * size : (stop - a) * size]
