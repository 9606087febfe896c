"""Stage 8: how well a model names items by a whole vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError

#: score -> its column
COLUMNS = {
    "accuracy": "top-1 ↑",
    "clustering": "clustering accuracy ↑",
    "iou": "vocabulary IoU ↑",
    "missing": "missing names ↓",
    "similarity": "semantic similarity ↑",
}


def name(
    store: str, data: str, out: str, similarity: str = "", classes: str = "", system: str = "", seed: int = 0
) -> dict[str, Any]:
    """Score the names of greatest logit against the true ones of a labelled corpus.

    Writes `out` (JSON) and its table as markdown beside it (`out` with the suffix .md).

    Args:
        store: logits, as `audiokd extract MODEL DATA STORE --layer logits` writes them; of the untrained model
            (`audiokd export --checkpoint init`) it is zero-shot.
        data: data dir of the items, with labels.
        out: JSON file to write.
        similarity: folder of a sentence encoder of transformers, for the semantic similarity.
        classes: list of classes, where it does not lie in `data`.
        system: name in the table; that of `out` if left empty.
        seed: of the bootstrap.

    Returns:
        what `out` holds: each score with its 95 % interval over items, chance, and names that are missing or not true ones.

    Raises:
        AudiokdError: a store holds no logits, or none of its items has a label.
    """
    from audiokd.data.classes import spoken
    from audiokd.data.media import open_media
    from audiokd.eval.naming import score_names, sentence_vectors
    from audiokd.eval.table import Summary, markdown
    from audiokd.files import write_json, write_text
    from audiokd.tokens.store import open_store

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    found = open_store(store)
    if found.meta.get("layer") != "logits" or "labels" not in found.meta:
        what = f"a store of {found.meta.get('layer') or found.kind}"
        raise AudiokdError(what, where=store, fix="make one of logits: audiokd extract ... --layer logits")
    media, vocabulary = open_media(data, classes=classes or None, same_names=True), found.meta["labels"]
    truth = {i.id: spoken(media.classes[i.label]) for i in media.items if i.label is not None}
    said = {item.id: vocabulary[int(item.array[0].argmax())] for item in found.items()}
    ids = [i for i in said if i in truth]
    if not ids:
        raise AudiokdError(f"none of its {len(said)} items has a label", where=store, fix="see --data")
    given, true = [said[i] for i in ids], [truth[i] for i in ids]
    vectors = sentence_vectors(similarity, sorted({*given, *true})) if similarity else None
    scores = score_names(given, true, seed, vectors)
    chance = 1 / len(vocabulary)
    result = {
        "system": system or Path(out).stem,
        "settings": {"store": store, "data": data, "similarity": similarity, "seed": seed},
        "scores": {key: s.as_dict() for key, s in scores.items()},
        "chance": chance,
        "vocabulary": len(vocabulary),
        "rows": len(ids),
        "without_label": len(said) - len(ids),
        "missing": sorted(set(true) - set(given)),
        "strange": sorted(set(given) - set(true)),
        "out_of_vocabulary": sorted(set(true) - set(vocabulary)),
        "model_sha256": found.meta.get("model_sha256", ""),
    }
    write_json(out, result)
    cells = [Summary(**result["scores"][key]).text() for key in COLUMNS if key in scores]
    headers = ["system", "n", "names", *(COLUMNS[key] for key in COLUMNS if key in scores)]
    text = markdown(headers, [[result["system"], str(len(ids)), str(len(vocabulary)), *cells]])
    note = f"{len(set(true))} true names in a vocabulary of {len(vocabulary)} (chance {chance:.2g}); "
    note += "95% bootstrap intervals over items."
    accuracy = scores["accuracy"].mean
    if accuracy is not None and accuracy < 3 * chance:
        note += " Top-1 is under three times chance: no conclusion can be drawn."
    text += f"\n{note}\n"
    write_text(Path(out).with_suffix(".md"), text)
    print(text, end="")
    return result
