"""items.jsonl: what is written comes back, paths stay in their folder, and every bad line is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from audiokd.data.items import Box, Item, read_items, spaced, write_items
from audiokd.errors import AudiokdError


def test_write_then_read(tmp_path: Path) -> None:
    """All fields; a picture in the data dir, one elsewhere, one in an object store."""
    root = tmp_path / "data" / "train"
    items = [
        Item("z/東京", "s3://bucket/a.jpg", label="a b", boxes=()),
        Item(
            "a",
            str(root / "pictures" / "a.png"),
            label="cat",
            domain="Real World",
            caption='a "cat"\u2028on\x85a mat\n',
            mask=str(root / "masks" / "a.png"),
            boxes=(Box((0.0, 1.5, 10.0, 20.0), "cat"), Box((1.0, 2.0, 3.0, 4.0, 2.0, 1.5, -0.5))),
            source="series 7",
        ),
        Item("b", str(tmp_path / "elsewhere.jpg")),
    ]
    write_items(root, items)
    file = root / "items.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    assert [r["id"] for r in rows] == ["a", "b", "z/東京"]
    assert [r["path"] for r in rows] == ["pictures/a.png", str(tmp_path / "elsewhere.jpg"), "s3://bucket/a.jpg"]
    assert rows[0]["mask"] == "masks/a.png"
    assert rows[1].keys() == {"id", "path"}
    back = read_items(root)
    assert [i.where for i in back] == [f"{file}:{n}" for n in (1, 2, 3)]
    assert [i.with_(where="") for i in back] == sorted(items, key=lambda i: i.id)
    before = file.read_bytes()
    write_items(file, reversed(back))
    assert file.read_bytes() == before
    assert os.listdir(root) == ["items.jsonl"]


def test_relative_paths_follow_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data dir that is moved with its pictures still finds them; a path of the working directory is not lost."""
    monkeypatch.chdir(tmp_path)
    write_items("data", [Item("in", "data/x/../in.png"), Item("near", "data2/a.png"), Item("out", "out.png")])
    (tmp_path / "data").rename(tmp_path / "moved")
    inside, near, outside = read_items("moved")
    assert inside.path == "moved/in.png"
    assert near.path == str(tmp_path / "data2" / "a.png")
    assert outside.path == str(tmp_path / "out.png")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "b", "path": "b.png"', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["b", "b.png"]', "not an object but"),
        ('{"id": "b", "path": "b.png", "lable": "cat", "size": 3}', "unknown key lable, size"),
        ('{"id": "b"}', "no path"),
        ('{"path": "b.png"}', "no id"),
        ('{"id": null, "path": "b.png"}', "no id"),
        ('{"id": 3, "path": "b.png"}', "id is 3, not a text"),
        ('{"id": "b", "path": "b.png", "label": 3}', "label is 3, not a text"),
        ('{"id": "b", "path": "b.png", "label": ""}', "label is ''"),
        ('{"id": "b", "path": ""}', "path is ''"),
        ('{"id": "b c", "path": "b.png"}', "'b c' cannot be an id"),
        ('{"id": "a", "path": "b.png"}', "a stands there before, in line 1"),
        ('{"id": "b", "path": "../b.png"}', r"\.\./b\.png leaves"),
        ('{"id": "b", "path": "b.png", "mask": "x/../../b.png"}', "leaves"),
        ('{"id": "b", "path": "b\\u0000.png"}', "path is"),
        ('{"id": "b", "path": "b\\ud800.png"}', "path is not UTF-8"),
        ('{"id": "b", "path": "b.png", "boxes": [[0, 0, 1, 1]]}', "is no box"),
        ('{"id": "b", "path": "b.png", "boxes": {"box": [0, 0, 0, 1]}}', "is no box"),
        ('{"id": "b", "path": "b.png", "boxes": [{"box": [0, 0, 1, NaN]}]}', "is no box"),
        ('{"id": "b", "path": "b.png", "boxes": [{"box": [0, 0, 1]}]}', "is no box"),
        (f'{{"id": "b", "path": "b.png", "boxes": [{{"box": [0, 0, 1, 1{"0" * 400}]}}]}}', "is no box"),
        ('{"id": "b", "path": "b.png", "boxes": [{"box": [0, 0, 0, 1, -1, 1, 0]}]}', "is no box"),
        ('{"id": "b", "path": "b.png", "boxes": [{"box": [0, 0, 1, 1], "class": "x"}]}', "is no box"),
        ('{"id": "b", "path": "b.png", "boxes": [{"box": [0, 0, 1, 1], "label": 1}]}', "is no box"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text(f'{{"id": "a", "path": "a.png"}}\n\n{line}\n')
    with pytest.raises(AudiokdError, match=said) as e:
        read_items(tmp_path)
    assert e.value.where == f"{file}:3"
    assert e.value.fix


def test_a_file_that_holds_none(tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="no such file"):
        read_items(tmp_path / "items.jsonl")
    (tmp_path / "items.jsonl").write_text("\n")
    with pytest.raises(AudiokdError, match="holds no item"):
        read_items(tmp_path)
    (tmp_path / "items.jsonl").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(AudiokdError, match="not UTF-8"):
        read_items(tmp_path)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "no item to write"),
        ([Item("a", "a.png"), Item("a", "b.png")], "item a: two items have this id"),
        ([Item("a b", "a.png")], "cannot be an id"),
        ([Item("a", os.fsdecode(b"\xff.png"))], "item a: path is not UTF-8"),
        ([Item("a", "a.png", boxes=(Box((3.0, 0.0, 1.0, 1.0)),))], "is no box"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, items: list[Item], said: str) -> None:
    write_items(tmp_path, [Item("old", "/old.png")])
    with pytest.raises(AudiokdError, match=said):
        write_items(tmp_path, items)
    assert [i.id for i in read_items(tmp_path)] == ["old"]


def test_some_from_one_end_to_the_other() -> None:
    assert spaced("abcdefgh", 3) == ["a", "c", "f"]
    assert spaced("abc", 3) == spaced("abc", 9) == ["a", "b", "c"]
    assert spaced("abc", 0) == spaced("", 4) == []
