"""Stage 2 of pictures: what cannot be read is named by its line and goes to quarantine, what is odd is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pictures import BAD, NAMES, save_pictures

from audiokd.cli import main
from audiokd.data.classes import CLASSES, write_classes
from audiokd.data.items import read_items, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.stages.shard import shard
from audiokd.stages.validate import validate


@pytest.fixture
def root(coffee: Path, tmp_path: Path) -> Path:
    return save_pictures(tmp_path / "train", coffee)


@pytest.mark.parametrize("nj", [1, 2])
def test_the_report(root: Path, capsys: pytest.CaptureFixture[str], nj: int) -> None:
    line = {item.id: item.where for item in read_items(root)}
    with pytest.raises(
        AudiokdError, match=r"4 of 24 pictures cannot be read \(16\.67%\)(.|\n)*--max_error_rate 0\.167"
    ):
        validate(str(root), nj=nj)
    said = capsys.readouterr().err
    for name, what in {
        "animated": "animated or of several pages: 3 frames",
        "corrupt": "not an image, or cut off in its header",
        "missing": "no such file",
        "truncated": "truncated or damaged",
        "cmyk": "CMYK, read as RGB without a colour profile",
        "deep": "16 bits a sample, read as 8",
    }.items():
        assert f"{line[name]}: {name}: {what}" in said
    found = validate(str(root), max_error_rate=0.17, nj=nj)
    assert json.loads((root / "validate.json").read_text()) == json.loads(json.dumps(found))
    assert [x["id"] for x in found["images"]] == list(BAD)
    assert [row.split()[0] for row in (root / "quarantine.txt").read_text().splitlines()] == list(BAD)
    assert (found["pictures"], found["bad"], found["error_rate"], found["ok"]) == (24, 4, 0.166667, True)
    assert found["classes"] == {"0": 2, "1": 2, "2": 1, "espresso": 4, "hopper": 11}
    assert found["domains"] == {"drawn": 5, "photo": 15}
    assert found["sizes"] == {"least": (8, 8), "median": (162, 172), "greatest": (149, 400)}
    assert found["formats"]["JPEG CMYK"] == 1
    assert {w["id"] for w in found["warnings"]} == {"cmyk", "deep"}
    for name in BAD:
        (root / "pictures").joinpath(f"{name}.jpg").unlink(missing_ok=True)
    write_items(root, [i for i in read_items(root) if i.id not in BAD])
    assert validate(str(root))["bad"] == 0
    assert not (root / "quarantine.txt").exists()


def test_one_file_under_two_ids(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = root / "pictures"
    items = [i for i in read_items(root) if i.id not in BAD]
    same = {i.id: i for i in items}["hopper0"]
    for name, label in (("copy", "hopper"), ("other", "espresso")):
        shutil.copyfile(same.path, pictures / f"{name}.png")
        items.append(same.with_(id=name, path=str(pictures / f"{name}.png"), label=label))
    write_items(root, items)
    found = validate(str(root))
    line = {item.id: item.where for item in read_items(root)}
    warnings = {w["what"] for w in found["warnings"] if w["id"] in ("hopper0", "other")}
    assert warnings == {
        "named .png, but it is JPEG (read as JPEG)",
        f"the same file as copy ({line['copy']})",
        f"the same file as copy ({line['copy']}), whose label is hopper and not espresso",
    }
    assert f"{line['hopper0']}: hopper0: the same file as copy" in capsys.readouterr().err


def test_classes_that_differ(root: Path) -> None:
    write_classes(root / CLASSES, {k: v for k, v in NAMES.items() if k != "hopper"} | {"tea": "bad"})
    with pytest.raises(AudiokdError, match=rf"{CLASSES}: nothing of tea; not in the list: hopper"):
        validate(str(root))
    assert json.loads((root / "validate.json").read_text())["ok"] is False
    write_classes(root / CLASSES, NAMES | {"tea": "bad"})  # a class without an item is no fault of a part of a set
    assert "no item of tea" in {w["what"] for w in validate(str(root), max_error_rate=0.2)["warnings"]}
    write_items(root, [i.with_(label=None) for i in read_items(root)])
    assert validate(str(root), max_error_rate=0.2)["ok"]
    (root / CLASSES).unlink()
    assert validate(str(root), max_error_rate=0.2)["ok"]


def test_options_of_sound(root: Path) -> None:
    with pytest.raises(ConfigError, match="--fix and --allow_pipes are for lists of sound"):
        validate(str(root), fix=True)


def test_shard_says_that_nothing_is_to_do(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["shard", str(root), str(tmp_path / "dump")])
    assert capsys.readouterr().out.splitlines() == [
        f"{root}: pictures are not packed into shards; give this folder itself to the later stages"
    ]
    assert shard(str(root), str(tmp_path / "dump")) == {}
    assert not (tmp_path / "dump").exists()
