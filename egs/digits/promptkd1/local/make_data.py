"""Splits of the digits of six domains: `make_data.py VL2V1_DATA DATA`.

Of each domain's hundred of a digit the first half is without labels (and, with them, the prompts' few), a tenth is for
selection, the rest is tested on. The order is that of ../vl2v1, drawn there by seed. Pair sets are handed on as they are.
"""

import sys
from dataclasses import replace
from pathlib import Path

from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.items import Item
from audiokd.data.media import open_media


def split(items: list[Item]) -> dict[str, list[Item]]:
    """Half, a tenth and the rest of each label of each domain."""
    groups: dict[tuple[str | None, str | None], list[Item]] = {}
    for item in items:
        groups.setdefault((item.domain, item.label), []).append(item)
    parts: dict[str, list[Item]] = {"unlabelled": [], "dev": [], "test": []}
    for group in groups.values():
        half, tenth = len(group) // 2, max(1, len(group) // 10)
        parts["unlabelled"] += group[:half]
        parts["dev"] += group[half : half + tenth]
        parts["test"] += group[half + tenth :]
    return parts


def main(source: str, data: str) -> None:
    everything = open_media(Path(source) / "all")
    classes = everything.classes
    parts = split([replace(i, path=str(Path(i.path).resolve())) for i in everything.items])
    write_image_set(data, ImageSet(parts, classes))
    write_image_set(data, ImageSet({"train": parts["unlabelled"]}, classes))
    for name in ("pair-train", "pair-dev"):
        items = [replace(i, path=str(Path(i.path).resolve())) for i in open_media(Path(source) / name).items]
        write_image_set(data, ImageSet({name: items}, classes))


if __name__ == "__main__":
    main(*sys.argv[1:])
