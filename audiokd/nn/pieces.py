"""A recording that comes in blocks, cut into pieces of so many frames, each with what a frame hears before and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Piece:
    """A stretch of a recording.

    Attributes:
        wav: [n] samples, margins and all.
        start: its first frame in the recording.
        skip: frames of `wav` before that one.
        frames: how many are its own; None for the last piece, whose are all that follow.
        heard: samples of the recording up to its end.
        samples: of the recording that are its own.
    """

    wav: Tensor
    start: int
    skip: int
    frames: int | None
    heard: int
    samples: int


def pieces(
    blocks: Iterable[Tensor],
    frame_size: int,
    hop: int,
    before: int,
    after: int,
    frames_of: Callable[[int], int] | None = None,
) -> Iterator[Piece]:
    """Cut a recording; what is held of it is one piece with its margins, and a block.

    Args:
        blocks: of the recording, [n] each.
        frame_size: samples a frame.
        hop: frames of a piece.
        before: frames that it hears before them.
        after: samples that it hears after them.
        frames_of: frames that the model gives for so many samples; n / frame_size, rounded up, by default.
    """
    held: list[Tensor] = []  # samples from frame `first` on
    start = first = n = 0

    def piece_at(start: int, last: bool) -> Piece:
        nonlocal held, first
        stop, a = start + hop, max(0, start - before)
        x = torch.cat(held) if len(held) > 1 else held[0]
        # the last frame hears the samples that fill no frame too
        part = x[(a - first) * frame_size : None if last else (stop - first) * frame_size + after]
        margin = max(0, stop - before)  # where the next piece's begins
        first, held = margin, [x[(margin - first) * frame_size :]]
        return Piece(part, start, start - a, None if last else hop, n, min(n, stop * frame_size) - start * frame_size)

    for block in blocks:
        held.append(block)
        n += len(block)
        while n >= (start + hop) * frame_size + after:
            yield piece_at(start, False)
            start += hop
    frames = frames_of(n) if frames_of else -(-n // frame_size)
    for at in range(start, max(frames, 1) if n else 0, hop):
        yield piece_at(at, at + hop >= frames)
