"""Stage 8: how well the pixels of one class are found, from a store of logits or probabilities."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError

log = logging.getLogger(__name__)


def segments(store: str, data: str, out: str, system: str = "", threshold: float = 0.5) -> dict[str, Any]:
    """Score a segmentation network's pixels against the masks of pictures.

    Writes `out` (JSON) and its table as markdown beside it (`out` with the suffix .md).

    Args:
        store: as `audiokd extract MODEL DATA STORE --layer logits` (or probability) writes it.
        data: data dir of these pictures, with masks; buildings.jsonl beside it gives heights and ground sampling distances.
        out: JSON file to write.
        system: name in the table; that of `out` if left empty.
        threshold: probability from which on a pixel is of the class.

    Returns:
        what `out` holds: IoU, F1, precision and recall over all pixels (`micro`) and picture by picture (`per_image`), each with a
        95 % bootstrap interval over pictures; the same `by_height` and `by_gsd` where these are known; `chance`, the F1 of
        calling every pixel a building.

    Raises:
        AudiokdError: the store holds something else; none of its pictures is in `data`; a mask cannot be read or is of another
            size; no mask has a pixel of the class.
    """
    import numpy as np

    from audiokd.data.buildings import STRATA, read_buildings
    from audiokd.data.items import read_items
    from audiokd.data.masks import load_mask
    from audiokd.eval.segments import count_picture, score_pictures, segment_table
    from audiokd.eval.table import markdown
    from audiokd.files import write_json, write_text
    from audiokd.tokens.store import open_store

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    if not 0 < threshold < 1:
        raise ConfigError(f"a threshold of {threshold:g}", fix="a probability, over 0 and under 1")
    found = open_store(store)
    layer = found.meta.get("layer")
    if found.meta.get("media") != "image" or layer not in ("logits", "probability") or "labels" in found.meta:
        fix = "make one of a segmentation network's: audiokd extract ... --layer logits"
        raise AudiokdError(f"a store of {layer or found.kind}, not of pixels", where=store, fix=fix)
    least = threshold if layer == "probability" else math.log(threshold / (1 - threshold))
    items = {i.id: i for i in read_items(data)}
    tiles = read_buildings(Path(data) if Path(data).is_dir() else Path(data).parent)
    counted, without = [], 0
    for row in found.items():
        item = items.get(row.id)
        if item is None:
            without += 1
            continue
        mask = load_mask(item, (row.array.shape[0], row.array.shape[1]))
        counted.append(count_picture(item.id, row.array >= np.float32(least), mask, tiles.get(item.id), item.domain))
    if not counted:
        raise AudiokdError(f"none of its {len(found)} pictures is there", where=store, fix="see --data")
    if without:
        log.warning("%s: %d of %d pictures are not in %s and are left out", store, without, len(found), data)
    true, pixels = (sum(x) for x in zip(*((p.whole.tp + p.whole.fn, p.pixels) for p in counted)))
    if not true:
        raise AudiokdError(
            f"none of {len(counted)} masks has a pixel of the class", where=data, fix="are they of this set?"
        )
    result = {
        "system": system or Path(out).stem,
        "settings": {"store": store, "data": data, "threshold": threshold},
        **score_pictures(counted),
        "chance": 2 * true / (true + pixels),
        "rows": len(counted),
        "without_picture": without,
        "model_sha256": found.meta.get("model_sha256", ""),
    }
    write_json(out, result)
    text = f"{result['system']}\n\n{markdown(*segment_table(result))}"
    limits = ", ".join(f"{name} from {least_m:g} m" for name, least_m in STRATA.items())
    text += f"\n{len(counted)} pictures, threshold {threshold:g}; columns without 'per image' are over all pixels; 95% bootstrap "
    text += (
        f"intervals over pictures. Heights: {limits}. F1 of calling every pixel a building: {result['chance']:.3f}.\n"
    )
    write_text(Path(out).with_suffix(".md"), text)
    print(text, end="")
    return result
