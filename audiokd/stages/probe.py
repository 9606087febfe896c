"""Stage 8: what a probe of frozen features knows."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audiokd.errors import AudiokdError, ConfigError

if TYPE_CHECKING:
    from audiokd.eval.linear_probe import ProbeSet
    from audiokd.tokens.store import TokenStore

log = logging.getLogger(__name__)


def probe(
    train: str,
    data: list[str],
    out: str,
    dev: str = "",
    test: str = "",
    folds: str = "",
    task: Literal["class", "tags", "frames", "key", "regression"] = "class",
    head: Literal["linear", "mlp"] = "linear",
    layers: int = 1,
    rates: list[float] | None = None,
    epochs: int = 100,
    batch_size: int = 256,
    system: str = "",
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train probes on features of a corpus, choose one on dev, and score that one on test.

    Writes `out` (JSON) and its table as markdown beside it (`out` with the suffix .md).

    Args:
        train, dev, test: feature stores, as `audiokd extract` writes them; with folds, train alone, which holds all.
        folds: file with `utterance-id fold` lines, for sets that are cross-validated: each fold is tested once, by a probe whose
            rate is chosen on the next fold and that is trained on the others.
        data: data dirs of these utterances, or files, with utt2label (`utterance-id label [label ...]`), for frames with
            phones.ctm.
        out: JSON file to write.
        task: class: one label an utterance, accuracy. tags: any number, mAP. frames: the label of phones.ctm that covers the
            middle of each frame, accuracy over frames. Of an mlp also key: names such as Eb minor, MIREX's weighted score; and
            regression: numbers in place of labels, R2.
        head: linear: one layer for each of `rates`, the best of them is taken. mlp: MARBLE's, 512 hidden units on the layer that
            is best.
        layers: of an mlp: whose features stand one after another in the stores, as in layer clip of an encoder of so many.
        rates: learning rates that are tried; by default seven from 0.001 to 1. Of an mlp one, 0.001.
        epochs: passes over train.
        batch_size: rows a step.
        system: name in the table; that of `out` if left empty.
        seed: of the probes' first weights and of the order of rows.
        device: torch device.

    Returns:
        what `out` holds.

    Raises:
        AudiokdError: a store holds no features or another model's, no utterance of a split has a label, or a label of dev or
            test is not in train.
    """
    from audiokd.eval.linear_probe import RATES, cross_probe, linear_probe
    from audiokd.eval.mlp_probe import mlp_probe
    from audiokd.eval.probe_table import probe_table
    from audiokd.eval.table import markdown
    from audiokd.files import write_json, write_text
    from audiokd.tokens.store import open_store

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    if bool(folds) == bool(dev or test) or bool(dev) != bool(test):
        raise ConfigError("a probe needs dev and test stores, or folds", fix="--dev and --test, or --folds alone")
    _check_head(head, task, folds, layers, rates)
    paths = {"train": train} if folds else {"train": train, "dev": dev, "test": test}
    stores = {name: open_store(path) for name, path in paths.items()}
    for store in stores.values():
        if store.kind != "features":
            raise AudiokdError(f"a store of {store.kind}", where=str(store.path), fix="make one with 'audiokd extract'")
    made_by: dict[tuple[str, str], str] = {}
    for name, s in stores.items():
        made_by.setdefault((s.meta.get("model_sha256", ""), s.meta.get("layer", "")), name)
    if len(made_by) > 1:
        said = "; ".join(f"{name}: {layer} of model {sha[:12]}" for (sha, layer), name in made_by.items())
        raise AudiokdError(f"the stores hold features of different models or layers: {said}", where=train)
    sets, names, ids = _sets(stores, data, task, device)
    options: Any = ("tags" if task == "tags" else "class", rates or RATES, epochs, batch_size, seed)
    if folds:
        fold_of = _folds(folds, ids["train"])
        several = cross_probe(sets["train"], fold_of.to(device), len(names), *options)
        found = _over_folds(several)
    elif head == "mlp":
        kind: Any = "class" if task == "frames" else task
        splits = sets["train"], sets["dev"], sets["test"]
        lr = rates[0] if rates else 1e-3
        found = mlp_probe(*splits, names, kind, layers, lr, batch_size, epochs, seed).as_dict() | {
            "rate": lr,
            "head": head,
        }
    else:
        found = linear_probe(sets["train"], sets["dev"], sets["test"], len(names), *options).as_dict()
    sizes = {name: len(s.x) for name, s in sets.items()}
    settings = {"stores": paths, "data": data, "task": task, "folds": folds, "epochs": epochs, "batch_size": batch_size}
    result = {
        "system": system or Path(out).stem,
        "settings": {**settings, "seed": seed},
        "labels": names,
        "rows": sizes,
        "model_sha256": stores["train"].meta.get("model_sha256", ""),
        "layer": stores["train"].meta.get("layer", ""),
        **found,
    }
    write_json(out, result)
    unit = "frames" if task == "frames" else "utterances"
    if folds:
        split = (
            f"{sizes['train']} {unit} in {len(result['folds'])} folds, the mean over them and from lowest to highest"
        )
    else:
        split = f"{sizes['train']}, {sizes['dev']} and {sizes['test']} {unit} to train, choose and score"
        split += ". 95% bootstrap interval over utterances"
    what = "variables" if task == "regression" else "labels"
    note = f"{len(names)} {what}; {split}"
    if head == "mlp":
        note += f"; one hidden layer on layer {found['chosen_layer']} of {layers}, chosen on dev"
        note += "".join(f"; {k} {v:.3f}" for k, v in found["more"].items()) + "."
    else:
        shares = ", or the share of tags that are there" if task == "tags" else ""
        note += f"; chance: always the commonest label of training{shares}."
    text = markdown(*probe_table([result])) + f"\n{note}\n"
    write_text(Path(out).with_suffix(".md"), text)
    print(text, end="")
    return result


def _check_head(head: str, task: str, folds: str, layers: int, rates: list[float] | None) -> None:
    if head == "linear" and (task in ("key", "regression") or layers != 1):
        given = f"--task {task}" if task in ("key", "regression") else f"--layers {layers}"
        raise ConfigError(f"{given} is an mlp's", fix="--head mlp")
    if head == "mlp" and folds:
        raise ConfigError("an mlp is not cross-validated", fix="--dev and --test")
    if head == "mlp" and rates and len(rates) > 1:
        raise ConfigError(f"{len(rates)} rates for an mlp", fix="--rates [0.001], one of them")


def _sets(
    stores: dict[str, TokenStore], data: list[str], task: str, device: str
) -> tuple[dict[str, ProbeSet], list[str], dict[str, list[str]]]:
    """Rows of each split, the names of labels in order, and the utterance of each row."""
    import torch

    from audiokd.eval.linear_probe import ProbeSet

    rows: dict[str, tuple[list[Any], list[Any], list[int]]] = {}
    ids: dict[str, list[str]] = {}
    labels_of = _frame_labels(data) if task == "frames" else _labels(data, task)
    for split, store in stores.items():
        xs, ys, groups, without = [], [], [], 0
        ids[split] = []
        for number, item in enumerate(store.items()):
            x = torch.from_numpy(item.array.copy()).float()
            found = labels_of(item.id, len(x), float(store.meta["frame_rate"]))
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
    number_of = {n: k for k, n in enumerate(names)}
    sets = {}
    for split, (xs, ys, groups) in rows.items():
        strange = sorted({n for y in ys for n in (y if task == "tags" else [y])} - number_of.keys())
        if strange:
            what = f"labels that no training utterance has: {', '.join(strange[:5])}"
            raise AudiokdError(what, where=str(stores[split].path), fix="leave those out, or split anew")
        if task == "tags":
            y = torch.zeros(len(ys), len(names), dtype=torch.long)
            for k, tags in enumerate(ys):
                y[k, [number_of[n] for n in tags]] = 1
        else:
            y = torch.tensor([number_of[n] for n in ys])
        sets[split] = ProbeSet(torch.cat(xs).to(device), y.to(device), torch.tensor(groups).to(device))
    return sets, names, ids


def _values(
    rows: dict[str, tuple[list[Any], list[Any], list[int]]], stores: dict[str, TokenStore], device: str
) -> dict[str, ProbeSet]:
    """The rows of each split with numbers in place of labels."""
    import torch

    from audiokd.eval.linear_probe import ProbeSet

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


def _folds(path: str, ids: list[str]) -> Any:
    """The fold of each row [N], numbered in the order of their names."""
    import torch

    from audiokd.data.labels import read_labels

    table = read_labels(path)
    for utt_id in ids:
        if len(table.get(utt_id, ())) != 1:
            raise AudiokdError(
                "an utterance without a fold", where=f"{path}: {utt_id}", fix="lines `utterance-id fold`"
            )
    number = {name: k for k, name in enumerate(sorted({table[i][0] for i in ids}))}
    return torch.tensor([number[table[i][0]] for i in ids])


def _over_folds(several: list[Any]) -> dict[str, Any]:
    """What `as_dict` of a probe has, over folds: the mean, and from the lowest to the highest."""
    import statistics

    from audiokd.eval.table import over_folds

    return {
        "metric": several[0].metric,
        "test": over_folds([r.test.as_dict() for r in several]),
        "chance": statistics.mean(r.chance for r in several),
        "rate": statistics.median_low([r.rate for r in several]),
        "rates": several[0].rates,
        "dev": [statistics.mean(d) for d in zip(*(r.dev for r in several))],
        "folds": [r.as_dict() for r in several],
    }


def _labels(data: list[str], task: str) -> Any:
    """By utterance: its one label, or all of them."""
    from audiokd.data.labels import read_labels

    table: dict[str, tuple[str, ...]] = {}
    for path in data:
        table |= read_labels(path)

    def of(utt_id: str, frames: int, rate: float) -> Any:
        found = table.get(utt_id)
        if task in ("tags", "regression") or found is None:
            return found
        if len(found) != 1:
            raise AudiokdError(
                f"{len(found)} labels where one is due", where=utt_id, fix="--task tags takes any number"
            )
        return found[0]

    return of


def _frame_labels(data: list[str]) -> Any:
    """By utterance: the label under the middle of each frame, None where there is none."""
    from audiokd.data.ctm import Phone, read_ctm

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
