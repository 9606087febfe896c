"""Pictures of normal things and of defects as published sets have them: MVTec AD, the industrial textile set, AITEX, TILDA.

Every item has a label, `good` or the kind of its defect, and the category as its domain. Splits are train, of normal pictures
alone, and test.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audiokd.data.anomaly_labels import GOOD
from audiokd.data.classes import named
from audiokd.data.draws import hold_out
from audiokd.data.folders import files_below
from audiokd.data.ids import escape_id
from audiokd.data.image_sets import ImageSet
from audiokd.data.images import IMAGE_SUFFIXES
from audiokd.data.items import Item
from audiokd.data.labelled import one_word
from audiokd.data.masks import MASKS, load_mask, write_mask
from audiokd.errors import AudiokdError

log = logging.getLogger(__name__)

_LAYOUT = "a category is train/good, test/good, test/<defect> and, where there are masks, ground_truth/<defect>"
#: of AITEX as it is published: one picture of a defect without a mask, and one whose mask is black
_AITEX_WITHOUT = ("0100_025_08", "0106_010_03")
#: TILDA's file names: kind of fabric, its variety, error and number
_TILDA = re.compile(r"c(\d+)r(\d+)e(\d+)n(\d+)", re.I)


def mvtec_set(root: str | os.PathLike[str], categories: Sequence[str] = ()) -> ImageSet:
    """Read root/<category>/{train,test,ground_truth} of MVTec AD, or of a set in its layout, such as the industrial textile set.

    A category without ground_truth has no masks (the industrial textile set); one with it has a mask, <name>_mask.png or
    <name>.png, of every
    picture of a defect. The mvtec licence forbids commercial use; nothing of it is in this repository.

    Args:
        root: folder of the categories.
        categories: which; left out, all.

    Raises:
        AudiokdError: no such folder or category; no train/good; an empty class; a mask that is not there or that no picture has;
            a defect in
            train.
    """
    folder = Path(root)
    found = list(categories) or _folders(folder)
    items: dict[str, list[Item]] = {"train": [], "test": []}
    for category in found:
        at = folder / category
        if not at.is_dir():
            raise AudiokdError(f"no category {category}", where=str(folder), fix=f"there are {named(_folders(folder))}")
        _check_train(at)
        items["train"] += _pictures(folder, at / "train" / GOOD, GOOD, category)
        masks = at / "ground_truth"
        for kind in _folders(at / "test"):
            of_kind = _pictures(folder, at / "test" / kind, one_word(kind), category)
            if kind != GOOD and masks.is_dir():
                of_kind = _with_masks(of_kind, masks / kind)
            items["test"] += of_kind
    return _set(items)


def aitex_set(
    root: str | os.PathLike[str], out: str | os.PathLike[str], seed: int = 0, test_share: float = 0.3
) -> ImageSet:
    """Read AITEX's fabrics: root/NODefect_images (in a folder a fabric), Defect_images and Mask_images.

    Names are nnnn_ddd_ff: number, kind of defect (zeros: none), fabric. The label of a defect is its code, the domain its fabric.
    A mask is <name>_mask.png; where a picture has several, <name>_mask1.png and <name>_mask2.png (0044_019_04 and 0097_030_03 as
    published), it has what is in any of them, which is written. 0100_025_08 has no mask and that of 0106_010_03 is black: defects
    that nobody can say the place of are left out, with a warning. The set has no split: a share of every fabric's normal pictures
    is tested on. Pictures are 4096 x 256: cut them (`audiokd.data.tiles`); their ends are white, which is not cut away.

    Source: AFID (Silvestre-Blanes et al., AUTEX Research Journal, 2019; aitex.es/afid), and what public readers of it work
    around.

    Args:
        root: folder of the three.
        out: data folder, whose masks/ is written.
        seed: of the draw of test pictures.
        test_share: of the normal pictures.

    Raises:
        AudiokdError: a folder or another mask is not there, a mask is none (`audiokd.data.masks`), or a name is another.
    """
    folder = Path(root)
    normal, bad = (_aitex(folder, folder / name) for name in ("NODefect_images", "Defect_images"))
    if strange := [i.id for i in normal if i.label != GOOD]:
        raise AudiokdError(
            f"names of defects: {named(strange)}", where=str(folder / "NODefect_images"), fix="ddd is 000"
        )
    masks: dict[str, list[Path]] = {}
    for path in files_below(folder / "Mask_images", IMAGE_SUFFIXES):
        masks.setdefault(path.stem.split("_mask")[0], []).append(path)
    items, without = [], []
    for item in bad:
        name = Path(item.path).stem
        of = sorted(masks.get(name, []))
        if name in _AITEX_WITHOUT and not any(load_mask(item.with_(mask=str(m))).any() for m in of):
            without.append(name)
        elif not of:
            raise AudiokdError("no mask in Mask_images", where=item.path, fix="is the set whole?")
        else:
            items.append(item.with_(mask=str(of[0] if len(of) == 1 else _joined(item, of, Path(out) / MASKS))))
    if without:
        log.warning("%s: %s left out: no mask says where the defect is", folder, named(without))
    train, test = _tested(normal, seed, test_share)
    return _set({"train": train, "test": [*test, *items]})


def tilda_set(root: str | os.PathLike[str], seed: int = 0, test_share: float = 0.3) -> ImageSet:
    """Read TILDA's textiles: pictures in any folders, by their names c<kind>r<variety>e<error>n<number>.

    Eight fabrics, c1 to c4 in two varieties each, of 768 x 512 pixels, grey; e0 is normal, e1 to e7 are errors, the last of them of
    the camera; 50 pictures of each, n1 to n50. The label of a defect is its code, the domain kind and variety. There are no masks,
    but descriptions: scores of pictures alone.

    Source: lmb.informatik.uni-freiburg.de/resources/datasets/tilda.en.html; names as in
    github.com/Applied-Artificial-Intelligence-Eurecat/hackeps (c1r3e0n1 is normal, c1r1e2n3 is not) and in
    github.com/khued200/Fabric-defect-detection-with-YOLOv9. Folders are not looked at, since copies have them otherwise.

    Args:
        root: folder.
        seed: of the draw of test pictures.
        test_share: of the normal pictures.

    Raises:
        AudiokdError: no such folder, no picture of such a name, or no normal one.
    """
    folder = Path(root)
    items = []
    for path in _files(folder):
        if m := _TILDA.search(path.stem):
            kind, variety, error, _ = m.groups()
            label = GOOD if int(error) == 0 else f"e{int(error)}"
            items.append(_item(folder, path, label, f"c{int(kind)}r{int(variety)}"))
    if not items:
        raise AudiokdError("no picture of TILDA's names", where=str(root), fix="such as c1r1e0n12.tif")
    train, test = _tested([i for i in items if i.label == GOOD], seed, test_share)
    return _set({"train": train, "test": [*test, *(i for i in items if i.label != GOOD)]})


def _check_train(at: Path) -> None:
    if not (at / "train").is_dir():
        raise AudiokdError("no folder train", where=str(at), fix=_LAYOUT)
    kinds = _folders(at / "train")
    if GOOD not in kinds:
        what = f"no normal picture to learn from: train holds {named(kinds)}"
        raise AudiokdError(what, where=str(at / "train"), fix=f"normal pictures lie in train/{GOOD}")
    if len(kinds) > 1:
        what = f"train holds {named([k for k in kinds if k != GOOD])} beside {GOOD}"
        raise AudiokdError(what, where=str(at / "train"), fix="defects are tested on alone: move them to test")


def _with_masks(items: list[Item], folder: Path) -> list[Item]:
    masks = {p.stem: p for p in files_below(folder, IMAGE_SUFFIXES)} if folder.is_dir() else {}
    found, lacking = [], []
    for item in items:
        stem = Path(item.path).stem
        path = masks.pop(f"{stem}_mask", None) or masks.pop(stem, None)
        if path is None:
            lacking.append(Path(item.path).name)
        else:
            found.append(item.with_(mask=str(path)))
    if lacking:
        what = f"no mask of {named(lacking)}"
        fix = "a mask is <name>_mask.png; without any ground_truth the set is read without masks"
        raise AudiokdError(what, where=str(folder), fix=fix)
    if masks:
        raise AudiokdError(f"masks of no picture: {named(sorted(masks))}", where=str(folder), fix="is the set whole?")
    return found


def _aitex(root: Path, folder: Path) -> list[Item]:
    items = []
    for path in _files(folder):
        parts = path.stem.split("_")
        if len(parts) != 3 or not all(p.isdigit() for p in parts):
            raise AudiokdError("no name of AITEX's", where=str(path), fix="nnnn_ddd_ff: number, defect, fabric")
        label = GOOD if int(parts[1]) == 0 else f"d{parts[1]}"
        items.append(_item(root, path, label, f"fabric{parts[2]}"))
    return items


def _joined(item: Item, masks: Sequence[Path], folder: Path) -> Path:
    """Write what is in any of the masks of a picture."""
    parts = [load_mask(item.with_(mask=str(m))) for m in masks]
    if len({p.shape for p in parts}) > 1:
        raise AudiokdError("masks of several sizes", where=f"{masks[0]} and {masks[-1]}", fix="copy them again")
    path = folder / f"{Path(item.path).stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(path, np.logical_or.reduce(parts))
    return path


def _tested(normal: Sequence[Item], seed: int, share: float) -> tuple[list[Item], list[Item]]:
    """Normal pictures of every domain to learn from, and those that are tested on."""
    sides: tuple[list[Item], list[Item]] = ([], [])
    for domain in sorted({i.domain or "" for i in normal}):
        for side, those in zip(sides, hold_out([i for i in normal if (i.domain or "") == domain], share, seed)):
            side.extend(those)
    return sides


def _set(items: dict[str, list[Item]]) -> ImageSet:
    labels = {i.label or "" for of in items.values() for i in of} - {GOOD}
    return ImageSet(
        {k: sorted(of, key=lambda i: i.id) for k, of in items.items()}, {k: k for k in (GOOD, *sorted(labels))}
    )


def _folders(root: Path) -> list[str]:
    if not root.is_dir():
        raise AudiokdError("no such folder", where=str(root), fix=_LAYOUT)
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise AudiokdError("no such folder", where=str(folder), fix="is the set whole?")
    found = sorted(files_below(folder, IMAGE_SUFFIXES))
    if not found:
        raise AudiokdError("no picture in it", where=str(folder), fix=f"pictures end in {' '.join(IMAGE_SUFFIXES)}")
    return found


def _pictures(root: Path, folder: Path, label: str, domain: str) -> list[Item]:
    return [_item(root, path, label, domain) for path in _files(folder)]


def _item(root: Path, path: Path, label: str, domain: str) -> Item:
    return Item(escape_id(path.relative_to(root).with_suffix("").as_posix()), str(path), label, domain)
