"""A data dir of labelled pictures or of labelled sound, as the methods see it that serve both.

Pictures: items.jsonl. Sound: any INPUT; labels in utt2label and domains (devices, rooms, corpora) in utt2domain of a data dir. Both
may have classes.txt, which says how a prompt calls each class and in what order the class vectors stand.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from audiokd.data.audio import load_crop
from audiokd.data.classes import CLASSES, check_names, named, read_classes
from audiokd.data.crops import duration_of, rng_of
from audiokd.data.images import load_image
from audiokd.data.inputs import open_input, quarantined
from audiokd.data.item_inputs import holds_items
from audiokd.data.items import ITEMS, Item, read_items
from audiokd.data.labels import LABELS, read_labels
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

DOMAINS = "utt2domain"  # its name in a data dir


@dataclass(frozen=True)
class MediaSet:
    """Pictures or stretches of sound, and what is known of them.

    Attributes:
        kind: "image" or "audio".
        items: with `label`, `domain`, `caption` and `source` where they are known.
        classes: name by label; sorted labels where the folder has no list of classes.
        path: of the INPUT.
        utterances: of sound by id.
    """

    kind: Literal["image", "audio"]
    items: tuple[Item, ...]
    classes: dict[str, str]
    path: str
    utterances: dict[str, Utterance]

    def __len__(self) -> int:
        return len(self.items)

    def labels(self) -> dict[str, int]:
        """Number of the class of each item by its id.

        Raises:
            AudiokdError: an item without a label.
        """
        number = {label: k for k, label in enumerate(self.classes)}
        if without := [i.id for i in self.items if i.label is None]:
            what = f"{len(without)} of {len(self.items)} items have no label: {named(without)}"
            raise AudiokdError(what, where=self.path, fix=f"{LABELS}, or `label` in {ITEMS}")
        return {i.id: number[i.label or ""] for i in self.items}

    def domains(self) -> tuple[str, ...]:
        """Those that items have, sorted."""
        return tuple(sorted({i.domain for i in self.items if i.domain is not None}))

    def of(self, items: Sequence[Item]) -> MediaSet:
        """Some of the items, with all classes."""
        return MediaSet(self.kind, tuple(items), self.classes, self.path, self.utterances)


def open_media(
    path: str | os.PathLike[str], allow_pipes: bool = False, classes: str | None = None, same_names: bool = False
) -> MediaSet:
    """Read a data dir of pictures, or an INPUT of sound. Neither pictures nor audio are opened; what is in quarantine is left out.

    Args:
        path: folder with items.jsonl, or such a file; else an INPUT (`audiokd.data.inputs.open_input`).
        allow_pipes: run shell commands in wav.scp.
        classes: list of classes, where it does not lie in the folder.
        same_names: let several classes have one name, as two pairs of ImageNet's have: no prompt tells these apart.

    Raises:
        AudiokdError: what the readers raise; a label that is not in the list of classes; names that no prompt tells apart; several
            labels of an utterance.
    """
    folder = Path(path)
    utterances: dict[str, Utterance] = {}
    if holds_items(folder):
        kind: Literal["image", "audio"] = "image"
        root = folder if folder.is_dir() else folder.parent
        left_out = quarantined(root)
        items = [i for i in read_items(folder) if i.id not in left_out]
    else:
        kind, root = "audio", folder
        utterances = {u.id: u for u in open_input(path, allow_pipes=allow_pipes).utterances()}
        items = _items(utterances, folder)
    if not items:
        raise AudiokdError("nothing is left of it", where=str(path), fix="see its quarantine list")
    found = sorted({i.label for i in items if i.label is not None})
    listed = {label: label for label in found}
    if classes or (root / CLASSES).is_file():
        listed = read_classes(classes or root)
        if strange := [label for label in found if label not in listed]:
            what = f"{len(strange)} labels are no classes: {named(strange)}"
            raise AudiokdError(what, where=str(path), fix=f"write them into {classes or root / CLASSES}")
    if not same_names:
        check_names(listed, str(classes or path))
    return MediaSet(kind, tuple(items), listed, str(path), utterances)


def _items(utterances: dict[str, Utterance], folder: Path) -> list[Item]:
    tables: dict[str, dict[str, str]] = {}
    for name in (LABELS, DOMAINS):
        tables[name] = {}
        if (folder / name).is_file():
            for utt_id, words in read_labels(folder / name).items():
                if len(words) != 1:
                    what = f"{len(words)} words where one is due"
                    raise AudiokdError(what, where=f"{folder / name}: {utt_id}", fix="a line is `utterance-id word`")
                tables[name][utt_id] = words[0]
    return [
        Item(
            u.id, _place(u), tables[LABELS].get(u.id), tables[DOMAINS].get(u.id), u.text or None,
            source=u.recording_id or None, where=u.where,
        )
        for u in utterances.values()
    ]  # fmt: skip


def _place(utt: Utterance) -> str:
    """Where its bytes and its stretch are: several utterances lie in one tar, or in one recording."""
    whole = not utt.offset and not utt.start_s and utt.end_s is None and utt.channel is None
    return utt.path if whole else f"{utt.path}#{utt.offset},{utt.start_s:g},{utt.end_s},{utt.channel}"


class Stretch:
    """A stretch of an utterance, at any sample rate that is asked for.

    Args:
        utt: the utterance.
        start_s: where it begins in it, seconds.
        crop_s: its length; silence follows where the utterance is shorter.
        duration_s: of the utterance.
    """

    def __init__(self, utt: Utterance, start_s: float, crop_s: float, duration_s: float):
        self.utt, self.start_s, self.crop_s = utt, start_s, crop_s
        self.known_s = min(crop_s, max(duration_s - start_s, 0.0))
        self._at: dict[int, np.ndarray] = {}

    def at(self, sample_rate: int) -> np.ndarray:
        """Samples, float32 [round(crop_s * sample_rate)].

        Raises:
            AudioError: it cannot be read.
        """
        if sample_rate not in self._at:
            self._at[sample_rate] = load_crop(self.utt, sample_rate, self.start_s, self.crop_s)
        return self._at[sample_rate]

    def length(self, sample_rate: int) -> int:
        """Samples that are not padding."""
        return min(round(self.crop_s * sample_rate), max(1, round(self.known_s * sample_rate)))


class Loader:
    """Reads pictures whole, and of sound a stretch: in training at a random place, a function of (seed, step, id).

    Args:
        media: what is read from.
        seed: of the places; None reads from the start.
        crop_s: seconds of a stretch.
    """

    def __init__(self, media: MediaSet, seed: int | None, crop_s: float = 0.0):
        self.media, self.seed, self.crop_s = media, seed, crop_s

    def __call__(self, item: Item, step: int) -> Any:
        """A picture in RGB, or a `Stretch`.

        Raises:
            ImageError, AudioError: it cannot be read.
        """
        if self.media.kind == "image":
            return load_image(item)
        utt, start = self.media.utterances[item.id], 0.0
        duration = utt.duration_s if utt.duration_s is not None else duration_of(utt)
        if self.seed is not None and duration > self.crop_s:
            start = float(rng_of(self.seed, "crop", step, item.id).uniform(0, duration - self.crop_s))
        return Stretch(utt, start, self.crop_s, duration)
