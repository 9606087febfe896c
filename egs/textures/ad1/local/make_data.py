"""Tiles of photographed textures, and made defects with exact masks: `make_data.py DOWNLOADS DATA [EACH]`.

Each photograph, 512 x 512 grey, is split into bands of rows first, a tile's height between them, and then cut into tiles of 64 at
half
overlap: no pixel of one split is in another. Normal tiles of the three splits are as they are cut. EACH tiles of test, drawn by
seed, get each
kind of defect; the mask is the region that was changed, every changed pixel is in it. Everything is a function of SEED and names.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from audiokd.data.anomaly_labels import GOOD
from audiokd.data.draws import few_shot
from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.items import Item
from audiokd.data.tiles import places

SEED = 0
TEXTURES = ("brick", "grass", "gravel")
TILE, STEP = 64, 32
#: grey levels, mean over a defect's region; how often it is drawn anew
VISIBLE, TRIES = 10.0, 50
#: rows of each split; a tile's height lies between two
BANDS = {"train": (0, 160), "dev": (224, 320), "test": (384, 512)}


def rng_of(*key: int) -> np.random.Generator:
    return np.random.default_rng([SEED, *key])


def ellipse(rng: np.random.Generator, least: float = 4, most: float = 10) -> np.ndarray:
    """A region: an ellipse with semi-axes of `least` to `most` pixels, turned, whole in the tile."""
    a, b = rng.uniform(least, most, 2)
    edge = max(a, b) + 1
    y0, x0 = rng.uniform(edge, TILE - edge, 2)
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:TILE, :TILE]
    u = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
    v = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def hole(tile: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Dark and nearly even."""
    mask = ellipse(rng)
    dark = max(0.0, float(np.percentile(tile, 2)) - 20) + rng.normal(0, 4, tile.shape)
    return np.where(mask, dark, tile), mask


def scratch(tile: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A bright line of two or three pixels."""
    angle, width, length = rng.uniform(0, np.pi), rng.uniform(1.0, 1.5), rng.uniform(12, 24)
    y0, x0 = rng.uniform(20, TILE - 20, 2)
    y, x = np.mgrid[:TILE, :TILE]
    along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
    across = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
    mask = (np.abs(along) <= length / 2) & (np.abs(across) <= width)
    return np.where(mask, np.clip(tile + rng.uniform(70, 110), 0, 255), tile), mask


def foreign(tile: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A piece of another texture, as bright as this one on the whole."""
    mask = ellipse(rng, 6, 12)
    piece = (other - other.mean()) / max(float(other.std()), 1.0) * tile.std() + tile.mean()
    return np.where(mask, piece, tile), mask


def blurred(tile: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Out of focus."""
    mask = ellipse(rng, 6, 12)
    return np.where(mask, gaussian_filter(tile, 3.0), tile), mask


def turned(tile: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A square of the texture by a quarter turn: nothing but its direction is wrong."""
    side = int(rng.integers(16, 25))
    top, left = rng.integers(2, TILE - side - 2, 2)
    mask = np.zeros(tile.shape, bool)
    mask[top : top + side, left : left + side] = True
    out = tile.copy()
    out[top : top + side, left : left + side] = np.rot90(tile[top : top + side, left : left + side])
    return out, mask


DEFECTS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]] = {
    "hole": hole, "scratch": scratch, "foreign": foreign, "blurred": blurred, "turned": turned,
}  # fmt: skip


def seen(
    make: Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]],
    tile: np.ndarray,
    other: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """A defect that changes its region by `VISIBLE` at least; of `TRIES` that do not, the one that does most: a turned piece of
    plain brick
    is no defect."""
    best, most = (tile, np.zeros(tile.shape, bool)), -1.0
    for _ in range(TRIES):
        made, mask = make(tile, other, rng)
        change = float(np.abs(made - tile)[mask].mean())
        if change > most:
            best, most = (made, mask), change
        if most >= VISIBLE:
            break
    return best


def tiles_of(photograph: np.ndarray, split: str) -> dict[str, np.ndarray]:
    first, last = BANDS[split]
    band = photograph[first:last]
    rows, columns = (places(n, TILE, STEP) for n in band.shape)
    return {f"{first + r:03d}.{c:03d}": band[r : r + TILE, c : c + TILE] for r in rows for c in columns}


def save(path: Path, x: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(x).clip(0, 255).astype(np.uint8)).save(path)
    return str(path)


def main(downloads: str, data: str, each: str = "15") -> None:
    root, splits = Path(data), {split: [] for split in BANDS}
    photographs = {}
    for name in TEXTURES:
        with Image.open(Path(downloads) / f"{name}.png") as image:
            photographs[name] = np.asarray(image.convert("L"), float)
        if photographs[name].shape != (512, 512):
            sys.exit(f"error: {name}.png is {photographs[name].shape}, not 512 x 512: another version of scikit-image?")
    for k, name in enumerate(TEXTURES):
        for split in BANDS:
            for at, tile in tiles_of(photographs[name], split).items():
                path = save(root / split / "pictures" / f"{name}-{at}.png", tile)
                splits[split].append(Item(f"{name}-{at}", path, GOOD, name, source=f"{name}-{split}"))
        tiles = tiles_of(photographs[name], "test")
        elsewhere = [t for other in TEXTURES if other != name for t in tiles_of(photographs[other], "test").values()]
        normal = [i for i in splits["test"] if i.domain == name]
        if int(each) > len(normal):
            sys.exit(f"error: {len(normal)} tiles of {name} to test on, {each} with each defect are asked for")
        for n, (kind, make) in enumerate(DEFECTS.items()):
            for item in few_shot(normal, int(each), seed=SEED + n):
                at = item.id.removeprefix(f"{name}-")
                rng = rng_of(k, n, *map(int, at.split(".")))
                made, mask = seen(make, tiles[at], elsewhere[rng.integers(len(elsewhere))], rng)
                file = f"{name}-{kind}-{at}"
                path = save(root / "test" / "pictures" / f"{file}.png", made)
                where = save(root / "test" / "masks" / f"{file}.png", mask * 255)
                splits["test"].append(Item(file, path, kind, name, mask=where, source=f"{name}-test"))
    classes = {kind: kind for kind in (GOOD, *sorted(DEFECTS))}
    write_image_set(root, ImageSet(splits, classes))
    of = {f"test-{name}": [i for i in splits["test"] if i.domain == name] for name in TEXTURES}
    write_image_set(root, ImageSet(of, classes))


if __name__ == "__main__":
    main(*sys.argv[1:])
