"""Lists and folders of videos, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiokd.data.item_inputs import media_of
from audiokd.data.items import Item, write_items
from audiokd.data.video_sets import video_folders, video_list
from audiokd.errors import AudiokdError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_a_class(tmp_path: Path) -> None:
    touch(
        tmp_path / "playing guitar" / "b.mp4", tmp_path / "abseiling" / "a.webm", tmp_path / "abseiling" / "notes.txt"
    )
    items = video_folders(tmp_path)
    assert [(i.id, i.label) for i in items] == [("abseiling/a", "abseiling"), ("playing%20guitar/b", "playing guitar")]
    touch(tmp_path / "loose.mp4")
    with pytest.raises(AudiokdError, match="lies in no class' folder"):
        video_folders(tmp_path)


def test_a_list_in_any_of_its_spellings(tmp_path: Path) -> None:
    lines = ["path label", "k400/a b.mp4 12", "k400/c.mp4,abseiling", "ssv2/9.webm\t3", "", f"{tmp_path}/abs.mp4 5"]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    items = video_list(tmp_path / "train.csv", tmp_path)
    assert {i.id: i.label for i in items} == {
        "k400/a%20b": "12",
        "k400/c": "abseiling",
        "ssv2/9": "3",
        "abs": "5",
    }
    assert next(i for i in items if i.label == "12").path == str(tmp_path / "k400/a b.mp4")
    assert next(i for i in items if i.label == "3").where == f"{tmp_path / 'train.csv'}:4"


def test_paths_and_labels_with_commas_spaces_and_quotes(tmp_path: Path) -> None:
    lines = [
        'a.mp4,"playing guitar"',
        '"b.mp4","Putting something, something and something on the table"',
        "k/c, d.mp4 12",
        "e.mp4 Pushing something, from left to right",
        '"k/f g.mp4" 7',
        'h.mp4,"so called ""juggling"""',
    ]
    (tmp_path / "l.csv").write_text("\n".join(lines) + "\n")
    assert {i.id: i.label for i in video_list(tmp_path / "l.csv")} == {
        "a": "playing guitar",
        "b": "Putting something, something and something on the table",
        "k/c,%20d": "12",
        "e": "Pushing something, from left to right",
        "k/f%20g": "7",
        "h": 'so called "juggling"',
    }


def test_kinetics_own_table(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "-3B32lodo2M_000059_000069.mp4")
    rows = ["label,youtube_id,time_start,time_end,split", "abseiling,-3B32lodo2M,59,69,train"]
    rows += ['"massaging person\'s head",_-4aBc,0,10,train']
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    second, first = video_list(tmp_path / "train.csv")
    assert (first.path, first.label) == (str(tmp_path / "train" / "-3B32lodo2M_000059_000069.mp4"), "abseiling")
    assert (second.path, second.label) == (str(tmp_path / "_-4aBc_000000_000010.mp4"), "massaging person's head")
    (tmp_path / "train.csv").write_text("\n".join([*rows, "abseiling,x,fifty,69,train"]) + "\n")
    with pytest.raises(AudiokdError, match=r"train.csv:4: no row of label,youtube_id"):
        video_list(tmp_path / "train.csv")


def test_something_somethings_own_list(tmp_path: Path) -> None:
    touch(tmp_path / "videos" / "20bn" / "78687.webm")
    row = {"id": "78687", "label": "holding potato next to cup", "template": "Holding [something] next to [something]"}
    (tmp_path / "train.json").write_text(json.dumps([row]))
    (item,) = video_list(tmp_path / "train.json", tmp_path / "videos")
    assert (item.id, item.label) == ("20bn/78687", "Holding something next to something")
    (tmp_path / "test.json").write_text(json.dumps([row, {"id": "1"}]))
    with pytest.raises(AudiokdError, match=r"test.json: entry 1: has no id or no template"):
        video_list(tmp_path / "test.json", tmp_path / "videos")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alone.mp4", "no path or no label"),
        ("a.txt 3", "no video's name"),
        ("../a.mp4 3", "leaves"),
        ("a.mp4 3\nb/../a.mp4 4", "leaves|id is that"),
        ("a.mp4 1\na.mp4 2", "its id is that of"),
    ],
)
def test_lines_that_are_wrong_are_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "l.csv").write_text(line + "\n")
    with pytest.raises(AudiokdError, match=said) as e:
        video_list(tmp_path / "l.csv")
    assert f"l.csv:{len(line.splitlines())}" in str(e.value)


def test_what_a_folder_is_of(tmp_path: Path) -> None:
    clip, picture = tmp_path / "a.mp4", tmp_path / "b.png"
    write_items(tmp_path / "v", [Item("a", str(clip))])
    write_items(tmp_path / "p", [Item("b", str(picture))])
    write_items(tmp_path / "both", [Item("a", str(clip)), Item("b", str(picture))])
    assert [media_of(tmp_path / k) for k in ("v", "p", "nothing")] == ["video", "image", "audio"]
    with pytest.raises(AudiokdError, match="b is no video, a is otherwise"):
        media_of(tmp_path / "both")
