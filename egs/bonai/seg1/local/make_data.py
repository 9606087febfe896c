"""BONAI as data dirs: `make_data.py CORPUS DATA [CLEAN DEV]`.

Noisy masks are footprints, clean ones roofs, of coco/bonai_*_trainval.json; roofs of coco/bonai_*_test.json are the test set. Of
the pictures of trainval the share CLEAN is train-clean, DEV is dev and as much is dev-noisy; the rest is train-noisy. A picture is
in one part alone; those of one scene, which the set does not tell apart, may be in two.
"""

import sys
from pathlib import Path

from audiokd.data.building_sets import MaskedSet, bonai_split, write_masked_set
from audiokd.data.crops import rng_of
from audiokd.errors import AudiokdError


def all_of(corpus: Path, split: str, out: Path, target: str) -> MaskedSet:
    """Pictures of all files of a split."""
    files = sorted((corpus / "coco").glob(f"bonai_*_{split}.json"))
    if not files:
        raise AudiokdError(
            f"no coco/bonai_*_{split}.json", where=str(corpus), fix="give the folder above coco/ and trainval/"
        )
    items, tiles = [], []
    for file in files:
        found = bonai_split(file, corpus / split / "images", out, target)
        items += found.items
        tiles += found.tiles
    return MaskedSet(items, tiles)


def main(corpus: str, data: str, clean: str = "0.1", dev: str = "0.05") -> None:
    root, out = Path(corpus), Path(data)
    write_masked_set(out / "test", all_of(root, "test", out / "test", "roof"))
    sets = {t: all_of(root, "trainval", out / f"trainval-{t}", t) for t in ("footprint", "roof")}
    turns = {i.id: float(rng_of(0, "bonai", i.id).random()) for i in sets["roof"].items}
    ends = {"train-clean": float(clean), "dev": float(dev), "dev-noisy": float(dev), "train-noisy": 1.0}
    start = 0.0
    for name, share in ends.items():
        kept = {i for i, turn in turns.items() if start <= turn < start + share}
        start += share
        of = sets["footprint" if "noisy" in name else "roof"]
        write_masked_set(
            out / name, MaskedSet([i for i in of.items if i.id in kept], [t for t in of.tiles if t.id in kept])
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
