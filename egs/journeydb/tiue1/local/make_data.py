"""Prompts and COCO's captioned pictures to data dirs: `make_data.py PROMPTS COLUMN CAPTIONS PICTURES DATA ITEMS`.

DATA/train/prompts.txt has each prompt once, in the order of the file; DATA/test the first ITEMS pictures with their first captions.
"""

import json
import sys
from pathlib import Path

from audiokd.data.items import Item, write_items
from audiokd.data.prompts import read_prompts
from audiokd.files import write_text


def main(prompts: str, column: str, captions: str, pictures: str, data: str, items: str) -> None:
    texts = dict.fromkeys(" ".join(p.text(False).split()) for p in read_prompts(prompts, column))
    folder = Path(data)
    (folder / "train").mkdir(parents=True, exist_ok=True)
    write_text(folder / "train" / "prompts.txt", "".join(f"{t}\n" for t in texts))
    tree = json.loads(Path(captions).read_text())
    said: dict[int, str] = {}
    for row in sorted(tree["annotations"], key=lambda r: r["id"]):
        said.setdefault(row["image_id"], " ".join(row["caption"].split()))
    chosen = sorted((i for i in tree["images"] if i["id"] in said), key=lambda i: i["id"])[: int(items)]
    if not chosen:
        sys.exit(f"error: {captions}: no picture has a caption")
    root = Path(pictures).resolve()
    if lacking := [i["file_name"] for i in chosen if not (root / i["file_name"]).is_file()]:
        sys.exit(f"error: {len(lacking)} of {len(chosen)} pictures are not in {pictures}, the first is {lacking[0]}")
    found = [Item(Path(i["file_name"]).stem, str(root / i["file_name"]), caption=said[i["id"]]) for i in chosen]
    write_items(folder / "test", found)
    print(f"{data}: {len(texts)} prompts, {len(found)} pictures with captions")


if __name__ == "__main__":
    main(*sys.argv[1:])
