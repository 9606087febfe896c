"""Stage 8: what a fine-tuned classifier says of a labelled corpus."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError

log = logging.getLogger(__name__)
SIDES = ("base", "novel")


def classify(
    stores: str | list[str], data: list[str], out: str, system: str = "", base_novel: bool = False
) -> dict[str, Any]:
    """Score a classifier's logits against the labels of a corpus.

    Writes `out` (JSON) and its table as markdown beside it (`out` with the suffix .md).

    Args:
        stores: logits, as `audiokd extract MODEL DATA STORE --layer logits` writes them; several (`[a,b]`) are the test folds of
            a set that is cross-validated, each of its own model: scored one by one, then the mean over them.
        data: data dirs of these utterances, or files, with utt2label (`utterance-id label [label ...]`); or of pictures, with
            items.jsonl. A classes.txt beside that has to list the classifier's classes, by label or by name.
        out: JSON file to write.
        system: name in the table; that of `out` if left empty.
        base_novel: also score the first half of the classifier's classes among themselves, and the others, of which a method that
            is trained on base classes saw nothing; and their harmonic mean (`audiokd.eval.base_novel`).

    Returns:
        what `out` holds: accuracy for a classifier of one label an utterance, mAP for tags, each with a 95 % bootstrap interval
        over utterances (over folds: from the lowest to the highest), and the score of each label (recall, or average precision;
        None where no utterance has it); for items with domains the accuracy of each and their mean. Intervals of these and of
        base and novel classes are Wilson's.

    Raises:
        AudiokdError: a store holds no logits; none of its utterances has a label; or one has several (of a class) or one that the
            classifier does not know; or base and novel classes of tags, or of several folds, are asked for.
    """
    from audiokd.eval.probe_table import classifier_table, domain_table
    from audiokd.eval.table import markdown, over_folds
    from audiokd.files import write_json, write_text

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    paths = [stores] if isinstance(stores, str) else stores
    if base_novel and len(paths) > 1:
        raise ConfigError("base and novel classes are scored of one store", fix="give the stores one by one")
    folds = [_score(path, data, base_novel) for path in paths]
    found = folds[0]
    if len(folds) > 1:
        # a label's score over the folds that have it
        names = sorted({n for f in folds for n in f["labels"]})
        kept = {n: [f["labels"][n] for f in folds if f["labels"].get(n) is not None] for n in names}
        found = {
            **{k: found[k] for k in ("task", "metric", "unit")},
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
    spread = f"95% bootstrap interval over {found['unit']}"
    if len(folds) > 1:
        spread = f"the mean over {len(folds)} folds and from lowest to highest"
    note = f"{len(found['labels'])} labels, {found['rows']} {found['unit']}; {spread}; chance: {floor}."
    if base_novel:
        of = found["base_novel"]
        sides = [f"{of[k]['classes']} {k} classes ({of[k]['items']} {found['unit']})" for k in SIDES]
        note += f" {sides[0]} and {sides[1]}, each told among themselves; Wilson's 95% intervals."
    text = markdown(*classifier_table([result])) + f"\n{note}\n"
    if "by_domain" in found:
        text += "\n" + markdown(*domain_table(result))
    write_text(Path(out).with_suffix(".md"), text)
    print(text, end="")
    return result


def _labels(data: list[str], names: list[str]) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Labels by id, and domains by id where there are some."""
    from audiokd.data.item_inputs import holds_items
    from audiokd.data.item_labels import read_item_labels
    from audiokd.data.labels import read_labels

    labels: dict[str, tuple[str, ...]] = {}
    domains: dict[str, str] = {}
    for path in data:
        if holds_items(path):
            found, of = read_item_labels(path, names)
            labels |= {i: (label,) for i, label in found.items()}
            domains |= of
        else:
            labels |= read_labels(path)
    return labels, domains


def _score(store: str, data: list[str], base_novel: bool) -> dict[str, Any]:
    """What one store of logits scores."""
    import torch

    from audiokd.eval.base_novel import base_novel_scores, domain_scores
    from audiokd.eval.classification import metric_of, score_labels, score_summary
    from audiokd.tokens.store import open_store

    found = open_store(store)
    if found.meta.get("layer") != "logits" or "labels" not in found.meta:
        what = f"a store of {found.meta.get('layer') or found.kind}"
        raise AudiokdError(what, where=store, fix="make one of a classifier's: audiokd extract ... --layer logits")
    names, task = found.meta["labels"], found.meta["task"]
    unit = "pictures" if found.meta.get("media") == "image" else "utterances"
    if base_novel and task != "class":
        raise ConfigError("tags are not told apart: there are no base and novel ones", where=store)
    table, domains = _labels(data, names)
    number = {n: k for k, n in enumerate(names)}
    logits, true, domain, without = [], [], [], 0
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
        domain.append(domains.get(item.id))
    if not logits:
        raise AudiokdError(f"none of its {len(found)} {unit} has a label", where=store, fix="see --data")
    if without:
        log.warning("%s: %d of %d %s have no label and are left out", store, without, len(found), unit)
    x = torch.stack(logits)
    if task == "class":
        y = torch.tensor([of[0] for of in true])
        chance = float(y.bincount().max() / len(y))
        more = {"base_novel": base_novel_scores(x, y, names)} if base_novel else {}
        more |= {"by_domain": domain_scores(x, y, domain)} if any(domain) else {}
    else:
        more = {}
        y = torch.zeros(len(true), len(names), dtype=torch.long)
        for k, of in enumerate(true):
            y[k, of] = 1
        chance = float(y.double().mean())
    return {
        "task": task,
        "metric": metric_of(task),
        "unit": unit,
        "test": score_summary(x, y, task).as_dict(),
        "chance": chance,
        "labels": score_labels(x, y, task, names),
        **more,
        "rows": len(x),
        "without_label": without,
        "model_sha256": found.meta.get("model_sha256", ""),
    }
