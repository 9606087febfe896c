"""What a probe is given: stored features of each split beside labels, beats or sources of data dirs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch

from audiokd.data.audio import load_at
from audiokd.data.beats import read_beats
from audiokd.data.ctm import Phone, read_ctm
from audiokd.data.item_inputs import holds_items
from audiokd.data.items import read_items
from audiokd.data.kaldi import read_data_dir
from audiokd.data.labels import read_labels
from audiokd.data.stems import read_stems
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.eval.attentive_probe import TokenSet
from audiokd.eval.beat_probe import BeatSet
from audiokd.eval.key_score import read_key
from audiokd.eval.linear_probe import ProbeSet
from audiokd.eval.separation_probe import SongSet
from audiokd.tokens.store import TokenStore

log = logging.getLogger(__name__)
Known = TypeVar("Known")


def labelled_sets(
    stores: dict[str, TokenStore], data: list[str], task: str, device: str
) -> tuple[dict[str, ProbeSet], list[str], dict[str, list[str]]]:
    """Rows of each split, the names of labels in order, and the utterance of each row.

    Args:
        stores: features of each split.
        data: files of labels, or data dirs that hold them (utt2label, or items.jsonl); of frames, ctm files.
        task: class, tags, frames, key or regression.
        device: where the rows are to lie.

    Raises:
        AudiokdError: a split has no labelled utterance, an utterance has several labels where one is due, or a key is none.
    """
    rows: dict[str, tuple[list[Any], list[Any], list[int]]] = {}
    ids: dict[str, list[str]] = {}
    labels_of = _frame_labels(data) if task == "frames" else _labels(data, task)
    for split, store in stores.items():
        xs, ys, groups, without = [], [], [], 0
        ids[split] = []
        for number, item in enumerate(store.items()):
            x = torch.from_numpy(item.array.copy()).float()
            found = labels_of(item.id, len(x), float(store.meta.get("frame_rate", 0.0)))
            if found is None:
                without += 1
                continue
            if task == "frames":
                kept = [t for t, y in enumerate(found) if y is not None]
                xs.append(x[kept])
                ys += [found[t] for t in kept]
                groups += [number] * len(kept)
                ids[split] += [item.id] * len(kept)
            else:
                ids[split].append(item.id)
                xs.append(x.mean(0, keepdim=True))
                ys.append(found)
                groups.append(number)
        if not ys:
            raise AudiokdError(
                f"none of its {len(store)} utterances has a label", where=str(store.path), fix="see --data"
            )
        if without:
            log.warning("%s: %d of %d utterances have no label and are left out", store.path, without, len(store))
        rows[split] = xs, ys, groups
    if task == "regression":
        return _values(rows, stores, device), [f"value{k + 1}" for k in range(len(rows["train"][1][0]))], ids
    names = sorted({n for y in rows["train"][1] for n in (y if task == "tags" else [y])})
    sets = {}
    for split, (xs, ys, groups) in rows.items():
        y = _numbers(ys, names, task, stores[split])
        x = torch.cat(xs)
        xs.clear()  # a large set is not held twice
        sets[split] = ProbeSet(x.to(device), y.to(device), torch.tensor(groups).to(device))
    return sets, names, ids


def token_sets(
    stores: Mapping[str, TokenStore], data: list[str], task: str, device: str
) -> tuple[dict[str, TokenSet], list[str]]:
    """Tokens of each split's labelled items, left on disk, and the names of labels in order.

    Args:
        stores, data, device: as of `labelled_sets`.
        task: class or tags.

    Raises:
        AudiokdError: as `labelled_sets`.
    """
    labels_of = _labels(data, task)
    found, labels = {}, {}
    for split, store in stores.items():
        table = {i: y for i in store if (y := labels_of(i, 0, 0.0)) is not None}
        found[split], labels[split] = _side_by_side(store, table)
    names = sorted({n for y in labels["train"] for n in (y if task == "tags" else [y])})
    return {s: TokenSet(found[s], _numbers(labels[s], names, task, stores[s]).to(device)) for s in stores}, names


def _numbers(labels: list[Any], names: list[str], task: str, store: TokenStore) -> torch.Tensor:
    """Classes [N], or tags [N, C] of 0 and 1, of labels."""
    number_of = {n: k for k, n in enumerate(names)}
    strange = sorted({n for y in labels for n in (y if task == "tags" else [y])} - number_of.keys())
    if strange:
        what = f"labels that no training utterance has: {', '.join(strange[:5])}"
        raise AudiokdError(what, where=str(store.path), fix="leave those out, or split anew")
    if task != "tags":
        return torch.tensor([number_of[n] for n in labels])
    y = torch.zeros(len(labels), len(names), dtype=torch.long)
    for k, tags in enumerate(labels):
        y[k, [number_of[n] for n in tags]] = 1
    return y


def _values(
    rows: dict[str, tuple[list[Any], list[Any], list[int]]], stores: dict[str, TokenStore], device: str
) -> dict[str, ProbeSet]:
    """The rows of each split with numbers in place of labels."""
    sets, size = {}, len(rows["train"][1][0])
    for split, (xs, ys, groups) in rows.items():
        for words in ys:
            if len(words) != size or not all(_is_number(w) for w in words):
                what = f"{size} numbers are due, not {' '.join(words)}"
                raise AudiokdError(
                    what, where=str(stores[split].path), fix="see --data: lines `utterance-id number ...`"
                )
        y = torch.tensor([[float(w) for w in words] for words in ys])
        sets[split] = ProbeSet(torch.cat(xs).to(device), y.to(device), torch.tensor(groups).to(device))
    return sets


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def folds_of(path: str, ids: list[str]) -> Any:
    """The fold of each row [N], numbered in the order of their names."""
    table = read_labels(path)
    for utt_id in ids:
        if len(table.get(utt_id, ())) != 1:
            raise AudiokdError(
                "an utterance without a fold", where=f"{path}: {utt_id}", fix="lines `utterance-id fold`"
            )
    number = {name: k for k, name in enumerate(sorted({table[i][0] for i in ids}))}
    return torch.tensor([number[table[i][0]] for i in ids])


def _labels(data: list[str], task: str) -> Any:
    """By utterance: its one label, or all of them."""
    table: dict[str, tuple[str, ...]] = {}
    for path in data:
        if holds_items(path):
            found: dict[str, tuple[str, ...]] = {i.id: (i.label,) for i in read_items(path) if i.label is not None}
        else:
            found = read_labels(path)
        if twice := next((i for i, names in found.items() if table.get(i, names) != names), None):
            what = f"{twice} is {' '.join(found[twice])} here and {' '.join(table[twice])} in another of --data"
            raise AudiokdError(what, where=path, fix="an id is one item's: rename those of one split")
        table |= found

    def of(utt_id: str, frames: int, rate: float) -> Any:
        found = table.get(utt_id)
        if task in ("tags", "regression") or found is None:
            return found
        if len(found) != 1:
            raise AudiokdError(
                f"{len(found)} labels where one is due", where=utt_id, fix="--task tags takes any number"
            )
        if task == "key":
            try:
                read_key(found[0])
            except AudiokdError as e:
                raise AudiokdError(e.what, where=f"{utt_id} in {', '.join(data)}", fix=e.fix) from e
        return found[0]

    return of


def _frame_labels(data: list[str]) -> Any:
    """By utterance: the label under the middle of each frame, None where there is none."""
    table: dict[str, list[Phone]] = {}
    for path in data:
        table |= read_ctm(path)

    def of(utt_id: str, frames: int, rate: float) -> list[str | None] | None:
        if utt_id not in table:
            return None
        labels: list[str | None] = [None] * frames
        for phone in table[utt_id]:
            first, last = (max(0, math.ceil(s * rate - 0.5 - 1e-6)) for s in (phone.start_s, phone.end_s))
            labels[first:last] = [phone.label] * len(labels[first:last])
        return labels

    return of


def beat_sets(stores: Mapping[str, TokenStore], data: list[str]) -> dict[str, BeatSet]:
    """Features, left on disk, and beats of each split's recordings that have some marked.

    Raises:
        AudiokdError: no recording of a split has beats.
    """
    table: dict[str, np.ndarray] = {}
    for path in data:
        table |= read_beats(path)
    return {name: BeatSet(*_side_by_side(store, table)) for name, store in stores.items()}


def song_sets(stores: Mapping[str, TokenStore], data: list[str], source: str) -> dict[str, SongSet]:
    """Features, left on disk, of each split's mixtures, and what reads a mixture and its source at the features' sample rate.

    Raises:
        AudiokdError: no mixture of a split has the source.
    """
    table: dict[str, tuple[Utterance, Utterance]] = {}
    for path in data:
        mixtures, stems = {u.id: u for u in read_data_dir(path)}, read_stems(path, source)
        strange = sorted(stems.keys() - mixtures.keys())
        if strange:
            raise AudiokdError(f"{strange[0]} is no mixture of wav.scp", where=stems[strange[0]].where)
        table |= {i: (mixtures[i], stem) for i, stem in stems.items()}
    sets = {}
    for name, store in stores.items():
        frames, pairs = _side_by_side(store, table)
        sets[name] = SongSet(frames, [_reader(pair, int(store.meta["sample_rate"])) for pair in pairs])
    return sets


def _reader(pair: tuple[Utterance, Utterance], sample_rate: int) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    def read() -> tuple[np.ndarray, np.ndarray]:
        mixture, source = (load_at(u, sample_rate) for u in pair)
        if len(mixture) != len(source):
            what = (
                f"{pair[0].id}: {len(mixture)} samples of the mixture, {len(source)} of the source at {sample_rate} Hz"
            )
            raise AudiokdError(what, where=pair[1].where, fix="sources are as long as their mixture")
        return mixture, source

    return read


def _side_by_side(store: TokenStore, table: Mapping[str, Known]) -> tuple[list[np.ndarray], list[Known]]:
    """Features [T', D] of what is known of, and that."""
    frames, known = [], []
    for shard in store.shards:
        array = store.array(shard)  # mapped: what is not used stays on disk
        for row in store.rows(shard):
            if row["id"] in table:
                frames.append(array[row["offset"] : row["offset"] + row["frames"]])
                known.append(table[row["id"]])
    if not known:
        raise AudiokdError(f"none of its {len(store)} utterances is in data", where=str(store.path), fix="see --data")
    if len(known) < len(store):
        log.warning(
            "%s: %d of %d utterances are in no data and are left out", store.path, len(store) - len(known), len(store)
        )
    return frames, known
