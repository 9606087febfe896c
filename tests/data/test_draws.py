"""Draws of classes and items: by the seed alone, the same for ever, and as large as asked."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from audiokd.data.draws import base_novel, few_shot, hold_out
from audiokd.data.items import Item
from audiokd.errors import AudiokdError


def corpus(per_class: int = 40) -> list[Item]:
    return [Item(f"{c}/{n:03}", f"/{c}/{n:03}.jpg", label=c) for c in ("ant", "bee", "cat") for n in range(per_class)]


def test_base_and_novel() -> None:
    assert base_novel(["a", "b", "c", "d", "e"]) == (("a", "b", "c"), ("d", "e"))
    assert base_novel({"b": "x", "a": "y"}) == (("b",), ("a",))  # the order of the class vectors
    assert tuple(map(len, base_novel([str(n) for n in range(47)]))) == (24, 23)  # DTD
    with pytest.raises(AudiokdError, match="1 classes are not enough"):
        base_novel(["a"])


def test_few_shot_depends_on_the_seed_alone() -> None:
    items = corpus()
    drawn = few_shot(items, 16, seed=1)
    assert Counter(i.label for i in drawn) == {"ant": 16, "bee": 16, "cat": 16}
    assert drawn == sorted(drawn, key=lambda i: i.id)
    shuffled = items.copy()
    random.Random(0).shuffle(shuffled)
    assert few_shot(shuffled, 16, seed=1) == drawn
    assert few_shot([i for i in items if i.label != "bee"], 16, seed=1) == [i for i in drawn if i.label != "bee"]
    assert few_shot([*items, Item("x", "/x.jpg")], 16, seed=1) == drawn  # without a label
    assert few_shot(items, 16, seed=2) != drawn
    assert set(few_shot(items, 4, seed=1)) < set(drawn)
    assert len({tuple(i.id[-3:] for i in drawn if i.label == c) for c in ("ant", "bee", "cat")}) == 3
    # written down: a published draw must not move
    assert [i.id for i in few_shot(items, 2, seed=1)][:2] == ["ant/004", "ant/029"]


def test_few_shot_takes_every_item_equally_often() -> None:
    counts = Counter(i.id for seed in range(200) for i in few_shot(corpus(10), 5, seed))
    assert len(counts) == 30
    assert min(counts.values()) > 70
    assert max(counts.values()) < 130


def test_few_shot_refuses() -> None:
    with pytest.raises(AudiokdError, match="5 shots are asked for: ant has 4, bee has 4, cat has 4"):
        few_shot(corpus(4), 5, seed=0)
    with pytest.raises(AudiokdError, match="0 shots"):
        few_shot(corpus(4), 0, seed=0)
    with pytest.raises(AudiokdError, match="none of 1 items has a label"):
        few_shot([Item("x", "/x.jpg")], 1, seed=0)


def test_hold_out() -> None:
    items = corpus()
    train, held = hold_out(items, 0.2, seed=1)
    assert Counter(i.label for i in held) == {"ant": 8, "bee": 8, "cat": 8}
    assert sorted([*train, *held], key=lambda i: i.id) == items
    shuffled = items.copy()
    random.Random(0).shuffle(shuffled)
    assert hold_out(shuffled, 0.2, seed=1) == (train, held)
    assert hold_out(items, 0.2, seed=2)[1] != held
    # another draw than the shots: else the held-out part would be made of them
    assert len(set(few_shot(items, 8, seed=1)) & set(held)) < 20


def test_hold_out_of_small_classes_and_without_labels() -> None:
    train, held = hold_out([*corpus(2), Item("x", "/x", label="dog")], 0.1, seed=0)
    assert Counter(i.label for i in held) == {"ant": 1, "bee": 1, "cat": 1}
    assert "x" in [i.id for i in train]
    assert len(hold_out(corpus(2), 0.9, seed=0)[0]) == 3
    bare = [i.with_(label=None) for i in corpus()]
    assert len(hold_out(bare, 0.25, seed=0)[1]) == 30


def test_hold_out_keeps_a_source_together() -> None:
    """Series of 1 to 7 pictures, some of them of two classes."""
    items = [i.with_(source=f"series {n * n % 31}") for n, i in enumerate(corpus())]
    for seed in range(20):
        train, held = hold_out(items, 0.3, seed)
        assert not {i.source for i in train} & {i.source for i in held}
        assert len(train) + len(held) == len(items)
        assert 15 < len(held) < 60


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_hold_out_refuses(share: float) -> None:
    with pytest.raises(AudiokdError, match="cannot be held out"):
        hold_out(corpus(), share, seed=0)
    with pytest.raises(AudiokdError, match="nothing of 3 items can be held out"):
        hold_out(corpus(1), 0.5, seed=0)
