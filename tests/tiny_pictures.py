"""Small labelled pictures: handwritten digits of scikit-learn under the names that the tiny pair models know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from audiokd.data.items import Item, write_items

NAMES = ("dog", "cat", "rain", "clock")


def write_digits(root: Path, counts: dict[str, int], classes: int = 4) -> Path:
    """Data dirs of `counts` digits of each class, none in two of them: digit k is called NAMES[k]."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    places = {k: np.flatnonzero(digits.target == k) for k in range(classes)}
    start = 0
    for split, count in counts.items():
        folder = root / split
        folder.mkdir(parents=True)
        items = []
        for k, name in enumerate(NAMES[:classes]):
            for n in places[k][start : start + count]:
                grey = np.kron(digits.images[n] / 16 * 255, np.ones((4, 4))).astype(np.uint8)
                Image.fromarray(grey).save(folder / f"{n}.png")
                items.append(Item(f"{split}-{n:04d}", str(folder / f"{n}.png"), name))
        write_items(folder, items)
        (folder / "classes.txt").write_text("".join(f"{n}\n" for n in NAMES[:classes]))
        start += count
    return root


def teach(pair_dir: Path, data: Path, steps: int) -> Path:
    """Train a tiny pair model on the pictures of a data dir for some steps, so that it knows something of its classes."""
    import torch
    from torch.nn import functional as F

    from audiokd.data.images import load_image
    from audiokd.data.items import read_items
    from audiokd.teachers.pair import load_pair

    torch.manual_seed(0)
    pair = load_pair(str(pair_dir))
    items = read_items(data)
    pixels = pair.preprocess([load_image(i) for i in items])["pixel_values"]
    names = sorted({i.label or "" for i in items})
    texts = [f"a photo of a {n}." for n in names]
    labels = torch.tensor([names.index(i.label or "") for i in items])
    net = pair.net.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = torch.randint(len(items), (32,))
        logits = 10 * pair.embed_media({"pixel_values": pixels[rows]}) @ pair.embed_texts(texts).T
        optimizer.zero_grad()
        F.cross_entropy(logits, labels[rows]).backward()
        optimizer.step()
    net.eval().save_pretrained(pair_dir)
    return pair_dir
