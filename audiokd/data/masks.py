"""Masks of pictures: where a defect is, one bit a pixel.

A mask is a grey picture of the size of its own, 0 where nothing is; what is there is 255 (MVTec AD) or 1. Anything between is no
mask but a
picture that was resized or compressed, and is refused: a threshold would move the borders that scores are made of.
"""

from __future__ import annotations

import io

import numpy as np

from audiokd.data.images import load_image, open_picture
from audiokd.data.items import Item
from audiokd.errors import ImageError

_AGAIN = "save masks as PNG of one channel, 0 and 255, resized by nearest neighbour alone"


def load_mask(item: Item, size: tuple[int, int] | None = None) -> np.ndarray:
    """The mask of an item, bool [H, W].

    Args:
        item: with `mask`.
        size: height and width of its picture, where that is known; else it is opened.

    Raises:
        ImageError: no mask, missing or damaged, several channels, other values than 0 and 1 or 0 and 255, another size than the
            picture's.
    """
    from PIL import Image

    where = item.where or item.path
    if item.mask is None:
        raise ImageError(f"{item.id} has no mask", where=where, fix="`mask` in items.jsonl names its file")
    with open_picture(Item(item.id, item.mask, where=item.where)) as f:
        data = f.read()
    try:
        with Image.open(io.BytesIO(data)) as image:
            mode, x = image.mode, np.asarray(image)
    except Exception as e:  # decoders meet damage with whatever they stumble over
        raise ImageError(f"not an image, or damaged: {e}", where=item.mask, fix=_AGAIN) from e
    if x.ndim != 2 or mode == "P":
        channels = "a palette" if mode == "P" else f"{x.shape[-1]} channels"
        raise ImageError(f"a mask of mode {mode}, {channels} where one is due", where=item.mask, fix=_AGAIN)
    if size is None:
        picture = load_image(item)
        size = picture.height, picture.width
    if x.shape != size:
        what = f"the mask has {x.shape[1]} x {x.shape[0]} pixels, its picture {size[1]} x {size[0]}"
        raise ImageError(what, where=item.mask, fix="is it another picture's? else make it again at its picture's size")
    values = np.unique(x)
    if x.dtype == bool or set(values.tolist()) <= {0, 1} or set(values.tolist()) <= {0, 255}:
        return x > 0
    shown = ", ".join(map(str, values[:4].tolist())) + (", ..." if len(values) > 4 else "")
    raise ImageError(f"a mask of the values {shown}: neither 0 and 1 nor 0 and 255", where=item.mask, fix=_AGAIN)


def at_size(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask [H, W] at a map's height and width, by the nearest pixel; one that would so be lost keeps each cell that it
    touches."""
    height, width = mask.shape
    if mask.shape == size:
        return mask
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(int)
    found = mask[np.ix_(rows, columns)]
    if mask.any() and not found.any():
        found = found.copy()
        r, c = np.nonzero(mask)
        found[r * size[0] // height, c * size[1] // width] = True
    return found
