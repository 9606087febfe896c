"""Stage 8: how far a recommender's ratings are from those that users gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError

BATCH, DRAWS = 4096, 1000


def ratings(model_dir: str, data: str, out: str, system: str = "", seed: int = 0) -> dict[str, Any]:
    """Score a recommender's ratings of a data dir.

    Writes `out` (JSON) and its table as markdown beside it (`out` with the suffix .md).

    Args:
        model_dir: what `audiokd export` wrote of a recommender.
        data: data dir with ratings.tsv (`user movie rating`).
        out: JSON file to write.
        system: name in the table; that of `out` if left empty.
        seed: of the bootstrap.

    Returns:
        what `out` holds: root mean squared and mean absolute error, each with a 95 % bootstrap interval over ratings; how many
        there are, and how many of them are of a user or a movie that training did not know.

    Raises:
        AudiokdError: no recommender, or a data dir that cannot be read.
    """
    import numpy as np
    import torch

    from audiokd.data.ratings import read_ratings
    from audiokd.eval.table import markdown, summarise_drawn
    from audiokd.files import write_json, write_text
    from audiokd.hub.auto import load_model

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    model, rows = load_model(model_dir), read_ratings(data)
    if getattr(model.config, "task", "") != "rating":
        raise AudiokdError(f"a {type(model).__name__} that rates nothing", where=model_dir, fix="give a recommender")
    view = model.body.view_of_names([r.user for r in rows], [r.movie for r in rows])
    with torch.no_grad():
        parts = [model(**{k: v[i : i + BATCH] for k, v in view.items()}) for i in range(0, len(rows), BATCH)]
    error = torch.cat(parts).double().numpy() - np.array([r.rating for r in rows])
    rng = np.random.default_rng(seed)
    drawn = np.array([_scores(error[rng.integers(0, len(error), len(error))]) for _ in range(DRAWS)])
    values = _scores(error)
    scores = {n: summarise_drawn(values[k], drawn[:, k], len(rows)) for k, n in enumerate(("rmse", "mae"))}
    unknown = int(((view["users"] == 0) | (view["movies"] == 0)).sum())
    name = system or Path(out).stem
    result = {
        "system": name,
        "settings": {"model": model_dir, "data": data, "seed": seed},
        "scores": {k: v.as_dict() for k, v in scores.items()},
        "ratings": len(rows),
        "unknown": unknown,
    }
    write_json(out, result)
    table = markdown(["system", "RMSE ↓", "MAE ↓"], [[name, scores["rmse"].text(), scores["mae"].text()]])
    note = f"{len(rows)} ratings, {unknown} of them of a user or a movie that training did not know; 95% bootstrap interval."
    write_text(Path(out).with_suffix(".md"), f"{table}\n{note}\n")
    print(f"{table}\n{note}")
    return result


def _scores(error: Any) -> tuple[float, float]:
    return float((error**2).mean() ** 0.5), float(abs(error).mean())
