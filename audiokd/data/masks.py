"""The mask of an item: which of its picture's pixels are of the one class. One channel, of 0 and 1 or of 0 and 255."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from audiokd.data.images import open_picture
from audiokd.data.items import Item
from audiokd.errors import AudiokdError, ImageError
from audiokd.files import write_bytes

MASKS = "masks"  # folder of a data dir for masks that a reader draws
_MANY = 5  # values and items that a message names


def load_mask(item: Item, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read the mask of an item.

    Args:
        item: the item.
        size: height and width of its picture, which the mask has to have; None takes any.

    Returns:
        bool [H, W].

    Raises:
        ImageError: the item has none; it is missing, or no image; several channels; values that are neither 0 and 1 nor 0 and 255;
            another size. The file is named, and what to do.
    """
    if item.mask is None:
        fix = 'add "mask": "<file>" to its line of items.jsonl, or leave the item out'
        raise ImageError(f"{item.id} has no mask", where=item.where or item.path, fix=fix)
    with open_picture(item.with_(path=item.mask, where="")) as file:
        values = _values(file, item.mask)
    there = np.unique(values)
    if not (set(there.tolist()) <= {0, 1} or set(there.tolist()) <= {0, 255}):
        shown = f"{', '.join(map(str, there[:_MANY]))}{', ...' if len(there) > _MANY else ''}"
        fix = "a mask has 0 and 1, or 0 and 255: threshold it; lossy formats such as JPEG blur its edges"
        raise ImageError(f"a mask with the values {shown}", where=item.mask, fix=fix)
    if size is not None and values.shape != tuple(size):
        what = f"a mask of {values.shape[1]} x {values.shape[0]} pixels, the picture has {size[1]} x {size[0]}"
        raise ImageError(what, where=item.mask, fix="resize it by the nearest pixel, or cut both alike")
    return values != 0


def _values(file: BinaryIO, where: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as image:
            bands = image.getbands()
            if len(bands) != 1 or image.mode == "P":
                kind = "a palette" if image.mode == "P" else f"{len(bands)} channels ({image.mode})"
                fix = "save it with one channel (mode L or 1); audiokd.data.masks.one_channel makes one of equal or red ones"
                raise ImageError(f"a mask with {kind}", where=where, fix=fix)
            return np.asarray(image.convert("L") if image.mode == "1" else image)
    except ImageError:
        raise
    except Exception as e:  # decoders meet damage with whatever they stumble over
        what = f"no mask, or damaged: {str(e) or type(e).__name__}"
        raise ImageError(what, where=where, fix="copy it again from its source") from e


def one_channel(path: str | os.PathLike[str]) -> np.ndarray:
    """A mask that is published in colours as bool [H, W]: black is outside, another colour inside (Massachusetts: red).

    Raises:
        ImageError: more than one colour beside black: which of them is meant is not known.
    """
    from PIL import Image

    with Image.open(path) as image:
        colours = np.asarray(image.convert("RGB"))
    inside = np.asarray(colours.any(axis=-1))
    found = np.unique(colours[inside].reshape(-1, 3), axis=0)
    if len(found) > 1:
        shown = "; ".join(str(tuple(map(int, c))) for c in found[:_MANY])
        raise ImageError(f"{len(found)} colours beside black: {shown}", where=str(path), fix="save a mask of one class")
    return inside


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


def write_mask(path: str | os.PathLike[str], mask: np.ndarray) -> None:
    """Write bool [H, W] as a PNG of 0 and 255."""
    import io

    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(data, "png")
    write_bytes(path, data.getvalue())


def check_masks(items: Sequence[Item], where: str) -> None:
    """That every item has a mask, and that one of them has a pixel of the class.

    Raises:
        AudiokdError: it is not so. The first items are named; masks are read until one is not empty.
    """
    without = [i.id for i in items if i.mask is None]
    if without:
        shown = ", ".join(without[:_MANY])
        what = f"{len(without)} of {len(items)} items have no mask: {shown}{', ...' if len(without) > _MANY else ''}"
        raise AudiokdError(
            what, where=where, fix='add "mask": "<file>" to their lines of items.jsonl, or leave them out'
        )
    lost = [i.mask for i in items if i.mask and "://" not in i.mask and not os.path.exists(i.mask)]
    if lost:
        shown = ", ".join(lost[:_MANY])
        what = f"{len(lost)} of {len(items)} masks are not there: {shown}{', ...' if len(lost) > _MANY else ''}"
        raise AudiokdError(what, where=where, fix="correct their paths in items.jsonl")
    for item in items:
        try:
            if load_mask(item).any():
                return
        except ImageError:  # named when it is trained on
            continue
    what = f"none of {len(items)} masks has a pixel of the class"
    raise AudiokdError(what, where=where, fix="are they of this set? 'audiokd validate' says what is wrong with each")
