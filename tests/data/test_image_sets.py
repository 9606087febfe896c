"""Published layouts to items: class folders, DomainBed's domains, CoOp's splits; and what does not fit is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets

from audiokd.data.class_folders import DOMAINBED, class_folders, domain_folders, domainbed_set
from audiokd.data.classes import read_classes
from audiokd.data.coop_split import COOP, coop_set, read_coop_split
from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.images import load_image
from audiokd.data.items import Item, read_items
from audiokd.errors import AudiokdError

CHINA = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"


def put(root: Path, *names: str) -> Path:
    """The photograph china.jpg under each name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHINA, root / name)
    return root


def test_class_folders(tmp_path: Path) -> None:
    """Sorted by code point as DomainBed and torchvision do; deeper folders, other files, hidden ones and links."""
    root = put(tmp_path / "set", "dog/b.jpg", "dog/a 1.JPEG", "Zebra/deep/x.y.png", "dog/.hidden.jpg", ".cache/x/z.jpg")
    (root / "dog" / "Thumbs.db").write_text("")
    (root / "readme.txt").write_text("")
    put(tmp_path / "elsewhere", "c.webp")
    (root / "cat").symlink_to(tmp_path / "elsewhere")
    images = class_folders(root)
    assert list(images.classes.items()) == [(c, c) for c in ("Zebra", "cat", "dog")]
    items = images.splits["all"]
    assert [(i.id, i.label) for i in items] == [
        ("Zebra/deep/x.y", "Zebra"),
        ("cat/c", "cat"),
        ("dog/a%201", "dog"),
        ("dog/b", "dog"),
    ]
    assert load_image(items[2]).size == (640, 427)


def test_class_folders_by_a_list(tmp_path: Path) -> None:
    root = put(tmp_path, "n1/a.jpg", "n2/a.jpg")
    assert list(class_folders(root, {"n2": "tench", "n1": "bear"}).classes) == ["n2", "n1"]
    with pytest.raises(AudiokdError, match="nothing of n3; not in the list: n1"):
        class_folders(root, {"n2": "tench", "n3": "bear"})
    with pytest.raises(AudiokdError, match="'tench' for n1, n2"):
        class_folders(root, {"n1": "tench", "n2": "Tench"})
    assert class_folders(root, {"n1": "tench", "n2": "Tench"}, same_names=True).classes["n2"] == "Tench"


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="no such folder"):
        class_folders(tmp_path / "gone")
    with pytest.raises(AudiokdError, match="no folder in it"):
        class_folders(tmp_path)
    put(tmp_path, "cat/a.jpg")
    (tmp_path / "ant").mkdir()
    (tmp_path / "bee").mkdir()
    (tmp_path / "bee" / "a.txt").write_text("")
    with pytest.raises(AudiokdError, match="no picture of ant, bee"):
        class_folders(tmp_path)
    for name in ("ant", "bee"):
        shutil.rmtree(tmp_path / name)
    put(tmp_path, "Cat/a.jpg")
    with pytest.raises(AudiokdError, match="'cat' for Cat, cat"):
        class_folders(tmp_path)
    shutil.rmtree(tmp_path / "Cat")
    put(tmp_path, "cat/a.png")
    with pytest.raises(AudiokdError, match=r"its id is that of .*a\.(png|jpg): cat/a"):
        class_folders(tmp_path)


def test_domain_folders(tmp_path: Path) -> None:
    root = put(tmp_path, *(f"{d}/{c}/0.jpg" for d in ("Real World", "Art") for c in ("Mug", "Bed")))
    (root / "ImageInfo.csv").write_text("")
    images = domain_folders(root)
    assert list(images.splits) == ["Art", "Real_World"]
    assert list(images.classes) == ["Bed", "Mug"]
    assert images.splits["Real_World"][0] == Item(
        "Real%20World/Bed/0", str(root / "Real World/Bed/0.jpg"), label="Bed", domain="Real_World"
    )
    shutil.rmtree(root / "Art" / "Bed")
    put(root, "Real World/Bike/0.jpg")
    with pytest.raises(AudiokdError, match="Art has no Bed, Bike"):
        domain_folders(root)


@pytest.mark.parametrize(
    ("name", "domains"),
    [
        ("PACS", ["art_painting", "cartoon", "photo", "sketch"]),
        ("VLCS", ["Caltech101", "LabelMe", "SUN09", "VOC2007"]),
        ("OfficeHome", ["Art", "Clipart", "Product", "Real_World"]),
        ("TerraIncognita", ["location_100", "location_38", "location_43", "location_46"]),
        ("DomainNet", ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]),
    ],
)
def test_domainbed_sets(tmp_path: Path, name: str, domains: list[str]) -> None:
    """Folders as DomainBed's download.py leaves them."""
    known = DOMAINBED[name]
    root = tmp_path / known.folder
    folders = ["Real World" if domain == "Real_World" else domain for domain in domains]
    for domain in folders:
        for c in range(known.classes):
            (root / domain / f"c{c:03}").mkdir(parents=True)
            (root / domain / f"c{c:03}" / "0.jpg").symlink_to(CHINA)
    images = domainbed_set(name, tmp_path)
    assert list(images.splits) == domains
    assert len(images.classes) == known.classes
    assert [len(d) for d in images.splits.values()] == [known.classes] * len(domains)
    assert {s: {i.domain for i in of} for s, of in images.splits.items()} == {
        d: {d} for d in domains
    }  # what is left out
    for domain in folders:
        shutil.rmtree(root / domain / "c000")
    with pytest.raises(AudiokdError, match=f"{known.classes - 1} classes, {name} has {known.classes}"):
        domainbed_set(name, tmp_path)
    shutil.rmtree(root / domains[0])
    with pytest.raises(AudiokdError, match=f"{len(domains) - 1} domains"):
        domainbed_set(name, tmp_path)
    with pytest.raises(AudiokdError, match=f"no set 'X'\n.*{name}"):
        domainbed_set("X", tmp_path)


def split_file(root: Path, **changes: Any) -> Path:
    """A split of two classes whose numbers are not in the order of their names, and its pictures."""
    split = {
        "train": [["sea lake/b.jpg", 1, "Lake or Sea"], ["river/a.jpg", 0, "River"]],
        "val": [["river/c.jpg", 0, "River"], ["sea lake/d.jpg", 1, "Lake or Sea"]],
        "test": [["river/e.jpg", 0, "River"], ["sea lake/f.jpg", 1, "Lake or Sea"]],
    } | changes
    put(root / "images", *(f"river/{n}.jpg" for n in "ace"), *(f"sea lake/{n}.jpg" for n in "bdf"))
    file = root / "split.json"
    file.write_text(json.dumps(split))
    return file


def test_coop_split(tmp_path: Path) -> None:
    file = split_file(tmp_path)
    images = read_coop_split(file, tmp_path / "images")
    assert list(images.classes) == ["River", "Lake or Sea"]
    assert images.splits["test"][1] == Item(
        "sea%20lake/f", str(tmp_path / "images/sea lake/f.jpg"), label="Lake or Sea", where=f"{file}: test[1]"
    )
    assert list(read_coop_split(split_file(tmp_path, val=[]), tmp_path / "images").splits) == ["train", "test"]
    (tmp_path / "images" / "river" / "a.jpg").unlink()  # one picture alone is found when it is read
    assert len(read_coop_split(file, tmp_path / "images").splits["train"]) == 2


RIVER = ["river/a.jpg", 0, "River"]


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"train": [RIVER, ["b.jpg", 1]]}, ": train[1]", "is no entry"),
        ({"train": [RIVER, ["b.jpg", "1", "Sea"]]}, ": train[1]", "is no entry"),
        ({"train": [RIVER, ["b.jpg", True, "Sea"]]}, ": train[1]", "is no entry"),
        ({"train": [RIVER, ["b.jpg", 1, " "]]}, ": train[1]", "is no entry"),
        ({"train": [RIVER, [".", 1, "Sea"]]}, ": train[1]", "is no entry"),
        ({"train": [RIVER, ["../b.jpg", 1, "Sea"]]}, ": train[1]", r"\.\./b\.jpg leaves"),
        ({"train": [RIVER, ["/b.jpg", 1, "Sea"]]}, ": train[1]", "leaves"),
        ({"test": [["river/e.jpg", 0, "Stream"]]}, ": test[0]", "label 0 is 'Stream' here and 'River' before"),
        ({"val": [["river/c.jpg", 2, "river"]]}, "", "'river' for label 0, label 2"),
        (
            {"val": [RIVER, ["sea lake/d.jpg", 1, "Lake or Sea"]]},
            ": val[0]",
            r"a\.jpg is there before, at .*train\[1\]",
        ),
        ({"train": [RIVER]}, ": train", "nothing of Lake or Sea"),
        ({"test": []}, ": test", "nothing of Lake or Sea, River"),
        ({"val": {}}, "", "val is no list"),
        ({"extra": []}, "", "not train, val and test"),
    ],
)
def test_a_bad_coop_split_is_named(tmp_path: Path, changes: dict[str, Any], where: str, said: str) -> None:
    file = split_file(tmp_path, **changes)
    with pytest.raises(AudiokdError, match=said) as e:
        read_coop_split(file, tmp_path / "images")
    assert e.value.where == f"{file}{where}"


def test_a_coop_split_without_its_pictures(tmp_path: Path) -> None:
    file = split_file(tmp_path)
    with pytest.raises(AudiokdError, match="no such folder"):
        read_coop_split(file, tmp_path / "gone")
    with pytest.raises(AudiokdError, match=r"none of its pictures is there: .*a\.jpg"):
        read_coop_split(file, tmp_path)
    file.write_text("{")
    with pytest.raises(AudiokdError, match=r"split\.json: not JSON"):
        read_coop_split(file, tmp_path)


@pytest.mark.parametrize("name", sorted(COOP.keys() - {"ImageNet", "FGVCAircraft"}))
def test_coop_sets(tmp_path: Path, name: str) -> None:
    """Where CoOp's DATASETS.md puts each set."""
    folder, images, split = {
        "Caltech101": ("caltech-101", "101_ObjectCategories", "split_zhou_Caltech101.json"),
        "OxfordPets": ("oxford_pets", "images", "split_zhou_OxfordPets.json"),
        "StanfordCars": ("stanford_cars", ".", "split_zhou_StanfordCars.json"),
        "Flowers102": ("oxford_flowers", "jpg", "split_zhou_OxfordFlowers.json"),
        "Food101": ("food-101", "images", "split_zhou_Food101.json"),
        "SUN397": ("sun397", "SUN397", "split_zhou_SUN397.json"),
        "DTD": ("dtd", "images", "split_zhou_DescribableTextures.json"),
        "EuroSAT": ("eurosat", "2750", "split_zhou_EuroSAT.json"),
        "UCF101": ("ucf101", "UCF-101-midframes", "split_zhou_UCF101.json"),
    }[name]
    (tmp_path / folder).mkdir()
    split_file(tmp_path).rename(tmp_path / folder / split)
    shutil.copytree(tmp_path / "images", tmp_path / folder / images, dirs_exist_ok=True)
    found = coop_set(name, tmp_path)
    assert [len(i) for i in found.splits.values()] == [2, 2, 2]
    assert load_image(found.splits["train"][0]).size == (640, 427)
    with pytest.raises(AudiokdError, match=f"{name} is expected there"):
        coop_set(name, tmp_path / "gone")
    with pytest.raises(AudiokdError, match=f"no set 'X'\n.*{name}"):
        coop_set("X", tmp_path)


def test_aircraft(tmp_path: Path) -> None:
    """Its own lists, in the order of variants.txt."""
    root = put(tmp_path / "fgvc_aircraft", *(f"images/{n}.jpg" for n in range(4)))
    (root / "variants.txt").write_text("707-320\nCessna 172\n")
    for split, n in (("train", 0), ("val", 2), ("test", 4)):
        (root / f"images_variant_{split}.txt").write_text(f"{n:07} 707-320\n{n + 1:07} Cessna 172\n")
    with pytest.raises(AudiokdError, match="none of its pictures"):
        coop_set("FGVCAircraft", tmp_path)
    put(root, *(f"images/{n:07}.jpg" for n in range(6)))
    images = coop_set("FGVCAircraft", tmp_path)
    assert list(images.classes) == ["707-320", "Cessna 172"]
    assert images.splits["val"][1].with_(where="") == Item(
        "0000003", str(root / "images" / "0000003.jpg"), label="Cessna 172"
    )
    (root / "images_variant_val.txt").write_text("0000002 707-320\n0000003 Cessna 173\n")
    with pytest.raises(AudiokdError, match=r"val\.txt:2: 'Cessna 173' is not in variants\.txt"):
        coop_set("FGVCAircraft", tmp_path)
    (root / "images_variant_val.txt").write_text("0000000 707-320\n0000003 Cessna 172\n")
    with pytest.raises(AudiokdError, match=r"val\.txt:1: .*is there before, at .*train\.txt:1"):
        coop_set("FGVCAircraft", tmp_path)
    (root / "variants.txt").write_text("707-320\nCessna 172\n707-320\n")
    with pytest.raises(AudiokdError, match="there twice: 707-320"):
        coop_set("FGVCAircraft", tmp_path)


def test_imagenet(tmp_path: Path) -> None:
    """Labels are synsets, for two classes are named sunglasses; its val is the test split, and there is no val."""
    root = put(
        tmp_path / "imagenet",
        *(f"images/{s}/{c}/{c}_{s}.JPEG" for s in ("train", "val") for c in ("n04355933", "n04356056", "n02132136")),
    )
    (root / "classnames.txt").write_text("n04355933 sunglasses\nn04356056 sunglasses\nn02132136 brown bear\n")
    images = coop_set("ImageNet", tmp_path)
    assert list(images.classes.items())[:2] == [("n02132136", "brown bear"), ("n04355933", "sunglasses")]
    assert {s: of[0].id for s, of in images.splits.items()} == {
        "train": "train/n02132136/n02132136_train",
        "test": "val/n02132136/n02132136_val",
    }
    shutil.rmtree(root / "images" / "val" / "n02132136")
    with pytest.raises(AudiokdError, match="val: nothing of n02132136"):
        coop_set("ImageNet", tmp_path)


def test_write_image_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = read_coop_split(split_file(tmp_path), tmp_path / "images")
    write_image_set(tmp_path / "data", images)
    assert capsys.readouterr().out == f"{tmp_path}/data: train 2, val 2, test 2; 2 classes\n"
    assert list(read_classes(tmp_path / "data" / "val")) == ["River", "Lake or Sea"]
    back = read_items(tmp_path / "data" / "val")
    assert [i.with_(where="") for i in back] == [i.with_(where="") for i in images.splits["val"]]
    assert load_image(back[0]).mode == "RGB"
    splits = images.splits
    for bad, said in (
        (ImageSet(splits | {"val": []}, images.classes), "val: no item"),
        (ImageSet(splits | {"val": splits["train"]}, images.classes), "in train and val"),
        (ImageSet(splits, {"River": "River"}), "sea%20lake/b: Lake or Sea is no class"),
    ):
        with pytest.raises(AudiokdError, match=said):
            write_image_set(tmp_path / "bad", bad)
    assert not (tmp_path / "bad").exists()
