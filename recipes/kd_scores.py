"""What a row of kd_grid.py says of a cell: the scores that a command wrote, validation, size and time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from audiokd.eval.bitrate import count_parameters
from audiokd.report.page import read_metrics


def of_classify(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Scores of `audiokd classify` by name, each with mean, low and high."""
    scores = {"accuracy": found["test"]}
    for name, side in found.get("base_novel", {}).items():
        scores[name] = {"mean": side.get("accuracy", side.get("value")), "low": side["low"], "high": side["high"]}
    return scores


def of_segments(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Scores of `audiokd segments` by name: `f1` over all pixels, `f1_per_image`, `f1_low` and so on over those of a stratum."""
    scores = {**found["micro"]} | {f"{k}_per_image": v for k, v in found["per_image"].items()}
    for stratum, of in found.get("by_height", {}).items():
        scores |= {f"{k}_{stratum}": v for k, v in of["micro"].items()}
    return scores


def of_boxes(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Scores of `audiokd boxes` by name: map, nds and so on; iou, centre_error_m and recall of all objects, of the bands of
    distance (iou_near, iou_middle, iou_far) and by points (recall_0-4)."""
    scores = {k: v for k, v in found["scores"].items() if v["mean"] is not None}
    near, middle = found["settings"]["bands"]
    bands = {f"0-{near:g} m": "near", f"{near:g}-{middle:g} m": "middle", f"{middle:g}+ m": "far"}
    parts = {"": found["quality"]["all"]}
    parts |= {f"_{bands[n]}": of for n, of in found["quality"]["by_range"].items()}
    parts |= {f"_{n}": of for n, of in found["quality"]["by_points"].items()}
    for part, of in parts.items():
        names = ("iou", "centre_error_m", "recall", "recall_2m")
        scores |= {f"{k}{part}": {"mean": of[k]} for k in names if of[k] is not None}
    return scores


#: scores of a command's result
SCORES = {
    "classify": of_classify,
    "name": lambda found: found["scores"],
    "segments": of_segments,
    "anomalies": lambda found: found["scores"],
    "boxes": of_boxes,
    "detect": lambda found: found["summary"],
    "intervals": lambda found: found["scores"],
    "fidelity": lambda found: found["scores"],
    "ratings": lambda found: found["scores"],
}
#: by what a run selects its best checkpoint, and which of its values that is
CRITERIA: dict[str, Callable[[list[float]], float]] = {"score": max, "iou": max, "rmse": min}
#: layer that a command scores, where it is not the logits
LAYERS = {"anomalies": "map", "boxes": "boxes", "detect": "events", "intervals": "intervals"}


def in_domain(run_folder: Path, checkpoint: str, prefix: str = "") -> float | None:
    """The validation score of a checkpoint: of the domains that were trained on, items that were held out; of ratings
    the root mean squared error, of which the least is best. With the prefix "teacher_" that of the frozen teacher on the same
    items, which some methods log beside it."""
    metrics = run_folder / "metrics.csv"
    found = read_metrics(metrics) if metrics.exists() else {}
    name = next((n for n in CRITERIA if "val" in found.get(f"{prefix}{n}", {})), None)
    if name is None or checkpoint not in ("last", "best"):
        return None
    values = found[f"{prefix}{name}"]["val"][1].tolist()
    return CRITERIA[name](values) if checkpoint == "best" else values[-1]


def parameters(model_dir: str) -> int:
    """Numbers that a model needs to answer; of a teacher with prompts no text side."""
    if (Path(model_dir) / "config.json").exists():
        return count_parameters(model_dir)
    from audiokd.teachers.zero_shot import load_zero_shot

    return load_zero_shot(model_dir).num_parameters()


def latency_ms(model_dir: str) -> float | None:
    """Median time that one thread computes on one picture, milliseconds; None of sound."""
    from audiokd.eval.latency import latencies_of
    from audiokd.hub.auto import load_for_inference

    model = load_for_inference(model_dir)
    if getattr(model, "kind", "audio") != "image":
        return None
    return round(latencies_of({"": model})[""].median_ms, 2)
