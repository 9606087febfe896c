"""Stage 8: how well a detector tells pictures with defects from normal ones, and finds where they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError

log = logging.getLogger(__name__)

SHOWN = 12  # pictures of a contact sheet
COLUMNS = {
    "auroc": "image AUROC ↑",
    "pixel_auroc": "pixel AUROC ↑",
    "aupro": "AUPRO ↑",
    "f1": "F1 at the threshold ↑",
    "f1_oracle": "F1, oracle",
}
SPEED = ("ms a picture ↓", "frames a second ↑")


def anomalies(
    store: str,
    data: str,
    out: str,
    system: str = "",
    whole: str = "",
    heat_maps: str = "",
    fpr_limit: float = 0.3,
    model: str = "",
    beside: tuple[str, ...] = (),
    threads: int = 1,
) -> dict[str, Any]:
    """Score anomaly maps against labels and masks.

    Writes `out` (JSON) and its table as markdown beside it (`out` with the suffix .md). Scores are raw: nothing of the test set
    is in them.

    Args:
        store: maps, as `audiokd extract MODEL DATA STORE --layer map` writes them; or scores (`--layer score`), of which there
            are no
            pixel metrics.
        data: data dir of the pictures: `label` is good or a kind of defect; with a `mask` of every defect there are pixel metrics.
        out: JSON file to write.
        system: name in the table; that of `out` if left empty.
        whole: data dir of the pictures that `data` is tiles of (`audiokd.data.tiles`): maps are stitched back and these are scored.
        heat_maps: folder for a PNG of each picture with its map over it, and sheet.png of some.
        fpr_limit: L of AUPRO.
        model: folder of the detector that made the store: its latency and frames per second are measured, one picture at a time.
        beside: folders of other detectors that are timed in turns with it.
        threads: of the timing; of one the processor's time is taken, of more the wall's.

    Returns:
        what `out` holds: image AUROC, F1 at the store's threshold (the quantile of held-out normal pictures of training) and,
        apart, the
        oracle's; of maps with masks pixel AUROC and AUPRO, each with a 95% bootstrap interval over pictures; the same by domain,
        the
        AUROC by kind of defect, every picture's score; with `model` the `speed` of each detector.

    Raises:
        AudiokdError: a store of something else; a picture without a label; only normal ones, or none; some defects with a mask
            and others
            without; a mask that is none (`audiokd.data.masks`); another model than the store's.
    """
    from audiokd.data.items import read_items
    from audiokd.eval.table import Summary, markdown
    from audiokd.files import write_json, write_text
    from audiokd.tokens.store import open_store

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    found = open_store(store)
    layer = found.meta.get("layer")
    if layer not in ("map", "score"):
        fix = "make one of maps: audiokd extract ... --layer map"
        raise AudiokdError(f"a store of {layer or found.kind}", where=store, fix=fix)
    if beside and not model:
        raise ConfigError("nothing to time other detectors beside", where="beside", fix="--model, the store's own")
    if layer == "score" and (heat_maps or whole):
        raise ConfigError("scores have no maps", where=store, fix="audiokd extract ... --layer map")
    maps = {item.id: item.array.astype("float32") for item in found.items()}
    if whole:
        maps = _stitched(maps, data)
    items = {i.id: i for i in read_items(whole or data)}
    ids = [i for i in maps if i in items]
    if not ids:
        raise AudiokdError(f"none of its {len(maps)} pictures is there", where=store, fix=f"see {whole or data}")
    if len(ids) < len(maps):
        log.warning(
            "%s: %d of %d pictures are not in %s and are left out", store, len(maps) - len(ids), len(maps), data
        )
    chosen = [items[i] for i in ids]
    rows = _scored(chosen, [maps[i] for i in ids], found.meta.get("thresholds", {}), layer == "map", fpr_limit, store)
    result = {
        "system": system or Path(out).stem,
        "settings": {"store": store, "data": data, "whole": whole, "fpr_limit": fpr_limit},
        **rows,
        "thresholds": found.meta.get("thresholds", {}),
        "model_sha256": found.meta.get("model_sha256", ""),
    }
    if model:
        result["speed"] = _speed(result["system"], model, beside, threads, found)
    if heat_maps:
        result["heat_maps"] = _draw(Path(heat_maps), chosen, [maps[i] for i in ids], result["thresholds"])
    write_json(out, result)
    names = [k for k in COLUMNS if k in result["scores"]]
    speed = _speed_cells(result["speed"][result["system"]]) if model else []
    table = [[result["system"], *_counts(result), *(Summary(**result["scores"][k]).text() for k in names), *speed]]
    for domain, of in result.get("by_domain", {}).items():
        cells = [Summary(**of["scores"][k]).text() if k in of["scores"] else "-" for k in names]
        table.append([domain, *_counts(of), *cells, *(["-"] * len(SPEED) if model else [])])
    headers = ["system", "normal", "defects", *(COLUMNS[k] for k in names), *(SPEED if model else ())]
    text = markdown(headers, table)
    text += "\n95% bootstrap intervals over pictures. " + _said(result)
    if result["by_label"]:
        text += "\n\n" + markdown(["defect", "n", "image AUROC ↑"], [
            [k, str(v["pictures"]), f"{v['auroc']:.3f}"] for k, v in result["by_label"].items()
        ])  # fmt: skip
    if model:
        text += "\n\n" + _speed_table(result["speed"])
    write_text(Path(out).with_suffix(".md"), text)
    print(text)
    return result


def _speed(system: str, model: str, beside: tuple[str, ...], threads: int, store: Any) -> dict[str, Any]:
    from audiokd.eval.latency import latencies_of
    from audiokd.hub.auto import load_for_inference
    from audiokd.stages.corpus import check_same_model

    own = load_for_inference(model)
    check_same_model(own, model, store)
    models = {system: own} | {folder: load_for_inference(folder) for folder in beside}
    return {name: of.as_dict() for name, of in latencies_of(models, threads).items()}


def _speed_cells(of: dict[str, Any]) -> list[str]:
    return [f"{of['median_ms']:.1f} ({of['low_ms']:.1f}-{of['high_ms']:.1f})", f"{of['per_second']:.1f}"]


def _speed_table(speed: dict[str, Any]) -> str:
    from audiokd.eval.table import markdown

    first = next(iter(speed.values()))
    rows = [[name, *_speed_cells(of), f"{of['median_ms'] / first['median_ms']:.2f}"] for name, of in speed.items()]
    threads = f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}"
    said = f"One picture at a time, {threads}, {first['clock']} time: median and quartiles; detectors in turns.\n"
    return (markdown(["detector", *SPEED, "time / first"], rows) if len(rows) > 1 else "") + said


def _stitched(maps: dict[str, Any], data: str) -> dict[str, Any]:
    from audiokd.data.tiles import Tile, read_tiles, stitch

    of: dict[str, list[Tile]] = {}
    for tile in read_tiles(data).values():
        of.setdefault(tile.source, []).append(tile)
    return {source: stitch(maps, tiles) for source, tiles in of.items()}


def _scored(
    items: list[Any], maps: list[Any], thresholds: dict[str, float], are_maps: bool, limit: float, store: str
) -> dict[str, Any]:
    import numpy as np

    from audiokd.data.anomaly_labels import is_normal
    from audiokd.data.classes import named
    from audiokd.data.images import load_image
    from audiokd.data.masks import at_size, load_mask
    from audiokd.eval.anomaly_pictures import auroc

    bad = np.array([not is_normal(i) for i in items])
    if not bad.any() or bad.all():
        kind = "normal" if not bad.any() else "of a defect"
        raise AudiokdError(f"every picture is {kind}: nothing to tell apart", where=store, fix="test on both kinds")
    if not all(np.isfinite(m).all() for m in maps):
        raise AudiokdError("maps that are no numbers", where=store, fix="extract them again in float32")
    scores = np.array([float(m.max()) for m in maps])
    with_mask = [i.mask is not None for i, b in zip(items, bad) if b]
    if any(with_mask) and not all(with_mask):
        lacking = [i.id for i, b in zip(items, bad) if b and i.mask is None]
        what = f"no mask of {len(lacking)} of {len(with_mask)} pictures of defects: {named(lacking)}"
        raise AudiokdError(what, where=items[0].where, fix="give them all, or none: then pictures alone are scored")
    masks = None
    if are_maps and all(with_mask):
        masks = []
        for item, found, is_bad in zip(items, maps, bad):
            if is_bad:
                picture = load_image(item)
                masks.append(at_size(load_mask(item, (picture.height, picture.width)), found.shape))
            else:
                masks.append(np.zeros(found.shape, bool))
        if empty := [i.id for i, b, m in zip(items, bad, masks) if b and not m.any()]:
            raise AudiokdError(
                f"masks without a defect: {named(empty)}", where=items[0].where, fix="label them good, or mend them"
            )
    everything = _summaries(scores, bad, maps, masks, thresholds, limit)
    labels = sorted({i.label for i, b in zip(items, bad) if b})
    by_label = {}
    for label in labels:
        rows = ~bad | np.array([i.label == label for i in items])
        by_label[label] = {"pictures": int((rows & bad).sum()), "auroc": auroc(scores[rows], bad[rows])}
    domains = sorted({i.domain for i in items if i.domain is not None})
    by_domain = {}
    for domain in domains if len(domains) > 1 else ():
        rows = np.array([i.domain == domain for i in items])
        if bad[rows].any() and not bad[rows].all():
            picked = [[m for m, r in zip(of, rows) if r] if of is not None else None for of in (maps, masks)]
            by_domain[domain] = _summaries(scores[rows], bad[rows], picked[0], picked[1], thresholds, limit)
    pictures = [{"id": i.id, "label": i.label, "score": float(f"{s:.9g}")} for i, s in zip(items, scores)]
    found = {**everything, "by_label": by_label, "masks": masks is not None, "pictures": pictures}
    return found | ({"by_domain": by_domain} if by_domain else {})


def _summaries(
    scores: Any, bad: Any, maps: Any, masks: Any, thresholds: dict[str, float], limit: float
) -> dict[str, Any]:
    from audiokd.eval.anomaly_pictures import picture_summaries
    from audiokd.eval.anomaly_pixels import gather_pixels, pixel_summaries

    found = picture_summaries(scores, bad, thresholds.get("score"))
    if masks is not None:
        found |= pixel_summaries(gather_pixels(maps, masks), limit)
    return {
        "scores": {k: s.as_dict() for k, s in found.items()},
        "normal": int((~bad).sum()),
        "defects": int(bad.sum()),
    }


def _draw(folder: Path, items: list[Any], maps: list[Any], thresholds: dict[str, float]) -> dict[str, Any]:
    """A heat map of each picture; the sheet has the worst and the best of both kinds."""
    import numpy as np

    from audiokd.data.anomaly_labels import is_normal
    from audiokd.data.images import load_image
    from audiokd.data.masks import load_mask
    from audiokd.report.heat_maps import Sheet, contact_sheet, heat_map

    folder.mkdir(parents=True, exist_ok=True)
    # one scale for all: from the threshold of normal pixels; where there is none, from the normal pictures' median
    normal = [m for i, m in zip(items, maps) if is_normal(i)]
    low = thresholds.get("pixel", float(np.median(np.stack([np.median(m) for m in normal]))))
    high = max(float(np.quantile([m.max() for m in maps], 0.9)), low)
    order = sorted(range(len(items)), key=lambda k: (is_normal(items[k]), -float(maps[k].max()), items[k].id))
    half = SHOWN // 2
    bad, good = ([k for k in order if is_normal(items[k]) == g] for g in (False, True))
    shown = {*bad[: half // 2], *bad[-(half - half // 2) :], *good[: half // 2], *good[-(half - half // 2) :]}
    sheets = []
    for k in order:
        item = items[k]
        picture = load_image(item)
        heat = heat_map(picture, maps[k], low, high)
        heat.save(folder / f"{item.id.replace('/', '__')}.png")
        if k in shown:
            mask = load_mask(item, (picture.height, picture.width)) if item.mask else None
            sheets.append(Sheet(f"{item.label} {maps[k].max():.3g} {item.id}", picture, heat, mask))
    contact_sheet(sheets).save(folder / "sheet.png")
    return {"folder": str(folder), "low": low, "high": high}


def _counts(of: dict[str, Any]) -> list[str]:
    return [str(of["normal"]), str(of["defects"])]


def _said(result: dict[str, Any]) -> str:
    t = result["thresholds"]
    text = "The store has no threshold: no F1 but the oracle's, whose threshold is chosen on the test set."
    if t:
        held_out = f"{t['pictures']:g} held-out normal pictures of training"
        text = f"Threshold {t['score']:.4g}: the {t['quantile']:g} quantile of {held_out}."
        text += " The oracle's threshold is chosen on the test set."
    return text + ("" if result["masks"] else " No masks, or no maps: pictures alone are scored.")
