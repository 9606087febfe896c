"""Masks of patches: V-JEPA's blocks through the whole length of a clip (arXiv 2404.08471), tubes of single patches, and blocks
drawn relative to the grid.

A mask is the union of `blocks` rectangles of the share `scale` of an H x W grid, with an aspect ratio a ~ U(0.75, 1.5); what is
left is the context. Sizes are drawn once for a batch, places for each sample.

    square:   h = sqrt(round(s H W) a),  w = sqrt(round(s H W) / a)   [patches, cut at the grid]     V-JEPA 2's, for pictures
    relative: h = sqrt(s a) H,           w = sqrt(s / a) W            [a spectrogram's grid is flat: `square` would cut h]

Then all contexts of a batch are cut to the smallest, and all targets to theirs: at random (V-JEPA's code takes the first in raster
order, which keeps the early ones). Everything is a function of (seed, step, id): nothing needs to be saved for a resumed run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from audiokd.data.crops import rng_of
from audiokd.errors import ConfigError

ASPECT = (0.75, 1.5)
TRIES = 1000
Shape: TypeAlias = Literal["square", "relative"]


@dataclass(frozen=True)
class Masks:
    """Of one kind of mask in a batch: which patches the student is given, and which it has to predict, in rising order.

    Attributes:
        context: Long [B, M].
        target: Long [B, K].
    """

    context: Tensor
    target: Tensor


def block_size(scale: float, aspect: float, space: tuple[int, int], shape: Shape) -> tuple[int, int]:
    """Height and width of a block in patches, at least 1 and at most those of the grid."""
    rows, columns = space
    if shape == "square":
        patches = int(scale * rows * columns)
        h, w = math.sqrt(patches * aspect), math.sqrt(patches / aspect)
    else:
        h, w = math.sqrt(scale * aspect) * rows, math.sqrt(scale / aspect) * columns
    return min(rows, max(1, round(h))), min(columns, max(1, round(w)))


class BlockMasker:
    """Draws the masks of a batch.

    Args:
        grid: patches along each axis; the last two are cut into blocks, what comes before (time, of a clip) is hidden whole.
        blocks: of each kind of mask.
        scales: share of the grid that a block of each kind has.
        shape: of the blocks.
        seed: of the draws.
        raster: cut to the first in raster order in place of a random choice.

    Raises:
        ConfigError: no kind of mask, or as many scales as there are not.
    """

    def __init__(
        self,
        grid: Sequence[int],
        blocks: Sequence[int],
        scales: Sequence[float],
        shape: Shape,
        seed: int,
        raster: bool = False,
    ):
        if not blocks or len(blocks) != len(scales):
            raise ConfigError(f"{len(blocks)} kinds of blocks and {len(scales)} scales", where="masks")
        self.space, self.length = (grid[-2], grid[-1]), math.prod(grid[:-2])
        self.blocks, self.scales, self.shape, self.seed, self.raster = blocks, scales, shape, seed, raster

    def __len__(self) -> int:
        return len(self.blocks)

    def sizes(self, step: int | str) -> list[tuple[int, int]]:
        """Of the blocks of each kind in a step, (h, w) in patches."""
        rng = rng_of(self.seed, "mask sizes", step)
        return [block_size(s, float(rng.uniform(*ASPECT)), self.space, self.shape) for s in self.scales]

    def draw(self, kind: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """What is hidden of the space, Bool [H, W]; not all of it.

        Raises:
            ConfigError: blocks that hide everything whatever their place.
        """
        (rows, columns), (h, w) = self.space, size
        for _ in range(TRIES):
            hidden = np.zeros((rows, columns), bool)
            for _ in range(self.blocks[kind]):
                top, left = rng.integers(0, rows - h + 1), rng.integers(0, columns - w + 1)
                hidden[top : top + h, left : left + w] = True
            if not hidden.all():
                return hidden
        what = f"{self.blocks[kind]} blocks of {h} x {w} hide a grid of {rows} x {columns}"
        raise ConfigError(what, where="masks", fix="smaller blocks, or fewer")

    def __call__(self, ids: Sequence[str], step: int | str, device: torch.device | str = "cpu") -> list[Masks]:
        """The masks of each kind for samples `ids` of a batch."""
        return [self.of_size(kind, size, ids, step, device) for kind, size in enumerate(self.sizes(step))]

    def of_size(
        self, kind: int, size: tuple[int, int], ids: Sequence[str], step: int | str, device: torch.device | str = "cpu"
    ) -> Masks:
        """The masks of one kind, of blocks of `size` patches, for samples `ids` of a batch."""
        rngs = [rng_of(self.seed, "mask", step, kind, i) for i in ids]
        hidden = [np.tile(self.draw(kind, size, rng), (self.length, 1, 1)).ravel() for rng in rngs]
        sides = []
        for rows in ([np.flatnonzero(~h) for h in hidden], [np.flatnonzero(h) for h in hidden]):
            least = min(map(len, rows))
            sides.append(torch.from_numpy(np.stack([self._cut(r, least, g) for r, g in zip(rows, rngs)])).to(device))
        return Masks(*sides)

    def _cut(self, rows: np.ndarray, least: int, rng: np.random.Generator) -> np.ndarray:
        return rows[:least] if self.raster else np.sort(rng.permutation(rows)[:least])


class TubeMasker(BlockMasker):
    """Single patches at random through the whole length of a clip (VideoMAE, arXiv 2203.12602), `hidden` of them, as often as there
    are shares.

    Args:
        grid, seed: as of `BlockMasker`.
        hidden: share of the space that each mask hides.

    Raises:
        ConfigError: a share that hides nothing or everything.
    """

    def __init__(self, grid: Sequence[int], hidden: Sequence[float], seed: int):
        super().__init__(grid, [1] * len(hidden), hidden, "square", seed)
        places = self.space[0] * self.space[1]
        if bad := [h for h in hidden if not 0 < round(h * places) < places]:
            what = f"a tube mask that hides {bad[0]:g} of {self.space[0]} x {self.space[1]} patches"
            raise ConfigError(what, where="masks.tubes", fix="over 0, and under 1")

    def sizes(self, step: int | str) -> list[tuple[int, int]]:
        """As many patches of one each as are hidden."""
        return [(round(h * self.space[0] * self.space[1]), 1) for h in self.scales]

    def draw(self, kind: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        hidden = np.zeros(self.space[0] * self.space[1], bool)
        hidden[rng.permutation(len(hidden))[: size[0]]] = True
        return hidden.reshape(self.space)
