"""Stage 8: what a probe of frozen features knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from audiokd.errors import AudiokdError, ConfigError

#: tasks that a linear probe does not have; of the last two an mlp is the only head
MLP_ONLY = ("key", "regression", "beats", "separation")
#: rows a step of an mlp that has more of them than clips
BATCH = {"frames": 1024, "beats": 1024, "separation": 32}


def probe(
    train: str,
    data: list[str],
    out: str,
    dev: str = "",
    test: str = "",
    folds: str = "",
    task: Literal["class", "tags", "frames", "key", "regression", "beats", "separation"] = "class",
    head: Literal["linear", "mlp", "attentive", "knn"] = "linear",
    layers: int = 0,
    source: str = "",
    rates: list[float] | None = None,
    epochs: int = 100,
    batch_size: int | None = None,
    system: str = "",
    seed: int = 0,
    device: str = "cpu",
    decays: list[float] | None = None,
    blocks: int | None = None,
) -> dict[str, Any]:
    """Train probes on features of a corpus, choose one on dev, and score that one on test.

    Writes `out` (JSON) and its table as markdown beside it (`out` with the suffix .md).

    Args:
        train: feature store, as `audiokd extract` writes it; with folds it holds all utterances.
        dev: the same of other utterances, by which the rate is chosen; left out with folds.
        test: the same of others, which are scored; left out with folds.
        folds: file with `utterance-id fold` lines, for sets that are cross-validated: each fold is tested once, by a probe whose
            rate is chosen on the next fold and that is trained on the others.
        data: data dirs of these utterances, or files, with utt2label (`utterance-id label [label ...]`), for frames with
            phones.ctm, for beats utt2beats, for separation wav.scp and, of a source such as vocals, vocals.scp.
        out: JSON file to write.
        task: class: one label an utterance, accuracy. tags: any number, mAP. frames: the label of phones.ctm that covers the
            middle of each frame, accuracy over frames. Of an mlp also key: names such as Eb minor, MIREX's weighted score; and
            regression: numbers in place of labels, R2; beats: mir_eval's F-measure; separation: of one source from the mixtures
            whose frames these are, SDR.
        head: linear: one layer for each of `rates`, the best of them is taken. mlp: MARBLE's, 512 hidden units on the layer that
            is best; for separation a recurrent network. attentive: of all tokens of an utterance or a clip (`audiokd extract
            --layer tokens`, or frames), a query after self-attention for each of `rates` and `decays`. knn: nearest neighbours,
            nothing is trained. The last two of classes, attentive of tags, too.
        layers: of an mlp: whose features stand one after another in the stores, as in layer clip of an encoder of so many, or
            layers for frames, beats and separation. By default what `audiokd extract` wrote down.
        source: of separation, such as vocals.
        rates: learning rates that are tried; by default seven from 0.001 to 1. Of an mlp one, 0.001; of attentive five from 0.005
            to 0.0001.
        epochs: passes over train; at most, of an mlp.
        batch_size: rows a step; of separation, crops of 6 s. By default 256 of a linear probe, 64 of an mlp, but 1,024 frames, and
            32 crops.
        system: name in the table; that of `out` if left empty.
        seed: of the probes' first weights and of the order of rows.
        device: torch device.
        decays: of an attentive head, weight decays that are tried; 0.01 and 0.1 by default.
        blocks: of an attentive head, self-attention blocks before the query; 3 by default.

    Returns:
        what `out` holds.

    Raises:
        AudiokdError: a store holds no features or another model's, no utterance of a split has a label, or a label of dev or
            test is not in train.
    """
    from audiokd.eval.knn_probe import knn_probe
    from audiokd.eval.linear_probe import RATES, cross_probe, linear_probe
    from audiokd.eval.mlp_probe import mlp_probe
    from audiokd.eval.probe_sets import folds_of, labelled_sets
    from audiokd.eval.probe_table import probe_table
    from audiokd.eval.table import markdown
    from audiokd.files import write_json, write_text
    from audiokd.tokens.store import open_store

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    if bool(folds) == bool(dev or test) or bool(dev) != bool(test):
        raise ConfigError("a probe needs dev and test stores, or folds", fix="--dev and --test, or --folds alone")
    _check_head(head, task, folds, layers, rates, source, decays, blocks)
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
    batch_size = batch_size or {"mlp": BATCH.get(task, 64), "attentive": 64}.get(head, 256)
    layers = _layers(stores["train"], layers, task) if head == "mlp" else 1
    lr = rates[0] if rates else 1e-3
    of_mlp: dict[str, Any] = {"layers": layers, "lr": lr, "batch_size": batch_size, "epochs": epochs, "seed": seed}
    names: list[str] = []
    if task in ("beats", "separation"):
        found, sizes = _tracks(task, stores, data, source, of_mlp, device)
    elif head == "attentive":
        from audiokd.eval import attentive_probe as a
        from audiokd.eval.probe_sets import token_sets

        tokens, names = token_sets(stores, data, task, device)
        sizes = {name: len(t.x) for name, t in tokens.items()}
        tried = (rates or a.RATES, decays or a.DECAYS, a.BLOCKS if blocks is None else blocks)
        three = (tokens["train"], tokens["dev"], tokens["test"])
        kind_of: Any = task
        found = a.attentive_probe(*three, len(names), kind_of, *tried, epochs, batch_size, seed).as_dict()
    else:
        sets, names, ids = labelled_sets(stores, data, task, device)
        sizes = {name: len(s.x) for name, s in sets.items()}
        options: Any = ("tags" if task == "tags" else "class", rates or RATES, epochs, batch_size, seed)
        if folds:
            fold_of = folds_of(folds, ids["train"])
            found = _over_folds(cross_probe(sets["train"], fold_of.to(device), len(names), *options))
        elif head == "knn":
            found = knn_probe(sets["train"], sets["dev"], sets["test"], len(names)).as_dict()
        elif head == "mlp":
            kind: Any = "class" if task == "frames" else task
            found = mlp_probe(sets["train"], sets["dev"], sets["test"], names, kind, **of_mlp).as_dict()
        else:
            found = linear_probe(sets["train"], sets["dev"], sets["test"], len(names), *options).as_dict()
    if head != "linear":
        found |= {"head": head} | ({"rate": lr} if head == "mlp" else {})
    settings = {"stores": paths, "data": data, "task": task, "folds": folds, "epochs": epochs, "batch_size": batch_size}
    settings |= {"source": source} if source else {}
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
    note = f"{source or task}; {split}" if not names else f"{len(names)} {what}; {split}"
    if head == "mlp":
        net = "a recurrent network" if task == "separation" else "one hidden layer"
        note += f"; {net} on layer {found['chosen_layer']} of {layers}, chosen on dev"
        note += "".join(f"; {k} {v:.3f}" for k, v in found["more"].items()) + "."
    elif head == "attentive":
        tried_on = f"the best on dev of {len(found['grid'])} heads, weight decay {found['decay']:g}"
        note += f"; one query after {found['blocks']} blocks, {tried_on}."
    elif head == "knn":
        note += f"; {found['rate']} nearest neighbours, chosen on dev of {', '.join(map(str, found['rates']))}."
    else:
        shares = ", or the share of tags that are there" if task == "tags" else ""
        note += f"; chance: always the commonest label of training{shares}."
    text = markdown(*probe_table([result])) + f"\n{note}\n"
    write_text(Path(out).with_suffix(".md"), text)
    print(text, end="")
    return result


def _tracks(
    task: str, stores: dict[str, Any], data: list[str], source: str, of_mlp: dict[str, Any], device: str
) -> tuple[dict[str, Any], dict[str, int]]:
    """What was found of whole recordings, and how many there are of each split."""
    from audiokd.eval.beat_probe import beat_probe
    from audiokd.eval.probe_sets import beat_sets, song_sets
    from audiokd.eval.separation_probe import separation_probe

    meta = stores["train"].meta
    if task == "beats":
        beats = beat_sets(stores, data)
        frame_rate = float(meta["frame_rate"])
        found = beat_probe(beats["train"], beats["dev"], beats["test"], frame_rate, **of_mlp, device=device)
        return found.as_dict(), {name: len(s.frames) for name, s in beats.items()}
    songs = song_sets(stores, data, source)
    rate, hop = int(meta["sample_rate"]), int(meta["frame_size"])
    found = separation_probe(songs["train"], songs["dev"], songs["test"], rate, hop, **of_mlp, device=device)
    return found.as_dict(), {name: len(s.frames) for name, s in songs.items()}


def _layers(store: Any, asked: int, task: str) -> int:
    """How many layers the features are of."""
    layer, there = store.meta.get("layer", ""), store.meta.get("layers", 0)
    where = str(store.path)
    if task in ("beats", "separation") and (layer.startswith("clip") or "labels" in store.meta):
        raise ConfigError(f"{task} wants frames, these are {layer}", where=where, fix="audiokd extract --layer layers")
    if asked and there and asked != there:
        raise ConfigError(f"--layers {asked}, but {layer} has {there} of them", where=where, fix="leave it out")
    return asked or there or 1


def _check_head(
    head: str,
    task: str,
    folds: str,
    layers: int,
    rates: list[float] | None,
    source: str,
    decays: list[float] | None,
    blocks: int | None,
) -> None:
    if (decays or blocks is not None) and head != "attentive":
        raise ConfigError(f"--{'decays' if decays else 'blocks'} is an attentive head's", fix="--head attentive")
    if head in ("attentive", "knn") and (
        folds or layers or task not in ("class", *(["tags"] if head == "attentive" else []))
    ):
        given = "--folds" if folds else "--layers" if layers else f"--task {task}"
        raise ConfigError(f"{given} is not for --head {head}", fix="--head linear or mlp")
    if head == "knn" and rates:
        raise ConfigError("nothing is trained of --head knn", fix="leave --rates out")
    if bool(source) != (task == "separation"):
        raise ConfigError("a source is separation's", fix="--task separation --source vocals")
    if head == "linear" and (task in MLP_ONLY or layers):
        given = f"--task {task}" if task in MLP_ONLY else f"--layers {layers}"
        raise ConfigError(f"{given} is an mlp's", fix="--head mlp")
    if head == "mlp" and folds:
        raise ConfigError("an mlp is not cross-validated", fix="--dev and --test")
    if head == "mlp" and rates and len(rates) > 1:
        raise ConfigError(f"{len(rates)} rates for an mlp", fix="--rates [0.001], one of them")


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
