r"""Noisy labels from clean ones with the truth known: footprints moved as an off-nadir view moves roofs away from them.

A camera that looks down at an angle :math:`\theta` off nadir shows a roof of height h at

.. math:: \Delta = \frac{h \tan\theta}{g} \, (\cos\phi, \sin\phi)

pixels from its footprint, g metres a pixel and :math:`\phi` the way of the lean in the picture. Labels that were drawn on another
picture (a map, an orthophoto) are off by that (arXiv 2311.03867, arXiv 2204.13637).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from audiokd.data.buildings import Building, Tile, draw, moved
from audiokd.data.crops import rng_of
from audiokd.errors import AudiokdError


@dataclass(frozen=True)
class LabelShift:
    """Moves outlines by height and view angle.

    Attributes:
        angle_deg: theta, off nadir, from 0 to under 90.
        azimuth_deg: phi, from the picture's x axis towards its y axis; None draws one a tile.
        gsd_m: g, of tiles that do not say theirs; None refuses these.
        jitter_px: standard deviation of a further shift of each building, as hand-drawn labels have.
        seed: of what is drawn, a function of (seed, tile).
    """

    angle_deg: float
    azimuth_deg: float | None = 0.0
    gsd_m: float | None = None
    jitter_px: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.angle_deg < 90:
            raise AudiokdError(f"an angle of {self.angle_deg:g} degrees off nadir", fix="from 0 to under 90")

    def lean(self, tile: Tile) -> list[tuple[float, float]]:
        """(dx, dy) from footprint to roof of each building of a tile, pixels.

        Raises:
            AudiokdError: a height or the ground sampling distance is not known.
        """
        gsd = tile.gsd_m or self.gsd_m
        if gsd is None:
            raise AudiokdError("its ground sampling distance is not known", where=tile.id, fix="gsd_m")
        rng = rng_of(self.seed, "label shift", tile.id)
        turn = rng.uniform(0, 360)
        phi = math.radians(turn if self.azimuth_deg is None else self.azimuth_deg)
        found = []
        for building in tile.buildings:
            if building.height_m is None:
                raise AudiokdError("a building without a height cannot be shifted", where=tile.id, fix="height_m")
            length = building.height_m * math.tan(math.radians(self.angle_deg)) / gsd
            more = rng.normal(0, self.jitter_px, 2) if self.jitter_px else (0.0, 0.0)
            found.append((length * math.cos(phi) + float(more[0]), length * math.sin(phi) + float(more[1])))
        return found

    def shifted(self, tile: Tile) -> Tile:
        """The tile with offsets of this view: its roofs lie where the camera would show them."""
        buildings: list[Building] = [replace(b, offset=by) for b, by in zip(tile.buildings, self.lean(tile))]
        return replace(tile, buildings=tuple(buildings))

    def noisy_mask(self, tile: Tile, size: tuple[int, int]) -> np.ndarray:
        """Bool [H, W]: the tile's outlines, each moved by its lean; the clean mask is of the same outlines where they are."""
        return draw((moved(b.footprint, by) for b, by in zip(tile.buildings, self.lean(tile))), size) > 0
