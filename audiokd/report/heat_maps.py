"""Anomaly maps over their pictures, and a contact sheet of many: PNG files for people."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

SHARE = 0.55  # of the heat in the overlay, where it is hottest
TEXT = 14  # pixels of a caption's line


class Sheet(NamedTuple):
    """A row of a contact sheet.

    Attributes:
        name: under the pictures.
        picture: RGB.
        heat: the picture with its map over it.
        mask: bool [H, W], or None.
    """

    name: str
    picture: Image.Image
    heat: Image.Image
    mask: np.ndarray | None


def heat_map(picture: Image.Image, values: np.ndarray, low: float, high: float) -> Image.Image:
    """A picture with its map [h, w] over it: clear up to `low`, dark red to yellow up to `high`.

    One scale for all pictures of a set makes them comparable: `low` and `high` come from normal pictures, not from this one.
    """
    from matplotlib import colormaps
    from PIL import Image

    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    big = np.asarray(Image.fromarray(share).resize(picture.size, Image.Resampling.BILINEAR)).clip(0, 1)
    colours = colormaps["inferno"](0.25 + 0.75 * big)[..., :3] * 255
    alpha = (SHARE * np.minimum(1, 2 * big))[..., None]
    mixed = np.asarray(picture.convert("RGB"), float) * (1 - alpha) + colours * alpha
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def contact_sheet(rows: Sequence[Sheet], side: int = 128, columns: int = 3) -> Image.Image:
    """Pictures, heat maps and masks side by side, with their names, `columns` of them in a row."""
    from PIL import Image, ImageDraw

    wide = 3 if any(r.mask is not None for r in rows) else 2
    cell = wide * side + 8, side + TEXT + 6
    count = -(-len(rows) // columns)
    sheet = Image.new("RGB", (columns * cell[0] + 8, count * cell[1] + 8), "white")
    draw = ImageDraw.Draw(sheet)
    for k, row in enumerate(rows):
        x, y = 8 + k % columns * cell[0], 8 + k // columns * cell[1]
        shown = [row.picture, row.heat]
        if row.mask is not None:
            shown.append(Image.fromarray(row.mask.astype(np.uint8) * 255).convert("RGB"))
        for n, image in enumerate(shown):
            sheet.paste(image.convert("RGB").resize((side - 2, side - 2), Image.Resampling.BILINEAR), (x + n * side, y))
        draw.text((x, y + side), row.name[-(wide * side // 7) :], fill="black")
    return sheet


def png_uri(image: Image.Image) -> str:
    """A picture as a data: address for a page."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
