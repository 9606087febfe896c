"""The data regime of a run: which labels and which unlabelled items each step of a method saw, and what it is tested on.

It is written beside a run before the first step: a run that would see its test items does not start. Of each set of items the
file has the number, the sha256 of the sorted ids, and how many there are of each label that was seen. An exported model takes its
run's along, and a run that builds on it has it under `before`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from audiokd import objects
from audiokd.data.classes import named
from audiokd.data.items import Item
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.files import sha256_bytes, write_bytes, write_json

REGIME = "regime.json"  # its name in a run's folder


@dataclass(frozen=True)
class Seen:
    """What one step of a method sees.

    Attributes:
        step: its name.
        labelled: trained on, with their labels.
        unlabelled: trained on without.
        captioned: trained on with their captions.
        selection: held out, for choosing a checkpoint or a setting.
    """

    step: str
    labelled: Sequence[Item] = ()
    unlabelled: Sequence[Item] = ()
    captioned: Sequence[Item] = ()
    selection: Sequence[Item] = ()

    def uses(self) -> Iterator[tuple[str, Sequence[Item]]]:
        """Each use and its items."""
        yield "labelled", self.labelled
        yield "unlabelled", self.unlabelled
        yield "captioned", self.captioned
        yield "selection", self.selection


@dataclass(frozen=True)
class Regime:
    """What all steps see.

    Attributes:
        setting: "transductive" where a step sees, without labels, items of a class that is tested and that no step has labels of
            (PromptKD's base to novel, S3A); else "inductive". The test items themselves are seen in neither.
        steps: in their order.
        test: items that the run is tested on.
    """

    setting: Literal["inductive", "transductive"]
    steps: Sequence[Seen]
    test: Sequence[Item]


def write_regime(run: str | os.PathLike[str], regime: Regime, before: Mapping[str, str] | None = None) -> None:
    """Write RUN/regime.json, once `check_disjoint` and `check_setting` have passed.

    Args:
        run: folder.
        regime: of its own steps.
        before: folders of models that it builds on, by what they are to it; what their regime.json says is taken along.

    Raises:
        AudiokdError: they have not.
    """
    check_disjoint(regime)
    check_setting(regime)
    steps = [{"name": s.step} | {use: _summary(items, use) for use, items in s.uses() if items} for s in regime.steps]
    about = {"setting": regime.setting, "steps": steps, "test": _summary(regime.test, "test")}
    known = {name: Path(folder) / REGIME for name, folder in (before or {}).items() if folder}
    if found := {name: json.loads(path.read_text()) for name, path in known.items() if path.is_file()}:
        about["before"] = found
    write_json(Path(run) / REGIME, about)


def keep_regime(run: str | os.PathLike[str], model_dir: str | os.PathLike[str]) -> None:
    """Copy a run's regime.json, where it has one, into the folder of its model."""
    path = Path(run) / REGIME
    if path.is_file():
        write_bytes(Path(model_dir) / REGIME, path.read_bytes())


def check_disjoint(regime: Regime) -> None:
    """That no test item is used for training or selection, under its own id or another, nor one for selection that was learnt from.

    Raises:
        AudiokdError: some were; they are named, with step and use.
    """
    test = {key for item in regime.test for key in _keys(item)}
    wrong = [
        f"{step.step} saw {len(found)} test items ({use}): {named(found)}"
        for step in regime.steps
        for use, items in step.uses()
        if (found := [i.id for i in items if not test.isdisjoint(_keys(i))])
    ]
    learnt: set[str] = set()  # a step builds on what those before it learnt
    for step in regime.steps:
        learnt |= {key for item in (*step.labelled, *step.unlabelled, *step.captioned) for key in _keys(item)}
        found = [i.id for i in step.selection if not learnt.isdisjoint(_keys(i))]
        wrong += [f"{step.step} selects by {len(found)} items that were learnt from: {named(found)}"] if found else []
    if wrong:
        raise AudiokdError(
            "\n  ".join(wrong), where="data regime", fix="hold items out of training; test on none of these"
        )


def check_setting(regime: Regime) -> None:
    """That the setting is what the items say, as far as their labels are known.

    Raises:
        AudiokdError: another word, labelled items without a label, an inductive run that sees items of classes it has no labels of.
    """
    if regime.setting not in ("inductive", "transductive"):
        raise AudiokdError(f"setting {regime.setting!r}", where="data regime", fix="inductive or transductive")
    for step in regime.steps:
        bare = [i.id for i in step.labelled if i.label is None]
        if bare:
            raise AudiokdError(
                f"no label: {named(bare)}", where=f"data regime: {step.step}", fix="give them as unlabelled"
            )
    taught = {i.label for step in regime.steps for i in step.labelled}
    novel = {i.label for i in regime.test if i.label is not None} - taught
    for step in regime.steps:
        seen = sorted({i.label for i in step.unlabelled if i.label in novel and i.label is not None})
        if seen and regime.setting == "inductive":
            what = f"{step.step} sees unlabelled items of tested classes that no step has labels of: {named(seen)}"
            raise AudiokdError(what, where="data regime", fix="call it transductive, or leave them out")


def item_of(u: Utterance, label: str | None = None) -> Item:
    """An utterance as a regime counts it: a stretch of a recording is another than its neighbour."""
    stretch = f"#{u.start_s:g}-{u.end_s}" if u.start_s or u.end_s is not None else ""
    return Item(u.id, f"{u.path}{stretch}", label)


def _summary(items: Sequence[Item], use: str) -> dict[str, Any]:
    ids = sorted(i.id for i in items)
    about: dict[str, Any] = {"count": len(ids), "sha256": sha256_bytes("".join(f"{i}\n" for i in ids).encode())}
    if use not in ("unlabelled", "captioned"):  # the labels of those were not seen
        about["labels"] = dict(Counter(i.label for i in items if i.label is not None))
    return about


def _keys(item: Item) -> tuple[str, str]:
    """By what two items are the same."""
    return f"id {item.id}", f"file {item.path if objects.is_url(item.path) else os.path.abspath(item.path)}"
