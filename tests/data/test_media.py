"""Labelled pictures and labelled sound read alike: labels, domains, classes, and stretches that a key alone decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audiokd.data.audio import load_at
from audiokd.data.items import Item, write_items
from audiokd.data.media import Loader, open_media
from audiokd.errors import AudiokdError, ImageError


@pytest.fixture
def pictures(coffee: Path, tmp_path: Path) -> Path:
    with Image.open(coffee) as whole:
        for k in range(4):
            whole.crop((k * 150, 0, k * 150 + 150, 200)).save(tmp_path / f"p{k}.png")
    items = [Item(f"p{k}", str(tmp_path / f"p{k}.png"), "cup" if k % 2 else "tea spoon", "photo") for k in range(4)]
    write_items(tmp_path, items)
    return tmp_path


def test_pictures(pictures: Path) -> None:
    media = open_media(pictures)
    assert (media.kind, len(media), media.classes) == ("image", 4, {"cup": "cup", "tea spoon": "tea spoon"})
    assert media.labels() == {"p0": 1, "p1": 0, "p2": 1, "p3": 0}
    assert media.domains() == ("photo",)
    assert Loader(media, 0)(media.items[1], 3).size == (150, 200)
    (pictures / "quarantine.txt").write_text("p1\n")
    (pictures / "classes.txt").write_text("tea spoon\tspoon\ncup\nplate\n")
    media = open_media(pictures)
    assert [i.id for i in media.items] == ["p0", "p2", "p3"]
    assert media.classes == {"tea spoon": "spoon", "cup": "cup", "plate": "plate"}
    assert media.labels() == {"p0": 0, "p2": 0, "p3": 1}
    with pytest.raises(ImageError, match="no such file"):
        Loader(media, None)(Item("x", str(pictures / "x.png")), 0)


def test_sound(readers: Path, tmp_path: Path) -> None:
    for name in ("wav.scp", "segments", "utt2label"):
        (tmp_path / name).write_text((readers / "train" / name).read_text())
    (tmp_path / "utt2domain").write_text("".join(f"beckett-{k} desk\ntwo_cities-{k} studio\n" for k in range(7)))
    media = open_media(tmp_path)
    assert (media.kind, len(media), media.domains()) == ("audio", 14, ("desk", "studio"))
    assert media.labels()["two_cities-3"] == 1
    assert len({i.path for i in media.items}) == 14  # stretches of one recording are not one item
    assert {i.source for i in media.items} == {"beckett", "two_cities"}
    item = next(i for i in media.items if i.id == "two_cities-3")
    whole = load_at(media.utterances[item.id], 16_000)
    dev = Loader(media, None, 0.5)(item, 7)
    np.testing.assert_array_equal(dev.at(16_000), whole[:8000])
    a, b = (Loader(media, 0, 0.5)(item, step) for step in (1, 2))
    first = round(a.start_s * 16_000)
    np.testing.assert_array_equal(a.at(16_000), whole[first : first + 8000])
    assert Loader(media, 0, 0.5)(item, 1).start_s == a.start_s != b.start_s
    long = Loader(media, 0, 1.5)(item, 1)  # longer than the utterance: silence follows
    assert (long.length(16_000), len(long.at(16_000))) == (16_000, 24_000)
    assert (long.length(8_000), not long.at(16_000)[16_000:].any()) == (8_000, True)


def test_what_is_refused(pictures: Path, readers: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("wav.scp", "segments"):
        (folder / name).write_text((readers / "train" / name).read_text())
    bare = open_media(folder)
    with pytest.raises(AudiokdError, match="14 of 14 items have no label"):
        bare.labels()
    (pictures / "classes.txt").write_text("cup\n")
    with pytest.raises(AudiokdError, match="1 labels are no classes: tea spoon"):
        open_media(pictures)
    (pictures / "classes.txt").write_text("cup\tthing\ntea spoon\tThing\n")
    with pytest.raises(AudiokdError, match="one name for several classes: 'thing' for cup, tea spoon"):
        open_media(pictures)
    assert len(open_media(pictures, same_names=True)) == 4
    (folder / "utt2label").write_text("beckett-0 a b\n")
    with pytest.raises(AudiokdError, match="2 words where one is due") as e:
        open_media(folder)
    assert "utt2label: beckett-0" in str(e.value)
