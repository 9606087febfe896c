"""GeoTIFFs cut into tiles with rasterio, window by window: a raster of any size, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.ids import escape_id
from audiokd.data.items import Item
from audiokd.data.masks import MASKS, write_mask
from audiokd.errors import AudiokdError


def tile_geotiff(
    raster: str | os.PathLike[str],
    mask: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    size: int,
    stride: int = 0,
) -> list[Item]:
    """Cut a raster, and its mask where there is one, into square tiles; those at the right and lower edge end there.

    Args:
        raster: GeoTIFF of 8 bits whose first three bands are red, green, blue.
        mask: GeoTIFF of one band on the same grid; anything but 0 and its nodata value is inside.
        out: data dir: `pictures` and `masks` are written in it.
        size: of a tile, pixels.
        stride: from tile to tile, pixels; 0 is `size`.

    Returns:
        Items, whose `source` is the raster: a split keeps tiles of one raster together.

    Raises:
        AudiokdError: no rasterio, no such file, other bands or bits, a mask on another grid, a raster smaller than a tile.
    """
    from PIL import Image

    name = escape_id(Path(raster).stem)
    with _open(raster) as picture, _open(mask or raster) as label:
        if picture.count < 3 or any(t != "uint8" for t in picture.dtypes[:3]):
            what = f"{picture.count} bands of {', '.join(sorted(set(picture.dtypes)))}"
            raise AudiokdError(
                what, where=str(raster), fix="red, green and blue of 8 bits: gdal_translate -ot Byte -scale"
            )
        if mask is not None and (
            label.count != 1 or label.shape != picture.shape or label.transform != picture.transform
        ):
            what = f"{label.count} bands on a grid of {label.shape}, the picture's is {picture.shape}"
            raise AudiokdError(what, where=str(mask), fix="one band on the picture's grid: gdal_rasterize, gdalwarp")
        if min(picture.shape) < size:
            raise AudiokdError(f"{picture.shape} pixels are no tile of {size}", where=str(raster), fix="smaller tiles")
        items = []
        for top, left in _corners(picture.shape, size, stride or size):
            window = ((top, top + size), (left, left + size))
            tile = f"{name}_{top:06d}_{left:06d}"
            path, to = (Path(out) / folder / f"{tile}.png" for folder in ("pictures", MASKS))
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.moveaxis(picture.read((1, 2, 3), window=window), 0, -1)).save(path)
            if mask is not None:
                values = label.read(1, window=window)
                write_mask(to, (values != 0) & (values != label.nodata))
            items.append(Item(tile, str(path), mask=None if mask is None else str(to), source=name))
    return items


def gsd_of(raster: str | os.PathLike[str]) -> float | None:
    """Metres a pixel by the raster's own projection; None where its units are no metres.

    Raises:
        AudiokdError: as `tile_geotiff`.
    """
    with _open(raster) as r:
        if r.crs is None or not r.crs.is_projected:
            return None
        return float(abs(r.transform.a) * r.crs.linear_units_factor[1])


def _corners(shape: tuple[int, int], size: int, stride: int) -> Iterator[tuple[int, int]]:
    """Top and left of each tile; the last ones are moved back so that they end with the raster."""
    rows, columns = ([*range(0, side - size, stride), side - size] for side in shape)
    for top in rows:
        for left in columns:
            yield top, left


def _open(path: str | os.PathLike[str]) -> Any:
    try:
        import rasterio
        from rasterio.errors import RasterioIOError
    except ImportError as e:
        raise AudiokdError("GeoTIFFs need rasterio, which is not there", fix="pip install 'audiokd[vision]'") from e
    try:
        return rasterio.open(path)
    except RasterioIOError as e:
        raise AudiokdError(f"no raster: {str(e).splitlines()[0]}", where=str(path), fix="give a GeoTIFF") from e
