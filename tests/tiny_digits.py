"""scikit-learn's handwritten digits as a data dir of several domains: plain, inverted, and turned by a right angle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from audiokd.data.items import Item, write_items

DOMAINS = {"plain": lambda x: x, "inverted": lambda x: 255 - x, "turned": lambda x: np.rot90(x)}
#: words that the tiny pair models' tokenizer knows
NAMES = ("dog", "cat", "rain")


def save_digits(folder: Path, each: int = 12, classes: int = 3) -> Path:
    """`each` pictures of each of the digits 0 to `classes` - 1 in each domain, 32 x 32; the same digits in no two domains."""
    from sklearn.datasets import load_digits

    folder.mkdir(parents=True)
    found = load_digits()
    items = []
    for label in range(classes):
        pictures = found.images[found.target == label]
        for k, (domain, change) in enumerate(DOMAINS.items()):
            for n, x in enumerate(pictures[k * each : (k + 1) * each]):
                grey = np.ascontiguousarray(change((x * 255 / 16).astype(np.uint8)))
                path = folder / f"{domain}-{label}-{n:02d}.png"
                Image.fromarray(grey).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC).save(path)
                items.append(Item(path.stem, str(path), NAMES[label], domain))
    write_items(folder, items)
    return folder
