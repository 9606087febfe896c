"""Tux Paint's stamps to data dirs: `make_data.py STAMPS DATA`. STAMPS is usr/share/tuxpaint/stamps of tuxpaint-stamps-default.

DATA/pair-train and DATA/pair-dev have captions, DATA/{train,unlabelled,dev,test} classes; train holds the items of unlabelled with
their labels. DATA/speech-* are what is said about the stamps, as Kaldi data dirs. A series of stamps is wholly in one part.
"""

import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile as sf

from audiokd.data.classes import CLASSES, write_classes
from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.items import Item, write_items
from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

#: class, a noun of WordNet -> folders, with all below them. Stamps elsewhere have no class and are in pair training alone: folders
#: of fewer than seven pictures, of too few series, of seasons, or whose noun fits another class, too (mammals beside rodents)
FOLDERS = {
    "bird": ("animals/birds",),
    "building": ("town/houses",),
    "carnivore": ("animals/mammals/bears", "animals/mammals/cats", "animals/mammals/dogs"),
    "celestial_body": ("space/moon", "space/planets"),
    "chessman": ("symbols/chess",),
    "clothing": ("clothes",),
    "coin": ("symbols/money/canadian", "symbols/money/euro", "symbols/money/japanese", "symbols/money/us"),
    "fish": ("animals/fish",),
    "flower": ("plants/flowers",),
    "fruit": ("food/fruit",),
    "insect": ("animals/insects",),
    "kitchen_utensil": ("household/dishes",),
    "letter": ("symbols/alphabets/english", "symbols/alphabets/german", "symbols/alphabets/spanish"),
    "manual_alphabet": ("symbols/alphabets/asl",),
    "mathematical_notation": ("symbols/math/operators",),
    "monument": ("town/monuments",),
    "motor_vehicle": tuple(
        f"vehicles/{k}" for k in ("auto", "construction", "emergency", "farming", "masstransit", "race")
    ),
    "musical_instrument": ("hobbies/music",),
    "musical_notation": ("symbols/music",),
    "numeral": ("symbols/math",),
    "rodent": ("animals/mammals/rodents",),
    "sports_equipment": ("sports",),
    "street_sign": ("town/roadsigns",),
    "tool": ("household/tools",),
    "train": ("vehicles/locomotive",),
    "tree": ("plants/trees",),
    "ungulate": tuple(f"animals/mammals/{k}" for k in ("bovines", "camel", "deer", "equines")),
    "vegetable": ("food/vegetables",),
}
#: share of a class' pictures; a tenth of pair's series of one or two is pair-dev
PARTS = {"pair": 0.3, "unlabelled": 0.3, "dev": 0.1, "test": 0.3}
PAIR_DEV = 0.1
LONG = 3
#: a series by the beginning of its files
SERIES = (
    "seasonal/easter/bunny",
    "seasonal/easter/chick",
    "seasonal/halloween/grave-",
    "seasonal/hanukkah/dreydl",
    "space/moon/moon_",
)
#: what a file's name says of a thing's colour, size, pose and view
VARIANT = re.compile(
    r"and|baby|bent|black|blue|brown|cartoon|closed|eating|filled|flying|front|gold|golden|green|large|left|little|mirror|new|"
    r"old|open|orange|outline|outlined|photo|pink|profile|purple|red|right|side|silver|sitting|sliced|small|stand|white|whole|yellow"
)
COLOUR = re.compile(r"(black|blue|brown|green|pink|purple|red|silver|white|yellow)(?=[a-z]{3})")
SPELT = ("symbols/alphabets/", "symbols/math/")  # a letter and a number are what these show, not variants of it
SAID = re.compile(r"(.+)_desc(?:_([A-Za-z]{2,3}(?:_[A-Za-z]{2})?))?\.(?:ogg|wav)")
SHORTEST_S = 0.1


@dataclass
class Stamp:
    """A picture, where the package has it as PNG, its English caption, and recordings of it by language."""

    key: str
    picture: Path | None
    caption: str
    label: str | None
    sounds: dict[str, Path]
    contents: dict[Path, str]  # sha256 of its files
    series: str = ""

    @property
    def id(self) -> str:
        return re.sub(r"[^\w.-]+", "_", self.key.replace("/", "-"))


def main(stamps: str, data: str) -> None:
    found = read_stamps(Path(stamps))
    part_of = divide(found)
    parts: dict[str, list[Stamp]] = {part: [] for part in ("pair-train", "pair-dev", "unlabelled", "dev", "test")}
    for stamp in found:
        parts[part_of[stamp.series]].append(stamp)
    check_disjoint(parts)
    report(found, part_of)
    classes = {label: label.replace("_", " ") for label in FOLDERS}
    sets = {k: [s for s in v if s.label or k.startswith("pair")] for k, v in parts.items()}
    items = {k: [item(s, "pair" in k) for s in v if s.picture] for k, v in sets.items()}
    try:
        for part in ("pair-train", "pair-dev"):
            write_items(Path(data) / part, [i.with_(label=None) for i in items[part]])
            print(f"{data}/{part}: {len(items[part])} pictures with captions")
        write_image_set(data, ImageSet({k: items[k] for k in ("dev", "test")}, classes))
        write_image_set(data, ImageSet({"train": items["unlabelled"]}, classes))
        write_image_set(data, ImageSet({"unlabelled": [i.with_(label=None) for i in items["unlabelled"]]}, classes))
        write_speech(data, sets, classes)
    except AudiokdError as e:
        sys.exit(f"error: {e}")


def read_stamps(root: Path) -> list[Stamp]:
    """All stamps with a caption, sorted; and how many are only drawings or say nothing, printed."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    if not files:
        sys.exit(f"error: {root}: no stamps; give usr/share/tuxpaint/stamps of the package")
    there = {p.relative_to(root).as_posix() for p in files}
    sounds: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in files:
        if (said := SAID.fullmatch(path.name)) and sf.info(path).duration >= SHORTEST_S:
            key = (path.parent / said[1]).relative_to(root).as_posix()
            sounds[key].setdefault(said[2] or "en", path)
    stamps, without, drawings = [], [], 0
    for key in sorted({name[:-4] for name in there if name.endswith((".png", ".svg"))}):
        caption = caption_of(root, key)
        picture = root / f"{key}.png" if f"{key}.png" in there else None
        drawings += picture is None
        if not caption:
            without.append(key)
            continue
        paths = [*sounds[key].values(), *([picture] if picture else [])]
        contents = {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
        stamps.append(Stamp(key, picture, caption, label_of(key), sounds[key], contents))
    pictures = sum(s.picture is not None for s in stamps)
    print(
        f"{pictures} pictures with captions; {drawings} stamps only as SVG, of which what is said is used; no caption: {without}"
    )
    join_series(stamps)
    return stamps


def caption_of(root: Path, key: str) -> str:
    """The first line of the stamp's text; of a mirrored one it is the other's."""
    for name in (key, key.removesuffix("_mirror")):
        if (text := root / f"{name}.txt").is_file():
            lines = text.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            return " ".join(lines[0].split()) if lines else ""
    return ""


def label_of(key: str) -> str | None:
    """The class of the longest of its folders."""
    fitting = [(len(f), label) for label, folders in FOLDERS.items() for f in folders if key.startswith(f"{f}/")]
    return max(fitting)[1] if fitting else None


def series_keys(stamp: Stamp) -> Iterator[tuple[str, ...]]:
    """What a stamp has in common with others of its series."""
    yield "caption", same(stamp.caption)
    for content in stamp.contents.values():
        yield "content", content
    for beginning in SERIES:
        if stamp.key.startswith(beginning):
            yield "beginning", beginning
    if not stamp.key.startswith(SPELT):
        yield "name", stamp.label or stamp.key.partition("/")[0], thing(stamp.key.rpartition("/")[2])


def same(caption: str) -> str:
    """A caption without case, articles and punctuation."""
    words = re.findall(r"\w+", caption.casefold())
    return " ".join(w for w in words if w not in ("a", "an", "the", "some", "two")) or caption.casefold()


def thing(name: str) -> str:
    """A file's name without numbers and variants: gnu of gnu-baby-stand, lettuce of redlettuce."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = [COLOUR.sub("", w) for w in re.findall(r"[^\W\d_]+", spaced)]
    return " ".join(w for w in words if w and not VARIANT.fullmatch(w)) or name


def join_series(stamps: list[Stamp]) -> None:
    """Give stamps that have anything in common one series, called after the first of them."""
    above = list(range(len(stamps)))

    def top(k: int) -> int:
        while above[k] != k:
            k = above[k]
        return k

    first: dict[tuple[str, ...], int] = {}
    for k, stamp in enumerate(stamps):
        for key in series_keys(stamp):
            a, b = sorted((top(k), top(first.setdefault(key, k))))
            above[b] = a
    for k, stamp in enumerate(stamps):
        stamp.series = stamps[top(k)].id


def turn(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def share(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(turn(key)[:6], "big") / 2**48


def divide(stamps: list[Stamp]) -> dict[str, str]:
    """The part of each series: of a class' series, the longest first and those of one length by turn, each goes where most
    pictures are lacking. Series without a class are pair training's, and those without a picture go by lot."""
    members: dict[str, list[Stamp]] = defaultdict(list)
    for stamp in stamps:
        members[stamp.series].append(stamp)
    of_class: dict[str, list[tuple[int, str]]] = defaultdict(list)
    part_of = {}
    for series, those in members.items():
        labels = Counter(s.label for s in those if s.picture and s.label)
        labels = labels or Counter(s.label for s in those if s.label)
        if size := sum(s.picture is not None for s in those if s.label):
            of_class[labels.most_common(1)[0][0]].append((size, series))
        elif labels:
            ends = [sum(list(PARTS.values())[: k + 1]) for k in range(len(PARTS))]
            part_of[series] = next((p for p, end in zip(PARTS, ends) if share(f"part {series}") < end), "test")
        else:
            part_of[series] = "pair"
    for label, sizes in of_class.items():
        if len(sizes) < len(PARTS):
            sys.exit(f"error: {label} has {len(sizes)} series, and there are {len(PARTS)} parts")
        lacks = {part: s * sum(n for n, _ in sizes) for part, s in PARTS.items()}
        empty = list(PARTS)
        for k, (size, series) in enumerate(sorted(sizes, key=lambda row: (-row[0], turn(row[1])))):
            open_to = empty if len(sizes) - k <= len(empty) else list(PARTS)  # each part has some of each class
            part = max(open_to, key=lambda p: lacks[p])
            part_of[series] = part
            lacks[part] -= size
            empty = [p for p in empty if p != part]
    pair = sorted((s for s, part in part_of.items() if part == "pair"), key=lambda s: turn(f"pair-dev {s}"))
    # a long series would be the most of so small a set
    short = [s for s in pair if len(members[s]) < LONG and any(m.picture for m in members[s])]
    held = set(short[: max(1, round(PAIR_DEV * len(short)))])
    part_of |= {s: "pair-dev" if s in held else "pair-train" for s in pair}
    return part_of


def check_disjoint(parts: dict[str, list[Stamp]]) -> None:
    """Stop where two parts have an id, a series, a caption or a file's content in common."""
    for what in ("id", "series", "caption", "contents"):
        seen: dict[str, str] = {}
        for part, stamps in parts.items():
            for stamp in stamps:
                value = getattr(stamp, what)
                for v in value.values() if what == "contents" else [same(value) if what == "caption" else value]:
                    if seen.setdefault(v, part) != part:
                        sys.exit(f"error: {stamp.key}: its {what} is in {seen[v]} and {part}: {v}")


def item(stamp: Stamp, captioned: bool) -> Item:
    caption = stamp.caption if captioned else None
    return Item(stamp.id, str(stamp.picture), stamp.label, caption=caption, source=stamp.series)


def report(stamps: list[Stamp], part_of: dict[str, str]) -> None:
    """Print a table of pictures: of each class, its series, and how many are in which part."""
    parts = sorted(set(part_of.values()))
    print(" ".join(["class", "pictures", "series", *parts]))
    for label in (*FOLDERS, None):
        mine = [s.series for s in stamps if s.label == label and s.picture]
        of = Counter(part_of[series] for series in mine)
        print(" ".join(map(str, [label or "(none)", len(mine), len(set(mine)), *(of[p] for p in parts)])))


def write_speech(data: str, sets: dict[str, list[Stamp]], classes: dict[str, str]) -> None:
    """What is said about the stamps, each recording once; the text is the English caption whatever the language is."""
    for name, stamps in {"train": sets["unlabelled"], **sets}.items():
        folder, seen = Path(data) / f"speech-{name}", set()
        said: dict[str, tuple[Stamp, str]] = {}
        for stamp in stamps:
            for language, path in sorted(stamp.sounds.items()):
                if stamp.contents[path] not in seen:
                    seen.add(stamp.contents[path])
                    said[f"{language}-{stamp.id}"] = stamp, language
        captioned = name.startswith("pair")
        utterances = [
            Utterance(i, str(s.sounds[language]), text=s.caption if captioned else None)
            for i, (s, language) in sorted(said.items())
        ]
        write_data_dir(folder, utterances)
        write_labels(folder / "utt2lang", {i: (language,) for i, (_, language) in said.items()})
        if not captioned:
            write_classes(folder / CLASSES, classes)
        if name in ("train", "dev", "test"):
            write_labels(folder / LABELS, {i: (s.label or "",) for i, (s, _) in said.items()})
        print(f"{folder}: {len(said)} recordings in {len({k for _, k in said.values()})} languages")


if __name__ == "__main__":
    main(*sys.argv[1:])
