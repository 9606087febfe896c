"""Which classes and items a method may see: base and novel classes, a few shots of each class, a part held out for selection.

A draw depends on the seed and the ids alone: not on the order of the list, not on the other items, not on a version of numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from audiokd.data.classes import named
from audiokd.data.items import Item
from audiokd.errors import AudiokdError


def base_novel(classes: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first ceil(C / 2) labels, and the others.

    Source: PromptKD (Li et al., arXiv 2403.02781) and CoCoOp before it, whose code sorts the numbers of the labels.

    Args:
        classes: labels in the order of the class vectors, which the readers sort as CoOp numbers them.

    Raises:
        AudiokdError: fewer than two.
    """
    labels = tuple(classes)
    if len(labels) < 2:
        raise AudiokdError(f"{len(labels)} classes are not enough for base and novel ones", fix="two at least")
    half = -(-len(labels) // 2)
    return labels[:half], labels[half:]


def few_shot(items: Sequence[Item], shots: int, seed: int) -> list[Item]:
    """A fixed number of labelled items of each class, sorted by id; those without a label are never drawn.

    Fewer shots of the same seed are a part of more.

    Args:
        items: to draw from.
        shots: of each class.
        seed: of the draw.

    Raises:
        AudiokdError: no shots or no labelled item, or classes that have fewer, all named.
    """
    if shots < 1:
        raise AudiokdError(f"{shots} shots cannot be drawn", fix="one at least")
    of: dict[str, list[Item]] = {}
    for item in items:
        if item.label is not None:
            of.setdefault(item.label, []).append(item)
    if not of:
        raise AudiokdError(f"none of {len(items)} items has a label", fix="shots are drawn from labelled items")
    short = [f"{label} has {len(those)}" for label, those in sorted(of.items()) if len(those) < shots]
    if short:
        raise AudiokdError(
            f"{shots} shots are asked for: {named(short)}", fix="ask for fewer, or leave these classes out"
        )
    drawn = [i for those in of.values() for i in sorted(those, key=lambda i: _turn("shot", seed, i.id))[:shots]]
    return sorted(drawn, key=lambda i: i.id)


def hold_out(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Divide training items into those that are trained on and those that a model is selected by, both sorted by id.

    Each class gives its share, one item at least and never all. Items of one source stay together, and count as of the class of
    the first of them.

    Args:
        items: of training alone.
        share: of them to hold out, over 0 and under 1.
        seed: of the draw.

    Returns:
        What is left to train on, and what is held out.

    Raises:
        AudiokdError: another share, or no class of which something can be held out.
    """
    if not 0 < share < 1:
        raise AudiokdError(f"a share of {share} cannot be held out", fix="over 0 and under 1")
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in sorted(items, key=lambda i: i.id):
        groups.setdefault(("id", item.id) if item.source is None else ("source", item.source), []).append(item)
    of: dict[str, list[tuple[str, str]]] = {}
    for key, those in groups.items():
        of.setdefault(those[0].label or "", []).append(key)
    held: set[tuple[str, str]] = set()
    for keys in of.values():
        wanted, taken = share * sum(len(groups[k]) for k in keys), 0
        for key in sorted(keys, key=lambda k: _turn("hold out", seed, *k))[:-1]:
            size = len(groups[key])
            if taken and abs(taken + size - wanted) >= abs(taken - wanted):
                break
            held.add(key)
            taken += size
    if not held:
        raise AudiokdError(
            f"nothing of {len(items)} items can be held out", fix="two items or sources of a class at least"
        )
    sides: tuple[list[Item], list[Item]] = ([], [])
    for key, those in groups.items():
        sides[key in held].extend(those)
    return sorted(sides[0], key=lambda i: i.id), sorted(sides[1], key=lambda i: i.id)


def _turn(*key: object) -> bytes:
    """When something's turn comes in a draw: a number that depends on `key` alone."""
    return hashlib.sha256("\0".join(map(str, key)).encode()).digest()
