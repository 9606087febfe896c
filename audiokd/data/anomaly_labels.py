"""Normal pictures and defects by their labels."""

from __future__ import annotations

from collections.abc import Sequence

from audiokd.data.classes import named
from audiokd.data.items import Item
from audiokd.errors import AudiokdError

GOOD = "good"  # label of a normal picture, as of MVTec AD; any other is a kind of defect


def is_normal(item: Item) -> bool:
    """Whether a labelled picture shows no defect.

    Raises:
        AudiokdError: it has no label.
    """
    if item.label is None:
        where = item.where or item.path
        raise AudiokdError(f"{item.id} has no label", where=where, fix=f"label it {GOOD}, or by its kind of defect")
    return item.label == GOOD


def check_normal(items: Sequence[Item], where: str) -> None:
    """That items can be learnt from, or selected by: there are some, and all are normal.

    Raises:
        AudiokdError: there is none, or some show defects (the first are named).
    """
    bad = [i.id for i in items if not is_normal(i)]
    if items and len(bad) == len(items):
        what = f"all {len(items)} pictures show defects: {named(bad)}"
        raise AudiokdError(
            what, where=where, fix=f"a detector learns normal pictures: give those with the label {GOOD}"
        )
    if bad:
        what = f"{len(bad)} of {len(items)} pictures show defects: {named(bad)}"
        raise AudiokdError(what, where=where, fix=f"leave in those with the label {GOOD} alone")
    if not items:
        raise AudiokdError("no picture", where=where, fix=f"pictures with the label {GOOD}")
