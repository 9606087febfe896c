"""What the tests of the stages that take pictures share: a small set of real ones with broken files among them, and a model."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_digits
from tiny_pairs import save_pair

from audiokd.data.classes import CLASSES, write_classes
from audiokd.data.items import Item, write_items
from audiokd.methods.promptkd.model import student_of
from audiokd.teachers.pair import load_pair
from audiokd.teachers.student_body import body_of_pair
from audiokd.teachers.text_bank import fill, make_text_bank

#: name by label, in the order of the model's logits
NAMES = {"0": "dog", "1": "cat", "2": "clock", "hopper": "rain", "espresso": "sound"}
BAD = ("animated", "corrupt", "missing", "truncated")


def hopper() -> Image.Image:
    """A photograph of Grace Hopper, 512 x 600."""
    with get_sample_data("grace_hopper.jpg") as f:
        return Image.open(f).convert("RGB")


def save_model(folder: Path) -> str:
    """A PromptKD student with random weights on a tiny CLIP, for the classes `NAMES`."""
    pair = load_pair(str(save_pair("clip", folder / "pair")))
    bank = make_text_bank(pair, fill(list(NAMES.values()), "photo"), float(pair.scale))
    student_of(body_of_pair(pair), bank, float(pair.scale), prompt_depth=2).save_pretrained(folder / "student")
    return str(folder / "student")


def save_pictures(root: Path, coffee: Path, broken: bool = True) -> Path:
    """A data dir of 12 digits, 9 parts of one photograph and 4 of another, in two domains; of odd and `broken` files too."""
    folder = root / "pictures"
    folder.mkdir(parents=True)
    items = []

    def add(name: str, image: Image.Image, label: str, suffix: str = "png", **options: object) -> None:
        image.save(folder / f"{name}.{suffix}", **options)
        items.append(Item(name, str(folder / f"{name}.{suffix}"), label, "drawn" if label in "012" else "photo"))

    digits = load_digits()
    for k in range(12):  # the first ones are 0, 1, 2, ... 9, 0, 1
        label = int(digits.target[k])
        if label < 3:
            add(f"digit{k:02d}", Image.fromarray((digits.images[k] * 15.9).astype(np.uint8)), str(label))
    for k in range(9):
        x, y = 170 * (k % 3), 200 * (k // 3)
        add(f"hopper{k}", hopper().crop((x, y, x + 150 + 2 * k, y + 190 - 3 * k)), "hopper", "jpg", quality=95)
    with Image.open(coffee) as espresso:
        for k in range(4):
            add(f"espresso{k}", espresso.convert("RGB").crop((150 * k, 0, 150 * k + 149, 400)), "espresso", "webp")
    add("cmyk", hopper().resize((64, 75)).convert("CMYK"), "hopper", "jpg")
    grey = np.asarray(hopper().convert("L").resize((40, 50))).astype(np.uint16) * 257
    add("deep", Image.fromarray(grey), "hopper")
    if broken:
        frames = [Image.fromarray((digits.images[k] * 15.9).astype(np.uint8)) for k in range(3)]
        add("animated", frames[0], "0", "gif", save_all=True, append_images=frames[1:])
        jpeg = io.BytesIO()
        hopper().save(jpeg, "jpeg")
        for name, data in (("corrupt", b"\xff\xd8\xff" + bytes(500)), ("truncated", jpeg.getvalue()[:3000])):
            (folder / f"{name}.jpg").write_bytes(data)
        items += [Item(i, str(folder / f"{i}.jpg"), "hopper", "photo") for i in ("corrupt", "truncated", "missing")]
    write_items(root, items)
    write_classes(root / CLASSES, NAMES)
    return root
