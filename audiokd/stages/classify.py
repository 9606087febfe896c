"""Stage 8: what a fine-tuned classifier says of a labelled corpus."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError

log = logging.getLogger(__name__)


def classify(stores: str | list[str], data: list[str], out: str, system: str = "") -> dict[str, Any]:
    """Score a classifier's logits against the labels of a corpus.

    Writes `out` (JSON) and its table as markdown beside it (`out` with the suffix .md).

    Args:
        stores: logits, as `audiokd extract MODEL DATA STORE --layer logits` writes them; several (`[a,b]`) are the test folds of
            a set that is cross-validated, each of its own model: scored one by one, then the mean over them.
        data: data dirs of these utterances, or files, with utt2label (`utterance-id label [label ...]`).
        out: JSON file to write.
        system: name in the table; that of `out` if left empty.

    Returns:
        what `out` holds: accuracy for a classifier of one label an utterance, mAP for tags, each with a 95 % bootstrap interval
        over utterances (over folds: from the lowest to the highest), and the score of each label (recall, or average precision;
        None where no utterance has it).

    Raises:
        AudiokdError: a store holds no logits; none of its utterances has a label; or one has several (of a class) or one that the
            classifier does not know.
    """
    from audiokd.data.labels import read_labels
    from audiokd.eval.probe_table import classifier_table
    from audiokd.eval.table import markdown, over_folds
    from audiokd.files import write_json, write_text

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    table: dict[str, tuple[str, ...]] = {}
    for path in data:
        table |= read_labels(path)
    paths = [stores] if isinstance(stores, str) else stores
    folds = [_score(path, table) for path in paths]
    found = folds[0]
    if len(folds) > 1:
        # a label's score over the folds that have it
        names = sorted({n for f in folds for n in f["labels"]})
        kept = {n: [f["labels"][n] for f in folds if f["labels"].get(n) is not None] for n in names}
        found = {
            **{k: found[k] for k in ("task", "metric")},
            "test": over_folds([f["test"] for f in folds]),
            "chance": sum(f["chance"] for f in folds) / len(folds),
            "labels": {n: sum(of) / len(of) if of else None for n, of in kept.items()},
            "rows": sum(f["rows"] for f in folds),
            "without_label": sum(f["without_label"] for f in folds),
            "folds": folds,
        }
    result = {"system": system or Path(out).stem, "settings": {"stores": paths, "data": data}, **found}
    write_json(out, result)
    floor = "always the commonest label" if found["task"] == "class" else "the share of tags that are there"
    spread = "95% bootstrap interval over utterances"
    if len(folds) > 1:
        spread = f"the mean over {len(folds)} folds and from lowest to highest"
    note = f"{len(found['labels'])} labels, {found['rows']} utterances; {spread}; chance: {floor}."
    text = markdown(*classifier_table([result])) + f"\n{note}\n"
    write_text(Path(out).with_suffix(".md"), text)
    print(text, end="")
    return result


def _score(store: str, table: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """What one store of logits scores."""
    import torch

    from audiokd.eval.classification import metric_of, score_labels, score_summary
    from audiokd.tokens.store import open_store

    found = open_store(store)
    if found.meta.get("layer") != "logits" or "labels" not in found.meta:
        what = f"a store of {found.meta.get('layer') or found.kind}"
        raise AudiokdError(what, where=store, fix="make one of a classifier's: audiokd extract ... --layer logits")
    names, task = found.meta["labels"], found.meta["task"]
    number = {n: k for k, n in enumerate(names)}
    logits, true, without = [], [], 0
    for item in found.items():
        labels = table.get(item.id)
        if labels is None:
            without += 1
            continue
        if task == "class" and len(labels) != 1:
            raise AudiokdError(f"{len(labels)} labels where one is due", where=item.id)
        strange = [n for n in labels if n not in number]
        if strange:
            fix = f"it knows {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
            raise AudiokdError(f"label {strange[0]}, which the classifier does not know", where=item.id, fix=fix)
        logits.append(torch.from_numpy(item.array.copy()).float()[0])
        true.append([number[n] for n in labels])
    if not logits:
        raise AudiokdError(f"none of its {len(found)} utterances has a label", where=store, fix="see --data")
    if without:
        log.warning("%s: %d of %d utterances have no label and are left out", store, without, len(found))
    x = torch.stack(logits)
    if task == "class":
        y = torch.tensor([of[0] for of in true])
        chance = float(y.bincount().max() / len(y))
    else:
        y = torch.zeros(len(true), len(names), dtype=torch.long)
        for k, of in enumerate(true):
            y[k, of] = 1
        chance = float(y.double().mean())
    return {
        "task": task,
        "metric": metric_of(task),
        "test": score_summary(x, y, task).as_dict(),
        "chance": chance,
        "labels": score_labels(x, y, task, names),
        "rows": len(x),
        "without_label": without,
        "model_sha256": found.meta.get("model_sha256", ""),
    }
