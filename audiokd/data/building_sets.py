"""Published sets of buildings as items with masks: WHU, Massachusetts, BONAI.

    WHU            study.rsgis.whu.edu.cn/pages/download: <split>/image/*.tif, <split>/label/*.tif of 0 and 255
    Massachusetts  cs.toronto.edu/~vmnih/data: tiff/<split>/*.tiff, tiff/<split>_labels/*.tif, in colours
    BONAI          github.com/jwwangchn/BONAI: a folder of pictures and a COCO-style JSON with roofs, footprints, offsets, heights

`domain` of an item is the stratum of its highest building, where heights are known (`audiokd.data.buildings.STRATA`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from audiokd.data.buildings import Building, Tile, draw, polygon, stratum, write_buildings
from audiokd.data.folders import files_below
from audiokd.data.ids import escape_id
from audiokd.data.images import IMAGE_SUFFIXES
from audiokd.data.items import Item, write_items
from audiokd.data.masks import MASKS, one_channel, write_mask
from audiokd.errors import AudiokdError

WHU_SPLITS = {"train": "train", "dev": "val", "test": "test"}


class MaskedSet(NamedTuple):
    """Items with masks of one split, and what is known of their buildings."""

    items: list[Item]
    tiles: list[Tile]


def write_masked_set(folder: str | os.PathLike[str], of: MaskedSet) -> None:
    """Write a data dir: items.jsonl, and buildings.jsonl where buildings are known.

    Raises:
        AudiokdError: there is no item.
    """
    write_items(folder, of.items)
    if of.tiles:
        write_buildings(folder, of.tiles)
    print(f"{folder}: {len(of.items)} pictures, {sum(len(t.buildings) for t in of.tiles)} buildings")


def whu_split(root: str | os.PathLike[str], split: str) -> MaskedSet:
    """A split of WHU's aerial or satellite set, as its folders have it.

    Args:
        root: the folder above train, val and test.
        split: train, val or test.

    Raises:
        AudiokdError: no such folder, a picture without a mask or a mask without a picture.
    """
    folder = Path(root) / split
    pairs = _pairs(folder / "image", folder / "label")
    return MaskedSet([Item(i, str(p), mask=str(m), source=f"whu-{split}") for i, (p, m) in pairs.items()], [])


def massachusetts_split(root: str | os.PathLike[str], split: str, out: str | os.PathLike[str]) -> MaskedSet:
    """A split of Massachusetts; its masks, which are in colours, are written anew with one channel.

    Args:
        root: the folder above train, train_labels and so on.
        split: train, val or test.
        out: data dir, whose `masks` are written.

    Raises:
        AudiokdError: as `whu_split`, or a mask of several colours.
    """
    items = []
    for name, (picture, mask) in _pairs(Path(root) / split, Path(root) / f"{split}_labels").items():
        to = Path(out) / MASKS / f"{name}.png"
        write_mask(to, one_channel(mask))
        items.append(Item(name, str(picture), mask=str(to), source=f"massachusetts-{split}"))
    return MaskedSet(items, [])


def bonai_split(
    json_file: str | os.PathLike[str],
    pictures: str | os.PathLike[str],
    out: str | os.PathLike[str],
    target: Literal["roof", "footprint"] = "roof",
    gsd_m: float | None = 0.6,
) -> MaskedSet:
    """A split of BONAI; masks are drawn.

    Args:
        json_file: COCO-style: `images` (id, file_name, width, height), `annotations` (image_id, segmentation of the roof,
            footprint_mask, offset, building_height, only_footprint; iscrowd and ignore are left out).
        pictures: folder of the files that it names.
        out: data dir, whose `masks` are written.
        target: what masks are of: roofs as the picture shows them, or footprints, which are off from the roofs in an off-nadir
            picture.
        gsd_m: metres a pixel; 0.6 is what the official code takes for all cities.

    Raises:
        AudiokdError: no such file, a key that is missing, a picture that is not there, an outline that is none.
    """
    where = str(json_file)
    try:
        tree = json.loads(Path(json_file).read_text(encoding="utf-8"))
        rows: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in tree["images"]}
        for a in tree["annotations"]:
            if not a.get("iscrowd") and not a.get("ignore"):
                rows[a["image_id"]].append(a)
    except OSError as e:
        raise AudiokdError("no such file", where=where, fix="give the set's annotation file") from e
    except (ValueError, KeyError, TypeError) as e:
        raise AudiokdError(f"no COCO-style annotations: {type(e).__name__} {e}", where=where) from e
    items, tiles = [], []
    for image in tree["images"]:
        path = Path(pictures) / image["file_name"]
        name = escape_id(Path(image["file_name"]).stem)
        if not path.is_file():
            raise AudiokdError("no such picture", where=str(path), fix=f"{where} names it: is the set whole?")
        buildings, outlines = [], []
        for a in rows[image["id"]]:
            try:
                building, outline = _of_bonai(a, target)
            except (KeyError, ValueError, TypeError, IndexError) as e:
                what = f"annotation {a.get('id')} of {image['file_name']}: {type(e).__name__} {e}"
                raise AudiokdError(
                    what, where=where, fix="footprint_mask and segmentation are [x1, y1, x2, y2, ...]"
                ) from e
            buildings.append(building)
            outlines.append(outline)
        mask = Path(out) / MASKS / f"{name}.png"
        write_mask(mask, draw(outlines, (image["height"], image["width"])) > 0)
        highest = max((b.height_m for b in buildings if b.height_m is not None), default=None)
        items.append(Item(name, str(path), domain=stratum(highest), mask=str(mask), source="bonai"))
        tiles.append(Tile(name, tuple(buildings), image.get("gsd_m", gsd_m)))
    return MaskedSet(items, tiles)


def _of_bonai(a: Mapping[str, Any], target: str) -> tuple[Building, Any]:
    footprint = polygon(_corners(a["footprint_mask"]))
    building = Building(footprint, a.get("building_height"), tuple(a["offset"]) if "offset" in a else None)
    if target == "footprint" or a.get("only_footprint"):
        return building, footprint
    return building, polygon(_corners(a["segmentation"]))


def _corners(numbers: Sequence[Any]) -> list[tuple[float, float]]:
    """[x1, y1, x2, y2, ...], or the first of a list of such, as corners."""
    flat = numbers[0] if isinstance(numbers[0], list) else numbers
    return list(zip(map(float, flat[::2]), map(float, flat[1::2]), strict=True))


def _pairs(pictures: Path, masks: Path) -> dict[str, tuple[Path, Path]]:
    """Picture and mask by id, which is the name without suffix, sorted."""
    for folder in (pictures, masks):
        if not folder.is_dir():
            raise AudiokdError("no such folder", where=str(folder), fix="give the folder above the set's splits")
    found = {side: {escape_id(p.stem): p for p in files_below(side, IMAGE_SUFFIXES)} for side in (pictures, masks)}
    lone = sorted(found[pictures].keys() ^ found[masks].keys())
    if lone or not found[pictures]:
        what = f"{len(lone)} pictures or masks stand alone: {', '.join(lone[:5])}" if lone else "no picture in it"
        raise AudiokdError(what, where=str(pictures), fix=f"every picture has a mask of its name in {masks}")
    return {i: (found[pictures][i], found[masks][i]) for i in sorted(found[pictures])}
