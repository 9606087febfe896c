"""Lists of classes: their order, their names, and lists that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiokd.data.classes import check_names, check_same, named, read_classes, read_coop_classnames, write_classes
from audiokd.errors import AudiokdError


def test_write_then_read_keeps_the_order(tmp_path: Path) -> None:
    classes = {"n2": "tench, a fish", "desk lamp": "desk lamp", "a": "été"}
    write_classes(tmp_path / "classes.txt", classes)
    assert (tmp_path / "classes.txt").read_text(encoding="utf-8") == "n2\ttench, a fish\ndesk lamp\na\tété\n"
    assert list(read_classes(tmp_path).items()) == list(classes.items())


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("cat\ndog\n\ncat\n", ":4", "cat stands there before, in line 1"),
        ("cat\na\t\n", ":2", "half a line"),
        ("\tcat\n", ":1", "half a line"),
        ("\n \n", "", "holds no class"),
    ],
)
def test_a_bad_list_is_named(tmp_path: Path, text: str, where: str, said: str) -> None:
    file = tmp_path / "words.txt"
    file.write_text(text)
    with pytest.raises(AudiokdError, match=said) as e:
        read_classes(file)
    assert e.value.where == f"{file}{where}"


@pytest.mark.parametrize("classes", [{}, {"": "x"}, {"a\tb": "x"}, {"a": "x\ny"}, {"a ": "x"}])
def test_a_list_that_a_file_cannot_hold(tmp_path: Path, classes: dict[str, str]) -> None:
    with pytest.raises(AudiokdError):
        write_classes(tmp_path / "classes.txt", classes)
    assert not (tmp_path / "classes.txt").exists()


def test_coop_classnames(tmp_path: Path) -> None:
    """Lines as CoOp's file has them, with one of the two names that stand for two classes."""
    file = tmp_path / "classnames.txt"
    file.write_text("n01440764 tench\nn04355933 sunglasses\nn04356056 sunglasses\nn02132136 brown bear\n")
    classes = read_coop_classnames(file)
    assert classes["n02132136"] == "brown bear"
    with pytest.raises(AudiokdError, match="one name for several classes: 'sunglasses' for n04355933, n04356056"):
        check_names(classes, "list")
    file.write_text("n01440764\n")
    with pytest.raises(AudiokdError, match=r"classnames\.txt:1: n01440764 has no name"):
        read_coop_classnames(file)
    file.write_text("n01440764 tench\nn01440764 fish\n")
    with pytest.raises(AudiokdError, match=r"classnames\.txt:2: n01440764 stands there before"):
        read_coop_classnames(file)


def test_names_that_no_prompt_tells_apart() -> None:
    check_names({"a": "desk lamp", "b": "lamp"}, "list")
    with pytest.raises(AudiokdError, match="'desk lamp' for a, b, c"):
        check_names({"a": "desk lamp", "b": "Desk_Lamp", "c": " desk  lamp"}, "list")


def test_both_sides_of_a_mismatch_are_named() -> None:
    check_same(["a", "b"], ["b", "a"], "x", "y")
    with pytest.raises(AudiokdError, match="x: nothing of c; not in the list: d, e"):
        check_same(["a", "c"], ["a", "e", "d"], "x", "y")
    assert named(map(str, range(12))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
