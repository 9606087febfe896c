"""A set of fabrics to data dirs: `make_data.py NAME ROOT DATA TILE CATEGORIES`."""

import sys
from pathlib import Path

from audiokd.data.anomaly_sets import aitex_set, mvtec_set, tilda_set
from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.tiles import TILES, read_tiles, write_tiles
from audiokd.files import jsonl, write_bytes


def main(name: str, root: str, data: str, tile: str = "0", categories: str = "") -> None:
    if name not in ("mvtec", "aitex", "tilda"):
        sys.exit(f"error: no set {name}: mvtec, aitex or tilda")
    if name == "mvtec":
        images = mvtec_set(root, categories.split())
    else:
        images = aitex_set(root, data) if name == "aitex" else tilda_set(root)
    if int(tile):  # the pictures are split already: no tile of test overlaps one of train
        whole = {f"{split}-whole": items for split, items in images.splits.items()}
        write_image_set(data, ImageSet(whole, images.classes))
        size = int(tile)
        cut = {k: write_tiles(items, Path(data) / k, size, size // 2) for k, items in images.splits.items()}
        images = ImageSet(cut, images.classes)
    write_image_set(data, images)
    of: dict[str, list] = {}
    for item in images.splits["test"]:
        of.setdefault(f"test-{item.domain}", []).append(item)
    write_image_set(data, ImageSet(of, images.classes))
    if int(tile):  # so that maps can be stitched: --score_args "--whole data/test-whole"
        places = read_tiles(Path(data) / "test")
        for split, items in of.items():
            write_bytes(Path(data) / split / TILES, jsonl([places[i.id]._asdict() for i in items]))


if __name__ == "__main__":
    main(*sys.argv[1:])
